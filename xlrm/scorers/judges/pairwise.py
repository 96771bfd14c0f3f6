"""Generative models as judges of pairs: asked in one order or both, with what they said before, what that costs, and where
they run. What a verdict is worth is said elsewhere (`rewardbench`)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.errors import ConfigError, GateError
from xlrm.models import generation
from xlrm.models.decoding import Completion, Decoding, Precision
from xlrm.models.generation import EngineName
from xlrm.models.loading import Context
from xlrm.models.reward_models import RewardModel
from xlrm.scorers.judges import prompts
from xlrm.scorers.judges.pairs import Judgement, Pair, coin
from xlrm.store import hub
from xlrm.store.answers import Memory
from xlrm.store.fields import NotCounted

MEMORY = "verdicts"
"""Where answers are kept on the store."""
BYTES_PER_TOKEN = 4.0
"""Of UTF-8, for the estimate: OpenAI's rule of thumb of four characters of English to a token; other scripts have more bytes
to a character."""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    orders: Literal["seeded", "both"] = "seeded"
    """One order a pair, by a seeded coin (paper A, RewardBench), or each pair twice, which shows a bias and halves it."""
    engine: EngineName | None = None
    """What runs every judge instead of what its row says: endpoint for one that is served elsewhere."""
    max_new_tokens: int = Field(2048, ge=1)
    """Tokens of an answer (RewardBench; the Self-Taught Evaluator's run_model.py)."""
    context: int = Field(16384, ge=256)
    """Tokens of question and answer together, with transformers and vLLM; no more than the model reads."""
    precision: Precision = "bfloat16"
    """Of the model, with transformers and vLLM."""
    batch_size: int = Field(8, ge=1)
    """Questions at once, with transformers."""
    parallel: Annotated[int, NotCounted] = Field(32, ge=1)
    """Requests at once, with an endpoint."""
    retries: Annotated[int, NotCounted] = Field(8, ge=0)
    """Times a request to an endpoint is sent again, see `engines.Endpoint`: 8 wait some 40 s in all."""
    timeout_seconds: Annotated[float, NotCounted] = Field(600.0, gt=0)
    """Of one request to an endpoint."""
    max_refused_share: float = Field(0.01, ge=0, le=1)
    """Share of the questions an engine may refuse to read (too long for the model, filtered); each counts 0.5, as an error
    does in RewardBench. Beyond it the stage stops."""
    answer_tokens: Annotated[int, NotCounted] = Field(300, ge=1)
    """Tokens an answer is assumed to have, for the estimate."""
    usd_per_million: Annotated[dict[str, tuple[float, float]], NotCounted] = {}
    """By model, US dollars for a million tokens read and written, instead of what its row says. Verdicts that
    are there keep the cost that was written beside them."""
    max_usd: Annotated[float | None, NotCounted] = Field(None, ge=0)
    """Of judges at an endpoint: the stage does not start if their estimate is above this or a price unknown, and stops when
    what one has cost is above it."""
    seed: int = 42


@dataclass
class Cost:
    """Of one judge: what was asked and what that took."""

    price: tuple[float, float] | None
    questions: int = 0
    known: int = 0
    """Of them, answered in an earlier run."""
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cut: int = 0
    """Answers that the limit of tokens ended."""
    refused: int = 0
    refusal: str | None = None
    """What the engine said to the last of them."""
    estimated_usd: float | None = None

    @property
    def usd(self) -> float | None:
        """None where nobody has said a price, or a server not counted its tokens."""
        if self.price is None or (self.requests and not self.tokens_in):
            return None
        return (self.tokens_in * self.price[0] + self.tokens_out * self.price[1]) / 1e6

    def add(self, completion: Completion) -> None:
        self.requests += 1
        self.tokens_in += completion.tokens[0]
        self.tokens_out += completion.tokens[1]
        self.refused += completion.refused is not None
        self.refusal = completion.refused or self.refusal
        self.cut += not completion.whole and completion.refused is None

    def as_json(self) -> dict[str, float | int | None]:
        shown = {key: value for key, value in asdict(self).items() if key not in ("price", "refusal")}
        return shown | {"usd": self.usd}

    def __str__(self) -> str:
        tokens = f"{self.tokens_in:,} tokens read, {self.tokens_out:,} written"
        asked = f"{self.known:,} answered before, {self.requests:,} asked now"
        return f"{self.questions:,} questions, {asked}; {tokens}, {dollars(self.usd)}"


@dataclass(frozen=True)
class Estimate:
    questions: int
    known: int
    tokens_in: float
    tokens_out: float
    usd: float | None

    def __str__(self) -> str:
        known = f", {self.known:,} of them answered before" if self.known else ""
        tokens = f"about {self.tokens_in:,.0f} tokens to read and {self.tokens_out:,.0f} to write"
        return f"{self.questions:,} questions{known}; {tokens}, {dollars(self.usd)}"


@dataclass(frozen=True)
class Question:
    """A pair in one of its orders."""

    a_first: bool
    messages: list[dict[str, str]]

    @property
    def key(self) -> str:
        return json.dumps(self.messages, ensure_ascii=False)


@dataclass
class Judge:
    """One model, its engine, and what it has said before."""

    model: RewardModel
    settings: Settings
    engine: generation.Engine
    memory: Memory
    cost: Cost

    @property
    def served(self) -> bool:
        """Whether it is asked elsewhere, which may cost money; on a GPU of one's own, tokens have no price."""
        return isinstance(self.engine, generation.Endpoint)

    @property
    def prompt(self) -> prompts.JudgePrompt:
        return prompts.find(self.model.prompt)

    @property
    def decoding(self) -> Decoding:
        return Decoding(self.settings.max_new_tokens)

    def estimate(self, pairs: Sequence[Pair]) -> Estimate:
        """Of judging `pairs`, by the bytes of what is still to be asked."""
        asked = {question.key for pair in pairs for question in self.questions(pair)}
        left = asked - self.memory.look_up(asked, 0).keys()
        read = sum(len(key.encode()) for key in left) / BYTES_PER_TOKEN
        written = float(len(left) * self.settings.answer_tokens)
        price = self.cost.price
        usd = None if price is None else (read * price[0] + written * price[1]) / 1e6
        return Estimate(len(asked), len(asked) - len(left), read, written, usd)

    def reach(self) -> None:
        """Raises ConfigError where nothing says at which address a served judge is, and for a context above what another reads:
        now, and not after hours."""
        self.engine.client if self.served else self.engine.limit  # noqa: B018

    def close(self) -> None:
        """Ends its engine."""
        self.engine.close()

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """In order. Raises ArtifactError for an engine that gives up, GateError for too many refusals or too high a cost.
        Answers that have come are kept in all cases."""
        asked = [self.questions(pair) for pair in pairs]
        known = self._answers([question.key for questions in asked for question in questions])
        return [self._judgement(questions, [known[question.key] for question in questions]) for questions in asked]

    def questions(self, pair: Pair) -> list[Question]:
        orders = [True, False] if self.settings.orders == "both" else [coin(self.settings.seed, pair.id)]
        shown = [(a_first, (pair.a, pair.b) if a_first else (pair.b, pair.a)) for a_first in orders]
        return [Question(a_first, self.prompt.messages(pair.prompt, *responses)) for a_first, responses in shown]

    def _judgement(self, questions: list[Question], answers: list[Completion]) -> Judgement:
        verdicts = tuple(self.prompt.parse(answer.text) for answer in answers)
        return Judgement(tuple(question.a_first for question in questions), verdicts, tuple(answers))

    def _answers(self, keys: list[str]) -> dict[str, Completion]:
        wanted = list(dict.fromkeys(keys))
        known = {key: Completion(text or "", True) for key, text in self.memory.look_up(wanted, 0).items()}
        left = [key for key in wanted if key not in known]
        self.cost.questions += len(wanted)
        self.cost.known += len(known)
        counter = progress.Counter(f"judging by {self.model.name}", len(left), "questions")
        try:
            for block in _blocks(left, self.engine.block):
                known |= self._ask(block)
                counter.advance(len(block))
                self._check()
        finally:
            self.memory.send()
            counter.close()
        return known

    def _ask(self, keys: list[str]) -> dict[str, Completion]:
        def keep(place: int, number: int, completion: Completion) -> None:
            self.cost.add(completion)
            if completion.whole:  # a cut answer is asked for again, as one is that the model refused
                self.memory.add({keys[place]: completion.text}, 0)

        found = self.engine.complete([json.loads(key) for key in keys], 1, self.decoding, keep)
        self.memory.send()
        return {key: answer for key, (answer,) in zip(keys, found, strict=True)}

    def _check(self) -> None:
        share = self.settings.max_refused_share
        if self.cost.refused > share * self.cost.questions:
            raise GateError(
                f"{self.model.name} would not read {self.cost.refused} of {self.cost.questions} questions, more than "
                f"judge.max_refused_share={share}: {self.cost.refusal}"
            )
        if self.settings.max_usd is not None and (self.cost.usd or 0) > self.settings.max_usd:
            raise GateError(
                f"{self.model.name} has cost {dollars(self.cost.usd)}, more than judge.max_usd={self.settings.max_usd}; what "
                "it said is kept, and a run with a higher limit goes on from there"
            )


def load(model: RewardModel, settings: Settings) -> Judge:
    """Nothing is loaded before the first question that has not been answered before. Raises ConfigError and ArtifactError
    for what cannot be had."""
    engine, at = settings.engine or model.engine, version(model, settings)
    identity = {
        "judge": model.repository, "version": at, "engine": engine, "decoding": asdict(Decoding(settings.max_new_tokens)),
        "precision": settings.precision,
    }  # fmt: skip
    price = settings.usd_per_million.get(model.name, model.usd_per_million)
    return Judge(model, settings, _engine(model, settings, engine, at), Memory(MEMORY, identity), Cost(price))


def version(model: RewardModel, settings: Settings) -> str | None:
    """The commit a judge is at now, of a folder a digest; of a served model what its entry says."""
    if (settings.engine or model.engine) == "endpoint":
        return model.revision
    return model.version()


def check_budget(estimates: dict[str, Estimate], settings: Settings) -> None:
    """Raises ConfigError where these judges together are estimated above max_usd, or one of them has no price."""
    if settings.max_usd is None:
        return
    if unpriced := [name for name, one in estimates.items() if one.usd is None]:
        raise ConfigError(
            f"judge.max_usd={settings.max_usd}: no price is known for {', '.join(unpriced)}; say judge.usd_per_million, as "
            f"{{{unpriced[0]}: [2.5, 10]}}"
        )
    total = sum(one.usd for one in estimates.values())
    if total > settings.max_usd:
        raise ConfigError(
            f"judge.max_usd={settings.max_usd}: judging is estimated at {dollars(total)}; raise it or judge less"
        )


def dollars(usd: float | None) -> str:
    return "price unknown" if usd is None else f"${usd:,.2f}"


def _engine(model: RewardModel, settings: Settings, name: str, version: str | None) -> generation.Engine:
    if name == "endpoint":
        served = generation.Model(model.repository)
        return generation.Endpoint(
            served, settings.parallel, retries=settings.retries, timeout_seconds=settings.timeout_seconds
        )
    if model.folder or Path(model.repository).is_dir():  # an engine takes no folder of a repository
        local = generation.Model(str(hub.whole_model(model.repository, version, model.folder)))
    else:
        local = generation.Model(model.repository, version)
    context = Context.of(settings, "external.judge.context")
    if name == "vllm":
        return generation.Vllm(local, context, settings.precision)
    return generation.Transformers(local, settings.batch_size, precision=settings.precision, context=context)


def _blocks(keys: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
