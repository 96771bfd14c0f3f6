"""Do reward models that keep the base model's representations transfer better? Paper A (section 3.1) argues so from two
figures side by side; here the two are correlated across the reward models of a run.

A correlation over a few models says little, and the numbers show that: the interval is Fisher's for the number of
models, and p is the exact share of all orders of the models that correlate as strongly. Resampling items and texts
would give narrow intervals, but for another question: how precisely these models are measured.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xlrm.analysis.hidden_states import BASE, Similarity
from xlrm.evaluation.results import Estimate, Evaluation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FEWEST = 3
"""Fewest models for a correlation; any two points lie on a line."""
_ORDERS = 40_320
"""Orders of the models that are tried, at most: all orders of eight; with more models, as many random ones."""


@dataclass(frozen=True)
class Transferred:
    """One reward model: its f, and its accuracies in languages other than its own."""

    language: str
    share: Estimate
    """Mean f over the texts."""
    moved: float
    """|mean f - the base model's|; 0 if training did not change f."""
    accuracies: dict[str, float]

    @property
    def accuracy(self) -> float:
        return sum(self.accuracies.values()) / len(self.accuracies)


@dataclass(frozen=True)
class Correlation:
    """Correlation of two measures over `n` reward models."""

    n: int
    pearson: float
    interval: tuple[float, float] | None
    """95 % interval by Fisher's transformation; None for fewer than four models, or points on one line."""
    p: float
    """Two-sided p-value of Pearson's correlation."""
    spearman: float
    spearman_p: float


@dataclass(frozen=True)
class Transfer:
    models: list[Transferred]
    share: Correlation | None
    """Correlation of f with the mean accuracy in other languages; None for fewer than three models, or if all values
    are the same."""
    moved: Correlation | None
    """Correlation of |f - base| with the mean accuracy in other languages."""
    by_language: dict[str, Correlation]
    """Benchmark language -> correlation of |f - base| with the accuracy there, over the models of other languages."""


def measure(evaluations: list[Evaluation], models: dict[str, Similarity]) -> Transfer:
    """`models`: of `Representations`. Reward models without an f or without an accuracy in another language are left
    out."""
    base = models[BASE].mean
    transferred = []
    for evaluation in evaluations:
        others = {
            on: cell.value
            for on in evaluation.results
            if on != evaluation.language and (cell := evaluation.accuracy(on))
        }
        if others and evaluation.language in models:
            mean = models[evaluation.language].estimate
            transferred.append(Transferred(evaluation.language, mean, abs(mean.value - base), others))
    accuracy, moved = [model.accuracy for model in transferred], [model.moved for model in transferred]
    share = correlate([model.share.value for model in transferred], accuracy)
    return Transfer(transferred, share, correlate(moved, accuracy), _by_language(transferred))


def _by_language(models: list[Transferred]) -> dict[str, Correlation]:
    correlations = {}
    for on in dict.fromkeys(on for model in models for on in model.accuracies):
        there = [model for model in models if on in model.accuracies]
        if correlation := correlate([model.moved for model in there], [model.accuracies[on] for model in there]):
            correlations[on] = correlation
    return correlations


def correlate(x: list[float], y: list[float]) -> Correlation | None:
    """The correlation; None for fewer than FEWEST points, or if all of `x` or all of `y` are the same."""
    if len(x) < FEWEST or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    from scipy import stats

    result = stats.pearsonr(x, y)
    pearson = float(result.statistic)
    low, high = result.confidence_interval()
    interval = (float(low), float(high)) if len(x) > FEWEST and abs(pearson) <= 1 - 1e-12 else None
    ranks = [stats.rankdata(values) for values in (x, y)]
    return Correlation(len(x), pearson, interval, _p(x, y), float(stats.pearsonr(*ranks).statistic), _p(*ranks))


def _p(x: "ArrayLike", y: "ArrayLike") -> float:
    """Share of the orders of the models in which |Pearson's r| is at least as large."""
    import numpy as np
    from scipy import stats

    def strength(order: np.ndarray, axis: int) -> np.ndarray:
        return abs(stats.pearsonr(np.asarray(x), order, axis=axis).statistic)

    result = stats.permutation_test(
        (y,), strength, permutation_type="pairings", alternative="greater", vectorized=True, n_resamples=_ORDERS, rng=0
    )
    return float(result.pvalue)
