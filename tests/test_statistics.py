"""Accuracies and their intervals, on cases worked out by hand and on RewardBench's own example."""

import numpy as np
import pytest

from xlrm import benchmarks
from xlrm.statistics import accuracies, intervals, length_baseline, mean_interval


def rows(counts: dict[str, int], section: str = "S") -> list[dict]:
    return [{"subset": subset, "section": section} for subset, n in counts.items() for _ in range(n)]


def test_sections_weigh_subsets_by_rows_and_the_average_weighs_sections_alike() -> None:
    items = rows({"a": 3, "b": 1}) + rows({"c": 2}, section="T")
    found = accuracies(items, np.array([1.0, 1, 0, 0, 1, 1]))
    assert found["S"] == pytest.approx(2 / 4)
    assert found["T"] == 1.0
    assert found["average"] == pytest.approx(0.75)
    assert found["subset/a"] == pytest.approx(2 / 3)


def test_rewardbench_weights_are_the_corrected_ones() -> None:
    """README example of reward-bench (beaver-7b-v1.0-cost) under v0.1.4."""
    accuracy = {
        "alpacaeval-easy": 0.78, "alpacaeval-length": 0.6, "alpacaeval-hard": 0.57, "mt-bench-easy": 0.5,
    }  # fmt: skip
    items, correct = [], []
    for subset, value in accuracy.items():
        items += rows({subset: 100}, section="Chat")
        correct += [1.0] * round(100 * value) + [0.0] * (100 - round(100 * value))
    expected = (0.78 * 100 + 0.6 * 95 + 0.57 * 95 + 0.5 * 28) / (100 + 95 + 95 + 28)
    assert accuracies(items, np.array(correct))["Chat"] == pytest.approx(expected)
    weights = benchmarks.BENCHMARKS["rewardbench"].weights
    assert (weights["xstest-should-refuse"], weights["xstest-should-respond"], weights["math-prm"]) == (154, 250, 984)
    assert sum(weights.values()) == 3522


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


def test_length_baseline_counts_a_tie_as_half() -> None:
    pairs = [{"chosen": "aa", "rejected": "b"}, {"chosen": "a", "rejected": "bb"}, {"chosen": "a", "rejected": "b"}]
    assert length_baseline(pairs) == [1.0, 0.0, 0.5]
