"""Who becomes the champion: a paired comparison on the items both were asked."""

import numpy as np
import pytest
from refusals import refused

from xlrm.errors import ConfigError
from xlrm.evaluation import reward_table
from xlrm.registry import gate
from xlrm.registry.gate import Rule, decide

SECTIONS = ("Chat", "Safety")
RULE = Rule(resamples=500)


def evaluated(folder, right, items=200, languages=("en", "ko"), text="p", benchmark=reward_table.CORPUS, left_out=()):
    """rewards.parquet of a model that is right on the items for which `right(language, i)` is true, and was not asked those
    (language, item) that are left out."""
    folder.mkdir(exist_ok=True)
    kept = []
    for language in languages:
        rows = [
            {"id": f"b{i}", "subset": SECTIONS[i % 2], "section": SECTIONS[i % 2], "prompt": f"{text}{i}",
             "chosen": "yes", "rejected": "no"}
            for i in range(items) if (language, i) not in left_out
        ]  # fmt: skip
        scored = [([1.0], [0.0 if right(language, int(one["id"][1:])) else 2.0]) for one in rows]
        kept += reward_table.records(benchmark, language, rows, scored)
    reward_table.write(folder / reward_table.FILE, kept)
    return folder / reward_table.FILE


def seven_of_ten(language, i):
    return i % 10 < 7


def test_the_first_version_is_the_champion(tmp_path) -> None:
    found = decide(None, evaluated(tmp_path / "a", seven_of_ten), None, RULE)
    assert (found.promoted, found.champion, found.rows) == (True, None, ())


def best_of(folder, wrong, right, items=200):
    """rewards.parquet of a model that is right on `right` of ten items, each of one chosen and so many rejected responses."""
    folder.mkdir()
    rows = [
        {"id": f"b{i}", "subset": "s", "section": "S", "prompt": "p", "chosen": "a", "rejected": list("bcd"[:wrong])}
        for i in range(items)
    ]
    scored = [([1.0], [0.0 if i % 10 < right else 2.0] * wrong) for i in range(items)]
    reward_table.write(folder / reward_table.FILE, list(reward_table.records(reward_table.CORPUS, "en", rows, scored)))
    return folder / reward_table.FILE


@pytest.mark.parametrize(
    ("wrong", "right", "promoted"), [(1, 5, False), (1, 7, True), (3, 2, False), (3, 3, False), (3, 4, True)]
)
def test_a_champion_is_better_than_chance_on_its_items(tmp_path, wrong, right, promoted) -> None:
    """Chance is 0.5 of a pair and 0.25 of a best of four; 200 items at 0.3 do not tell it from 0.25."""
    found = decide(None, best_of(tmp_path / "a", wrong, right), None, RULE)
    assert found.promoted == promoted and ("not better than chance in en on corpus" in found.reason) != promoted


def test_chance_is_asked_for_in_the_own_language(tmp_path) -> None:
    rewards_file = evaluated(tmp_path / "a", lambda language, i: i % 10 < (8 if language == "en" else 5))
    of_own = {own: decide(None, rewards_file, None, RULE, own=own).promoted for own in (("en",), ("ko",), ("en", "ko"))}
    assert of_own == {("en",): True, ("ko",): False, ("en", "ko"): False}
    assert not decide(None, rewards_file, None, RULE, own=("it",)).promoted, "a language that was not asked: all count"


def test_a_challenger_at_chance_does_not_follow_a_champion_below_it(tmp_path) -> None:
    champion = evaluated(tmp_path / "a", lambda _, i: i % 10 < 2)
    found = decide(champion, evaluated(tmp_path / "b", lambda _, i: i % 10 < 5), "1", RULE)
    assert not found.promoted and "chance 0.500" in found.reason


def test_a_better_challenger_takes_the_place(tmp_path) -> None:
    champion = evaluated(tmp_path / "a", seven_of_ten)
    found = decide(champion, evaluated(tmp_path / "b", lambda _, i: i % 10 < 9), "3", RULE)
    whole = found.rows[0]
    assert found.promoted and found.champion == "3" and "better than version 3" in found.reason
    assert (whole.language, whole.section, whole.items, whole.verdict) == ("all", "average", 200, "better")
    assert (whole.champion, whole.challenger) == pytest.approx((0.7, 0.9)) and 0 < whole.low < 0.2 < whole.high
    assert {(row.language, row.section) for row in found.rows} == {
        (language, section) for language in ("all", "en", "ko") for section in ("average", *SECTIONS)
    }
    assert gate.Decision.from_json(found.as_json()) == found
    assert "| corpus | all | average | 200 | 0.700 | 0.900 | +0.200 |" in found.markdown("m")


def test_as_good_is_not_better(tmp_path) -> None:
    champion = evaluated(tmp_path / "a", seven_of_ten)
    again = decide(champion, champion, "1", RULE)
    assert (again.promoted, again.rows) == (False, ()) and "every reward equals that of version 1" in again.reason
    lucky = decide(champion, evaluated(tmp_path / "b", lambda _, i: i % 10 < 7 or i == 9), "1", RULE)
    assert not lucky.promoted and lucky.rows[0].difference > 0 and lucky.rows[0].low <= 0


@pytest.mark.parametrize(
    ("right", "reason"),
    [
        (lambda language, i: i % 10 < (10 if language == "en" else 6), "ko on corpus is worse by 0.100"),
        (lambda _, i: i % 10 < 7 and i % 20 > 1 if i % 2 else True, "Safety on corpus is worse by"),
    ],
    ids=["language", "section"],
)
def test_better_on_the_whole_but_worse_in_a_part(tmp_path, right, reason) -> None:
    champion, challenger = (evaluated(tmp_path / name, one, 600) for name, one in (("a", seven_of_ten), ("b", right)))
    found = decide(champion, challenger, "1", RULE)
    assert found.rows[0].verdict == "better" and not found.promoted and found.reason.startswith(reason)
    assert decide(champion, challenger, "1", Rule(resamples=500, margin=0.2)).promoted


def test_items_of_one_id_are_drawn_in_all_languages_together(tmp_path) -> None:
    """Two languages that answer alike say no more than one: the interval stays as wide."""
    widths = []
    for languages in (("en",), ("en", "ko")):
        champion = evaluated(tmp_path / f"a{len(languages)}", seven_of_ten, languages=languages)
        challenger = evaluated(tmp_path / f"b{len(languages)}", lambda _, i: i % 10 > 1, languages=languages)
        row = decide(champion, challenger, "1", RULE).rows[0]
        widths.append(row.high - row.low)
    assert widths[0] == pytest.approx(widths[1]) and widths[0] > 0.05


def test_only_the_same_items_are_compared_and_too_few_of_them_are_refused(tmp_path) -> None:
    champion = evaluated(tmp_path / "a", seven_of_ten, items=190)
    better = evaluated(tmp_path / "b", lambda _, i: i % 10 < 9)
    assert decide(champion, better, "1", RULE).rows[0].items == 190
    strict = decide(champion, better, "1", Rule(min_common_share=0.96))
    assert not strict.promoted and "95.0% of the items of corpus; 96.0%" in strict.reason
    other = decide(evaluated(tmp_path / "c", seven_of_ten, text="other"), better, "1", RULE)
    assert not other.promoted and "0.0% of the items" in other.reason
    gone = decide(None, better, "1", RULE)
    assert not gone.promoted and "no rewards to compare with" in gone.reason


@pytest.mark.parametrize(
    ("champion", "challenger", "reason"),
    [
        ({}, {"languages": ("en",)}, "no item of Chat in ko on corpus"),
        ({}, {"left_out": [("ko", i) for i in range(1, 200, 2)]}, "no item of Safety in ko on corpus"),
        ({"left_out": [("ko", i) for i in range(40)]}, {}, None),
        ({"left_out": [("ko", 1)]}, {"left_out": [("ko", i) for i in range(3, 200, 2)]}, "no item of Safety in ko on corpus"),
    ],
    ids=["language", "section", "some items", "the rest of a section"],
)  # fmt: skip
def test_what_only_one_of_them_was_asked_cannot_hide_a_loss(tmp_path, champion, challenger, reason) -> None:
    first = evaluated(tmp_path / "a", seven_of_ten, **champion)
    found = decide(
        first,
        evaluated(tmp_path / "b", lambda _, i: i % 10 < 9, **challenger),
        "1",
        Rule(resamples=300, min_common_share=0.5),
    )
    assert found.promoted == (reason is None)
    assert reason is None or found.reason.startswith(reason)


def test_the_mean_over_languages_is_that_of_their_rows(tmp_path) -> None:
    """Where a language has fewer items, it still counts as much as another."""
    fewer = {"left_out": [("ko", i) for i in range(20, 200)]}
    champion = evaluated(tmp_path / "a", seven_of_ten, **fewer)
    rows = decide(
        champion, evaluated(tmp_path / "b", lambda on, i: on == "en" or i % 5 < 2, **fewer), "1", RULE, own=("en",)
    ).rows
    of = {(row.language, row.section): row for row in rows}
    for section in ("average", *SECTIONS):
        each = [of[language, section] for language in ("en", "ko")]
        for one in ("champion", "challenger", "difference"):
            assert getattr(of["all", section], one) == pytest.approx(np.mean([getattr(row, one) for row in each]))
    assert of["all", "average"].low < of["all", "average"].difference < of["all", "average"].high


def test_a_benchmark_that_was_not_evaluated_on(tmp_path) -> None:
    with refused(ConfigError, "register.benchmarks", "mine"):
        decide(None, evaluated(tmp_path / "a", seven_of_ten), None, Rule(benchmarks=("mine",)))


def rate(times, items, languages, gain, differ=0.1) -> float:
    """How often the gate promotes a challenger that answers otherwise than the champion on a share `differ` of the items,
    half of these in all languages alike, and is better by `gain`."""
    rng = np.random.default_rng(0)
    rule, promoted = Rule(resamples=200), 0
    for _ in range(times):
        drawn = rng.random((languages + 1, items))
        drawn[1:, ::2] = drawn[0, ::2]
        both = {}
        for language, one in enumerate(drawn[1:]):
            better = np.where(one < (differ + gain) / 2, 1, np.where(one < differ, -1, 0))
            both[str(language)] = [(_answer(i, sign), _answer(i, -sign)) for i, sign in enumerate(better)]
        promoted += all(row.verdict in ("better", "ok", "") for row in gate._compared("corpus", both, rule, "lost"))
    return promoted / times


def _answer(i: int, sign: int) -> dict:
    reward = 1.0 if sign >= 0 else 0.0
    return {"id": f"b{i}", "subset": str(i % 4), "section": str(i % 4), "chosen": [reward], "rejected": [0.5]}


@pytest.mark.parametrize(
    ("items", "languages", "gain", "low", "high"),
    [(60, 2, 0.0, 0, 0.06), (400, 1, 0.0, 0, 0.045), (1000, 1, 0.03, 0.75, 0.95), (1000, 5, 0.03, 0.85, 1)],
)
def test_chance_alone_seldom_promotes_and_a_better_model_is_found(items, languages, gain, low, high) -> None:
    """docs/registry.md prints these: `pytest -s -k chance tests/test_gate.py`."""
    times = 300 if gain == 0 else 40
    found = rate(times, items, languages, gain)
    print(f"{items} items, {languages} languages, better by {gain:.2f}: {found:.3f} of {times} promoted")
    assert low <= found <= high


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda one: one, True),
        (lambda one: one | {"reward": one["reward"] + 0.05}, True),
        (lambda one: one | {"reward": one["reward"] + (0.5 if one["id"] == "b3" else 0)}, False),
        (lambda one: one | {"text": "another"} if one["id"] == "b3" else one, False),
        (lambda one: one | {"benchmark": "another"}, False),
        (lambda one: None if one["language"] == "ko" else one, False),
        (lambda one: None if one["id"] == "b3" and one["side"] == "rejected" else one, False),
    ],
    ids=["the same", "rounding", "a reward", "a text", "a benchmark", "a language", "a response"],
)
def test_what_makes_two_evaluations_of_a_model_one(tmp_path, change, same) -> None:
    """Rewards are between 0 and 2."""
    import pyarrow.parquet

    first = evaluated(tmp_path / "a", seven_of_ten)
    rows = [changed for one in pyarrow.parquet.read_table(first).to_pylist() if (changed := change(one))]
    (tmp_path / "b").mkdir()
    reward_table.write(tmp_path / "b" / reward_table.FILE, rows)
    assert (
        gate.same(first, tmp_path / "b" / reward_table.FILE)
        == gate.same(tmp_path / "b" / reward_table.FILE, first)
        == same
    )
