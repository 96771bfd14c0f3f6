"""The material of the page on reused reward models: the results of an experiment whose languages are sources and targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from xlrm.analysis import own_and_other
from xlrm.analysis.bag_of_words import BagOfWords
from xlrm.analysis.own_and_other import OwnAndOther
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.best_of_n_results import BestOfNResults
from xlrm.evaluation.estimates import Estimate
from xlrm.evaluation.heldout_results import RewardModeling
from xlrm.evaluation.policy_gains import PolicyGains
from xlrm.evaluation.results import EvaluationResults, JudgedItems, JudgeResults, WinRate
from xlrm.languages import LANGUAGES
from xlrm.registry.champion import Registered
from xlrm.reporting.facts import Facts
from xlrm.reporting.lineage import Made
from xlrm.reporting.results import CHANCE
from xlrm.reporting.reuse_sft import SftPolicy, TranslatedVerdict

Method = Literal["best_of_n", "rl"]
METHODS: tuple[Method, ...] = get_args(Method)
METHOD_NAMES = {"best_of_n": "best-of-n", "rl": "RL"}
Task = Literal["summarization", "dialog"]
Estimates = dict[str, dict[str, Estimate]]
"""Source language of the reward model -> target language -> number with its 95 % interval."""


@dataclass(frozen=True)
class Verdicts:
    """What one judge says of the policies by one method, in all target languages."""

    method: Method
    judge: str
    rates: dict[str, dict[str, WinRate]]
    """Labeler -> target language -> win rate against the target language's SFT policy."""

    @property
    def cells(self) -> Estimates:
        """Win rates by source and target, of reward models of one language."""
        return {
            labeler: {target: rate.estimate for target, rate in own.items()}
            for labeler, own in self.rates.items()
            if is_single(labeler)
        }

    def further(self, mark: str) -> Estimates:
        """Win rates of the other labelers: bilingual ones (`+`) or those trained on translations (`>`)."""
        return {
            labeler: {target: rate.estimate for target, rate in own.items()}
            for labeler, own in self.rates.items()
            if mark in labeler
        }


@dataclass(frozen=True, eq=False)
class Material:
    """Results of an experiment. Each part is empty if the run lacks it. Compared by identity, so that results can be kept."""

    facts: Facts
    languages: tuple[str, ...]
    """Sources and targets, in the experiment's order."""
    task: Task | None = None
    """The paper's task that the policies were trained for; None for another one, such as the phrasebook's."""
    evaluations: list[EvaluationResults] = field(default_factory=list)
    best_of_n: list[BestOfNResults] = field(default_factory=list)
    gains: list[PolicyGains] = field(default_factory=list)
    verdicts: list[Verdicts] = field(default_factory=list)
    """By method and judge; of a method, the judge that the experiment names comes first, members of a jury after it."""
    compared: dict[Method, OwnAndOther] = field(default_factory=dict)
    """Method -> win rates by the own and by other languages' reward models, by the first judge."""
    trained_sft: list[SftPolicy] = field(default_factory=list)
    translated: list[TranslatedVerdict] = field(default_factory=list)
    words: dict[str, dict[str, BagOfWords]] = field(default_factory=dict)
    """Target language -> reward model -> how far a bag of words predicts its rewards of the SFT policy's responses."""
    agreement: dict[str, dict[str, float]] = field(default_factory=dict)
    """Source -> target -> mean Spearman correlation of its rewards of the SFT policy's responses with other sources'."""
    items: dict[Method, dict[str, list[JudgedItems]]] = field(default_factory=dict)
    """Method -> target language -> what each prompt contributes to the win rates, by judge in their order."""
    features: list[dict[str, str]] = field(default_factory=list)
    """Rows of a file of typological features: lang, feature_id, value."""
    registered: Registered | None = None
    artifacts: list[Made] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def of(self, method: Method, judge: int = 0) -> Verdicts | None:
        """Verdicts on the policies by a method, of the judge at that place."""
        own = [verdicts for verdicts in self.verdicts if verdicts.method == method]
        return own[judge] if judge < len(own) else None

    def judges(self, method: Method) -> list[Verdicts]:
        return [verdicts for verdicts in self.verdicts if verdicts.method == method]

    @property
    def accuracies(self) -> Estimates:
        """Accuracy of each reward model on the held-out rows of each language; without such rows, on the corpus's
        benchmark."""
        cells: Estimates = {}
        for evaluation in self.evaluations:
            for on in dict.fromkeys((*evaluation.reward_modeling, *evaluation.results)):
                if evaluation.language and (accuracy := _accuracy(evaluation, on, self.has_heldout)):
                    cells.setdefault(evaluation.language, {})[on] = accuracy
        return cells

    @property
    def has_heldout(self) -> bool:
        """Whether reward models were evaluated on held-out rows like those that they were trained on."""
        return any(evaluation.reward_modeling for evaluation in self.evaluations)

    @property
    def modeling(self) -> list[tuple[str, str, RewardModeling]]:
        """Language of a reward model, language of the held-out rows, and the result on them."""
        return [
            (evaluation.language, on, result)
            for evaluation in self.evaluations
            if evaluation.language
            for on, result in evaluation.reward_modeling.items()
        ]

    def increases(self, method: Method) -> Estimates:
        """Labeler -> target -> increase over the SFT policy of the reward by the target language's own reward model
        (Figure 3)."""
        return {
            labeler: {target: of[labeler][target] for target, of in self.rewards(method) if target in of.get(labeler, {})}
            for labeler in dict.fromkeys(labeler for _, of in self.rewards(method) for labeler in of)
        }  # fmt: skip

    def increases_by_sources(self, method: Method) -> Estimates:
        """Evaluator -> target -> increase over the SFT policy of the evaluator's reward of the policy by the target
        language's own reward model (Figure 10)."""
        evaluators = dict.fromkeys(name for target, of in self.rewards(method) for name in of.get(target, {}))
        return {
            name: {target: of[target][name] for target, of in self.rewards(method) if name in of.get(target, {})}
            for name in evaluators
        }

    def rewards(self, method: Method) -> list[tuple[str, Mapping[str, Mapping[str, Estimate]]]]:
        """Target, and labeler -> evaluator -> increase; of best-of-n that by the best of all n."""
        if method == "rl":
            return [(gains.language, gains.increases) for gains in self.gains]
        return [
            (best.language, {
                labeler: {name: several[-1] for name, several in of.items() if several}
                for labeler, of in best.increases.items()
            })
            for best in self.best_of_n
        ]  # fmt: skip


def _accuracy(evaluation: EvaluationResults, on: str, heldout: bool) -> Estimate | None:
    if heldout:
        return evaluation.reward_modeling[on].accuracy if on in evaluation.reward_modeling else None
    return evaluation.results[on].estimate() if on in evaluation.results else None


def is_single(labeler: str) -> bool:
    """Whether a reward model is of one language, and not trained on translations."""
    return not set("+>") & set(labeler)


def is_labeler(name: str) -> bool:
    """Whether a name is made of codes of languages, which a policy's before the training is not."""
    return all(code in LANGUAGES for code in name.replace(">", "+").split("+"))


def labeler_of(system: str) -> str:
    """Reward model that a judged policy was aligned by: `en` of `en` and of `rloo-en`."""
    method, dash, labeler = system.partition("-")
    return labeler if dash and method.isalpha() else system


def by_judge(method: Method, results: Sequence[JudgeResults]) -> list[Verdicts]:
    """The verdicts of several languages by judge; a jury is one, and its members are further ones."""
    rates: dict[str, dict[str, dict[str, WinRate]]] = {}
    for each in results:
        given = {each.judge or "": each.results} | {name: member.results for name, member in each.members.items()}
        for judge, systems in given.items():
            for system, rate in systems.items():
                if is_labeler(labeler := labeler_of(system)):
                    rates.setdefault(judge, {}).setdefault(labeler, {})[each.language] = rate
    return [Verdicts(method, judge, own) for judge, own in rates.items()]


def compare(results: Sequence[JudgeResults], items: Sequence[JudgedItems]) -> OwnAndOther | None:
    """Own and other languages' reward models, by the first judge, from both files of each language's verdicts."""
    first = [(each, own) for each, own in zip(results, items, strict=True) if each.judge == results[0].judge]
    shares = {
        each.language: {
            labeler: wins
            for system, wins in own.shares.items()
            if is_labeler(labeler := labeler_of(system)) and is_single(labeler)
        }
        for each, own in first
    }
    return own_and_other.compare(shares, {each.language: own.subset_of for each, own in first})


def baselines(material: Material) -> dict[str, dict[str, float]]:
    """Name of a baseline -> target language -> accuracy on the data of `Material.accuracies`."""
    rows: dict[str, dict[str, float]] = {"majority": {}, "length": {}, "chance": {}}
    if material.has_heldout:
        for _, on, result in material.modeling:
            rows["majority"] |= {} if result.majority is None else {on: result.majority}
            rows["length"] |= {} if result.length is None else {on: result.length.accuracy}
            rows["chance"] |= {on: CHANCE} if result.kind == "pairs" else {}
    else:
        for evaluation in material.evaluations:
            for on, benchmark in evaluation.results.items():
                rows["length"][on] = benchmark.length_baseline[AVERAGE]
                rows["chance"][on] = benchmark.random_baseline[AVERAGE]
    return {name: row for name, row in rows.items() if row}


def values_of(cells: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, float]]:
    """The numbers without their intervals."""
    return {source: {target: estimate.value for target, estimate in own.items()} for source, own in cells.items()}
