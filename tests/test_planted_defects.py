"""The goals of the row checks on real text: defects are found, and human translations are left alone.

docs/validation.md has the whole table, with five times as many plants. Here a class has some ten rows in a language, so
that single misses would decide: the goal of 95 % is held to per class, and a looser one per class and language.
"""

import math

import pytest

from benchmarks.defect_counts import Found
from benchmarks.defects import DEFECTS, ROW_DEFECTS, TARGETS, items
from benchmarks.false_alarms import alarms_of_sentences
from benchmarks.planted_defects import measure
from xlrm.validation import alarms
from xlrm.validation.alarms import MEASURED
from xlrm.validation.suite import MEANING

RECALL, ALARMS = 0.95, 0.01
CLASSES = [defect.__name__ for defect in DEFECTS] + list(ROW_DEFECTS)
BELOW_RECALL = {"lost_number": 0.9}
"""The class that misses the goal: small numbers also stand in words, and elsewhere in a text."""
ABOVE_ALARMS = {("cut", "zh"): 0.025, ("number", "ru"): 0.02, ("number", "vi"): 0.045}
"""Where expectations miss the goal: translators leave out final marks and numbers."""


@pytest.fixture(scope="module")
def found(shared_data) -> Found:
    return measure(shared_data, "report", seeds=1)


@pytest.mark.parametrize("name", CLASSES)
def test_defects_are_found(found: Found, name: str) -> None:
    planted, caught = (sum(counts[name, language] for language in TARGETS) for counts in (found.planted, found.caught))
    assert planted >= len(TARGETS)
    assert caught / planted >= BELOW_RECALL.get(name, RECALL)
    assert all(found.recall(name, language) >= 0.6 for language in TARGETS)


@pytest.mark.parametrize("name", MEANING)
def test_clean_texts_pass(found: Found, name: str) -> None:
    for language in TARGETS:
        assert found.alarm_rate(name, language) <= ABOVE_ALARMS.get((name, language), ALARMS), language


def test_clean_sentences_pass(shared_data) -> None:
    """Each sentence counts once. Of the Chinese ones, eight lack a final mark; of the Vietnamese, five lack a number."""
    found = alarms_of_sentences(shared_data)
    above = {("cut", "zh"): 0.018, ("number", "vi"): 0.012}
    rates = {key: found.alarm_rate(*key) for key in found.clean if key[0] != "any"}
    assert len(rates) >= 12 * len(TARGETS)
    assert not {key: rate for key, rate in rates.items() if rate > above.get(key, ALARMS)}


def test_the_gate_lets_human_translations_pass_and_not_a_tenth_of_defects(found: Found, shared_data) -> None:
    sources = alarms.amounts(item.rows["en"] for item in items(shared_data, "report"))
    for language in TARGETS:
        failed, rows = found.alarms["any", language], found.clean["any", language]
        expected = alarms.expected(language, sources)
        assert alarms.judge(failed, rows, expected, 0.05).passed, language
        if failed / rows > expected - 0.02:  # below, the translations are better than what the rates are of
            assert not alarms.judge(failed + rows // 8, rows, expected, 0.05).passed, language


def test_rates_grow_with_texts_and_numbers_and_an_unmeasured_language_has_the_highest() -> None:
    short, long = [{"prompt": "The 3 foxes."}], [{"prompt": "The 3 foxes.", "chosen": "They saw 12 hens. " * 40}]
    for language in MEASURED:
        shares = [alarms.expected(language, alarms.amounts(rows)) for rows in (short, long)]
        assert 0 < shares[0] < shares[1] < 1
        assert alarms.expected("xx", alarms.amounts(long)) >= shares[1]
    assert alarms.expected("xx", alarms.amounts([])) == 0
    assert not alarms.judge(100, 1000, 0.01, 0.05).passed
    assert alarms.judge(100, 1000, 0.08, 0.05).passed


def test_what_a_translator_does_right_excuses_no_other_fault() -> None:
    """A thousand Chinese rows of three texts: 1 - exp(-3 * 0.022) = 6.4 % may lack a final mark, next to none be English."""
    amounts = alarms.amounts([{"prompt": "Foxes.", "chosen": "They saw hens.", "rejected": "They saw us."}] * 1000)
    marks, english = (alarms.expected("zh", amounts, failed) for failed in ((0.1, 0, 0), (0, 0, 0.1)))
    assert marks == pytest.approx(1 - math.exp(-3 * 0.022), abs=1e-4) and english < 0.001
    assert alarms.judge(100, 1000, marks, 0.05).passed
    assert not alarms.judge(100, 1000, english, 0.05).passed
