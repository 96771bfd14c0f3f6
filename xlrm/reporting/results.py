"""What the evaluations, the verdicts and the paper say: estimates, and comparisons of two reward models."""

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm.errors import DataError
from xlrm.languages import LANGUAGES
from xlrm.rows import read_rows
from xlrm.statistics import accuracies, intervals

if TYPE_CHECKING:
    import numpy as np

CHANCE = 0.5
AVERAGE = "average"
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
class Evaluation:
    """One reward model on the benchmark of every language."""

    language: str
    """The reward model was trained in."""
    results: dict[str, dict]
    """Language -> items, accuracy, interval and length_baseline, the last three by section."""
    scores: dict[str, list[dict]]
    """Language -> rows with id, subset, section and the rewards of chosen and rejected."""

    def accuracy(self, on: str, name: str = AVERAGE) -> Estimate | None:
        """None where that language or section was not evaluated."""
        result = self.results.get(on, {"accuracy": {}})
        if name not in result["accuracy"]:
            return None
        return Estimate(result["accuracy"][name], *result["interval"][name])


@dataclass(frozen=True)
class Comparison:
    """The source language's reward model against the one trained in `language`, on that language's benchmark."""

    language: str
    source: Evaluation
    own: Evaluation
    deltas: dict[str, Estimate]
    """Section, average and subset -> source minus own."""


@dataclass(frozen=True)
class WinRate:
    """Of the policy of `language` aligned to the reward model `labeler`, against the policy it came from."""

    language: str
    labeler: str
    rate: Estimate
    items: int
    draws: int


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
    scores: dict[str, list[dict]] = {}
    for row in read_rows(folder / "scores.jsonl", ("language", "id", "subset", "section")):
        scores.setdefault(row["language"], []).append(row)
    return Evaluation(content["language"], content["results"], scores)


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
    seen = {
        name: None
        for evaluation in evaluations
        for result in evaluation.results.values()
        for name in result["accuracy"]
        if name != AVERAGE and not name.startswith(SUBSET)
    }
    return [name for name in SECTIONS if name in seen] + [name for name in seen if name not in SECTIONS]


def compare(source: Evaluation, own: Evaluation) -> Comparison:
    """The interval is paired: both models saw the same items, so it is the items' differences that are resampled."""
    rows, difference = _differences(source, own)
    values, bounds = accuracies(rows, difference), intervals(rows, difference)
    deltas = {name: Estimate(value, *bounds[name]) for name, value in values.items()}
    return Comparison(own.language, source, own, deltas)


def mean_delta(comparisons: list[Comparison]) -> Estimate:
    """Mean over the target languages of the difference in average accuracy. Items of one id are one item said in
    several languages: they are resampled together."""
    import numpy as np

    found = [_differences(one.source, one.own) for one in comparisons]
    rows = found[0][0]
    places = [{row["id"]: i for i, row in enumerate(many)} for many, _ in found]
    if any(where.keys() != places[0].keys() for where in places):
        raise DataError("report: the benchmarks of the target languages do not hold the same items")
    by_language = [
        difference[[where[row["id"]] for row in rows]] for where, (_, difference) in zip(places, found, strict=True)
    ]
    mean = np.mean(by_language, axis=0)
    return Estimate(accuracies(rows, mean)[AVERAGE], *intervals(rows, mean)[AVERAGE])


def _differences(source: Evaluation, own: Evaluation) -> tuple[list[dict], "np.ndarray"]:
    """The items of `own`'s benchmark, and for each whether source minus own is right there: -1, 0 or 1."""
    import numpy as np

    rows = own.scores.get(own.language, [])
    others = {row["id"]: row for row in source.scores.get(own.language, [])}
    if not rows or others.keys() != {row["id"] for row in rows}:
        raise DataError(
            f"report: the reward models of {source.language} and {own.language} were not evaluated on the same items "
            f"of {own.language}; evaluate both with it among evaluate.languages"
        )
    return rows, np.array([float(_right(others[row["id"]])) - float(_right(row)) for row in rows])


def _right(row: dict) -> bool:
    return row["chosen"] > row["rejected"]


@cache
def paper_table() -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Table 1 of Hong et al. 2025: model -> language -> "target" or "english" -> section -> accuracy in %."""
    lines = Path(__file__).with_name("paper_a_table1.csv").read_text(encoding="utf-8").splitlines()
    columns = {"chat": "Chat", "chat_hard": "Chat Hard", "safety": "Safety", "reasoning": "Reasoning", AVERAGE: AVERAGE}
    found: dict = {}
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        accuracy = {name: float(row[column]) for column, name in columns.items()}
        found.setdefault(row["model"], {}).setdefault(row["language"], {})[row["reward_model"]] = accuracy
    return found


def paper_delta(model: str, language: str, name: str) -> float | None:
    """English minus target in points, None for what Table 1 does not have."""
    rows = paper_table()[model].get(language)
    if rows is None or name not in rows["target"]:
        return None
    return round(rows["english"][name] - rows["target"][name], 1)
