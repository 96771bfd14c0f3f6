"""Sampling a policy's responses, which are saved as they arrive, so that a killed run continues on any machine."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.errors import ConfigError
from xlrm.models import generation, loading
from xlrm.models.decoding import Completion, Decoding, Precision, Prompt, blocks
from xlrm.store import hub, unfinished
from xlrm.store.answers import Memory

MEMORY = "samples"


class Settings(BaseModel):
    """How a policy generates responses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, ge=0)
    """Temperature of the responses used for alignment."""
    judged_temperature: float = Field(0.0, ge=0)
    """Temperature of the responses to be judged; 0 for greedy ones."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Share of the probability mass to sample from (nucleus sampling), where the temperature is above 0."""
    top_k: int = Field(0, ge=0)
    """Number of most likely tokens to sample from, where the temperature is above 0; 0 for all."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Divisor of the logits of tokens already in prompt or response; 1 changes nothing. Overrides the policy's
    generation_config.json."""
    max_new_tokens: int = Field(2048, ge=1)
    """Limit on the tokens of a response."""
    context: int = Field(4096, ge=16)
    """Limit on the tokens of prompt and response together; at most what the policy can read."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """transformers runs on any machine; vllm needs GPUs and splits a policy over all of them. An endpoint is not
    supported, since it would have to serve the policies that this pipeline has just aligned."""
    precision: Precision = "float32"
    """Number format of the policy's weights and computations."""
    batch_size: int = Field(64, ge=1)
    """Responses in a batch; transformers only."""
    seed: int = 42
    """Seed from which, with the prompt and the number of the response, each response's own seed is derived."""

    def decoding(self, judged: bool) -> Decoding:
        """Decoding of responses to be judged, or of those for alignment."""
        temperature = self.judged_temperature if judged else self.temperature
        drawn: dict[str, Any] = (
            {"temperature": temperature, "top_p": self.top_p, "top_k": self.top_k} if temperature else {}
        )
        return Decoding(self.max_new_tokens, repetition_penalty=self.repetition_penalty, seed=self.seed, **drawn)


@dataclass
class Policy:
    """A policy with its engine, and the folder beside which its responses are saved."""

    folder: Path
    settings: Settings
    engine: generation.Engine
    work: Path
    """The stage's output folder."""

    @cached_property
    def version(self) -> str:
        """Digest of the files in `folder`."""
        return hub.folder_digest(self.folder)

    def respond(self, prompts: Sequence[Prompt], samples: int, judged: bool) -> list[list[Completion]]:
        """`samples` responses to each prompt, in order, without surrounding white space; their texts are empty for a
        prompt that the policy refuses."""
        decoding = self.settings.decoding(judged)
        by_key = {_key(prompt): prompt for prompt in prompts}
        wanted = list(by_key)
        responses: dict[str, list[Completion]] = {}
        with contextlib.closing(self._memory(decoding)) as kept:
            known = [kept.look_up(wanted, number) for number in range(samples)]
            left = len(wanted) * samples - sum(map(len, known))
            with contextlib.closing(progress.Counter("sample", left, "responses")) as counter:
                for block in blocks(wanted, max(1, self.engine.block // samples)):
                    responses |= self._ask({key: by_key[key] for key in block}, known, decoding, kept, counter)
        return [responses[_key(prompt)] for prompt in prompts]

    def _ask(
        self, prompts: dict[str, Prompt], known: list[dict[str, str | None]], decoding: Decoding, kept: Memory,
        counter: progress.Counter,
    ) -> dict[str, list[Completion]]:  # fmt: skip
        """Key of a prompt -> its responses."""
        keys = list(prompts)

        def keep(place: int, number: int, completion: Completion) -> None:
            kept.add({keys[place]: json.dumps([completion.text.strip(), completion.whole], allow_nan=False)}, number)
            counter.advance(1)
            if completion.refused:
                progress.say(
                    f"sample: no response to a prompt of {completion.refused} that the policy and sample.context allow"
                )

        there = {
            (place, number): Completion(*json.loads(texts[text] or '["", false]'))
            for number, texts in enumerate(known)
            for place, text in enumerate(keys)
            if text in texts
        }
        completions = self.engine.complete(list(prompts.values()), len(known), decoding, keep, there)
        return {
            text: [replace(answer, text=answer.text.strip()) for answer in answers]
            for text, answers in zip(keys, completions, strict=True)
        }

    def _memory(self, decoding: Decoding) -> Memory:
        asked = {"policy": self.version, "decoding": decoding.identity, "answer": ["text", "whole"]}
        how = self.settings.model_dump(include={"engine", "precision", "context"})
        return Memory(MEMORY, asked | how, unfinished.address(self.work), self.work.parent)


def _key(prompt: Prompt) -> str:
    """Key of a prompt's saved responses: its text, or its messages as JSON."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False, allow_nan=False)


@contextlib.contextmanager
def policy(folder: Path, settings: Settings, work: Path) -> Iterator[Policy]:
    """Context manager of a policy: loads it at the first prompt without saved responses, and ends its engine at exit.
    Raises ConfigError for a classifier, and if `sample.context` is set above what the policy can read."""
    context = loading.Context.of(settings, "sample.context")
    if loading.has_head(described := loading.load_config(folder)):
        kind = (described.architectures or [""])[0]
        raise ConfigError("a policy is a model that writes", where="sample.policies", value=kind)
    model = generation.Model(str(folder), own=True)
    engine = generation.make_engine(settings.engine, model, context, settings.precision, settings.batch_size)
    engine.check()
    with contextlib.closing(engine):
        yield Policy(folder, settings, engine, work)
