"""Comparisons of reward models on the benchmark items that they share: the source language's model against each
language's own."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xlrm.errors import DataError
from xlrm.evaluation.benchmarks import AVERAGE, SUBSET
from xlrm.evaluation.credit import credit
from xlrm.evaluation.results import Estimate, Evaluation
from xlrm.evaluation.statistics import accuracies, holm, intervals, paired

if TYPE_CHECKING:
    import numpy as np


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
class Comparison:
    """The source language's reward model against the one trained in `language`, on that language's benchmark."""

    language: str
    source: Evaluation
    own: Evaluation
    deltas: dict[str, Difference]
    """Section, average or subset -> source minus own."""


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
            f"the reward models of {source.language} and {own.language} were not evaluated on the same items of "
            f"{own.language}",
            where="report.evaluations", hint="evaluate both on the same corpora",
        )  # fmt: skip
    if source.tie_policy != own.tie_policy:
        raise DataError(
            f"the reward models of {source.language} and {own.language} were evaluated with different rules",
            where="evaluate.ties", value=(source.tie_policy, own.tie_policy), hint="evaluate both with the same",
        )  # fmt: skip
    matched = [others[row["id"], row["text"]] for row in rows]
    ours, theirs = ([(row["chosen"], row["rejected"]) for row in side] for side in (matched, rows))
    return rows, credit(rows, ours, source.tie_policy), credit(rows, theirs, own.tie_policy)


def _shared(languages: list[Credits]) -> Credits:
    """The items that every language has, with their mean credits over the languages."""
    import numpy as np

    places = [{row["id"]: place for place, row in enumerate(rows)} for rows, _, _ in languages]
    rows = [row for row in languages[0][0] if all(row["id"] in where for where in places)]
    wanted = [[where[row["id"]] for row in rows] for where in places]
    ours, theirs = (
        np.mean([credits[at] for credits, at in zip(side, wanted, strict=True)], axis=0)
        for side in ([ours for _, ours, _ in languages], [theirs for _, _, theirs in languages])
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
