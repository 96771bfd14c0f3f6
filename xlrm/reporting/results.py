"""Results of the evaluations, the verdicts and the paper: estimates, and comparisons of two reward models."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm.errors import DataError
from xlrm.evaluation import reward_table
from xlrm.evaluation.credit import Ties, credit
from xlrm.evaluation.statistics import AVERAGE, accuracies, holm, intervals, paired
from xlrm.languages import LANGUAGES
from xlrm.reporting.published import paper_tables
from xlrm.reporting.published.paper_tables import Cell

if TYPE_CHECKING:
    import numpy as np

CHANCE = 0.5
SUBSET = "subset/"
SECTIONS = ("Chat", "Chat Hard", "Safety", "Reasoning")
"""Sections of RewardBench in paper A's order; a benchmark's other sections come after them."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float

    def includes(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Difference(Estimate):
    """Difference of two reward models on the same items, with the p-value of no difference."""

    p: float


@dataclass(frozen=True)
class MeanDifference(Difference):
    """Mean over several languages, with the mean accuracies whose difference it is."""

    source: float
    own: float
    items: int
    """Items in each language."""


@dataclass(frozen=True)
class Evaluation:
    """One reward model on the benchmark of every language."""

    language: str
    """Language that the reward model was trained in."""
    results: dict[str, dict]
    """Language -> result of `statistics.summary`."""
    scores: dict[str, list[dict]]
    """Language -> rows with id, subset, section and the rewards of the chosen and of the rejected responses."""
    tie_policy: Ties = "lost"
    benchmarks: dict[str, dict[str, dict]] = field(default_factory=dict)
    """Further benchmark -> language -> result of `statistics.summary`."""

    def accuracy(self, on: str, name: str = AVERAGE, benchmark: str | None = None) -> Estimate | None:
        """Accuracy in the language `on`; None if that language or section was not evaluated."""
        results = self.benchmarks.get(benchmark, {}) if benchmark else self.results
        return estimate(results.get(on), name)


@dataclass(frozen=True)
class Comparison:
    """The source language's reward model against the one trained in `language`, on that language's benchmark."""

    language: str
    source: Evaluation
    own: Evaluation
    deltas: dict[str, Difference]
    """Section, average or subset -> source minus own."""


@dataclass(frozen=True)
class WinRate:
    """Win rate of the policy of `language` aligned with the reward model `labeler`, against the policy it was trained
    from."""

    language: str
    labeler: str
    rate: Estimate
    items: int
    draws: int
    judge: str
    verdicts: int
    unreadable: int
    """Verdicts that could not be read; each is half a win."""


@dataclass(frozen=True)
class External:
    """A reward model from elsewhere, on the benchmark of every language."""

    name: str
    kind: str
    """classifier or generative."""
    averages: dict[str, Estimate]
    """Language -> average accuracy."""
    unreadable: dict[str, tuple[int, int]]
    """For a generative model: language -> (verdicts that could not be read, verdicts)."""


def estimate(result: dict | None, name: str = AVERAGE) -> Estimate | None:
    """Accuracy of a section (or the average, or a subset) in a result of `statistics.summary`; None if it has none."""
    if not result or name not in result["accuracy"]:
        return None
    return Estimate(result["accuracy"][name], *result["interval"][name])


def language_name(code: str) -> str:
    """English name of a language; for codes joined by +, the names joined in the same way. Other text stays
    unchanged."""
    return " + ".join(LANGUAGES[part].name if part in LANGUAGES else part for part in code.split("+"))


def read_evaluations(folders: list[Path]) -> list[Evaluation]:
    """Reads folders of the stage evaluate. Raises DataError for an evaluation that does not name its model's language,
    and for two that name the same."""
    evaluations = [_read_evaluation(folder) for folder in folders]
    codes = Counter(evaluation.language for evaluation in evaluations)
    if repeated := [code for code, times in codes.items() if times > 1]:
        raise DataError(
            f"report.evaluations: {codes[repeated[0]]} of evaluate.language {repeated[0]!r}; one of each is allowed"
        )
    return evaluations


def _read_evaluation(folder: Path) -> Evaluation:
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    if not content["language"]:
        raise DataError(f"{path}: no language; set evaluate.language to the one its reward model was trained in")
    scores = reward_table.read(folder / reward_table.FILE)
    return Evaluation(
        content["language"], content["results"], scores, content["tie_policy"], content.get("benchmarks", {})
    )


def read_external(folder: Path) -> list[External]:
    """Results of the stage external, classifiers first."""
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    externals = []
    for name, model in content["models"].items():
        averages = {code: average for code, result in model["results"].items() if (average := estimate(result))}
        counts = {
            code: (result["unreadable"], result["verdicts"])
            for code, result in model["results"].items()
            if model["kind"] == "generative"
        }
        externals.append(External(name, model["kind"], averages, counts))
    return sorted(externals, key=lambda external: external.kind)


def read_win_rates(folders: list[Path]) -> list[WinRate]:
    rates = []
    for folder in folders:
        content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        for labeler, result in content["results"].items():
            rate = Estimate(result["win_rate"], *result["interval"])
            counts = {name: result[name] for name in ("items", "draws", "verdicts", "unreadable")}
            rates.append(WinRate(content["language"], labeler, rate, judge=content["judge"], **counts))
    return rates


def sections(evaluations: list[Evaluation]) -> list[str]:
    """Names of the sections that occur, those of RewardBench first."""
    results = [result for evaluation in evaluations for result in evaluation.results.values()]
    seen = dict.fromkeys(name for result in results for name in section_names(result))
    return [name for name in SECTIONS if name in seen] + [name for name in seen if name not in SECTIONS]


def section_names(result: dict) -> list[str]:
    return [name for name in result["accuracy"] if name != AVERAGE and not name.startswith(SUBSET)]


def tested(evaluations: list[Evaluation]) -> dict[str, dict]:
    """Language -> the result of the first model evaluated in it, for values that do not depend on the model."""
    results: dict[str, dict] = {}
    for evaluation in evaluations:
        results = results | {on: result for on, result in evaluation.results.items() if on not in results}
    return results


def compare(source: Evaluation, own: Evaluation) -> Comparison:
    """Interval and p-value are paired: both models read the same items, and the differences per item are tested."""
    rows, ours, theirs = _credits(source, own)
    deltas = {name: Difference(*values) for name, values in paired(rows, ours - theirs).items()}
    return Comparison(own.language, source, own, deltas)


def compare_all(source: Evaluation, targets: list[Evaluation]) -> list[Comparison]:
    """Compares the source's model with each other language's own, if both were evaluated in that language. The p-values
    of sections and averages are adjusted for their number (Holm), because they are read together; those of subsets are
    not."""
    comparisons = [
        compare(source, own) for own in targets if own.language in own.scores and own.language in source.scores
    ]
    places = [
        (i, name)
        for i, comparison in enumerate(comparisons)
        for name in comparison.deltas
        if not name.startswith(SUBSET)
    ]
    adjusted = dict(zip(places, holm([comparisons[i].deltas[name].p for i, name in places]), strict=True))
    return [
        replace(
            comparison,
            deltas={
                name: replace(delta, p=adjusted.get((i, name), delta.p)) for name, delta in comparison.deltas.items()
            },
        )
        for i, comparison in enumerate(comparisons)
    ]


def mean_delta(comparisons: list[Comparison]) -> MeanDifference | None:
    """Mean over the target languages of the difference in average accuracy, on the items that all of them have. Items
    with one id are translations of one item and are resampled together. None without such an item."""
    if not comparisons:
        return None
    rows, ours, theirs = _shared([_credits(comparison.source, comparison.own) for comparison in comparisons])
    if not rows:
        return None
    source, own = (accuracies(rows, side)[AVERAGE] for side in (ours, theirs))
    value, low, high, p = paired(rows, ours - theirs)[AVERAGE]
    return MeanDifference(value, low, high, p, source, own, len(rows))


Credits = tuple[list[dict], "np.ndarray", "np.ndarray"]
"""Items (n), and the credits (n) of the source's model and of the language's own."""


def _credits(source: Evaluation, own: Evaluation) -> Credits:
    """Credits on the items of `own`'s benchmark in its language. Raises DataError if the two models read different
    items or count ties differently."""
    rows = own.scores[own.language]
    others = {(row["id"], row["text"]): row for row in source.scores[own.language]}
    if others.keys() != {(row["id"], row["text"]) for row in rows}:
        raise DataError(
            f"report: the reward models of {source.language} and {own.language} were not evaluated on the same items "
            f"of {own.language}; evaluate both on the same corpora"
        )
    if source.tie_policy != own.tie_policy:
        raise DataError(
            f"report: evaluate.ties of the reward models of {source.language} and {own.language} is "
            f"{source.tie_policy} and {own.tie_policy}; evaluate both with one of them"
        )
    matched = [others[row["id"], row["text"]] for row in rows]
    ours, theirs = ([(row["chosen"], row["rejected"]) for row in side] for side in (matched, rows))
    return rows, credit(rows, ours, source.tie_policy), credit(rows, theirs, own.tie_policy)


def _shared(found: list[Credits]) -> Credits:
    """The items that every language has, with their mean credits over the languages."""
    import numpy as np

    places = [{row["id"]: place for place, row in enumerate(rows)} for rows, _, _ in found]
    rows = [row for row in found[0][0] if all(row["id"] in where for where in places)]
    wanted = [[where[row["id"]] for row in rows] for where in places]
    ours, theirs = (
        np.mean([credits[at] for credits, at in zip(side, wanted, strict=True)], axis=0)
        for side in ([ours for _, ours, _ in found], [theirs for _, _, theirs in found])
    )
    return rows, ours, theirs


@dataclass(frozen=True)
class Shared:
    """Accuracies on the items that every language has."""

    items: int
    averages: dict[tuple[str, str], Estimate]
    """(trained in, tested in) -> average accuracy."""


def shared(evaluations: list[Evaluation]) -> Shared | None:
    """Accuracies that can be compared between languages; None if all languages have the same items, or no item is in
    all of them."""
    tests = [{row["id"] for row in rows} for evaluation in evaluations for rows in evaluation.scores.values()]
    common = set.intersection(*tests) if tests else set()
    if not common or all(ids == common for ids in tests):
        return None
    averages = {
        (evaluation.language, on): _average(evaluation, on, common)
        for evaluation in evaluations
        for on in evaluation.scores
    }
    return Shared(len(common), averages)


def _average(evaluation: Evaluation, on: str, ids: set[str]) -> Estimate:
    rows = [row for row in evaluation.scores[on] if row["id"] in ids]
    earned = credit(rows, [(row["chosen"], row["rejected"]) for row in rows], evaluation.tie_policy)
    return Estimate(accuracies(rows, earned)[AVERAGE], *intervals(rows, earned)[AVERAGE])


def further(evaluations: list[Evaluation]) -> dict[str, dict[str, dict]]:
    """Further benchmark -> language -> the first evaluation's result, for values that do not depend on the model."""
    benchmarks: dict[str, dict[str, dict]] = {}
    for evaluation in reversed(evaluations):
        for name, results in evaluation.benchmarks.items():
            benchmarks[name] = benchmarks.get(name, {}) | results
    return {name: results for name, results in reversed(benchmarks.items()) if results}


def paper_cells(on: str, trained_in: str) -> dict[str, Cell]:
    """Base model -> its result in Tables 3 to 7 of Hong et al. 2025, for the reward model trained in one language on
    the benchmark of another."""
    cells = paper_tables.tables_3_to_7()
    return {cell.reward_model: cell for cell in cells if (cell.language, cell.trained_in) == (on, trained_in)}


def paper_delta(model: str, language: str, name: str) -> float | None:
    """English minus target in points, from Table 1 of the paper; None if the table does not have it."""
    rows = paper_tables.table_1()[model].get(language)
    if rows is None or name not in rows["target"]:
        return None
    return round(rows["english"][name] - rows["target"][name], 1)
