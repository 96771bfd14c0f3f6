"""Figure 3 of paper A from the verdicts of several languages, and what is said of it."""

import random

import numpy as np
import pytest
from refusals import refused

from xlrm.errors import DataError
from xlrm.evaluation import judged_policies, statistics, win_rates
from xlrm.evaluation.results import Estimate, JudgedItems, JudgeResults, WinRate

PROMPTS = [f"p{n}" for n in range(60)]


def judged(language: str, seed: int, reference: str = "base", **gains: float) -> tuple[JudgeResults, JudgedItems]:
    """System -> how much better than the reference its responses are."""
    draw = random.Random(seed)
    shares = {name: {prompt: float(draw.random() < 0.5 + gain) for prompt in PROMPTS} for name, gain in gains.items()}
    rates = {name: statistics.mean_interval(np.array(list(own.values()))) for name, own in shares.items()}
    results = JudgeResults(
        language=language, judge="phrasebook", reference=reference,
        results={name: WinRate(win_rate=rate[0], interval=rate[1:], items=60, draws=0) for name, rate in rates.items()},
        differences=win_rates.differences(shares, language, reference),
    )  # fmt: skip
    return results, JudgedItems.of(shares)


def test_means_and_readings_over_languages(tmp_path) -> None:
    given = [judged("es", 1, en=0.45, es=0.05), judged("ko", 2, en=0.2, ko=0.2), judged("zh", 3, en=-0.45, zh=0.0)]
    for results, items in given:
        results.write(tmp_path / results.language)
        items.write(tmp_path / results.language)
    found = judged_policies.read([tmp_path / code for code in ("es", "ko", "zh")])
    assert [results.language for results in found.languages] == ["es", "ko", "zh"]
    assert found.means["base"] == Estimate(0.5, 0.5, 0.5)
    rates = {
        "source": [results.results["en"].win_rate for results, _ in given],
        "target": [results.results[results.language].win_rate for results, _ in given],
    }
    for role, own in rates.items():
        assert found.means[role].value == pytest.approx(np.mean(own)) and found.means[role].low < np.mean(own)
    gain = found.differences["source", "base"]
    assert gain.value == pytest.approx(np.mean(rates["source"]) - 0.5) and gain.low < gain.value < gain.high
    language, largest = found.largest_increase
    assert language == "es" and largest.value == pytest.approx(max(rates["source"]) - 0.5)
    assert found.readings("source", "base")["es"] == "higher" and found.readings("source", "base")["zh"] == "lower"
    assert found.readings("source", "target")["ko"] == "no difference"


def test_p_values_are_adjusted_for_the_comparisons_of_all_languages() -> None:
    given = [judged("es", 1, en=0.2, es=0.05)[0], judged("ko", 2, en=0.2, ko=0.1)[0]]
    found = [difference for results in judged_policies.adjust(given) for difference in results.differences]
    ordered = sorted(found, key=lambda difference: difference.p)
    wanted = np.maximum.accumulate([min(1, (6 - place) * each.p) for place, each in enumerate(ordered)])
    assert [each.p_holm for each in ordered] == pytest.approx(wanted)
    assert any(
        each.p_holm > own.p_holm for each, own in zip(found, (d for r in given for d in r.differences), strict=True)
    )


def test_the_base_policy_is_a_system_against_responses_from_elsewhere() -> None:
    results, items = judged("es", 4, "gpt-4-turbo", base=-0.3, en=0.0, es=0.0)
    found = judged_policies.of([results], [items])
    assert found.means["base"].value == pytest.approx(results.results["base"].win_rate)
    assert found.difference("es", "source", "base").value == pytest.approx(
        results.results["en"].win_rate - results.results["base"].win_rate
    )


def test_one_language_alone_has_no_target_and_online_policies_no_role() -> None:
    results, items = judged("en", 5, **{"en": 0.1, "grpo-en": 0.2})
    found = judged_policies.of([results], [items])
    assert list(found.means) == ["base", "source"]
    assert list(found.differences) == [("source", "base")] and found.readings("source", "target") == {}


def test_verdicts_without_items_are_refused(tmp_path) -> None:
    judged("es", 1, en=0.1, es=0.1)[0].write(tmp_path)
    with refused(DataError, tmp_path / "items.json"):
        judged_policies.read([tmp_path])
