"""Which source language's reward model aligns a target language best: orders of the sources in a matrix of (source,
target) cells, and their agreement between two matrices (paper B, sections 5.1, 5.2, 5.4 and 6.1).

A matrix holds one number, such as a win rate in percent, for each source and target. Cells may be absent: translate-train
has none on its diagonal. A pair is cross-lingual if its source is not its target.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from xlrm.evaluation.results import Estimate
from xlrm.evaluation.statistics import mean_interval

if TYPE_CHECKING:
    import numpy as np

Matrix = Mapping[str, Mapping[str, float]]
"""Source language -> target language -> value; larger is better."""
SAME = 1e-9
"""Largest difference of two values that is a tie; differences of decimal fractions are not exact."""


def targets(matrix: Matrix) -> list[str]:
    """Targets of any source, in the order in which they occur."""
    return list(dict.fromkeys(target for row in matrix.values() for target in row))


def column(matrix: Matrix, target: str, own: bool = True) -> dict[str, float]:
    """Source -> value of the cells of one target; without the target's own reward model if `own` is false."""
    return {
        source: row[target] for source, row in matrix.items() if target in row and (own or source != target)
    }  # fmt: skip


def ranks(matrix: Matrix) -> dict[str, dict[str, int]]:
    """Source -> target -> rank of the source for that target, 1 for the largest value (figure 6). Tied sources have the
    smallest of the ranks they share: 1, 2, 2, 4."""
    columns = {target: column(matrix, target) for target in targets(matrix)}
    return {
        source: {
            target: 1 + sum(other > columns[target][source] + SAME for other in columns[target].values())
            for target in row
        }
        for source, row in matrix.items()
    }


def best(matrix: Matrix) -> dict[str, tuple[str, ...]]:
    """Target -> its sources of rank 1, several if they tie."""
    ranked = ranks(matrix)
    return {
        target: tuple(source for source, row in ranked.items() if row.get(target) == 1) for target in targets(matrix)
    }


def times_best(matrix: Matrix) -> dict[str, int]:
    """Source -> number of targets for which it has rank 1; all sources are there, the most frequent first."""
    counts = Counter(source for sources in best(matrix).values() for source in sources)
    return dict(sorted(((source, counts[source]) for source in matrix), key=lambda entry: -entry[1]))


def mean_by_source(matrix: Matrix, own: bool = True) -> dict[str, float]:
    """Source -> plain mean over its targets, the largest first. Sources without a cell are left out."""
    rows = {
        source: [value for target, value in row.items() if own or target != source] for source, row in matrix.items()
    }
    means = {source: sum(values) / len(values) for source, values in rows.items() if values}
    return dict(sorted(means.items(), key=lambda entry: -entry[1]))


def cells(matrix: Matrix) -> dict[tuple[str, str], float]:
    """(source, target) -> value."""
    return {(source, target): value for source, row in matrix.items() for target, value in row.items()}


@dataclass(frozen=True)
class Diagonal:
    """Means of the cells on and off the diagonal; None where there are no such cells."""

    own: float | None
    """Reward models of the target language."""
    crossed: float | None
    """Reward models of another language."""


def diagonal(matrix: Matrix) -> Diagonal:
    own = [value for (source, target), value in cells(matrix).items() if source == target]
    crossed = [value for (source, target), value in cells(matrix).items() if source != target]
    return Diagonal(_mean(own), _mean(crossed))


@dataclass(frozen=True)
class AgainstOwn:
    """Cross-lingual pairs by whether they lie above or below the target's own reward model."""

    above: int
    equal: int
    below: int

    @property
    def pairs(self) -> int:
        return self.above + self.equal + self.below


def against_own(matrix: Matrix) -> AgainstOwn:
    """Counts the cross-lingual pairs of targets that have their own reward model."""
    differences = [
        value - matrix[target][target]
        for (source, target), value in cells(matrix).items()
        if source != target and target in matrix.get(target, {})
    ]
    return AgainstOwn(*_signs(differences))


@dataclass(frozen=True)
class Contrast:
    """One matrix minus another on the cross-lingual pairs of both."""

    first: float
    """Mean of the first matrix over these pairs."""
    second: float
    difference: Estimate
    """Mean difference. The 95 % interval resamples targets with all their sources: pairs of one target share its policy,
    prompts and judge."""
    above: int
    """Pairs in which the first is larger."""
    equal: int
    below: int
    by_source: dict[str, "Part"]
    by_target: dict[str, "Part"]

    @property
    def pairs(self) -> int:
        return self.above + self.equal + self.below

    def without(self, source: str) -> "Part":
        """The pairs of the other sources, together."""
        parts = [part for name, part in self.by_source.items() if name != source]
        pairs = sum(part.pairs for part in parts)
        return Part(
            sum(part.difference * part.pairs for part in parts) / pairs, sum(part.above for part in parts), pairs
        )


@dataclass(frozen=True)
class Part:
    """The pairs with one source, or with one target."""

    difference: float
    above: int
    pairs: int


def contrast(first: Matrix, second: Matrix) -> Contrast:
    """Compares two matrices on their common cross-lingual pairs. Raises ValueError if they have none."""
    theirs = cells(second)
    ours = {pair: value for pair, value in cells(first).items() if pair in theirs and pair[0] != pair[1]}
    if not ours:
        raise ValueError("the two matrices have no cross-lingual pair in common")
    differences = {pair: value - theirs[pair] for pair, value in ours.items()}
    by_target = _parts(differences, 1)
    interval = _over_targets([[d for (_, target), d in differences.items() if target == name] for name in by_target])
    return Contrast(
        sum(ours.values()) / len(ours), sum(theirs[pair] for pair in ours) / len(ours), interval,
        *_signs(differences.values()), _parts(differences, 0), by_target,
    )  # fmt: skip


def _parts(differences: Mapping[tuple[str, str], float], place: int) -> dict[str, Part]:
    grouped: dict[str, list[float]] = {}
    for pair, difference in differences.items():
        grouped.setdefault(pair[place], []).append(difference)
    return {name: Part(sum(own) / len(own), _signs(own)[0], len(own)) for name, own in grouped.items()}


def _over_targets(groups: Sequence[Sequence[float]], seed: int = 0, resamples: int = 1000) -> Estimate:
    """Mean of all values with a bootstrap percentile interval that draws groups."""
    import numpy as np

    sums, sizes = np.array([sum(group) for group in groups]), np.array([len(group) for group in groups])
    drawn = np.random.default_rng(seed).integers(0, len(groups), (resamples, len(groups)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), (0.025, 0.975))
    return Estimate(float(sums.sum() / sizes.sum()), float(low), float(high))


@dataclass(frozen=True)
class OrderAgreement:
    """Pairs of sources, for one target or over all of them, by whether two matrices put them in the same order."""

    same: int
    """Both put the same source first, or both tie."""
    different: int
    half: int
    """Tied in one matrix alone: neither the same order nor the opposite one."""

    @property
    def pairs(self) -> int:
        return self.same + self.different + self.half

    @property
    def share(self) -> float:
        """Share of all pairs in the same order; a pair tied in one matrix alone does not agree."""
        return self.same / self.pairs

    def __add__(self, other: "OrderAgreement") -> "OrderAgreement":
        return OrderAgreement(self.same + other.same, self.different + other.different, self.half + other.half)


def order_agreement_by_target(first: Matrix, second: Matrix) -> dict[str, OrderAgreement]:
    """Target -> agreement on the order of each two sources, over the cells that both matrices have: 15 pairs for six
    sources. Targets with fewer than two common sources are left out."""
    agreements = {}
    for target in targets(first):
        ours, theirs = _common(first, second, target)
        if len(ours) > 1:
            signs = [(_sign(ours[a] - ours[b]), _sign(theirs[a] - theirs[b])) for a, b in combinations(ours, 2)]
            agreements[target] = OrderAgreement(
                sum(a == b for a, b in signs), sum(a * b < 0 for a, b in signs), sum(a != b and a * b == 0 for a, b in signs)
            )  # fmt: skip
    return agreements


def order_agreement(first: Matrix, second: Matrix) -> OrderAgreement:
    """The same over all targets together. Two matrices without two common sources have none, of 0 pairs."""
    return sum(order_agreement_by_target(first, second).values(), OrderAgreement(0, 0, 0))


@dataclass(frozen=True)
class RankCorrelations:
    """Kendall's tau-b of the sources' order in two matrices, for each target."""

    by_target: dict[str, float]
    """Targets with fewer than two sources, or with all sources tied, are left out."""
    mean: Estimate
    """Mean over the targets; the 95 % interval resamples targets."""
    sources: int
    """Most sources of a target. Of n sources without ties, tau has under chance the standard deviation
    sqrt(2 (2n + 5) / (9n (n - 1))): 0.35 for six (Kendall 1938)."""

    @property
    def chance_deviation(self) -> float:
        n = self.sources
        return float((2 * (2 * n + 5) / (9 * n * (n - 1))) ** 0.5)


def rank_correlations(first: Matrix, second: Matrix, own: bool = True) -> RankCorrelations:
    """Kendall's tau for each target (section 6.1); without the target's own reward model if `own` is false. Raises
    ValueError if no target has one."""
    import numpy as np
    from scipy import stats

    both = {target: _common(first, second, target, own) for target in targets(first)}
    by_target = {
        target: float(tau)
        for target, (ours, theirs) in both.items()
        if len(ours) > 1 and np.isfinite(tau := stats.kendalltau(list(ours.values()), list(theirs.values())).statistic)
    }
    if not by_target:
        raise ValueError("no target has two sources in both matrices that are not tied")
    mean = Estimate(*mean_interval(_array(by_target)))
    return RankCorrelations(by_target, mean, max(len(both[target][0]) for target in by_target))


def _common(first: Matrix, second: Matrix, target: str, own: bool = True) -> tuple[dict[str, float], dict[str, float]]:
    """Values of a target's sources in both matrices, in one order of the sources."""
    ours, theirs = column(first, target, own), column(second, target, own)
    names = [source for source in ours if source in theirs]
    return {name: ours[name] for name in names}, {name: theirs[name] for name in names}


def _array(values: Mapping[str, float]) -> "np.ndarray":
    import numpy as np

    return np.array(list(values.values()))


def _sign(difference: float) -> int:
    return 0 if abs(difference) <= SAME else 1 if difference > 0 else -1


def _signs(differences: Iterable[float]) -> tuple[int, int, int]:
    """Numbers of values above, at and below 0."""
    signs = Counter(_sign(difference) for difference in differences)
    return signs[1], signs[0], signs[-1]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
