"""Results of reward models on benchmarks, as stages write them to results.json and others read them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from xlrm.errors import DataError
from xlrm.evaluation import reward_table
from xlrm.evaluation.benchmarks import AVERAGE, SUBSET
from xlrm.evaluation.credit import Ties
from xlrm.evaluation.estimates import Estimate
from xlrm.evaluation.facts import BenchmarkFacts, ModelFacts, ScoringFacts
from xlrm.evaluation.heldout_results import RewardModeling
from xlrm.scorers.judges.agreement import JudgesAgreement
from xlrm.store.json_file import JsonFile


class Result(BaseModel):
    """A reward model on one benchmark in one language. Accuracies, intervals and baselines have an entry for each
    section, the average, and each `subset/<name>`."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    items: int
    accuracy: dict[str, float]
    interval: dict[str, tuple[float, float]]
    """95 % bootstrap intervals of the accuracies."""
    length_baseline: dict[str, float]
    """Accuracies of always preferring the longest response; empty for single judgments, whose length baseline is in
    `RewardModeling`."""
    random_baseline: dict[str, float]
    """Expected accuracies of random rewards; for single judgments, of the better constant one."""
    ties: int | None = None
    """Items with equal rewards; None for a model that gives verdicts."""
    cut: int | None = None
    """Conversations that were longer than `max_length` and lost an end; None for a model that gives verdicts."""
    verdicts: int | None = None
    unreadable: int | None = None
    """Verdicts that name neither response; None for a model that gives rewards."""
    missing: tuple[str, ...] = ()
    """Subsets of the benchmark without an item in this language."""
    rows_digest: str | None = None
    """sha256 over ids, texts, subsets, sections and weights of the items: `xlrm.evaluation.facts`."""

    def estimate(self, name: str = AVERAGE) -> Estimate | None:
        """Accuracy of a section (or the average, or a subset); None if there is none of that name."""
        return Estimate(self.accuracy[name], *self.interval[name]) if name in self.accuracy else None

    @property
    def parts(self) -> list[str]:
        """Names of the sections, and the average."""
        return [name for name in self.accuracy if not name.startswith(SUBSET)]

    @property
    def sections(self) -> list[str]:
        return [name for name in self.parts if name != AVERAGE]


Results = dict[str, Result]
"""Language -> result."""


class EvaluationResults(JsonFile):
    """results.json of the stage evaluate."""

    FILE: ClassVar[str] = "results.json"
    WRITTEN_BY: ClassVar[str] = "the stage evaluate writes it"

    language: str | None
    """Language that the reward model was trained in; None for a model from elsewhere."""
    tie_policy: Ties = "lost"
    """Credit for equal rewards."""
    model_digest: str | None = None
    """Digest of the model's files, as in `ModelFacts`."""
    scoring: ScoringFacts | None = None
    results: Results
    """On the corpus's own benchmark; empty if it has none."""
    benchmarks: dict[str, Results] = Field(default_factory=dict)
    """On further benchmarks, by name: `heldout` for the corpus's held-out rows."""
    reward_modeling: dict[str, RewardModeling] = Field(default_factory=dict)
    """Language -> accuracy on its held-out rows, if it has any, beside the baselines of its own training rows."""

    @property
    def main(self) -> Results:
        """Results on the corpus's own benchmark, or on the first other one for a corpus without any."""
        return self.results or next(iter(self.benchmarks.values()), {})


class Cost(BaseModel):
    """What an evaluation of a model from elsewhere took. A classifier has conversations, a judge all others."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    conversations: int | None = None
    questions: int | None = None
    known: int | None = None
    """Questions answered in an earlier run."""
    requests: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cut: int | None = None
    """Answers cut off at the token limit."""
    refused: int | None = None
    verdicts: int | None = None
    unreadable: int | None = None
    """Verdicts that name neither response."""
    estimated_usd: float | None = None
    usd: float | None = None


Bias = dict[str, dict[str, float | None]]
"""Language -> position bias of a judge's verdicts, as shares: `xlrm.scorers.judges.rewardbench.bias`."""


class ExternalModel(BaseModel):
    """A reward model trained elsewhere."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: Literal["classifier", "generative"]
    repository: str | None = None
    licence: str | None = None
    version: str | None = None
    cost: Cost
    bias: Bias = Field(default_factory=dict)


class ExternalModelResults(ExternalModel, JsonFile):
    """results.json of one model, in its own folder: it marks its evaluation as complete."""

    FILE: ClassVar[str] = "results.json"
    WRITTEN_BY: ClassVar[str] = "the stage external writes it"

    tie_policy: Ties | None = None
    """Credit for equal rewards; None for a judge."""
    scoring: ScoringFacts | None = None
    """None for a judge."""
    results: Results


class ExternalResults(JsonFile):
    """results.json of the stage external."""

    FILE: ClassVar[str] = "results.json"
    WRITTEN_BY: ClassVar[str] = "the stage external writes it"

    models: dict[str, ExternalModelResults]


class LengthControlled(BaseModel):
    """alpaca_eval's length-controlled win rate (`xlrm.evaluation.length_control`): what the win rate would be if both
    sides' responses were equally long. Only for English, on AlpacaEval's own prompts."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    win_rate: float
    standard_error: float
    label: str
    """Name of the method and where the difficulties of the prompts come from, for display."""


class SubsetRate(BaseModel):
    """Win rate on the prompts of one data set."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    win_rate: float
    """Mean over the prompts of (preference - 1), of each prompt's mean over the runs, in [0, 1]."""
    interval: tuple[float, float]
    """95 % bootstrap interval over prompts, resampled within their subset."""
    items: int
    """Prompts with a readable verdict."""

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.win_rate, *self.interval)


class WinRate(SubsetRate):
    """The responses of a system against those of the reference to the same prompts; a draw is half a win. Wins, losses
    and draws are of single responses: prompts x runs. With prompts of several subsets every rate is the plain mean over
    the subsets (paper B: macro-average over data sets)."""

    subsets: dict[str, SubsetRate] = Field(default_factory=dict)
    """Subset -> win rate on its prompts; empty if there are not several."""
    draws: int
    wins: int | None = None
    losses: int | None = None
    discrete: float | None = None
    """Win rate of preferences that are rounded to a win, a draw or a loss (alpaca_eval's discrete_win_rate)."""
    standard_error: float | None = None
    """Over prompts; None for a single one."""
    runs: tuple[float, ...] = ()
    """Win rate of each run: of the first responses to all prompts, of the second ones, and so on."""
    run_standard_error: float | None = None
    """Over runs; None for a single one."""
    verdicts: int | None = None
    unreadable: int | None = None
    """Verdicts that prefer no response; a preference is the mean of the readable ones."""
    refused: int | None = None
    """Questions that the judge refused; these verdicts are unreadable too."""
    dropped: int | None = None
    """Responses without a readable verdict, which the rates leave out (alpaca_eval)."""
    characters: tuple[float, float] | None = None
    """Mean length in characters of the reference's and of the system's responses."""
    length_controlled: LengthControlled | None = None
    first: float | None = None
    """Share of the response shown first among readable verdicts, a tie counting as half: 0.5 for a judge without position
    bias that sees every pair in both orders. Pairs that it was not asked about, of equal responses, are left out here."""
    consistent: float | None = None
    """Share of pairs judged in both orders in which the same response won twice."""
    position_bias: float | None = None
    """Share of pairs judged in both orders in which the first position won twice, minus that of the second."""


REFERENCE = "base"
"""Name in results of the policy before alignment, which responses are compared with if the experiment names no other
reference."""


class Difference(BaseModel):
    """Win rate of the system `first` minus that of `second` against the same reference, paired by prompt; of several subsets
    the mean over them."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    first: str
    second: str
    value: float
    low: float
    high: float
    """95 % bootstrap interval over prompts: low to high."""
    p: float
    """Two-sided, of a permutation test in which each prompt's difference may have either sign."""
    p_holm: float
    """Adjusted for the number of comparisons of this file (Holm 1979); `xlrm.evaluation.judged_policies` adjusts for those in all
    languages."""

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.value, self.low, self.high)


class Scores(BaseModel):
    """Mean scores of the responses, by a judge that scores each: a reward model, or one with a rubric."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    unit: Literal["rewards", "ratings"]
    reference: float
    """Mean over the reference's responses."""
    system: float
    weighted: float | None = None
    """Share of the ratings that are expected values over log-probabilities; the others are numbers as written."""


class JuryMember(BaseModel):
    """What one judge of several said."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    cost: Cost | None = None
    results: dict[str, WinRate]
    """System -> its win rate by this judge alone, if it said anything readable of it."""
    scores: dict[str, Scores] = Field(default_factory=dict)


class JudgeResults(JsonFile):
    """results.json of the stage judge."""

    FILE: ClassVar[str] = "results.json"
    WRITTEN_BY: ClassVar[str] = "the stage judge writes it"

    language: str
    """Language of the responses."""
    judge: str | None = None
    """Entry of the config; those of a jury, separated by commas."""
    reference: str = REFERENCE
    """What all systems are compared with: `base`, the policy before alignment, or the name of a model or of responses from
    elsewhere."""
    cost: Cost | None = None
    """What a generative judge took; None for others."""
    results: dict[str, WinRate]
    """System -> its win rate: `base` if that is not the reference, then the policies by what they were aligned to, a
    reward model such as `en`, or `grpo-en`, trained online by it."""
    differences: tuple[Difference, ...] = ()
    """Between the policies by the source's and by the target's reward model, and between each and the base policy."""
    scores: dict[str, Scores] = Field(default_factory=dict)
    """System -> mean scores, of a judge that scores each response."""
    members: dict[str, JuryMember] = Field(default_factory=dict)
    """Members of a jury: entry -> what it judged. The cost above is their sum."""
    kappa: tuple[JudgesAgreement, ...] = ()
    """How far each two members of a jury, or each two people, agree."""


class JudgedItems(JsonFile):
    """items.json of the stage judge: what each prompt contributes to the win rates, for statistics over languages."""

    FILE: ClassVar[str] = "items.json"
    WRITTEN_BY: ClassVar[str] = "the stage judge writes it"
    INDENT: ClassVar[int | None] = None

    ids: tuple[str, ...]
    wins: dict[str, tuple[float | None, ...]]
    """System -> share of a win in [0, 1] for each prompt, the mean over runs; None without a readable verdict."""
    subsets: tuple[str, ...] = ()
    """Subset of each prompt; empty if there are not several."""

    @classmethod
    def of(cls, shares: Mapping[str, Mapping[str, float | None]], subsets: Mapping[str, str] | None = None) -> Self:
        """`shares`: system -> prompt's id -> share of a win; all systems answer the same prompts. `subsets`: prompt's id ->
        its subset."""
        ids = tuple(dict.fromkeys(name for own in shares.values() for name in own))
        wins = {system: tuple(own[name] for name in ids) for system, own in shares.items()}
        several = len(set(subsets.values())) > 1 if subsets else False
        return cls(
            ids=ids, wins=wins, **({"subsets": tuple(subsets[name] for name in ids)} if subsets and several else {})
        )

    @property
    def subset_of(self) -> dict[str, str]:
        """Prompt's id -> its subset; empty if there are not several."""
        return dict(zip(self.ids, self.subsets, strict=True)) if self.subsets else {}

    @property
    def shares(self) -> dict[str, dict[str, float | None]]:
        return {system: dict(zip(self.ids, wins, strict=True)) for system, wins in self.wins.items()}


class SingleResult(Result, JsonFile):
    """results.json of the command `xlrm evaluate`: one benchmark in one language."""

    FILE: ClassVar[str] = "results.json"
    WRITTEN_BY: ClassVar[str] = "the command `xlrm evaluate` writes it"
    END: ClassVar[str] = "\n"

    tie_policy: Ties
    model: ModelFacts | None = None
    benchmark: BenchmarkFacts | None = None
    language: str | None = None
    scoring: ScoringFacts | None = None
    """None for a judge."""
    date: datetime | None = None
    """When the evaluation ended, in UTC."""
    xlrm: str | None = None
    """Version of this project."""


class SingleExternalResult(ExternalModel, SingleResult):
    """The same file for a model of the table of models from elsewhere."""


@dataclass(frozen=True)
class Evaluation:
    """One reward model on the benchmark of every language."""

    language: str
    """Language that the reward model was trained in."""
    results: Results
    scores: dict[str, list[dict]]
    """Language -> rows with id, subset, section and the rewards of the chosen and of the rejected responses."""
    tie_policy: Ties = "lost"
    benchmarks: dict[str, Results] = field(default_factory=dict)
    """On further benchmarks, by name."""

    def accuracy(self, on: str, name: str = AVERAGE, benchmark: str | None = None) -> Estimate | None:
        """Accuracy in the language `on`; None if that language or section was not evaluated."""
        results = self.benchmarks.get(benchmark, {}) if benchmark else self.results
        return results[on].estimate(name) if on in results else None


def read_evaluations(folders: list[Path]) -> list[Evaluation]:
    """Reads folders of the stage evaluate. Raises DataError for an evaluation that does not name its model's language,
    and for two that name the same."""
    evaluations = [_read_evaluation(folder) for folder in folders]
    codes = Counter(evaluation.language for evaluation in evaluations)
    if repeated := [code for code, times in codes.items() if times > 1]:
        raise DataError(
            f"{codes[repeated[0]]} evaluations have this evaluate.language; one of each is allowed",
            where="report.evaluations", value=repeated[0],
        )  # fmt: skip
    return evaluations


def _read_evaluation(folder: Path) -> Evaluation:
    content = EvaluationResults.read(folder)
    if not content.language:
        raise DataError(
            "missing; set evaluate.language to the language that its reward model was trained in",
            where=f"{folder / content.FILE}: language",
        )
    scores = reward_table.read(folder / reward_table.FILE)
    return Evaluation(content.language, content.results, scores, content.tie_policy, content.benchmarks)
