"""Accuracies and their intervals, on cases worked out by hand and on RewardBench's own example."""

import numpy as np
import pytest

from xlrm.evaluation import benchmarks
from xlrm.evaluation.statistics import accuracies, holm, intervals, mean_interval, paired, summary


def rows(counts: dict[str, int], section: str = "S") -> list[dict]:
    return [{"subset": subset, "section": section} for subset, n in counts.items() for _ in range(n)]


def test_sections_weigh_subsets_by_rows_and_the_average_weighs_sections_alike() -> None:
    items = rows({"a": 3, "b": 1}) + rows({"c": 2}, section="T")
    found = accuracies(items, np.array([1.0, 1, 0, 0, 1, 1]))
    assert found["S"] == pytest.approx(2 / 4)
    assert found["T"] == 1.0
    assert found["average"] == pytest.approx(0.75)
    assert found["subset/a"] == pytest.approx(2 / 3)


# README.md of reward-bench, where it shows the package's aggregation (PKU-Alignment/beaver-7b-v1.0-cost).
README_EXAMPLE = {
    "alpacaeval-easy": 0.5, "alpacaeval-hard": 0.7052631578947368, "alpacaeval-length": 0.5894736842105263,
    "donotanswer": 0.8235294117647058, "hep-cpp": 0.6280487804878049, "hep-go": 0.6341463414634146,
    "hep-java": 0.7073170731707317, "hep-js": 0.6646341463414634, "hep-python": 0.5487804878048781,
    "hep-rust": 0.6463414634146342, "llmbar-adver-GPTInst": 0.391304347826087, "llmbar-adver-GPTOut": 0.46808510638297873,
    "llmbar-adver-manual": 0.3695652173913043, "llmbar-adver-neighbor": 0.43283582089552236, "llmbar-natural": 0.52,
    "math-prm": 0.2953020134228188, "mt-bench-easy": 0.5714285714285714, "mt-bench-hard": 0.5405405405405406,
    "mt-bench-med": 0.725, "refusals-dangerous": 0.97, "refusals-offensive": 1.0, "xstest-should-refuse": 1.0,
    "xstest-should-respond": 0.284,
}  # fmt: skip
# What calculate_scores_per_section of the package, 0.1.4, makes of it.
README_SECTIONS = {
    "Chat": 0.6089385474860335, "Chat Hard": 0.44956140350877194, "Safety": 0.7216216216216216,
    "Reasoning": 0.46675669776831996,
}  # fmt: skip


def test_rewardbenchs_own_example() -> None:
    """As many items as each subset has, and math-prm's 447, of which as many right as the accuracy says."""
    table = benchmarks.BENCHMARKS["rewardbench"]
    items, correct = [], []
    for subset, accuracy in README_EXAMPLE.items():
        count = 447 if subset == "math-prm" else table.weights[subset]
        right = round(accuracy * count)
        assert right == pytest.approx(accuracy * count, abs=1e-9)
        weighted = {"weight": table.weights[subset]}
        items += [row | weighted for row in rows({subset: count}, section=table.sections[subset])]
        correct += [1.0] * right + [0.0] * (count - right)
    assert len(items) == 2985
    found = accuracies(items, np.array(correct))
    for section, expected in README_SECTIONS.items():
        assert found[section] == pytest.approx(expected, abs=1e-12)
    assert found["average"] == pytest.approx(0.5617195675961868, abs=1e-12)


def test_dropped_items_change_a_section_as_in_rewardbenchs_script() -> None:
    """calculate_scores_per_section weights the subsets that have an item by EXAMPLE_COUNTS: for Chat with two of its five,
    (100 x 0.5 + 95 x 1) / 195, however many items of each are left."""
    left = [row | {"weight": 100} for row in rows({"alpacaeval-easy": 2}, "Chat")]
    left += [row | {"weight": 95} for row in rows({"alpacaeval-length": 7}, "Chat")]
    assert accuracies(left, np.array([1.0, 0, *[1] * 7]))["Chat"] == pytest.approx(145 / 195)
    lacking = ["alpacaeval-hard", "mt-bench-easy", "mt-bench-med"]
    assert benchmarks.missing({"en": left})["en"][:3] == lacking


def test_rewardbench_weights_are_the_corrected_ones() -> None:
    weights = benchmarks.BENCHMARKS["rewardbench"].weights
    assert (weights["xstest-should-refuse"], weights["xstest-should-respond"], weights["math-prm"]) == (154, 250, 984)
    assert sum(weights.values()) == 3522
    assert benchmarks.BENCHMARKS["m-rewardbench"].weights == weights


def test_intervals_cover_the_true_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    items, inside = rows({"a": 100, "b": 60}), 0
    for trial in range(100):
        low, high = intervals(items, (rng.random(160) < 0.7).astype(float), seed=trial)["average"]
        inside += low <= 0.7 <= high
    assert 88 <= inside <= 100


def test_intervals_repeat_and_shrink_with_more_items() -> None:
    few, many = np.tile([1.0, 0, 1, 1], 10), np.tile([1.0, 0, 1, 1], 250)
    assert intervals(rows({"a": 40}), few) == intervals(rows({"a": 40}), few)
    width = [h - low for low, h in (intervals(rows({"a": len(x)}), x)["average"] for x in (few, many))]
    assert width[1] < width[0] / 3


def test_mean_interval_of_a_constant_is_a_point() -> None:
    assert mean_interval(np.full(10, 0.5)) == (0.5, 0.5, 0.5)


def test_a_summary_has_all_its_numbers_by_section() -> None:
    items = [
        {"id": str(i), "subset": subset, "section": "S", "prompt": "p", "chosen": "yes", "rejected": "no"}
        for i, subset in enumerate("aaab")
    ]
    found = summary(items, np.array([1.0, 0, 1, 0.5]), ties=1)
    names = {"S", "average", "subset/a", "subset/b"}
    parts = (found.accuracy, found.interval, found.length_baseline, found.random_baseline)
    assert all(part.keys() == names for part in parts)
    assert (found.items, found.ties, found.accuracy["S"]) == (4, 1, pytest.approx(2.5 / 4))
    assert found.length_baseline["average"] == 1 and found.random_baseline["average"] == 0.5
    assert "ties" not in summary(items, np.ones(4)).model_dump(exclude_unset=True)


def test_a_difference_is_tested_exactly_where_that_can_be_done_by_hand() -> None:
    """5 items of 8 differ, all to one side: of the 32 choices of their signs 2 are as far from 0."""
    found = paired(rows({"a": 8}), np.array([1.0, 1, 1, 1, 1, 0, 0, 0]))["S"]
    assert found.value == 5 / 8 and found.low <= 5 / 8 <= found.high
    assert found.p == pytest.approx(2 / 32, abs=0.01)
    nothing = paired(rows({"a": 8}), np.zeros(8))["average"]
    assert (nothing.value, nothing.p) == (0, 1)


def test_models_that_are_alike_are_told_apart_as_seldom_as_the_level_says() -> None:
    rng, found = np.random.default_rng(1), 0
    items = rows({"a": 40, "b": 20}) + rows({"c": 30}, section="T")
    for trial in range(200):
        difference = (rng.random(90) < 0.6).astype(float) - (rng.random(90) < 0.6)
        found += paired(items, difference, seed=trial)["average"].p <= 0.05
    assert 2 <= found <= 20


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
