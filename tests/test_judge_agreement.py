"""Two judges on the same items, by hand."""

import pytest

from xlrm.analysis import judge_agreement


def test_agreement_by_instance() -> None:
    """Signs + + - 0 - of one, + - - + 0 of the other."""
    first = {"1": 1.0, "2": 0.7, "3": 0.2, "4": 0.5, "5": 0.0, "6": None, "7": 1.0}
    second = {"1": 0.9, "2": 0.1, "3": 0.0, "4": 1.0, "5": 0.5, "6": 1.0, "8": 1.0}
    agreement = judge_agreement.by_instance(first, second)
    assert (agreement.items, agreement.share.value, agreement.draws) == (5, 0.4, (1, 1))
    assert (agreement.decided, agreement.share_of_decided) == (3, pytest.approx(2 / 3))
    assert agreement.kappa == pytest.approx((0.4 - 9 / 25) / (1 - 9 / 25))  # 2 x 2, 2 x 2 and 1 x 1 of 25
    assert agreement.share.low < 0.4 < agreement.share.high
    with pytest.raises(ValueError):
        judge_agreement.by_instance({"1": None}, {"1": 1.0})


def test_a_draw_equals_only_a_draw() -> None:
    agreement = judge_agreement.by_instance({"1": 0.5, "2": 0.5}, {"1": 0.5, "2": 0.5})
    assert (agreement.share.value, agreement.decided, agreement.share_of_decided, agreement.kappa) == (1, 0, None, None)
