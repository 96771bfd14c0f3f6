"""What a model is asked and answers, and how it decides on the next token: the same for every engine."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Prompt = str | list[dict[str, str]]
"""What one user message says, or all the messages (role, content), where a system's comes first."""
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Completion:
    text: str
    whole: bool
    """Whether the model came to an end by itself, not by the limit of tokens."""
    tokens: tuple[int, int] = field(default=(0, 0), compare=False)
    """Read and written; zeros where an endpoint does not say."""
    refused: str | None = None
    """Why the model would not read this prompt at all (too long for it, filtered), however often it is asked."""


Each = Callable[[int, int, Completion], None]
"""(place of a prompt, number of its completion, the completion): told of each as it comes, in any order, to keep it
whatever happens next."""


def no_one(place: int, number: int, completion: Completion) -> None:
    pass


@dataclass(frozen=True)
class Decoding:
    """Greedy, unless it says otherwise. All of it is sent to every engine: nothing is left to what a model's
    generation_config.json or a server has in mind."""

    max_new_tokens: int
    beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0 for all tokens."""
    repetition_penalty: float = 1.0
    """Divides the logits of tokens that prompt or completion hold already (Keskar et al. 2019); 1 leaves them."""
    seed: int = 42


def seed_of(seed: int, prompt: Prompt, number: int = 0) -> int:
    """The seed of one completion of a prompt, in [0, 2^31): another for each prompt and each `number` of several
    completions, whatever else is asked with it. With one seed for all, different prompts would share their noise."""
    said = json.dumps([seed, number, prompt], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:4]) >> 1


@dataclass(frozen=True)
class Request:
    """One completion of a prompt, drawn by a seed of its own."""

    prompt: Prompt
    seed: int


class Engine(ABC):
    """Where text is generated. A model is loaded with the first prompt, not before."""

    block: int
    """Completions it is best asked for at once."""

    def complete(
        self, prompts: Sequence[Prompt], n: int, decoding: Decoding, each: Each = no_one,
        known: Mapping[tuple[int, int], Completion] | None = None,
    ) -> list[list[Completion]]:  # fmt: skip
        """`n` completions of each prompt, in order, each by a seed of its own (`seed_of`): none depends on what else is
        asked for. `known`: those that are there already, by (place, number), and are not asked for again.

        Raises ConfigError and ArtifactError for a model that is unavailable or gives up; `each` has been told by then of
        all that came."""
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
    def close(self) -> None:
        """Ends what it has running; the next prompt starts it again."""

    @abstractmethod
    def _ask(self, requests: Sequence[Request], decoding: Decoding, tell: Callable[[int, Completion], None]) -> None:
        """Tells of the completion of each request by its place, in any order."""
