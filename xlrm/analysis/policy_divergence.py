"""Divergence of aligned policies from the SFT policy, against their win rates (paper B, section 6.3 and figure 8).

Cells of a matrix share sources and targets and are not independent, so the usual p-values of a correlation over cells are
too small. `Divergence.p_languages` respects that: it permutes languages, not cells. The best of n has no policy to measure; its
divergence is at most `xlrm.evaluation.best_of_n.kl_bound`.
"""

import math
from dataclasses import dataclass
from itertools import permutations

from xlrm.analysis.source_ranking import Matrix, cells, targets

_ORDERS = 5_040
"""Orders of the languages that are tried, at most: all orders of seven; with more languages, as many random ones."""


@dataclass(frozen=True)
class Divergence:
    """Correlation over the (source, target) cells of divergence and win rate."""

    cells: int
    pearson: float
    pearson_p: float
    """Two-sided, of independent cells (Student's t), which these are not."""
    spearman: float
    spearman_p: float
    p_languages: float
    """Two-sided p-value of Pearson's r by permuting the languages of the divergences as sources and targets at once (the
    quadratic assignment procedure, Krackhardt 1988). The p-value to read."""


def correlate(divergences: Matrix, win_rates: Matrix) -> Divergence:
    """Over the cells of both. Raises ValueError for fewer than three, or if all values of one are the same."""
    from scipy import stats

    theirs = cells(win_rates)
    ours = {pair: value for pair, value in cells(divergences).items() if pair in theirs}
    x, y = list(ours.values()), [theirs[pair] for pair in ours]
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        raise ValueError("a correlation takes at least three common cells that are not all the same")
    pearson, spearman = stats.pearsonr(x, y), stats.spearmanr(x, y)
    return Divergence(
        len(x), float(pearson.statistic), float(pearson.pvalue), float(spearman.statistic), float(spearman.pvalue),
        _by_languages(divergences, theirs, abs(float(pearson.statistic))),
    )  # fmt: skip


def _by_languages(divergences: Matrix, win_rates: dict[tuple[str, str], float], observed: float) -> float:
    """Share of the orders of the languages with |r| at least as large, the given order among them."""
    import random

    import numpy as np

    languages = list(dict.fromkeys([*divergences, *targets(divergences)]))
    known = cells(divergences)
    if math.factorial(len(languages)) <= _ORDERS:
        orders = [list(order) for order in permutations(languages)]
    else:
        draw = random.Random(0)
        orders = [languages, *(draw.sample(languages, len(languages)) for _ in range(_ORDERS - 1))]
    as_large = tried = 0
    for order in orders:
        renamed = dict(zip(languages, order, strict=True))
        moved = {(renamed[source], renamed[target]): value for (source, target), value in known.items()}
        both = [(value, win_rates[pair]) for pair, value in moved.items() if pair in win_rates]
        x, y = np.array(both).T if len(both) > 2 else (np.zeros(1), np.zeros(1))
        if x.std() > 0 and y.std() > 0:
            tried += 1
            as_large += bool(abs(np.corrcoef(x, y)[0, 1]) >= observed - 1e-12)
    return as_large / tried
