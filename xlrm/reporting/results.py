"""What the evaluations, the verdicts and the paper say: estimates, and comparisons of two reward models."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm import published, rewards
from xlrm.credit import Ties, credit
from xlrm.errors import DataError
from xlrm.languages import LANGUAGES
from xlrm.published import Cell
from xlrm.statistics import AVERAGE, holm, paired

if TYPE_CHECKING:
    import numpy as np

CHANCE = 0.5
SUBSET = "subset/"
SECTIONS = ("Chat", "Chat Hard", "Safety", "Reasoning")
"""Of RewardBench, in paper A's order; a benchmark's others come after them."""


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
    """Of two reward models on the same items, with the p-value of no difference."""

    p: float


@dataclass(frozen=True)
class Evaluation:
    """One reward model on the benchmark of every language."""

    language: str
    """The reward model was trained in."""
    results: dict[str, dict]
    """Language -> what `statistics.summary` says."""
    scores: dict[str, list[dict]]
    """Language -> rows with id, subset, section and the rewards of the chosen and of the rejected responses."""
    tie_policy: Ties = "lost"
    benchmarks: dict[str, dict[str, dict]] = field(default_factory=dict)
    """Further benchmark -> language -> as `results`."""

    def accuracy(self, on: str, name: str = AVERAGE, benchmark: str | None = None) -> Estimate | None:
        """None where that language or section was not evaluated."""
        results = self.benchmarks.get(benchmark, {}) if benchmark else self.results
        return estimate(results.get(on), name)


@dataclass(frozen=True)
class Comparison:
    """The source language's reward model against the one trained in `language`, on that language's benchmark."""

    language: str
    source: Evaluation
    own: Evaluation
    deltas: dict[str, Difference]
    """Section, average and subset -> source minus own."""


@dataclass(frozen=True)
class WinRate:
    """Of the policy of `language` aligned to the reward model `labeler`, against the policy it came from."""

    language: str
    labeler: str
    rate: Estimate
    items: int
    draws: int


@dataclass(frozen=True)
class External:
    """A reward model off the shelf, on the benchmark of every language."""

    name: str
    kind: str
    """classifier or generative."""
    averages: dict[str, Estimate]
    """Language -> average accuracy."""


def estimate(result: dict | None, name: str = AVERAGE) -> Estimate | None:
    """Accuracy of a section (or the average, or a subset) in a result of `statistics.summary`."""
    if not result or name not in result["accuracy"]:
        return None
    return Estimate(result["accuracy"][name], *result["interval"][name])


def language_name(code: str) -> str:
    return LANGUAGES[code].name if code in LANGUAGES else code


def read_evaluations(folders: list[Path]) -> list[Evaluation]:
    """Raises DataError for an evaluation that does not say its model's language, or two that say one."""
    found = [_read_evaluation(folder) for folder in folders]
    codes = [one.language for one in found]
    if len(codes) < 2 or len(set(codes)) < len(codes):
        raise DataError(f"report: one evaluation each of the source's and the targets' models, got {', '.join(codes)}")
    return found


def _read_evaluation(folder: Path) -> Evaluation:
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    if not content["language"]:
        raise DataError(f"{path}: no language; set evaluate.language to the one its reward model was trained in")
    scores = rewards.read(folder / rewards.FILE)
    return Evaluation(
        content["language"], content["results"], scores, content["tie_policy"], content.get("benchmarks", {})
    )


def read_external(folder: Path) -> list[External]:
    """What the external stage found, the classifiers first."""
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    found = []
    for name, one in content["models"].items():
        averages = {code: average for code, result in one["results"].items() if (average := estimate(result))}
        found.append(External(name, one["kind"], averages))
    return sorted(found, key=lambda one: one.kind)


def read_win_rates(folders: list[Path]) -> list[WinRate]:
    found = []
    for folder in folders:
        content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        for labeler, one in content["results"].items():
            rate = Estimate(one["win_rate"], *one["interval"])
            found.append(WinRate(content["language"], labeler, rate, one["items"], one["draws"]))
    return found


def sections(evaluations: list[Evaluation]) -> list[str]:
    """Those that occur, the known ones first."""
    results = [result for evaluation in evaluations for result in evaluation.results.values()]
    seen = dict.fromkeys(name for result in results for name in section_names(result))
    return [name for name in SECTIONS if name in seen] + [name for name in seen if name not in SECTIONS]


def section_names(result: dict) -> list[str]:
    return [name for name in result["accuracy"] if name != AVERAGE and not name.startswith(SUBSET)]


def compare(source: Evaluation, own: Evaluation) -> Comparison:
    """Interval and p-value are paired: both models saw the same items, and it is the items' differences they are of."""
    deltas = {name: Difference(*one) for name, one in paired(*_differences(source, own)).items()}
    return Comparison(own.language, source, own, deltas)


def compare_all(source: Evaluation, targets: list[Evaluation]) -> list[Comparison]:
    """The source's model against each other language's own. The p-values of sections and averages are adjusted for how many
    of them there are (Holm), as they are read together; those of subsets are left as they are."""
    found = [compare(source, own) for own in targets]
    places = [(i, name) for i, one in enumerate(found) for name in one.deltas if not name.startswith(SUBSET)]
    adjusted = dict(zip(places, holm([found[i].deltas[name].p for i, name in places]), strict=True))
    return [
        replace(
            one, deltas={name: replace(delta, p=adjusted.get((i, name), delta.p)) for name, delta in one.deltas.items()}
        )
        for i, one in enumerate(found)
    ]


def mean_delta(comparisons: list[Comparison]) -> Difference:
    """Mean over the target languages of the difference in average accuracy, on the items that are there in all of them.
    Items of one id are one item said in several languages: they are resampled together."""
    import numpy as np

    found = [_differences(one.source, one.own) for one in comparisons]
    places = [{row["id"]: i for i, row in enumerate(many)} for many, _ in found]
    rows = [row for row in found[0][0] if all(row["id"] in where for where in places)]
    if not rows:
        raise DataError("report: the benchmarks of the target languages share no item")
    by_language = [
        difference[[where[row["id"]] for row in rows]] for where, (_, difference) in zip(places, found, strict=True)
    ]
    mean = np.mean(by_language, axis=0)
    return Difference(*paired(rows, mean)[AVERAGE])


def _differences(source: Evaluation, own: Evaluation) -> tuple[list[dict], "np.ndarray"]:
    """The items of `own`'s benchmark, and for each the source's credit minus the own model's."""
    rows = own.scores.get(own.language, [])
    others = {row["id"]: row for row in source.scores.get(own.language, [])}
    if not rows or others.keys() != {row["id"] for row in rows}:
        raise DataError(
            f"report: the reward models of {source.language} and {own.language} were not evaluated on the same items "
            f"of {own.language}; evaluate both with it among evaluate.languages"
        )
    if source.tie_policy != own.tie_policy:
        raise DataError(
            f"report: evaluate.ties of the reward models of {source.language} and {own.language} is "
            f"{source.tie_policy} and {own.tie_policy}; evaluate both with one of them"
        )
    ours, theirs = ([(row["chosen"], row["rejected"]) for row in of] for of in ([others[r["id"]] for r in rows], rows))
    return rows, credit(rows, ours, source.tie_policy) - credit(rows, theirs, own.tie_policy)


def further(evaluations: list[Evaluation]) -> dict[str, dict[str, dict]]:
    """Further benchmark -> language -> the first evaluation's result, for what does not depend on the model."""
    found: dict[str, dict[str, dict]] = {}
    for evaluation in reversed(evaluations):
        for name, results in evaluation.benchmarks.items():
            found[name] = found.get(name, {}) | results
    return {name: results for name, results in reversed(found.items()) if results}


def paper_cells(on: str, trained_in: str) -> dict[str, Cell]:
    """Tables 3 to 7 of Hong et al. 2025: base model -> its reward model of a language on the benchmark of another."""
    cells = published.tables_3_to_7()
    return {one.reward_model: one for one in cells if (one.language, one.trained_in) == (on, trained_in)}


def paper_delta(model: str, language: str, name: str) -> float | None:
    """English minus target in points, None for what Table 1 does not have."""
    rows = published.table_1()[model].get(language)
    if rows is None or name not in rows["target"]:
        return None
    return round(rows["english"][name] - rows["target"][name], 1)
