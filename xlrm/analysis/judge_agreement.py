"""How far two judges of aligned policies agree (paper B, section 5.1 and appendix D). How often a judge agrees with the
labels of a reward model's validation data (appendix C) is its accuracy on them as a benchmark: `xlrm evaluate --judge`.

A verdict is the share of a win of the first of two responses, from 0 to 1: above a half the first is preferred, below it the
second, and a half is a draw. None is an unreadable verdict.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xlrm.analysis.source_ranking import Matrix, OrderAgreement, order_agreement
from xlrm.evaluation.estimates import Estimate
from xlrm.evaluation.statistics import mean_interval
from xlrm.scorers.judges.agreement import cohens_kappa

if TYPE_CHECKING:
    import numpy as np

Verdicts = Mapping[str, float | None]
"""Item -> verdict."""


@dataclass(frozen=True)
class InstanceAgreement:
    """Two judges, people among them, on the items that both judged."""

    items: int
    share: Estimate
    """Share of items with equal verdicts; a draw equals only a draw. The 95 % interval resamples items."""
    draws: tuple[int, int]
    """Draws of the first and of the second judge."""
    decided: int
    """Items on which neither has a draw."""
    share_of_decided: float | None
    kappa: float | None
    """Cohen's kappa over all items; None if both always give the same verdict."""


def by_instance(first: Verdicts, second: Verdicts) -> InstanceAgreement:
    """Agreement item by item. Raises ValueError if no item has a verdict of both."""
    both = [
        (_sign(a), _sign(b)) for name, a in first.items() if a is not None and (b := second.get(name)) is not None
    ]  # fmt: skip
    if not both:
        raise ValueError("no item was judged by both")
    decided = [a == b for a, b in both if a and b]
    draws = Counter(a for a, _ in both)[0], Counter(b for _, b in both)[0]
    labels = [str(a) for a, _ in both], [str(b) for _, b in both]
    share = Estimate(*mean_interval(_array([a == b for a, b in both])))
    return InstanceAgreement(
        len(both), share, draws, len(decided), sum(decided) / len(decided) if decided else None, cohens_kappa(*labels)
    )


def by_ranking(judgments: Iterable[tuple[Matrix, Matrix]]) -> OrderAgreement:
    """Agreement of two judges on the order of each two sources for a target, over all targets of several settings, such as
    best of n and RL: one pair of matrices each, the first judge's and the second's."""
    return sum((order_agreement(*both) for both in judgments), OrderAgreement(0, 0, 0))


def _sign(verdict: float) -> int:
    return (verdict > 0.5) - (verdict < 0.5)


def _array(values: Sequence[float]) -> "np.ndarray":
    import numpy as np

    return np.array(values, dtype=float)
