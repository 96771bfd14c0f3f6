"""Win rates as alpaca_eval computes them, paired differences, and the length-controlled rate."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused

from xlrm.errors import ConfigError, DataError, GateError
from xlrm.evaluation import length_control, statistics, win_rates
from xlrm.models.decoding import Completion
from xlrm.scorers.judges.pairs import Judgement, Pair
from xlrm.scorers.judges.rewardbench import bias


def plain(preferences: list) -> dict[str, float]:
    """alpaca_eval's describe_head2head and its discrete rate, written with pandas for this test."""
    given = pd.Series(preferences, dtype=float).dropna().replace(0.0, 1.5)
    wins = given[(given >= 1) & (given <= 2)] - 1
    discrete = given.where(given != 1.5, 0).round().replace(0.0, 1.5)
    discrete = discrete[(discrete >= 1) & (discrete <= 2)] - 1
    return {
        "win_rate": wins.mean(), "standard_error": wins.sem(), "wins": (wins > 0.5).sum(), "losses": (wins < 0.5).sum(),
        "draws": (wins == 0.5).sum(), "total": len(wins), "discrete": discrete.mean(),
    }  # fmt: skip


def test_the_numbers_of_alpaca_evals_own_code() -> None:
    """What `alpaca_eval.metrics.get_winrate` 0.6.6 returned for these preferences, in percent."""
    preferences = np.random.default_rng(0).uniform(1, 2, 805)
    preferences[:10], preferences[10:35] = math.nan, 1.5
    found = win_rates.head_to_head(preferences.tolist())
    assert found.win_rate * 100 == pytest.approx(51.68924372449288, abs=1e-12)
    assert found.standard_error * 100 == pytest.approx(1.0010163365147777, abs=1e-12)
    assert (found.wins, found.losses, found.draws, found.total) == (399, 371, 25, 795)
    assert found.discrete == pytest.approx((399 + 25 / 2) / 795)


def test_draws_in_both_spellings_missing_and_impossible_preferences() -> None:
    draw = random.Random(1)
    values = [0, 0.0, 1.5, 1, 2, 1.5 + 1e-9, 1.5 - 1e-9, None, math.nan, 2.4, 2.6, 0.6, 0.2, -1]
    for size in (1, 2, 40):
        preferences = [1.25] + [draw.choice([*values, 1 + draw.random()]) for _ in range(size - 1)]
        found = win_rates.head_to_head(preferences)._asdict()
        wanted = plain(preferences)
        wanted["standard_error"] = None if wanted["total"] < 2 else pytest.approx(wanted["standard_error"])
        assert found == {name: pytest.approx(value) for name, value in wanted.items()}
    assert win_rates.head_to_head([2.0]).standard_error is None
    with refused(DataError, "preferences", 2):
        win_rates.head_to_head([None, math.nan])


def judged(preferences: list[list[float | None]]) -> win_rates.Judged:
    """Each prompt (row) in each run (column), shown in both orders to a judge that is consistent; None: unreadable."""
    pairs, judgements = [], []
    shown = {1: (1.0, 2.0), 2: (2.0, 1.0), 1.5: (1.0, 1.0), None: (None, None)}
    for place, row in enumerate(preferences):
        for run, value in enumerate(row):
            pairs.append(Pair(f"p{place}", "?", "a" * (place + 1), "bb" * (run + 1), run))
            judgements.append(Judgement((True, False), shown[value], (Completion("x", True),) * 2))
    return win_rates.Judged(pairs, judgements)


def test_runs_are_averaged_for_each_prompt_and_have_a_spread_of_their_own() -> None:
    rows = [[2, 1, 2], [1, 1, 1], [1.5, None, 2], [None, None, None], [2, 2, 2]]
    found = win_rates.win_rate(judged(rows))
    items = [2 / 3, 0.0, 0.75, 1.0]
    assert found.win_rate == pytest.approx(np.mean(items)) and found.items == 4
    assert found.standard_error == pytest.approx(np.std(items, ddof=1) / 2)
    runs = [np.mean([1, 0, 0.5, 1]), np.mean([0, 0, 1]), np.mean([1, 0, 1, 1])]
    assert found.runs == pytest.approx(runs)
    assert found.run_standard_error == pytest.approx(np.std(runs, ddof=1) / math.sqrt(3))
    assert (found.wins, found.losses, found.draws, found.dropped) == (6, 4, 1, 4)
    assert (found.verdicts, found.unreadable, found.refused) == (30, 8, 0) and found.discrete == pytest.approx(6.5 / 11)
    assert found.characters == pytest.approx((3.0, 4.0))
    wanted = bias([{"verdicts": list(judgement.verdicts)} for judgement in judged(rows).judgements])
    assert {name: getattr(found, name) for name in ("first", "consistent", "position_bias")} == {
        name: wanted[name] for name in ("first", "consistent", "position_bias")
    }
    assert judged(rows).items() == pytest.approx(
        {f"p{n}": s for n, s in zip((0, 1, 2, 4), items, strict=True)} | {"p3": None}
    )


def test_no_rate_without_a_readable_verdict() -> None:
    with refused(GateError, "judge.judge", "x"):
        win_rates.win_rate(judged([[None], [None]]))


def test_run_k_compares_response_k_and_begins_again() -> None:
    one = [{"id": "1", "prompt": "p", "responses": ["a"]}]
    three = [{"id": "1", "prompt": "p", "responses": ["x", "y", "z"]}]
    assert [(pair.a, pair.b, pair.run) for pair in win_rates.pairs(one, three, 4)] == [
        ("a", "x", 0), ("a", "y", 1), ("a", "z", 2), ("a", "x", 3)
    ]  # fmt: skip
    with refused(DataError, "judge", "2"):
        win_rates.pairs(one, [three[0] | {"id": "2"}, three[0]])
    with refused(DataError, "item 1: responses", []):
        win_rates.pairs(one, [three[0] | {"responses": []}])


def signs_p(values: list[float]) -> float:
    """Exact two-sided p-value of all choices of signs."""
    observed = abs(sum(values))
    flips = [
        abs(sum(v if number >> place & 1 else -v for place, v in enumerate(values)))
        for number in range(2 ** len(values))
    ]
    return sum(flip >= observed - 1e-12 for flip in flips) / len(flips)


def test_paired_differences_and_who_is_compared() -> None:
    draw = random.Random(3)
    ids = [f"p{n}" for n in range(12)]
    items = {
        "base": {name: draw.choice([0, 0.5, 1]) for name in ids},
        "en": {name: draw.choice([0.5, 1, 1]) for name in ids},
        "es": {name: draw.choice([0, 0.5, 1]) for name in ids},
    }
    items["es"]["p3"] = None
    found = {(d.first, d.second): d for d in win_rates.differences(items, "es", "gpt-4-turbo")}
    assert list(found) == [("en", "es"), ("en", "base"), ("es", "base")]
    for (first, second), difference in found.items():
        values = [
            items[first][name] - items[second][name]
            for name in ids
            if None not in (items[first][name], items[second][name])
        ]
        assert difference.value == pytest.approx(np.mean(values))
        assert difference.p == pytest.approx(signs_p(values), abs=0.02)
        assert difference.low <= difference.value <= difference.high
    ordered = sorted(found.values(), key=lambda difference: difference.p)
    wanted = np.maximum.accumulate([min(1, (3 - place) * d.p) for place, d in enumerate(ordered)])
    assert [difference.p_holm for difference in ordered] == pytest.approx(wanted)


def test_against_the_base_policy_itself_it_wins_half_of_everything() -> None:
    items = {"en": {"1": 1.0, "2": 1.0, "3": 0.5}, "grpo-en": {"1": 0.0, "2": 0.0, "3": 0.0}}
    found = {(d.first, d.second): d.value for d in win_rates.differences(items, "en")}
    assert found == {
        ("grpo-en", "en"): pytest.approx(-5 / 6),
        ("en", "base"): pytest.approx(1 / 3),
        ("grpo-en", "base"): -0.5,
    }
    assert not win_rates.differences({"en": {"1": 1.0}}, "en", "gpt-4-turbo")


def test_an_interval_over_groups_resamples_their_items_together() -> None:
    rng = np.random.default_rng(7)
    values = rng.random((30, 3)) + np.array([0, 0.2, -0.1])
    values[4, 1] = values[9, 2] = np.nan
    mean, low, high = statistics.mean_interval_of_groups(values)
    assert mean == pytest.approx(np.nanmean(values, axis=0).mean())
    drawn = [np.nanmean(values[rng.integers(0, 30, 30)], axis=0).mean() for _ in range(4000)]
    assert (low, high) == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.012)
    centred = values[:10] - 0.45
    contributions = (np.nan_to_num(centred) / (~np.isnan(centred)).sum(axis=0)).mean(axis=1).tolist()
    assert statistics.paired_mean_of_groups(centred).p == pytest.approx(signs_p(contributions), abs=0.02)


HARD = np.random.default_rng(11).normal(size=40).round(6)
"""Difficulties of AlpacaEval's first 40 prompts, made up."""


def logistic(values: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-values))).round(6)


@pytest.fixture
def gamed(tmp_path) -> Path:
    """A file as AlpacaEval's df_gamed.csv: preferences for two baselines, whose responses are shorter or longer."""
    rng, path = np.random.default_rng(12), tmp_path / "df_gamed.csv"
    lengths = [rng.normal(side, size=40).round(6) for side in (-1, 1)]
    tables = [
        pd.DataFrame(
            {"model": place, "index": range(40), "preference": logistic(HARD - np.tanh(own)), "std_delta_len": own}
        )
        for place, own in enumerate(lengths)
    ]
    pd.concat(tables).assign(instruction_difficulty=[*HARD, *HARD], not_gamed_baseline=False).to_csv(path, index=False)
    return path


def alpaca_evals(shared_data: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(prompts, shares of a win, lengths) of a policy on AlpacaEval's first 40 prompts. Longer responses win more."""
    lines = (shared_data / "alpaca_eval/instructions.jsonl").read_text(encoding="utf-8").splitlines()[:40]
    lengths = np.random.default_rng(13).integers(10, 3000, (40, 1, 2))
    shares = logistic(0.7 + 0.5 * HARD[:, None] - np.tanh((lengths[..., 0] - lengths[..., 1]) / 1000))
    shares[5] = np.nan
    return [json.loads(line)["instruction"] for line in lines], shares, lengths


def test_the_length_controlled_rate_is_alpaca_evals(shared_data, gamed) -> None:
    """What `get_length_controlled_winrate` of alpaca_eval 0.6.6 returned for the same numbers, in percent."""
    found = length_control.win_rate(length_control.load(str(gamed), "en"), *alpaca_evals(shared_data))
    assert (found.win_rate * 100, found.standard_error * 100) == pytest.approx(
        (65.10933709854507, 1.7138483739608676), abs=1e-6
    )
    assert "length-controlled" in found.label and gamed.name in found.label


def test_length_control_only_where_it_is_valid(shared_data, gamed, tmp_path) -> None:
    prompts, shares, lengths = alpaca_evals(shared_data)
    assert [length_control.number(f"  {prompt}\n") for prompt in prompts] == list(range(40))
    control = length_control.load(str(gamed), "en")
    with refused(DataError, "judge.length_control", "Who are you?"):
        length_control.win_rate(control, ["Who are you?", *prompts[1:]], shares, lengths)
    with refused(ConfigError, "judge.length_control", str(gamed)):
        length_control.load(str(gamed), "es")
    with refused(ConfigError, "judge.length_control", "nowhere.csv"):
        length_control.load("nowhere.csv", "en")
    pd.read_csv(gamed).drop(columns="preference").to_csv(tmp_path / "other.csv")
    with refused(DataError, tmp_path / "other.csv", ["preference"]):
        length_control.load(str(tmp_path / "other.csv"), "en")
    pd.read_csv(gamed).query("index != 7").to_csv(tmp_path / "less.csv", index=False)
    with refused(DataError, "judge.length_control", 7):
        length_control.win_rate(length_control.load(str(tmp_path / "less.csv"), "en"), prompts, shares, lengths)
    assert length_control.load(None, "es") is None and length_control.fingerprint(None) == ""
    assert len(length_control.fingerprint(str(gamed))) == 64


def test_the_log_says_the_rates_and_that_one_side_won_every_time(capsys) -> None:
    mixed, lost = (win_rates.win_rate(judged(rows)) for rows in ([[2], [1], [2], [1]], [[1], [1]]))
    win_rates.say("es", "base", {"en": mixed, "es": lost})
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(part in line for part in ("judge[es]", "against base", "en 50.0%", "es 0.0% (0.0% to 0.0%)"))
    win_rates.say("es", "base", {"en": lost})
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
