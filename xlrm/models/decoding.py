"""Prompts, completions and decoding options, the same for every engine that generates text."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Prompt = str | list[dict[str, Any]]
"""The text of one user message, or all messages with role, content and any further fields, a system message first."""
Precision = Literal["float32", "bfloat16"]


_BEGINS = re.compile(
    r"\s*(<(think|thinking|thought|reasoning|seed:think)>|\[THINK\]|◁think▷|<\|START_THINKING\|>"
    r"|(<\|start\|>assistant)?<\|channel\|>(analysis|commentary)|analysis(?=[A-Z]))"
)
_ENDS = re.compile(
    r"</(think|thinking|thought|reasoning|seed:think)>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>"
    r"|<\|channel\|>final<\|message\|>|assistantfinal"
)
"""Marks of a thinking: Qwen's and DeepSeek's, other XML-like ones, Mistral's, Kimi's, Command A's, and gpt-oss' channels,
also where a server has left out their special tokens."""


def has_thinking(text: str) -> bool:
    return bool(_BEGINS.match(text) or _ENDS.search(text))


@dataclass(frozen=True)
class Completion:
    text: str
    whole: bool
    """Whether the model ended its answer itself, rather than reaching the token limit."""
    tokens: tuple[int, int] = field(default=(0, 0), compare=False)
    """Tokens read and written; zeros if an endpoint does not report them."""
    refused: str | None = None
    """Why the model refuses this prompt (too long, filtered), which a retry would not change; None if it does not."""
    logprobs: tuple[dict[str, float], ...] = field(default=(), hash=False)
    """For each position its most likely tokens: text -> natural logarithm of the probability; empty if not asked for.
    Tokens of the same text are one, with the sum of their probabilities."""
    pieces: tuple[str, ...] = ()
    """Text of the token written at each position of `logprobs`."""

    @property
    def answer(self) -> str:
        """The text after the thinking, which ends at the last of `_ENDS`: it begins with one of `_BEGINS`, or in the
        prompt. Empty if a thinking that begins in the text has no end."""
        if ends := [match.end() for match in _ENDS.finditer(self.text)]:
            return self.text[ends[-1] :]
        return "" if _BEGINS.match(self.text) else self.text

    @property
    def answer_logprobs(self) -> tuple[dict[str, float], ...]:
        """`logprobs` of the answer: all, or what follows the thinking in `pieces` and the white space after it. A server
        may leave the thinking out of the text, but not out of the tokens."""
        written = "".join(self.pieces)
        if not has_thinking(written):
            return self.logprobs
        ends, start = [match.end() for match in _ENDS.finditer(written)], 0
        for place, piece in enumerate(self.pieces):
            if ends and start >= ends[-1] and piece.strip():
                return self.logprobs[place:]
            start += len(piece)
        return ()


Each = Callable[[int, int, Completion], None]
"""Callback (index of the prompt, number of the completion, completion), called as each completion arrives, in any
order, so that it can be saved before a later failure."""


def no_one(place: int, number: int, completion: Completion) -> None:
    pass


@dataclass(frozen=True)
class Decoding:
    """Decoding options, greedy by default. Every engine receives all of them, so the defaults of a model's
    generation_config.json or of a server never apply."""

    max_new_tokens: int
    beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """Number of most likely tokens to sample from; 0 for all."""
    repetition_penalty: float = 1.0
    """Divisor of the logits of tokens already in prompt or completion (Keskar et al. 2019); 1 changes nothing."""
    seed: int = 42
    top_logprobs: int = 0
    """Number of most likely tokens whose log-probabilities come with each token written; 0 for none. They are the
    model's own, before temperature, penalty and the choice among tokens; not with beams."""
    needs_logprobs: bool = True
    """Whether a server that gives no log-probabilities is an error; otherwise completions come without them."""

    @property
    def identity(self) -> dict[str, object]:
        """The options as part of the identity of kept answers. Without log-probabilities it is what it was before those
        could be asked for, so that such answers are still known."""
        asked = asdict(self)
        without = ("needs_logprobs",) if self.top_logprobs else ("needs_logprobs", "top_logprobs")
        return {name: value for name, value in asked.items() if name not in without}


def seed_of(seed: int, prompt: Prompt, number: int = 0) -> int:
    """Seed in [0, 2^31) of completion `number` of a prompt, independent of the other prompts in a call. A single seed
    for all prompts would give them the same noise."""
    text = json.dumps([seed, number, prompt], ensure_ascii=False, allow_nan=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


@dataclass(frozen=True)
class Request:
    """One completion to generate, with its own seed."""

    prompt: Prompt
    seed: int


def blocks(prompts: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size]


class Engine(ABC):
    """Generates text with one model, which is loaded only when the first prompt arrives."""

    @property
    @abstractmethod
    def block(self) -> int:
        """Recommended number of completions per call."""

    def complete(
        self, prompts: Sequence[Prompt], n: int, decoding: Decoding, each: Each = no_one,
        known: Mapping[tuple[int, int], Completion] | None = None,
    ) -> list[list[Completion]]:  # fmt: skip
        """`n` completions of each prompt, in order; each has its own seed (`seed_of`), so none depends on the others.
        `known`: existing completions by (index of the prompt, number), which are not generated again.

        Raises ConfigError or ArtifactError if the model is unavailable or fails; `each` is called for every completion
        that arrived before that."""
        completions = dict(known or {})
        keys = [(place, number) for place in range(len(prompts)) for number in range(n)]
        asked = [key for key in keys if key not in completions]

        def tell(request: int, completion: Completion) -> None:
            completions[asked[request]] = completion
            each(*asked[request], completion)

        if asked:
            self._ask([Request(prompts[i], seed_of(decoding.seed, prompts[i], k)) for i, k in asked], decoding, tell)
        return [[completions[place, number] for number in range(n)] for place in range(len(prompts))]

    @abstractmethod
    def check(self) -> None:
        """Raises ConfigError for a context above what the model can read, or a server's address that is missing or
        wrong; loads nothing."""

    @abstractmethod
    def close(self) -> None:
        """Frees the model and its processes; the next prompt starts them again."""

    @abstractmethod
    def _ask(self, requests: Sequence[Request], decoding: Decoding, tell: Callable[[int, Completion], None]) -> None:
        """Calls `tell` with (index of the request, completion) for each request, in any order."""
