"""The numbers that the claims of Wu et al. 2024 are about: its own tables, by what they are of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, get_args

from xlrm.analysis.source_ranking import Matrix
from xlrm.analysis.typology import Value
from xlrm.reporting.published import paper_b

Row = Mapping[str, float]
"""Language code -> number."""
Method = Literal["best_of_n", "rl"]
HUMANS = "humans"
"""Name of the judge where people gave the verdicts."""
METHODS: tuple[Method, ...] = get_args(Method)
METHOD_NAMES = {"best_of_n": "best-of-n", "rl": "RL"}
Verdict = Literal["holds", "holds in part", "not supported"]


@dataclass(frozen=True)
class Finding:
    """What numbers say of a claim. The verdict follows from the numbers alone, by the rule of the claim's function."""

    verdict: Verdict
    text: str


@dataclass(frozen=True, eq=False)
class WinRates:
    """Win rates in % against the target language's SFT policy, by one judge."""

    method: Method
    judge: str
    task: str
    rates: Matrix
    reward_models: Literal["transferred", "translate-train", "bilingual"] = "transferred"

    @property
    def setting(self) -> str:
        """`dialog RL`."""
        return f"{self.task} {METHOD_NAMES[self.method]}"


@dataclass(frozen=True)
class RewardModeling:
    """Accuracy in % of reward models on the validation data of reward models."""

    task: str
    accuracies: Matrix
    length: Row
    """Length baseline by target language."""
    majority: Row = field(default_factory=dict)
    """Majority baseline by target language; empty for pairs, where chance is 50."""


@dataclass(frozen=True)
class Evidence:
    win_rates: tuple[WinRates, ...]
    """Those of the task and of the judge that matter most come first."""
    reward_modeling: tuple[RewardModeling, ...]
    kl: Matrix
    """KL divergence in nats of the RL policies of the first task from the SFT policies."""
    quantities: Mapping[str, Row]
    """Name of a quantity, such as `RM data` -> language -> number."""
    sft_rouge: Mapping[str, Row]
    """Rows of `paper_b.sft_rouge`."""
    translated_sft: Mapping[str, Mapping[str, Row]]
    """`best_of_n`, `best_of_n of one data set` or `rl` -> rows of `paper_b.translated_sft`."""
    features: tuple[Value, ...] = ()
    """Typological features of the languages; empty without a file of them."""

    def judged(self, method: Method | None = None, judge: str | None = None, humans: bool = True) -> list[WinRates]:
        """Win rates by reward models of one language each; of all methods and judges, or of those."""
        return [
            each
            for each in self.win_rates
            if each.reward_models == "transferred"
            and method in (None, each.method)
            and judge in (None, each.judge)
            and (humans or each.judge != HUMANS)
        ]

    @property
    def judges(self) -> list[str]:
        """Models that judge, without humans."""
        return list(dict.fromkeys(each.judge for each in self.judged(humans=False)))

    @property
    def settings(self) -> dict[str, list[WinRates]]:
        """`dialog RL` -> win rates by each judge."""
        grouped: dict[str, list[WinRates]] = {}
        for each in self.judged():
            grouped.setdefault(each.setting, []).append(each)
        return grouped

    @property
    def task(self) -> str:
        """The first task."""
        return self.win_rates[0].task

    def first(self, method: Method) -> WinRates:
        """Win rates of the first task by the first judge."""
        return self.judged(method, humans=False)[0]


@cache
def published() -> Evidence:
    """Tables 1, 2, 6 to 25 of Wu et al. 2024, and the order of mT5's pretraining data (section 6.2)."""
    from xlrm.analysis.quantities import MT5_FREQUENCY, from_order

    rates = tuple(
        WinRates(each.method, each.measure, each.task, paper_b.matrix(each.number), each.reward_models)
        for each in paper_b.MATRICES
        if each.method != "reward_modeling" and each.measure not in ("accuracy", "KL")
    )
    counts = paper_b.counts_sft().items()
    return Evidence(
        rates,
        (
            RewardModeling("summarization", paper_b.matrix(18), paper_b.length(18), paper_b.majority()),
            RewardModeling("dialog", paper_b.matrix(19), paper_b.length(19)),
        ),
        paper_b.matrix(20),
        {
            "RM data": {language: float(count.train) for language, count in paper_b.counts_rewards().items()},
            "SFT data": {language: float(sum(count.train for count in sets.values())) for language, sets in counts},
            "pretraining data": from_order(MT5_FREQUENCY),
        },
        paper_b.sft_rouge(),
        {
            "best_of_n": paper_b.translated_sft(22),
            "best_of_n of one data set": paper_b.translated_sft(23),
            "rl": paper_b.translated_sft(24),
        },
    )
