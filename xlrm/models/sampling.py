"""Responses of a policy to prompts, several to each, kept as they come: a killed run goes on from them, on any machine."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.models import generation, loading
from xlrm.models.decoding import Completion, Decoding, Precision
from xlrm.store import hub, unfinished
from xlrm.store.answers import Memory

MEMORY = "samples"


class Settings(BaseModel):
    """How a policy is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, ge=0)
    """Of responses to align on; those to judge by are greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Share of the probability that is drawn from, of these responses."""
    top_k: int = Field(0, ge=0)
    """Tokens that are drawn from, of these responses; 0 for all."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Divides the logits of tokens that stand in the prompt or the response by then; 1 leaves them, whatever the policy's
    generation_config.json says."""
    max_new_tokens: int = Field(2048, ge=1)
    """Tokens of a response, at most."""
    context: int = Field(4096, ge=16)
    """Tokens of prompt and response together; no more than the policy reads."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """transformers on any machine; vllm wants GPUs, and splits a policy over all of them. No endpoint: it would have to serve
    the policies that this pipeline has just aligned."""
    precision: Precision = "float32"
    """Of the policy."""
    batch_size: int = Field(64, ge=1)
    """Responses in a batch, with transformers."""
    seed: int = 42
    """Each response has a seed of its own, of this one, its prompt and its number."""

    def decoding(self, greedy: bool) -> Decoding:
        drawn = {} if greedy else {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}
        return Decoding(self.max_new_tokens, repetition_penalty=self.repetition_penalty, seed=self.seed, **drawn)


@dataclass
class Policy:
    """A model, its engine, and where what it says is kept."""

    folder: Path
    settings: Settings
    engine: generation.Engine
    work: Path
    """The stage's output folder."""

    @cached_property
    def version(self) -> str:
        """A digest of its files."""
        return hub.model_version(str(self.folder), None)

    def respond(self, prompts: Sequence[str], samples: int, greedy: bool) -> list[list[str]]:
        """`samples` responses to each prompt, in order; blank to one that the policy cannot read."""
        decoding = self.settings.decoding(greedy)
        wanted = list(dict.fromkeys(prompts))
        responses: dict[str, list[str]] = {}
        with contextlib.closing(self._memory(decoding)) as kept:
            known = [kept.look_up(wanted, number) for number in range(samples)]
            left = len(wanted) * samples - sum(map(len, known))
            with contextlib.closing(progress.Counter("sample", left, "responses")) as counter:
                for block in _blocks(wanted, max(1, self.engine.block // samples)):
                    responses |= self._ask(block, known, decoding, kept, counter)
        return [responses[text] for text in prompts]

    def _ask(
        self, prompts: list[str], known: list[dict[str, str | None]], decoding: Decoding, kept: Memory,
        counter: progress.Counter,
    ) -> dict[str, list[str]]:  # fmt: skip
        def keep(place: int, number: int, completion: Completion) -> None:
            kept.add({prompts[place]: completion.text.strip()}, number)
            counter.advance(1)
            if completion.refused:
                progress.say(
                    f"sample: a prompt of {completion.refused} that policy and sample.context allow: no response"
                )

        there = {
            (place, number): Completion(texts[text] or "", True)
            for number, texts in enumerate(known)
            for place, text in enumerate(prompts)
            if text in texts
        }
        found = self.engine.complete(prompts, len(known), decoding, keep, there)
        return {text: [one.text.strip() for one in many] for text, many in zip(prompts, found, strict=True)}

    def _memory(self, decoding: Decoding) -> Memory:
        asked = {"policy": self.version, "decoding": asdict(decoding)}
        how = self.settings.model_dump(include={"engine", "precision", "context"})
        return Memory(MEMORY, asked | how, unfinished.address(self.work), self.work.parent)


@contextlib.contextmanager
def policy(folder: Path, settings: Settings, work: Path) -> Iterator[Policy]:
    """It is loaded with the first prompt that nothing is kept of, and its engine ends with the context. Raises ConfigError for a
    `context` above what it reads."""
    context = loading.Context.of(settings, "sample.context")
    model = generation.Model(str(folder), own=True)
    engine: generation.Transformers | generation.Vllm
    if settings.engine == "vllm":
        engine = generation.Vllm(model, context, settings.precision)
    else:
        engine = generation.Transformers(model, settings.batch_size, precision=settings.precision, context=context)
    engine.limit  # noqa: B018  (before anything is loaded)
    with contextlib.closing(engine):
        yield Policy(folder, settings, engine, work)


def _blocks(prompts: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size]
