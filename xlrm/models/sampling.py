"""Sampling a policy's responses, which are saved as they arrive, so that a killed run continues on any machine."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xlrm import progress
from xlrm.errors import ConfigError, GateError
from xlrm.models import generation, loading
from xlrm.models.decoding import Completion, Decoding, Precision, Prompt, blocks
from xlrm.store import hub, unfinished
from xlrm.store.answers import Memory
from xlrm.store.fields import NotCounted, conflict

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
    """transformers runs on any machine; vllm needs GPUs and splits a policy over all of them."""
    served: str | None = None
    """Name of the model at an OpenAI-compatible endpoint (OPENAI_BASE_URL) that answers in place of the policy before
    alignment; its answers are kept for good. Null: the policy answers on this machine, as aligned policies always do."""
    precision: Precision = "float32"
    """Number format of the policy's weights and computations."""
    batch_size: int = Field(64, ge=1)
    """Responses in a batch; transformers only."""
    parallel: Annotated[int, NotCounted] = Field(32, ge=1)
    """Concurrent requests, with an endpoint."""
    retries: Annotated[int, NotCounted] = Field(8, ge=0)
    """Retries of a request to an endpoint (`generation.Endpoint.retries`); 8 retries wait about 40 s in all."""
    timeout_seconds: Annotated[float, NotCounted] = Field(600.0, gt=0)
    """Timeout in seconds of one request to an endpoint."""
    usd_per_million: Annotated[tuple[float, float] | None, NotCounted] = None
    """Price in US dollars of a million tokens (read, written) of the model at the endpoint."""
    max_usd: Annotated[float | None, NotCounted] = Field(None, ge=0)
    """Maximum cost in US dollars of a step's requests to an endpoint, by `usd_per_million`; the step stops above it."""
    seed: int = 42
    """Seed from which, with the prompt and the number of the response, each response's own seed is derived."""

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.max_usd is not None and self.served and self.usd_per_million is None:
            raise conflict("max_usd", self.max_usd, "needs usd_per_million, the price of the model at the endpoint")
        return self

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

    folder: Path | None
    """None for a model at an endpoint."""
    settings: Settings
    engine: generation.Engine
    work: Path
    """The stage's output folder."""
    tokens: tuple[int, int] = (0, 0)
    """Tokens read and written in this run."""

    @cached_property
    def version(self) -> str:
        """Digest of the files in `folder`, or the name of the model at the endpoint."""
        return hub.folder_digest(self.folder) if self.folder else f"served {self.settings.served}"

    @property
    def usd(self) -> float | None:
        """Cost of this run's requests in US dollars; None without a price."""
        price = self.settings.usd_per_million
        return None if price is None else sum(n * each for n, each in zip(self.tokens, price, strict=True)) / 1e6

    def decoding(self, judged: bool) -> dict[str, Any]:
        """Everything that decides on a token of a response, for the record."""
        own = ("served",) if self.settings.served else ("engine", "precision", "context")
        left_out = sorted(getattr(self.engine, "refused", ()))
        return (
            self.settings.decoding(judged).identity
            | {name: getattr(self.settings, name) for name in own}
            | ({"left_out": left_out} if left_out else {})
        )

    def respond(self, prompts: Sequence[Prompt], samples: int, judged: bool) -> list[list[Completion]]:
        """`samples` responses to each prompt, in order, without surrounding white space; their texts are empty for a
        prompt that the policy refuses. Raises GateError if an endpoint costs more than `max_usd`."""
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
                    kept.send()
                    self._check_cost()
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
            self.tokens = (self.tokens[0] + completion.tokens[0], self.tokens[1] + completion.tokens[1])
            if completion.refused:
                progress.say(f"sample: no response to a prompt, which the model refuses: {completion.refused}")

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

    def _check_cost(self) -> None:
        limit = self.settings.max_usd
        if limit is not None and (self.usd or 0) > limit:
            raise GateError(
                f"{self.settings.served} has cost {self.usd:,.2f} US dollars, which is more", where="sample.max_usd",
                value=limit, hint="its answers are kept, and a run with a higher limit continues from there",
            )  # fmt: skip

    def _memory(self, decoding: Decoding) -> Memory:
        """Responses saved so far: an endpoint's are kept for good, because they cost money; a policy's until the stage is
        finished."""
        asked = {"policy": self.version, "decoding": decoding.identity, "answer": ["text", "whole"]}
        if self.folder is None:
            return Memory(MEMORY, asked)
        how = self.settings.model_dump(include={"engine", "precision", "context"})
        return Memory(MEMORY, asked | how, unfinished.address(self.work), self.work.parent)


def _key(prompt: Prompt) -> str:
    """Key of a prompt's saved responses: its text, or its messages as JSON."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False, allow_nan=False)


@contextlib.contextmanager
def policy(folder: Path | None, settings: Settings, work: Path) -> Iterator[Policy]:
    """Context manager of a policy: loads it at the first prompt without saved responses, and ends its engine at exit.
    Without a folder it is the model `settings.served`. Raises ConfigError for a classifier, if `sample.context` is set above
    what the policy can read, and for an endpoint without address."""
    engine = _served(settings) if folder is None else _own(folder, settings)
    engine.check()
    with contextlib.closing(engine):
        yield Policy(folder, settings, engine, work)


def _served(settings: Settings) -> generation.Engine:
    if settings.served is None:
        raise ConfigError("a model at an endpoint is required where no policy is given", where="sample.served")
    requests = settings.model_dump(include={"parallel", "retries", "timeout_seconds"})
    return generation.Endpoint(generation.Model(settings.served), **requests)


def _own(folder: Path, settings: Settings) -> generation.Engine:
    if loading.has_head(described := loading.load_config(folder)):
        kind = (described.architectures or [""])[0]
        raise ConfigError("a policy is a model that writes", where="sample.policies", value=kind)
    model, context = generation.Model(str(folder), own=True), loading.Context.of(settings, "sample.context")
    return generation.make_engine(settings.engine, model, context, settings.precision, settings.batch_size)
