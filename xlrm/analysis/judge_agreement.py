"""How far two judges of aligned policies agree (paper B, section 5.1 and appendices C and D)."""

from collections.abc import Iterable

from xlrm.analysis.source_ranking import Matrix, OrderAgreement, order_agreement


def by_ranking(judgments: Iterable[tuple[Matrix, Matrix]]) -> OrderAgreement:
    """Agreement of two judges on the order of each two sources for a target, over all targets of several settings, such as
    best of n and RL: one pair of matrices each, the first judge's and the second's."""
    return sum((order_agreement(*both) for both in judgments), OrderAgreement(0, 0, 0))
