"""Orders of source languages, their agreement, and what they are correlated with: 3 x 3 matrices computed by hand."""

import math

import pytest

from xlrm.analysis import judge_agreement, policy_divergence, quantities, source_ranking, typology
from xlrm.analysis.baselines import expected_agreement
from xlrm.analysis.source_ranking import AgainstOwn, OrderAgreement, Part

FIRST = {
    "a": {"a": 50.0, "b": 60.0, "c": 70.0},
    "b": {"a": 55.0, "b": 52.0, "c": 65.0},
    "c": {"a": 55.0, "b": 58.0, "c": 61.0},
}
"""Target a: b = c > a. Target b: a > c > b. Target c: a > b > c."""
SECOND = {
    "a": {"a": 51.0, "b": 40.0, "c": 9.0},
    "b": {"a": 58.0, "b": 41.0, "c": 8.0},
    "c": {"a": 54.0, "b": 39.0, "c": 7.0},
}
"""Target a: b > c > a. Target b: b > a > c. Target c: a > b > c."""


def test_ranks_of_ties_share_the_smallest():
    assert source_ranking.ranks(FIRST) == {
        "a": {"a": 3, "b": 1, "c": 1},
        "b": {"a": 1, "b": 3, "c": 2},
        "c": {"a": 1, "b": 2, "c": 3},
    }
    assert source_ranking.best(FIRST) == {"a": ("b", "c"), "b": ("a",), "c": ("a",)}
    assert source_ranking.times_best(FIRST) == {"a": 2, "b": 1, "c": 1}


def test_decimal_fractions_tie():
    assert source_ranking.ranks({"a": {"x": 0.1 + 0.2}, "b": {"x": 0.3}}) == {"a": {"x": 1}, "b": {"x": 1}}


def test_means_on_and_off_the_diagonal():
    assert source_ranking.diagonal(FIRST) == source_ranking.Diagonal(own=163 / 3, crossed=363 / 6)
    assert source_ranking.diagonal({"a": {"b": 3.0}}) == source_ranking.Diagonal(own=None, crossed=3.0)
    assert source_ranking.mean_by_source(FIRST) == {"a": 60.0, "c": 58.0, "b": pytest.approx(172 / 3)}
    assert source_ranking.mean_by_source(FIRST, own=False) == {"a": 65.0, "b": 60.0, "c": 56.5}


def test_pairs_above_and_below_the_own_reward_model():
    assert source_ranking.against_own(FIRST) == AgainstOwn(above=6, equal=0, below=0)
    assert source_ranking.against_own(SECOND) == AgainstOwn(above=4, equal=0, below=2)  # a>b 40 < 41, c>b 39 < 41
    assert source_ranking.against_own({"a": {"b": 3.0}, "b": {"b": 3.0}}) == AgainstOwn(above=0, equal=1, below=0)


def test_contrast_of_two_matrices_by_source_and_target():
    other = {"a": {"b": 59.0, "c": 71.0}, "b": {"a": 53.0, "c": 65.0}, "c": {"a": 50.0}}
    contrast = source_ranking.contrast(FIRST, other)  # a>b +1, a>c -1, b>a +2, b>c 0, c>a +5
    assert (contrast.first, contrast.second) == (61.0, pytest.approx(59.6))
    assert (contrast.above, contrast.equal, contrast.below, contrast.pairs) == (3, 1, 1, 5)
    assert contrast.difference.value == pytest.approx(1.4)
    assert contrast.difference.low == -0.5 and contrast.difference.high == 3.5  # targets c and a, drawn three times
    assert contrast.by_source == {"a": Part(0, 1, 2), "b": Part(1, 1, 2), "c": Part(5, 1, 1)}
    assert contrast.by_target == {"b": Part(1, 1, 1), "c": Part(-0.5, 0, 2), "a": Part(3.5, 2, 2)}
    assert contrast.without("c") == Part(0.5, 2, 4)
    with pytest.raises(ValueError):
        source_ranking.contrast({"a": {"a": 1.0}}, {"a": {"a": 1.0}})


def test_agreement_on_the_order_of_two_sources():
    by_target = source_ranking.order_agreement_by_target(FIRST, SECOND)
    assert by_target == {"a": OrderAgreement(2, 0, 1), "b": OrderAgreement(1, 2, 0), "c": OrderAgreement(3, 0, 0)}
    total = source_ranking.order_agreement(FIRST, SECOND)
    assert (total, total.pairs, total.share) == (OrderAgreement(6, 2, 1), 9, pytest.approx(6 / 9))
    assert judge_agreement.by_ranking([(FIRST, SECOND), (FIRST, FIRST)]) == OrderAgreement(15, 2, 1)


def test_rank_correlations_with_and_without_the_own_reward_model():
    taus = source_ranking.rank_correlations(FIRST, SECOND)
    # target a: 2 concordant of 3 pairs, one tied: 2 / sqrt(2 * 3); b: 1 of 3 concordant; c: the same order
    assert taus.by_target == {"a": pytest.approx(2 / math.sqrt(6)), "b": pytest.approx(-1 / 3), "c": pytest.approx(1)}
    assert taus.mean.value == pytest.approx((2 / math.sqrt(6) - 1 / 3 + 1) / 3)
    assert (taus.mean.low, taus.mean.high) == (pytest.approx(-1 / 3), pytest.approx(1))
    assert source_ranking.rank_correlations(FIRST, SECOND, own=False).by_target == {"b": 1.0, "c": 1.0}  # a: b = c
    six = {f"s{i}": {"t": float(i)} for i in range(6)}
    assert source_ranking.rank_correlations(six, six).chance_deviation == pytest.approx(math.sqrt(34 / 270))


def test_typology_of_pairs_that_share_a_value():
    features = {"1A": "xxy", "2A": "xyz", "3A": "xxx", "4A": "xx"}
    values = [
        typology.Value(code, name, value)
        for name, own in features.items()
        for code, value in zip("abc", own, strict=False)
    ]
    tested = typology.measure(FIRST, values)
    shared, *untested = tested.features
    # 1A: a>b and b>a share it: 60, 55; the others: 70, 65, 55, 58. Pooled variance (12.5 + 138) / 4.
    t = (57.5 - 62) / math.sqrt(150.5 / 4 * (1 / 2 + 1 / 4))
    assert (shared.feature, shared.same, shared.different) == ("1A", 2, 4)
    assert (shared.mean_same, shared.mean_different, shared.t) == (57.5, 62, pytest.approx(t))
    # Student's t with four degrees of freedom: F(t) = 1/2 + 3/8 s (1 - s^2 / 12), s = t / sqrt(1 + t^2 / 4)
    s = t / math.sqrt(1 + t**2 / 4)
    assert shared.p == pytest.approx(1 - (0.5 + 3 / 8 * s * (1 - s**2 / 12)))
    assert shared.p_bonferroni == 1.0
    assert [(each.feature, each.p, each.same) for each in untested] == [("2A", None, 0), ("3A", None, 6)]
    assert tested.tested == 1 and tested.significant() == ()


def test_bonferroni_counts_features_without_a_test():
    win_rates = {
        a: {b: 60.0 + 20 * ({a, b} == {"a", "b"}) + i + 2 * j for j, b in enumerate("abc")} for i, a in enumerate("abc")
    }
    values = [
        typology.Value(code, name, value)
        for name, own in (("1A", "xxy"), ("2A", "xxx"))
        for code, value in zip("abc", own, strict=True)
    ]
    shared = typology.measure(win_rates, values).features[0]
    assert shared.p_bonferroni == pytest.approx(2 * shared.p)
    assert typology.measure(win_rates, values).significant_after_bonferroni() == ("1A",)


def test_divergence_and_win_rate():
    divergences = {"a": {"a": 1.0, "b": 2.0}, "b": {"a": 3.0, "b": 4.0}}
    win_rates = {"a": {"a": 1.0, "b": 3.0}, "b": {"a": 2.0, "b": 4.0}}
    measured = policy_divergence.correlate(divergences, win_rates)
    assert (measured.cells, measured.pearson, measured.spearman) == (4, pytest.approx(0.8), pytest.approx(0.8))
    assert measured.pearson_p == pytest.approx(0.2)  # of r with four points, p = 1 - |r|
    # Exchanged, the divergences are 4 3 / 2 1: r = -0.8, as large.
    assert measured.p_languages == 1.0
    uneven = {"a": {"a": 1.0, "b": 2.0}, "b": {"a": 3.0, "b": 9.0}}
    assert (
        policy_divergence.correlate(uneven, {"a": {"a": 1.0, "b": 2.0}, "b": {"a": 3.0, "b": 9.0}}).p_languages == 0.5
    )
    with pytest.raises(ValueError):
        policy_divergence.correlate({"a": {"a": 1.0}}, win_rates)


def test_order_by_quantity():
    measured = quantities.by_quantity(FIRST, {"a": 30, "b": 10, "c": 20})  # means a 60, c 58, b 57.3: the same order
    assert (measured.n, measured.tau, measured.rho) == (3, pytest.approx(1), pytest.approx(1))
    assert measured.tau_p == pytest.approx(1 / 3) and measured.rho_p == pytest.approx(1 / 3)  # 2 of 6 orders
    measured = quantities.by_quantity(FIRST, {"a": 30, "b": 10, "c": 20}, own=False)  # 65, 60, 56.5: b and c exchanged
    assert (measured.tau, measured.rho) == (pytest.approx(1 / 3), pytest.approx(0.5))
    assert measured.rho_p == pytest.approx(1.0)
    assert quantities.order({"a": 1, "b": 3, "c": 2}) == ("b", "c", "a")
    assert quantities.order(quantities.from_order(quantities.MT5_FREQUENCY)) == quantities.MT5_FREQUENCY
    with pytest.raises(ValueError):
        quantities.by_quantity(FIRST, {"a": 1, "b": 2})


def test_share_of_a_gap():
    assert quantities.gap_closed(40, 20, 35) == 0.75
    assert quantities.gap_closed(40, 20, 15) == -0.25
    assert quantities.gap_closed(20, 20, 35) is None


def test_expected_agreement_of_independent_models():
    assert expected_agreement(0.7, 0.6) == pytest.approx(0.54)
    assert expected_agreement(1, 0.3) == pytest.approx(0.3)
    assert expected_agreement(0.5, 0.9) == pytest.approx(0.5)
