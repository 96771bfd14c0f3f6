"""Do reward models that keep the base model's representations transfer better? Paper A (section 3.1) argues so from two
figures side by side; here the two are correlated across the reward models of a run.

A correlation over a handful of models says little, and the numbers here say so themselves: the interval is Fisher's, of
the number of models, and p is the exact share of all orders of the models that correlate as strongly. Resampling items and
texts would give narrow intervals of another question, how well these very models are measured.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xlrm.reporting.results import Estimate, Evaluation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FEWEST = 3
"""Models; any two points lie on a line."""
_ORDERS = 40_320
"""Of the models, gone through at most: all orders of eight; of more models so many random ones."""


@dataclass(frozen=True)
class Transferred:
    """One reward model: its f, and its accuracies in other languages than its own."""

    language: str
    share: Estimate
    """Mean f over the texts."""
    moved: float
    """|mean f - the base model's|: 0 where f is as before the training."""
    accuracies: dict[str, float]

    @property
    def accuracy(self) -> float:
        return sum(self.accuracies.values()) / len(self.accuracies)


@dataclass(frozen=True)
class Correlation:
    """Of two measures, over `n` reward models."""

    n: int
    pearson: float
    interval: tuple[float, float] | None
    """95 %, by Fisher's transformation; none for fewer than four models."""
    p: float
    """Two-sided, of Pearson's."""
    spearman: float
    spearman_p: float


@dataclass(frozen=True)
class Transfer:
    models: list[Transferred]
    share: Correlation | None
    """Of f with the mean accuracy in other languages; none for fewer than three models, or values that are all one."""
    moved: Correlation | None
    """Of |f - base| with it."""
    by_language: dict[str, Correlation]
    """Benchmark language -> of |f - base| with the accuracy there, over the models of other languages."""


def measure(evaluations: list[Evaluation], models: dict[str, dict[str, Any]]) -> Transfer:
    """`models` as the represent stage writes them. Reward models without one of the two are left out."""
    base = models["base"]["mean"]
    found = []
    for one in evaluations:
        others = {on: cell.value for on in one.results if on != one.language and (cell := one.accuracy(on))}
        if others and one.language in models:
            said = models[one.language]
            share = Estimate(said["mean"], *said["interval"])
            found.append(Transferred(one.language, share, abs(share.value - base), others))
    accuracy, moved = [one.accuracy for one in found], [one.moved for one in found]
    share = correlate([one.share.value for one in found], accuracy)
    return Transfer(found, share, correlate(moved, accuracy), _by_language(found))


def _by_language(found: list[Transferred]) -> dict[str, Correlation]:
    correlations = {}
    for on in dict.fromkeys(on for one in found for on in one.accuracies):
        there = [one for one in found if on in one.accuracies]
        if one := correlate([one.moved for one in there], [one.accuracies[on] for one in there]):
            correlations[on] = one
    return correlations


def correlate(x: list[float], y: list[float]) -> Correlation | None:
    """None for fewer than FEWEST points, or where all of `x` or of `y` are one value."""
    if len(x) < FEWEST or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    from scipy import stats

    found = stats.pearsonr(x, y)
    pearson = float(found.statistic)
    low, high = found.confidence_interval()
    interval = (float(low), float(high)) if len(x) > FEWEST and abs(pearson) <= 1 - 1e-12 else None
    ranks = [stats.rankdata(values) for values in (x, y)]
    return Correlation(len(x), pearson, interval, _p(x, y), float(stats.pearsonr(*ranks).statistic), _p(*ranks))


def _p(x: "ArrayLike", y: "ArrayLike") -> float:
    """How often |Pearson's r| is as large when the models change places."""
    import numpy as np
    from scipy import stats

    def strength(order: np.ndarray, axis: int) -> np.ndarray:
        return abs(stats.pearsonr(np.asarray(x), order, axis=axis).statistic)

    found = stats.permutation_test(
        (y,), strength, permutation_type="pairings", alternative="greater", vectorized=True, n_resamples=_ORDERS, rng=0
    )
    return float(found.pvalue)
