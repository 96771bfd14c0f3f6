"""Own and other languages' reward models: means and intervals, by hand."""

import pytest

from xlrm.analysis import own_and_other
from xlrm.evaluation.results import Estimate


def shares(**by_source: list[float | None]) -> dict[str, dict[str, float | None]]:
    return {source: {f"p{i}": share for i, share in enumerate(values)} for source, values in by_source.items()}


def test_means_over_targets_and_sources() -> None:
    """Target de: own 3/4, others (1/4 + 2/4) / 2 = 3/8. Target en: own 1/2, others (1 + 0) / 2 = 1/2."""
    given = {
        "de": shares(de=[1, 1, 1, 0], en=[1, 0, 0, 0], es=[1, 1, 0, 0]),
        "en": shares(de=[1, 1, 1, 1], en=[1, 0, 1, 0], es=[0, 0, 0, 0]),
    }
    result = own_and_other.compare(given)
    assert result is not None
    assert result.own.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert result.other.value == pytest.approx((3 / 8 + 1 / 2) / 2)
    assert result.difference.value == pytest.approx(result.other.value - result.own.value)
    assert {on: each.value for on, each in result.difference_by_target.items()} == pytest.approx(
        {"de": -3 / 8, "en": 0}
    )
    assert result.pairs == 4


def test_data_sets_count_alike() -> None:
    """Own: (1 + 0 / 3) / 2 over two data sets, not 1/4 over four prompts."""
    given = {"de": shares(de=[1, 0, 0, 0], en=[0, 1, 1, 1])}
    result = own_and_other.compare(given, {"de": {"p0": "xsum", "p1": "wiki", "p2": "wiki", "p3": "wiki"}})
    assert result is not None
    assert (result.own.value, result.other.value) == (0.5, 0.5)
    assert result.own == Estimate(0.5, 0.5, 0.5), "no prompt moves between data sets"


def test_prompts_without_a_verdict_are_left_out() -> None:
    result = own_and_other.compare({"de": shares(de=[1, None, None, 0], en=[1, 1, None, None])})
    assert result is not None
    assert (result.own.value, result.other.value) == (0.5, 1.0)


def test_the_same_prompts_are_drawn_for_both_kinds() -> None:
    """The two reward models differ by exactly 1/10 on every prompt, so that the difference is certain though the rates are
    not."""
    own = [0.1 * (i % 5) for i in range(50)]
    result = own_and_other.compare({"de": shares(de=own, en=[share + 0.1 for share in own])})
    assert result is not None
    assert result.difference.low == pytest.approx(0.1)
    assert result.difference.high == pytest.approx(0.1)
    assert result.own.high - result.own.low > 0.05


def test_a_prompt_in_several_languages_is_drawn_once() -> None:
    """With the same ids the two targets' errors add up; with different ids they are independent, and the mean's interval
    is narrower by the square root of two."""
    values = [float(i % 2) for i in range(200)]
    alike = {code: shares(de=values, en=values) for code in ("de", "en")}
    apart = {
        code: {s: {f"{code}{name}": v for name, v in own.items()} for s, own in by.items()}
        for code, by in alike.items()
    }
    together, separate = own_and_other.compare(alike), own_and_other.compare(apart)
    assert together is not None and separate is not None
    ratio = (together.own.high - together.own.low) / (separate.own.high - separate.own.low)
    assert ratio == pytest.approx(2**0.5, abs=0.2)


def test_targets_without_both_kinds_are_left_out() -> None:
    assert own_and_other.compare({"de": shares(en=[1, 0])}) is None
    assert own_and_other.compare({"de": shares(de=[1, 0])}) is None
    assert own_and_other.compare({}) is None
