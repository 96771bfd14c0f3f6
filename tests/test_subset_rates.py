"""Win rates over prompts of several data sets: macro-averages, intervals and tests by hand, and a limit for each data set."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from sampled import answered

from xlrm.errors import GateError
from xlrm.evaluation import statistics, win_rates
from xlrm.evaluation.results import JudgedItems, JudgeResults
from xlrm.evaluation.win_rates import Judged
from xlrm.scorers.judges.pairs import Judgement, Pair
from xlrm.stages import judge
from xlrm.store.jsonl import read_rows, write_jsonl

RIGHT, WRONG = "Three. ", "Seven. "
SUBSETS = ("xsum", "wikilingua", "xsum", "xsum", "wikilingua")


def judged(shares: dict[str, list[float | None]], runs: int = 1) -> Judged:
    """Shares of a win by subset, each prompt's runs side by side."""
    rows = [(subset, n, share) for subset, own in shares.items() for n, share in enumerate(own)]
    pairs = [Pair.of(f"{subset}{n // runs}", "?", "a", "b", n % runs, subset=subset) for subset, n, _ in rows]
    return Judged(pairs, [Judgement((True,), (None if share is None else 1 + share,)) for *_, share in rows])


def test_the_rate_is_the_mean_over_the_data_sets() -> None:
    rate = win_rates.win_rate(judged({"xsum": [1.0, 1.0, 0.0, 0.0, None], "wikilingua": [1.0, 0.8]}))
    assert rate.win_rate == pytest.approx((0.5 + 0.9) / 2) and rate.items == 6
    assert {name: (each.win_rate, each.items) for name, each in rate.subsets.items()} == {
        "xsum": (0.5, 4), "wikilingua": (pytest.approx(0.9), 2),
    }  # fmt: skip
    assert rate.subsets["xsum"].interval == statistics.mean_interval(np.array([1.0, 1.0, 0.0, 0.0]))[1:]
    # Variances of the means: (4 * 0.25 / 3) / 4 = 1/12, and (2 * 0.01 / 1) / 2 = 0.01.
    assert rate.standard_error == pytest.approx(math.sqrt(1 / 12 + 0.01) / 2)
    assert rate.discrete == pytest.approx((0.5 + 1) / 2)
    assert (rate.wins, rate.losses, rate.draws, rate.dropped) == (4, 2, 0, 1)


def test_prompts_are_resampled_within_their_data_set() -> None:
    """0 and 1 of one, 1 of the other: the resampled means are 0.5, 0.75 and 1, with probabilities 1/4, 1/2 and 1/4. All
    three together would give 0 with probability 1/27."""
    rate = win_rates.win_rate(judged({"xsum": [0.0, 1.0], "wikilingua": [1.0]}))
    assert rate.interval == (0.5, 1.0) and rate.win_rate == 0.75
    together = win_rates.win_rate(judged({"xsum": [0.0, 1.0, 1.0]}))
    assert together.interval == (0.0, 1.0) and together.win_rate == pytest.approx(2 / 3) and not together.subsets
    assert rate.standard_error is None, "of one prompt there is none"


def test_each_run_has_its_mean_over_the_data_sets() -> None:
    rate = win_rates.win_rate(judged({"xsum": [1.0, 0.0, 1.0, 0.0], "wikilingua": [0.0, None]}, runs=2))
    assert rate.runs == (0.5, 0.0), "in the second run one data set has no verdict"
    assert rate.win_rate == pytest.approx((0.5 + 0.0) / 2)


def test_a_data_set_without_a_readable_verdict_is_no_part_of_a_mean() -> None:
    with refused(GateError, "judge.judge", ""):
        win_rates.win_rate(judged({"xsum": [1.0], "wikilingua": [None]}))


def test_one_data_set_or_none_changes_nothing() -> None:
    values = np.random.default_rng(0).random(30)
    assert statistics.macro_interval([values], 3) == statistics.mean_interval(values, 3)
    assert statistics.macro_standard_error([values]) == pytest.approx(statistics.standard_error(values.tolist()))
    assert statistics.paired_macro([values - 0.4], 3) == statistics.paired_mean(values - 0.4, 3)


def test_differences_are_means_over_the_data_sets() -> None:
    """By all signs: |0.5 (s + t) / 2 + u / 2|, with differences 0.5 and 0.5 of one data set and 1 of the other, is as large as
    0.75 in 2 of 8."""
    items = {"en": {"a": 1.0, "b": 1.0, "c": 1.0}, "ko": {"a": 0.5, "b": 0.5, "c": 0.0}}
    subsets = {"a": "xsum", "b": "xsum", "c": "wikilingua"}
    named = win_rates.differences(items, "ko", "sft", subsets)
    assert [(each.first, each.second, each.value) for each in named] == [("en", "ko", pytest.approx(0.75))]
    compared = win_rates.differences(items, "ko", subsets=subsets)
    first = next(each for each in compared if (each.first, each.second) == ("en", "ko"))
    assert first.value == first.low == first.high == pytest.approx(0.75)
    assert first.p == pytest.approx(2 / 8, abs=0.02)
    plain = next(each for each in win_rates.differences(items, "ko") if (each.first, each.second) == ("en", "ko"))
    assert plain.value == pytest.approx(2 / 3)


def answers(folder: Path, responses: list[str]) -> Path:
    rows = [
        answered(f"p{n}", "How much is one plus two?", [text], subset=subset)
        for n, (text, subset) in enumerate(zip(responses, SUBSETS, strict=True))
    ]
    write_jsonl(folder / "0/eval/en.jsonl", rows)
    return folder


def run(tmp_path: Path, **config) -> Path:
    given = {
        "reference": [answers(tmp_path / "reference", [WRONG] * 5)],
        "candidates": [answers(tmp_path / "candidates", [RIGHT, RIGHT, WRONG, WRONG, RIGHT])],
    }
    output = tmp_path / f"out{len(config)}"
    output.mkdir()
    settings = judge.Config(language="en", labelers=("en",), judge="phrasebook", **config)
    judge.run(settings, output=output, **given)
    return output


def test_the_stage_averages_over_the_subsets_of_the_responses(tmp_path) -> None:
    output = run(tmp_path)
    results = JudgeResults.read(output)
    rate, (difference,) = results.results["en"], results.differences
    assert rate.subsets["xsum"].win_rate == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert rate.subsets["wikilingua"].win_rate == 1.0
    assert rate.win_rate == pytest.approx((2 / 3 + 1) / 2) and difference.value == pytest.approx(rate.win_rate - 0.5)
    assert JudgedItems.read(output).subset_of == {f"p{n}": subset for n, subset in enumerate(SUBSETS)}
    written = json.loads((output / "results.json").read_text())["results"]["en"]
    assert list(written["subsets"]) == ["xsum", "wikilingua"]


def test_at_most_so_many_of_each_data_set_are_judged(tmp_path) -> None:
    def digest(name: str) -> bytes:
        return hashlib.sha256(f"7\0{name}".encode()).digest()

    own = [f"p{n}" for n, subset in enumerate(SUBSETS) if subset == "xsum"]
    wanted = {*sorted(own, key=digest)[:2], "p1", "p4"}
    output = run(tmp_path, max_items=2, seed=7)
    ids = [row["id"] for row in read_rows(output / "verdicts.jsonl")]
    assert set(ids) == wanted and ids == sorted(ids) and len(ids) == 4
    assert set(JudgedItems.read(output).ids) == wanted
