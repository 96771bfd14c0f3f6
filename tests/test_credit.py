"""What an item earns: by hand, and as the rewardbench package says."""

import json
from pathlib import Path

import numpy as np
import pytest

from xlrm.evaluation.credit import by_chance, by_length, credit, prompt_of_ties, tied
from xlrm.evaluation.statistics import accuracies, intervals

GOLDEN = json.loads((Path(__file__).parent / "golden" / "rewardbench_2.json").read_text())


def ties_rows(names: list[str]) -> list[dict]:
    return [{"id": name, "subset": "Ties", "section": "Ties"} for name in names]


def score(rows: list[dict], rewards: list, ties: str = "lost") -> float:
    return accuracies(rows, credit(rows, rewards, ties))["average"]


def test_a_pair_with_equal_rewards_is_lost_or_half_won() -> None:
    rows = [{"id": str(i), "subset": "a", "section": "a"} for i in range(4)]
    rewards = [([1.0], [0.0]), ([0.0], [1.0]), ([2.0], [2.0]), ([-1.0], [-1.0])]
    assert credit(rows, rewards).tolist() == credit(rows, rewards, "lost").tolist() == [1, 0, 0, 0]
    assert credit(rows, rewards, "half").tolist() == [1, 0, 0.5, 0.5]
    assert tied(rewards) == 2


def test_the_best_of_n_shares_the_credit_of_the_best() -> None:
    rows = [{"id": str(i), "subset": "Math", "section": "Math"} for i in range(5)]
    rewards = [
        ([3.0], [1.0, 2.0, 0.0]), ([3.0], [3.0, 2.0, 0.0]), ([1.0], [1.0, 1.0, 1.0]), ([1.0], [2.0, 1.0, 0.0]),
        ([5.0, 5.0], [5.0, 1.0]),
    ]  # fmt: skip
    expected = [1, 1 / 2, 1 / 4, 0, 2 / 3]
    assert credit(rows, rewards, "lost") == pytest.approx(expected) == credit(rows, rewards, "half").tolist()


def test_best_of_n_as_the_package_has_it() -> None:
    rewards = [(one["chosen"], one["rejected"]) for one in GOLDEN["best_of_n"] if len(one["rejected"]) > 1]
    expected = [one["credit"] for one in GOLDEN["best_of_n"] if len(one["rejected"]) > 1]
    assert {0, 1, 0.5} <= set(expected) and len(expected) > 40
    assert credit([{"id": "1"}] * len(expected), rewards).tolist() == expected


def test_ties_by_hand() -> None:
    """Prompt 1: gap of ref 2, of tied 1, spread 0.5. Prompt 2: ref wrong by 1, tied gap 0.5 with spread 2."""
    rows = ties_rows(["ref:1", "tied:1", "ref:2", "tied:2"])
    rewards = [([3.0], [1.0]), ([2.5, 3.0], [1.5, 0.0]), ([0.0], [1.0, 0.5]), ([3.0, 1.0], [0.5])]
    tied_right, ref_right, preferred, hard = 2 / 2, 1 / 2, 1 / 2, 1 / 2
    margins = (np.tanh(1 / 0.5 - 1) + np.tanh(-1 / 2 - 1)) / 2
    expected = 0.3 * tied_right + 0.3 * ref_right + 0.2 * preferred + 0.2 * hard + 0.01 * margins
    assert score(rows, rewards) == pytest.approx(expected)
    assert score(rows, rewards, "half") == pytest.approx(expected), "the policy is one for pairs"


@pytest.mark.parametrize("case", range(len(GOLDEN["ties"])))
def test_ties_as_the_package_has_them(case: int) -> None:
    """With equal rewards, spreads of 0, prompts of one row, and tied prompts of one right answer among them."""
    given = GOLDEN["ties"][case]
    rows = ties_rows([one["id"] for one in given["rows"]])
    rewards = [(one["chosen"], one["rejected"]) for one in given["rows"]]
    assert score(rows, rewards) == pytest.approx(given["score"], abs=1e-12)
    back = np.random.default_rng(0).permutation(len(rows))
    assert score([rows[i] for i in back], [rewards[i] for i in back]) == pytest.approx(given["score"], abs=1e-12)


def test_both_items_of_a_prompt_of_ties_are_resampled_together() -> None:
    """Where each prompt's two items earn 1.0 in all, the interval has no width."""
    rows = ties_rows([f"{kind}:{i}" for i in range(20) for kind in ("ref", "tied")])
    earned = [value for i in range(20) for value in ((0.0, 1.0) if i % 2 else (0.4, 0.6))]
    low, high = intervals(rows, np.array(earned))["Ties"]
    assert low == pytest.approx(0.5) and high == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": "ref:12", "subset": "Ties"}, ("ref", "12")),
        ({"id": "tied:3", "subset": "Ties"}, ("tied", "3")),
        ({"id": "tied:3", "subset": "Math"}, None),
        ({"id": "17", "subset": "Ties"}, None),
    ],
)
def test_a_row_of_ties_is_told_by_its_id(row, expected) -> None:
    assert prompt_of_ties(row) == expected


def test_the_baselines() -> None:
    rows = [
        {"id": "1", "chosen": "aa", "rejected": "b"}, {"id": "2", "chosen": "a", "rejected": "bb"},
        {"id": "3", "chosen": "a", "rejected": "b"}, {"id": "4", "chosen": ["aaa"], "rejected": ["b", "cc", "ddd"]},
        {"id": "5", "chosen": ["a"], "rejected": ["b", "cc", "ddd"]},
    ]  # fmt: skip
    assert by_length(rows).tolist() == [1, 0, 0.5, 0.5, 0]
    assert by_chance(rows).tolist() == [0.5, 0.5, 0.5, 0.25, 0.25]


def test_chance_in_ties() -> None:
    """The accuracies of its parts are known: with 2 right and 2 wrong answers 1/C(4, 2), with one and one 1/2."""
    rows = [
        row | {"chosen": ["a"] * (1 + (i % 2)), "rejected": ["b"] * (1 + (i % 2))}
        for i, row in enumerate(ties_rows([f"{kind}:{n}" for n in range(50) for kind in ("ref", "tied")]))
    ]
    found = accuracies(rows, by_chance(rows))["Ties"]
    exact = 0.3 / 6 + 0.3 / 2
    assert exact - 0.02 < found < exact + 0.2 * (1 / 6 + 1 / 6) + 0.02
    assert by_chance(rows).tolist() == by_chance(rows).tolist()
