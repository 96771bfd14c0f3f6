"""Generative models as judges of pairs, in one order or both: engines, saved answers and costs. The credit for a
verdict is defined elsewhere (`rewardbench`)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from xlrm import progress
from xlrm.errors import ConfigError, GateError
from xlrm.models import generation
from xlrm.models.decoding import Completion, Decoding, blocks
from xlrm.models.generation import EngineName
from xlrm.models.loading import Context
from xlrm.models.reward_models import RewardModel
from xlrm.scorers.judges import prompts, saved
from xlrm.scorers.judges.pairs import Judgement, Pair, a_first_in, check_single
from xlrm.scorers.judges.settings import PolicySettings, Settings
from xlrm.store.answers import Memory
from xlrm.tracking import named_models

__all__ = ["Judge", "PolicySettings", "Settings", "load", "prepare"]

MEMORY = "verdicts"
"""Name of the memory of answers on the store."""
BYTES_PER_TOKEN = 4.0
"""UTF-8 bytes per token, for the estimate: OpenAI's rule of thumb of four English characters per token. Other scripts
have more bytes per character."""


@dataclass
class Cost:
    """Questions to one judge, and the tokens and dollars that they cost or, before it is asked, may cost."""

    price: tuple[float, float] | None
    questions: int = 0
    known: int = 0
    """Questions answered in an earlier run."""
    requests: int = 0
    tokens_in: float = 0
    tokens_out: float = 0
    cut: int = 0
    """Answers cut off at the token limit."""
    verdicts: int = 0
    unreadable: int = 0
    """Verdicts that could not be read, for example in an answer that was cut off or refused."""
    refused: int = 0
    refusal: str | None = None
    """The engine's reason for the last refusal."""
    estimated_usd: float | None = None

    @property
    def usd(self) -> float | None:
        """Cost in US dollars; None if the price is unknown or the server does not report tokens."""
        if self.price is None or self.untold:
            return None
        return (self.tokens_in * self.price[0] + self.tokens_out * self.price[1]) / 1e6

    @property
    def untold(self) -> bool:
        """Whether the server does not report tokens."""
        return self.requests > self.refused and not self.tokens_in

    def add(self, completion: Completion, cut: bool) -> None:
        self.requests += 1
        self.tokens_in += completion.tokens[0]
        self.tokens_out += completion.tokens[1]
        self.refused += completion.refused is not None
        self.refusal = completion.refused or self.refusal
        self.cut += cut and completion.refused is None

    def as_json(self) -> dict[str, float | int | None]:
        shown = {key: value for key, value in asdict(self).items() if key not in ("price", "refusal")}
        return shown | {"usd": self.usd}

    def __str__(self) -> str:
        tokens = f"{self.tokens_in:,} tokens read, {self.tokens_out:,} written"
        asked = f"{self.known:,} answered before, {self.requests:,} asked now"
        lost = (
            f"{self.unreadable:,} of {self.verdicts:,} verdicts unreadable ({self.cut:,} cut, {self.refused:,} refused)"
        )
        return f"{self.questions:,} questions, {asked}; {tokens}, {dollars(self.usd)}; {lost}"

    def estimate(self) -> str:
        """The sentence for estimated tokens."""
        known = f", {self.known:,} of them answered before" if self.known else ""
        tokens = f"about {self.tokens_in:,.0f} tokens to read and {self.tokens_out:,.0f} to write"
        return f"{self.questions:,} questions{known}; {tokens}, {dollars(self.usd)}"


Key = tuple[int, str]
"""Number of an answer, and the messages that it answers as JSON."""


@dataclass(frozen=True)
class Question:
    """A pair in one order, as messages to a judge."""

    a_first: bool
    messages: list[dict[str, str]]
    run: int = 0
    """Number of the answer to these messages, for a judge that samples."""

    @cached_property
    def key(self) -> "Key":
        return self.run, json.dumps(self.messages, ensure_ascii=False, allow_nan=False)


@dataclass
class Judge:
    """A model as judge, with its engine, its saved answers and their cost."""

    model: RewardModel
    settings: Settings
    engine: generation.Engine
    memory: Memory
    cost: Cost
    section: str = "judge"
    """Where the settings are, for messages."""

    @property
    def served(self) -> bool:
        """Whether the model runs at an endpoint, where tokens may have a price."""
        return isinstance(self.engine, generation.Endpoint)

    @property
    def prompt(self) -> prompts.JudgePrompt:
        return prompts.find(self.settings.prompt_of(self.model))

    @property
    def decoding(self) -> Decoding:
        return self.settings.decoding(self.model)

    def estimate(self, pairs: Sequence[Pair]) -> Cost:
        """Estimated tokens and cost of judging `pairs`, from the bytes of the questions without a saved answer."""
        asked = {question.key for pair in pairs if self._asks(pair) for question in self.questions(pair)}
        left = asked - self._known(asked).keys()
        read = sum(len(messages.encode()) for _, messages in left) / BYTES_PER_TOKEN
        written = float(len(left) * self.settings.expected_tokens(self.model))
        return Cost(self.cost.price, len(asked), len(asked) - len(left), tokens_in=read, tokens_out=written)

    def reach(self) -> None:
        """Checks the settings before any question: raises ConfigError if OPENAI_BASE_URL is not set for a served judge,
        or if `context` is set above what a local model can read."""
        self.engine.check()

    def close(self) -> None:
        """Frees the engine."""
        self.engine.close()

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Judgements in the order of `pairs`. Raises ArtifactError if the engine fails, GateError if
        `max_refused_share` or `max_usd` is exceeded. Answers received before an error are saved."""
        asked = [self.questions(pair) for pair in pairs]
        opened = [questions for pair, questions in zip(pairs, asked, strict=True) if self._asks(pair)]
        known = self._answers([question.key for questions in opened for question in questions])
        judgements = [self._judgement(pair, each, known) for pair, each in zip(pairs, asked, strict=True)]
        self.cost.verdicts += sum(len(judgement.verdicts) for judgement in judgements)
        self.cost.unreadable += (unreadable := sum(judgement.unreadable for judgement in judgements))
        if unreadable and self._first_token:
            progress.say(
                f"{self.model.name} gave {unreadable:,} answers without the letter or number that was asked for among its most "
                f"likely tokens; one that thinks first needs room for it, as {self.section}.max_new_tokens=4096"
            )
        return judgements

    def questions(self, pair: Pair) -> list[Question]:
        """One for each order. Runs differ in the order where it is drawn, and in the answer where it is sampled: an answer
        in both orders that is greedy, or the log-probabilities of a first token, is that of every run."""
        run = pair.run if self.decoding.temperature and not self._first_token else 0
        shown = [
            (a_first, (pair.a, pair.b) if a_first else (pair.b, pair.a))
            for a_first in a_first_in(self.settings.orders, pair, self.settings.seed)
        ]
        if not self.prompt.threads:
            check_single((pair,))
        return [
            Question(first, self.prompt.messages(pair.prompt, *responses, pair.language), run)
            for first, responses in shown
        ]

    @property
    def _may_be_cut(self) -> bool:
        """Whether the beginning of an answer says all."""
        return self.prompt.top_logprobs > 0

    @property
    def _first_token(self) -> bool:
        """Whether the answer is a token's log-probabilities, before which nothing is written."""
        return self.decoding.top_logprobs > 0 and self.decoding.max_new_tokens == 1

    def _asks(self, pair: Pair) -> bool:
        return self.prompt.asks_equal or pair.a != pair.b

    def _judgement(self, pair: Pair, questions: list[Question], known: Mapping[Key, Completion]) -> Judgement:
        orders = tuple(question.a_first for question in questions)
        if not self._asks(pair):
            return Judgement(orders, (1.5,) * len(orders))
        answers = tuple(known[question.key] for question in questions)
        return Judgement(orders, tuple(map(self.prompt.preference, answers)), answers)

    def _known(self, keys: Iterable[Key]) -> dict[Key, Completion]:
        """Saved answers by question. An unreadable one does not count, so that its question is asked again."""
        known: dict[Key, Completion] = {}
        for run, messages in _by_run(keys).items():
            for asked, text in self.memory.look_up(messages, run).items():
                answer = saved.read(text, self.decoding.top_logprobs) if text else None
                if answer and self.prompt.preference(answer) is not None:
                    known[run, asked] = answer
        return known

    def _answers(self, keys: list[Key]) -> dict[Key, Completion]:
        wanted = list(dict.fromkeys(keys))
        known = self._known(wanted)
        left = [key for key in wanted if key not in known]
        self.cost.questions += len(wanted)
        self.cost.known += len(known)
        counter = progress.Counter(f"judging by {self.model.name}", len(left), "questions")
        try:
            for run, messages in _by_run(left).items():
                for block in blocks(messages, self.engine.block):
                    known |= self._ask(block, run)
                    counter.advance(len(block))
                    self._check()
        finally:
            self.memory.send()
            counter.close()
        return known

    def _ask(self, messages: list[str], run: int) -> dict[Key, Completion]:
        likely = self.decoding.top_logprobs
        stopped: list[GateError] = []

        def keep(place: int, number: int, completion: Completion) -> None:
            readable = self.prompt.preference(completion) is not None
            whole = completion.whole or (self._may_be_cut and readable)
            self.cost.add(completion, cut=not whole)
            if whole and readable:  # else a later run asks again
                self.memory.add({messages[place]: saved.written(self._kept(completion), likely)}, run)
            if not stopped and (error := self._over_budget()):  # once: what is on its way is kept too
                stopped.append(error)
                raise error

        decoding = replace(self.decoding, seed=self.decoding.seed + run)
        completions = self.engine.complete([json.loads(asked) for asked in messages], 1, decoding, keep)
        self.memory.send()
        return {(run, asked): answer for asked, (answer,) in zip(messages, completions, strict=True)}

    def _kept(self, completion: Completion) -> Completion:
        """What is saved of an answer: not the log-probabilities of a thinking, which may be thousands."""
        return replace(completion, logprobs=completion.answer_logprobs[:1], pieces=())

    def _check(self) -> None:
        share = self.settings.max_refused_share
        if self.cost.refused > share * self.cost.questions:
            raise GateError(
                f"{self.model.name} refused {self.cost.refused} of {self.cost.questions} questions, more than allowed: "
                f"{self.cost.refusal}",
                where=f"{self.section}.max_refused_share", value=share,
            )  # fmt: skip

    def _over_budget(self) -> GateError | None:
        """Why no further question may be asked at an endpoint; None if one may."""
        limit, where = self.settings.max_usd, f"{self.section}.max_usd"
        if limit is None or not self.served:
            return None
        if self.cost.untold and any(self.cost.price or ()):
            message = f"the server reports no tokens, so what {self.model.name} costs is unknown"
            return GateError(message, where=where, value=limit, hint="null sets no budget")
        if (self.cost.usd or 0) <= limit:
            return None
        return GateError(
            f"{self.model.name} has cost {dollars(self.cost.usd)}, which is more", where=where, value=limit,
            hint="its answers are kept, and a run with a higher limit continues from there",
        )  # fmt: skip


def _by_run(keys: Iterable[Key]) -> dict[int, list[str]]:
    messages: dict[int, list[str]] = {}
    for run, asked in keys:
        messages.setdefault(run, []).append(asked)
    return messages


def load(model: RewardModel, settings: Settings, section: str = "judge") -> Judge:
    """Judge of `model`, which is loaded only at the first question without a saved answer. Raises ConfigError or
    ArtifactError if it is unavailable."""
    engine, at = engine_name(model, settings), version(model, settings)
    identity = {
        "judge": model.repository, "version": at, "engine": engine, "decoding": settings.decoding(model).identity,
        "precision": settings.precision,
    }  # fmt: skip
    made = _engine(model, settings, engine, at, Context.of(settings, f"{section}.context"))
    return Judge(model, settings, made, Memory(MEMORY, identity), Cost(price_of(model, settings)), section)


def engine_name(model: RewardModel, settings: Settings) -> EngineName:
    return settings.engine or model.engine


def price_of(model: RewardModel, settings: Settings) -> tuple[float, float] | None:
    """US dollars for a million tokens (read, written); None if unknown."""
    return settings.usd_per_million.get(model.name, model.usd_per_million)


def version(model: RewardModel, settings: Settings) -> str | None:
    """Current version of a judge: the commit of its revision, the digest of a local folder, or a served model's
    `revision`."""
    return model.revision if engine_name(model, settings) == "endpoint" else model.version()


def prepare(judges: Mapping[str, Judge], pairs: Sequence[Pair], settings: Settings, section: str) -> None:
    """Logs the estimated cost of each judge, and checks address, context and budget before any of them is asked. Raises
    ConfigError."""
    stage, estimates = section.partition(".")[0], {}
    for name, judge in judges.items():
        estimate = judge.estimate(pairs)
        judge.cost.estimated_usd = estimate.usd
        progress.say(f"{stage}[{name}]: {estimate.estimate()}")
        if estimate.known < estimate.questions:
            judge.reach()
        if judge.served:
            estimates[name] = estimate
    check_budget(estimates, settings, section)


def check_budget(estimates: Mapping[str, Cost], settings: Settings, section: str = "judge") -> None:
    """Raises ConfigError if the estimates exceed `max_usd` in total, or if one has no price."""
    if settings.max_usd is None:
        return
    if missing := [name for name, estimate in estimates.items() if estimate.usd is None]:
        raise unpriced(missing, settings, section)
    total = sum(estimate.usd or 0.0 for estimate in estimates.values())
    if total > settings.max_usd:
        raise ConfigError(
            f"less than the estimate of {dollars(total)} for judging", where=f"{section}.max_usd", value=settings.max_usd,
            hint="raise it or judge fewer items",
        )  # fmt: skip


def unpriced(names: Sequence[str], settings: Settings, section: str) -> ConfigError:
    """The error of a budget for judges without a known price."""
    return ConfigError(
        f"the price of {', '.join(names)} is unknown", where=f"{section}.max_usd", value=settings.max_usd,
        hint=f"set {section}.usd_per_million, as {{{names[0]}: [2.5, 10]}}",
    )  # fmt: skip


def dollars(usd: float | None) -> str:
    return "price unknown" if usd is None else f"${usd:,.2f}"


def _engine(
    model: RewardModel, settings: Settings, name: EngineName, version: str | None, context: Context
) -> generation.Engine:
    if name == "endpoint":
        source = generation.Model(model.repository)
    elif model.folder or not named_models.is_on_hub(model.repository):  # engines load no subfolder of a repository
        source = generation.Model(str(named_models.folder(model.repository, version, model.folder)))
    else:
        source = generation.Model(model.repository, version)
    requests = {name: getattr(settings, name) for name in ("parallel", "retries", "timeout_seconds")}
    return generation.make_engine(name, source, context, settings.precision, settings.batch_size, **requests)
