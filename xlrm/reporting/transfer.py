"""Do reward models that keep the base model's representations transfer better? Paper A (section 3.1) argues so from two
figures side by side; here the two are correlated across the reward models of a run.

A correlation over a handful of models says little, and the numbers here say so themselves: the interval is Fisher's, of
the number of models, and p is the exact share of all orders of the models that correlate as strongly. Resampling items and
texts would give narrow intervals of another question, how well these very models are measured.
"""

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xlrm.reporting.results import Estimate, Evaluation

if TYPE_CHECKING:
    import numpy as np

FEWEST = 3
"""Models; any two points lie on a line."""
_EXACT = 8
"""Models of which all orders are gone through, 40,320 at most."""
_DRAWS = 10_000
_Z = 1.959964


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
    pearson, p = _with_p(x, y)
    spearman, spearman_p = _with_p(ranks(x), ranks(y))
    return Correlation(len(x), pearson, interval(pearson, len(x)), p, spearman, spearman_p)


def interval(r: float, n: int) -> tuple[float, float] | None:
    """Fisher's: atanh(r) is about normal with standard error 1 / sqrt(n - 3), for values that are jointly normal. None
    where that is no number: up to three points, or all on a line."""
    if n <= 3 or abs(r) > 1 - 1e-12:
        return None
    z, width = math.atanh(r), _Z / math.sqrt(n - 3)
    return math.tanh(z - width), math.tanh(z + width)


def ranks(values: list[float]) -> list[float]:
    """From 1; equal values share the mean of their ranks."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values]


def _with_p(x: list[float], y: list[float]) -> tuple[float, float]:
    """Pearson's r, and how often it is as large, either way, when the models change places."""
    import numpy as np

    one, other = (_standard(np.array(values)) for values in (x, y))
    r = float(one @ other)
    if len(x) <= _EXACT:
        orders = np.array(list(itertools.permutations(range(len(x)))))
        extra = 0
    else:
        rng = np.random.default_rng(0)
        orders = np.array([rng.permutation(len(x)) for _ in range(_DRAWS)])
        extra = 1  # the order that was found is one of them
    as_large = int((abs(other[orders] @ one) >= abs(r) - 1e-9).sum())
    return max(-1.0, min(1.0, r)), (as_large + extra) / (len(orders) + extra)


def _standard(values: "np.ndarray") -> "np.ndarray":
    """With mean 0 and length 1."""
    import numpy as np

    centred = values - values.mean()
    return centred / np.linalg.norm(centred)
