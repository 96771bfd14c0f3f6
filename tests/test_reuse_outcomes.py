"""Verdicts of a run on the paper's statements, and parts on translated demonstrations, from numbers chosen for them."""

import pytest
from reuse_inputs import record

from xlrm.evaluation.heldout_results import LengthBaseline, RewardModeling
from xlrm.evaluation.results import Estimate, EvaluationResults, WinRate
from xlrm.reporting import reuse_explanations, reuse_material, reuse_outcomes, reuse_sft
from xlrm.reporting.facts import Facts
from xlrm.reporting.reuse_material import Material, Verdicts

Rates = dict[str, dict[str, float]]


def win_rate(value: float, half: float) -> WinRate:
    return WinRate(win_rate=value, interval=(value - half, value + half), items=100, draws=0)


def verdicts(rates: Rates, half: float = 0.02, method: str = "best_of_n", judge: str = "gold") -> Verdicts:
    cells = {source: {target: win_rate(value, half) for target, value in own.items()} for source, own in rates.items()}
    return Verdicts(method, judge, cells)


def material(*given: Verdicts, languages: tuple[str, ...] = ("de", "en", "es"), **fields) -> Material:
    return Material(facts=fields.pop("facts", Facts()), languages=languages, verdicts=list(given), **fields)


ENGLISH: Rates = {
    "de": {"de": 0.55, "en": 0.52, "es": 0.53}, "en": {"de": 0.65, "en": 0.66, "es": 0.67},
    "es": {"de": 0.51, "en": 0.54, "es": 0.56},
}  # fmt: skip


def test_english_is_the_best_source_if_it_is_beyond_the_intervals() -> None:
    outcome = reuse_outcomes.english_best(material(verdicts(ENGLISH)))
    assert outcome.verdict == "yes"
    assert "the highest in 3 of 3 targets" in outcome.measured
    assert reuse_outcomes.english_best(material(verdicts(ENGLISH, half=0.1))).verdict == "not decided"
    swapped = {"de": ENGLISH["en"], "en": ENGLISH["de"], "es": ENGLISH["es"]}
    assert reuse_outcomes.english_best(material(verdicts(swapped))).verdict == "no"
    assert reuse_outcomes.english_best(material()).verdict == "not measured"


def test_leaders_are_not_wholly_below_another() -> None:
    """For English: en 0.66 to 0.70 and es 0.65 to 0.69 overlap, de is below both."""
    cells = verdicts({"de": {"en": 0.5}, "en": {"en": 0.68}, "es": {"en": 0.67}}).cells
    assert reuse_outcomes.leaders(cells) == {"en": ["en", "es"]}


def test_another_language_is_better_in_some_pair() -> None:
    outcome = reuse_outcomes.other_language_better(material(verdicts(ENGLISH)))
    assert outcome.verdict == "yes"
    assert "best-of-n: 2 of 6 pairs" in outcome.measured, "English for German and Spanish"
    own = {source: {t: 0.7 if source == t else 0.5 for t in row} for source, row in ENGLISH.items()}
    assert reuse_outcomes.other_language_better(material(verdicts(own))).verdict == "no"


def test_translate_train_is_compared_on_the_same_pairs() -> None:
    """Transfer minus translate-train: 0.10 in each of the pairs en to de and de to en, with no interval to speak of."""
    rates = {**ENGLISH, "en>de": {"de": 0.55}, "de>en": {"en": 0.42}}
    outcome = reuse_outcomes.translate_train(material(verdicts(rates)))
    assert outcome.verdict == "yes"
    assert "58.5 against 48.5" in outcome.measured, "(0.65 + 0.52) / 2 and (0.55 + 0.42) / 2"
    assert "above in 2 of 2 pairs" in outcome.measured


def test_a_bilingual_model_equals_the_english_one_within_intervals() -> None:
    both = {"de+en": {"de": 0.66, "en": 0.65}}
    outcome = reuse_outcomes.bilingual(material(verdicts(ENGLISH | both)))
    assert (outcome.verdict, outcome.place) == ("yes", "bilingual")
    assert "mean 0.0 points" in outcome.measured, "+1.0 and -1.0"
    assert reuse_outcomes.bilingual(material(verdicts(ENGLISH | {"de+en": {"de": 0.5, "en": 0.5}}))).verdict == "no"


def test_judges_agree_on_pairs_of_sources() -> None:
    """The second judge exchanges German and Spanish for every target: each target has three pairs, one of them differs."""
    second = {"de": ENGLISH["es"], "en": ENGLISH["en"], "es": ENGLISH["de"]}
    outcome = reuse_outcomes.judges_agree(material(verdicts(ENGLISH), verdicts(second, judge="second")))
    assert "6 of 9 pairs" in outcome.measured
    assert outcome.verdict == "not decided"


def test_wilsons_interval() -> None:
    """Wilson's interval of 7 of 10, as in Newcombe 1998's method 3: 0.397 to 0.892."""
    assert reuse_outcomes.wilson(7, 10) == pytest.approx((0.3968, 0.8922), abs=1e-4)


def test_policies_improve_if_most_cells_are_above_a_half() -> None:
    assert reuse_outcomes.improves(material(verdicts(ENGLISH))).verdict == "yes"
    low = {source: dict.fromkeys(row, 0.4) for source, row in ENGLISH.items()}
    assert reuse_outcomes.improves(material(verdicts(low))).verdict == "no"
    assert reuse_outcomes.second_judge(material(verdicts(ENGLISH))).verdict == "not measured"


def test_the_order_of_sources_is_stable() -> None:
    """The same order for all targets: tau 1 for each of three pairs; reversed for one of them: 1, -1 and -1."""
    same = {
        source: dict.fromkeys(("de", "en", "es"), value) for source, value in (("de", 0.5), ("en", 0.6), ("es", 0.7))
    }
    assert reuse_outcomes.between_targets(same) == pytest.approx([1, 1, 1])
    turned = {source: row | {"es": 1 - row["es"]} for source, row in same.items()}
    assert sorted(reuse_outcomes.between_targets(turned)) == pytest.approx([-1, -1, 1])
    assert reuse_outcomes.stable(material(verdicts(same))).verdict == "yes"


def test_the_highest_cell_of_another_language() -> None:
    high = {**ENGLISH, "en": {"de": 0.75, "en": 0.9, "es": 0.6}}
    outcome = reuse_outcomes.up_to(material(verdicts(high, judge="human=sheet.csv")))
    assert outcome.verdict == "yes"
    assert "75.0" in outcome.measured and "English → German" in outcome.measured, "0.9 is English's own"
    assert reuse_outcomes.up_to(material(verdicts(ENGLISH, judge="human=sheet.csv"))).verdict == "no"
    assert reuse_outcomes.up_to(material(verdicts(high))).verdict == "not measured", "a model's verdicts"


def modeling(accuracy: float, agreement: float, expected: float) -> RewardModeling:
    length = LengthBaseline(
        direction="longer", threshold=None, training_rows=9, training_accuracy=0.6, accuracy=0.55, agreement=agreement,
        expected_agreement=expected,
    )  # fmt: skip
    estimate = Estimate(accuracy, accuracy - 0.02, accuracy + 0.02)
    return RewardModeling(
        kind="judgments", rows=100, accuracy=estimate, macro=estimate, subsets={}, majority=0.6, length=length
    )


def evaluations(accuracies: Rates) -> list[EvaluationResults]:
    return [
        EvaluationResults(
            language=source, results={}, reward_modeling={on: modeling(value, 0.7, 0.55) for on, value in own.items()}
        )
        for source, own in accuracies.items()
    ]


def test_baselines_are_those_of_held_out_rows() -> None:
    """Cross-lingual cells at 0.70 are above the majority of 0.60 by more than the interval; at 0.61 they are not."""
    high = {source: dict.fromkeys(("de", "en"), 0.7) for source in ("de", "en")}
    given = material(evaluations=evaluations(high))
    assert reuse_material.baselines(given) == {"majority": {"de": 0.6, "en": 0.6}, "length": {"de": 0.55, "en": 0.55}}
    assert reuse_explanations.above_majority(given).verdict == "yes"
    near = {source: dict.fromkeys(row, 0.61) for source, row in high.items()}
    assert reuse_explanations.above_majority(material(evaluations=evaluations(near))).verdict == "not decided"


def test_agreement_with_length_is_compared_with_chance() -> None:
    outcome = reuse_explanations.length_agreement(material(evaluations=evaluations({"de": {"de": 0.7, "en": 0.6}})))
    assert outcome.verdict == "yes"
    assert "70.0" in outcome.measured and "55.0" in outcome.measured and "2 cells" in outcome.measured


def test_accuracy_that_orders_sources_as_win_rates_do_refutes_low_agreement() -> None:
    given = material(verdicts(ENGLISH), evaluations=evaluations(ENGLISH))
    outcome = reuse_explanations.accuracy_and_alignment(given)
    assert outcome.verdict == "no"
    assert "+1.00 [+1.00, +1.00]" in outcome.measured


def test_data_sizes_without_a_difference_are_not_measured() -> None:
    equal = material(verdicts(ENGLISH), facts=Facts(pairs={"de": 9, "en": 9, "es": 9}))
    assert reuse_explanations.data_sizes(equal).verdict == "not measured"
    ordered = material(verdicts(ENGLISH), facts=Facts(pairs={"de": 8, "en": 9, "es": 7}))
    outcome = reuse_explanations.data_sizes(ordered)
    assert "n = 3" in outcome.measured and outcome.verdict == "not decided", "three sources decide nothing"


def translated_lineage() -> dict:
    """German from English, and German there and back through English, as the pipeline makes them."""
    records = {
        "curate-en": record("curate", language="en"),
        "curate-de": record("curate", language="de"),
        "validate": record("validate", ("curate-en", "curate-de")),
    }

    def add(uri: str, stage: str, inputs: dict[str, str], metrics: dict | None = None, **config) -> None:
        own = record(stage, (), metrics, **config).model_copy(
            update={"inputs": {name: record("x", (of,)).inputs["given"] for name, of in inputs.items()}}
        )
        records[uri] = own

    add("from", "translate", {"corpus": "curate-en"}, language="de")
    add("there", "translate", {"corpus": "curate-de"}, language="en")
    add("back", "translate", {"corpus": "there"}, language="de")
    add("validate-from", "validate", {"source": "curate-en", "translations": "from"})
    add("validate-via", "validate", {"source": "there", "translations": "back"})
    for uri, corpora, rouge in (
        ("sft-de", "validate", 40.0),
        ("t", "validate-from", 20.0),
        ("r", "validate-via", 35.0),
    ):
        add(uri, "sft", {"corpora": corpora}, {"heldout_rouge_l": rouge}, language="de")
    return records


def test_what_sft_policies_were_trained_on_follows_from_the_lineage() -> None:
    trained = reuse_sft.policies(translated_lineage())
    assert [(each.language, each.kind, each.source, each.rouge) for each in trained] == [
        ("de", "organic", "", 40.0), ("de", "translated", "en", 20.0), ("de", "round_trip", "en", 35.0),
    ]  # fmt: skip
    assert reuse_sft.gaps(trained) == {("de", "en"): pytest.approx(0.75)}, "(35 - 20) / (40 - 20)"
    outcome = reuse_explanations.back_translation(material(trained_sft=trained))
    assert outcome.verdict == "yes" and "75.0" in outcome.measured


def test_translated_policies_are_compared_with_their_own_texts() -> None:
    """English reward model, German policy. Best-of-n: 0.65 on own texts, 0.40 on translated ones; RL: 0.65 and 0.64, or 0.50."""
    best = reuse_sft.TranslatedVerdict("best_of_n", "de", "translated", "en", win_rate(0.4, 0.05))
    outcome = reuse_explanations.translated_sft(material(verdicts(ENGLISH), translated=[best]))
    assert outcome.verdict == "yes"
    assert "\u221225.0 points" in outcome.measured
    both = (verdicts(ENGLISH), verdicts(ENGLISH, method="rl"))
    for value, verdict in ((0.64, "yes"), (0.5, "no")):
        online = reuse_sft.TranslatedVerdict("rl", "de", "translated", "en", win_rate(value, 0.05))
        outcome = reuse_explanations.translated_sft(material(*both, translated=[best, online]))
        assert outcome.verdict == verdict
        assert f"RL mean \u2212{65 - 100 * value:.1f} points" in outcome.measured
    kept = reuse_sft.TranslatedVerdict("rl", "de", "round_trip", "en", win_rate(0.61, 0.05))
    part = reuse_sft.part(
        [reuse_sft.SftPolicy("de", "organic", metrics={"heldout_rouge_l": 40.0})], [best, online, kept], ("de",), None
    )
    cells = [[cell.text for cell in row] for row in part.grids[-1].rows]
    assert cells == [
        ["German", "translated from English", "40.0", "14.4", "50.0", "28.8"],
        ["German", "there and back through English", "\u2013", "45.3", "61.0", "44.7"],
    ], "beside Tables 22 and 24 of the paper"
