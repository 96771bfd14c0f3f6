"""Two judges on the same items, and a judge on people's labels, by hand."""

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


def test_pairs_of_single_judgments_by_document() -> None:
    rows = [
        {"id": "1", "prompt": "d", "response": "a", "label": 1, "subset": "xsum"},
        {"id": "2", "prompt": "d", "response": "b", "label": 0.5, "subset": "xsum"},
        {"id": "3", "prompt": "e", "response": "c", "label": 1},
        {"id": "4", "prompt": "d", "response": "d", "label": 1, "subset": "xsum"},
        {"id": "5", "prompt": "e", "response": "e", "label": 1},
    ]
    assert judge_agreement.labelled_pairs(rows) == [
        {"id": "1+2", "prompt": "d", "chosen": "a", "rejected": "b", "subset": "xsum"},
        {"id": "4+2", "prompt": "d", "chosen": "d", "rejected": "b", "subset": "xsum"},
    ]
    turns = [
        {"id": str(i), "prompt": [{"role": "user", "content": "q"}], "response": "r", "label": i} for i in range(2)
    ]
    assert [pair["id"] for pair in judge_agreement.labelled_pairs(turns)] == ["1+0"]


def test_accuracy_of_a_judge() -> None:
    measured = judge_agreement.accuracy([1.0, 0.6, 0.5, 0.0, None])
    assert (measured.comparisons, measured.accuracy.value, measured.draws, measured.unreadable) == (4, 0.625, 1, 1)
    assert measured.accuracy.low < 0.625 < measured.accuracy.high
    # Of one prompt, all pairs are drawn together.
    together = judge_agreement.accuracy([1.0, 0.6, 0.5, 0.0, None], ["p"] * 5)
    assert together.accuracy.low == together.accuracy.high == 0.625
    with pytest.raises(ValueError):
        judge_agreement.accuracy([None])
