"""Which source to take for a target: rules and regrets by hand, ridge regression as scikit-learn computes it, and the tables
of docs/recommender.md."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from xlrm.analysis import recommender
from xlrm.analysis.recommender import Choices
from xlrm.analysis.typology import Value
from xlrm.reporting.published import paper_b

PAGE = Path(__file__).parents[1] / "docs" / "recommender.md"
RATES = {
    "en": {"en": 50.0, "de": 60.0, "tr": 70.0},
    "de": {"en": 56.0, "de": 50.0, "tr": 60.0},
    "tr": {"en": 56.0, "de": 58.0, "tr": 50.0},
}
"""Means of the targets: 54, 56, 60."""
ACCURACY = {
    "en": {"en": 80.0, "de": 60.0, "tr": 55.0},
    "de": {"en": 70.0, "de": 75.0, "tr": 65.0},
    "tr": {"en": 60.0, "de": 60.0, "tr": 65.0},
}


def by_rule(choices: list[Choices]) -> dict[str, Choices]:
    return {each.rule: each for each in choices}


def test_rules_choose_and_pay_by_hand() -> None:
    alike = {a: {b: 1.0 if a == b else 0.6 if "tr" in (a, b) else 0.7 for b in RATES} for a in RATES}
    found = by_rule(
        recommender.evaluate(RATES, recommender.signals(ACCURACY, {"en": 50.0, "de": 40.0, "tr": 60.0}, alike))
    )
    assert found["english"].regrets == {"en": 6.0, "de": 0.0, "tr": 0.0} and found["english"].hits == 2
    assert found["own"].regrets == {"en": 6.0, "de": 10.0, "tr": 20.0} and found["own"].hits == 0
    assert found["best"].regret == 0 and found["best"].chosen["en"] == ("de", "tr")
    # The means of 50, 56, 56; of 60, 50, 58; of 70, 60, 50. Either of two equal ones is a hit.
    assert found["random"].regrets == pytest.approx({"en": 2.0, "de": 4.0, "tr": 10.0})
    assert found["random"].hits == pytest.approx(2 / 3 + 1 / 3 + 1 / 3)
    assert found["accuracy"].chosen == {"en": ("en",), "de": ("de",), "tr": ("de", "tr")}
    assert found["accuracy"].regrets["tr"] == pytest.approx(15.0)
    assert found["own accuracy"].chosen == dict.fromkeys(RATES, ("en",))
    assert found["above length"].chosen == dict.fromkeys(RATES, ("de",)), "30, 35 and 5 points above length"
    assert found["nearest"].chosen == {"en": ("de",), "de": ("en",), "tr": ("en", "de")}
    # For target en: en has (4 + 10) / 2, de (-6 + 0) / 2, tr (2 - 10) / 2. For de: (-4 + 10) / 2, (2 + 0) / 2, (2 - 10) / 2.
    # For tr: (-4 + 4) / 2, (2 - 6) / 2, (2 + 2) / 2.
    assert found["other targets"].chosen == {"en": ("en",), "de": ("en",), "tr": ("tr",)}
    assert found["other targets"].regret == pytest.approx((6 + 0 + 20) / 3)


def test_without_the_targets_own_reward_model() -> None:
    found = by_rule(recommender.evaluate(RATES, recommender.signals(ACCURACY), own=False))
    assert "own" not in found and "nearest" not in found
    assert found["english"].chosen["en"] == ("de", "tr"), "English is none of the choices for English"
    # Target en, of de and tr: de has 5 for tr (60 against the mean of 70 and 60 is -5), tr has -1 for de.
    assert found["other targets"].chosen == {"en": ("tr",), "de": ("en",), "tr": ("en",)}
    assert found["accuracy"].chosen == {"en": ("de",), "de": ("en", "tr"), "tr": ("de",)}


def test_ranks_are_averaged() -> None:
    """For target en, by accuracy 2, 1, 0 sources are exceeded; by agreement 0.5, 0.5, 2."""
    agreement = {"en": dict.fromkeys(RATES, 0.1), "de": dict.fromkeys(RATES, 0.1), "tr": dict.fromkeys(RATES, 0.5)}
    known = {"accuracy": ACCURACY, "agreement": agreement}
    found = by_rule(recommender.evaluate(RATES, known))["rank average"]
    assert found.chosen["en"] == ("en",), "1.25, 0.75 and 1"
    assert found.chosen["de"] == ("de", "tr"), "by accuracy 0.5, 2 and 0.5, by agreement 0.5, 0.5 and 2"


def test_ridge_regression_as_scikit_learn_computes_it() -> None:
    """Centred within a target, scaled by the standard deviation over the other targets' cells, and with a mean over other
    targets that leaves out both."""
    sources, target, others = list(RATES), "en", ["de", "tr"]

    def column(matrix: dict, of: str) -> np.ndarray:
        values = np.array([matrix[source][of] for source in sources])
        return values - values.mean()

    rows = np.concatenate(
        [np.stack([column(ACCURACY, t), column(RATES, o)], 1) for t, o in (("de", "tr"), ("tr", "de"))]
    )
    scale = rows.std(axis=0)
    model = Ridge(alpha=1.0, fit_intercept=False).fit(rows / scale, np.concatenate([column(RATES, t) for t in others]))
    elsewhere = (column(RATES, "de") + column(RATES, "tr")) / 2
    wanted = np.stack([column(ACCURACY, target), elsewhere], 1) / scale @ model.coef_
    predicted = recommender.predicted(RATES, recommender.signals(ACCURACY), target)
    predicted_by_hand = dict(zip(sources, wanted, strict=True))
    # The signals of own accuracy are left out by giving the accuracy alone.
    alone = recommender.predicted(RATES, {"accuracy": ACCURACY}, target)
    assert alone == pytest.approx(predicted_by_hand) and list(alone.values()) == sorted(alone.values(), reverse=True)
    assert set(predicted) == set(sources)


def test_a_targets_own_cells_decide_nothing_for_it() -> None:
    """The choices for a target are the same in a matrix that differs in that target alone."""
    matrix, known = paper_b.matrix(8), recommender.signals(paper_b.matrix(18), paper_b.length(18))
    other = {source: row | {"de": 100.0 - row["de"]} for source, row in matrix.items()}
    for own in (True, False):
        before, after = (by_rule(recommender.evaluate(each, known, own=own)) for each in (matrix, other))
        for rule in before.keys() - {"best"}:
            assert before[rule].chosen["de"] == after[rule].chosen["de"], rule
    assert before["best"].chosen["de"] != after["best"].chosen["de"]


def test_a_target_without_a_policy_has_a_prediction() -> None:
    without = {source: {t: v for t, v in row.items() if t != "tr"} for source, row in RATES.items()}
    predicted = recommender.predicted(without, {"accuracy": ACCURACY}, "tr", own=False)
    assert set(predicted) == {"en", "de"} and sum(predicted.values()) == pytest.approx(0.0)


def test_differences_are_tested_by_all_signs() -> None:
    """Differences -2, -1 and 0.5: a sum of 2.5 or more in size has 4 of the 8 choices of signs."""
    zeros = Choices("b", {}, {"x": 2.0, "y": 1.0, "z": 0.0}, 0)
    found = recommender.compare([Choices("a", {}, {"x": 0.0, "y": 0.0, "z": 0.5}, 0), zeros], "a", "b")
    assert (found.value, found.p, found.better, found.worse) == (pytest.approx(-2.5 / 3), 0.5, 2, 1)
    assert (found.targets, found.smallest_p) == (3, 0.25)
    result = stats.permutation_test(([-2.0, -1.0, 0.5],), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert found.p == pytest.approx(result.pvalue)


def test_agreement_is_the_mean_rank_correlation_with_the_others() -> None:
    rewards = {"en": {"tr": [1.0, 2.0, 3.0]}, "de": {"tr": [1.0, 2.0, 9.0]}, "vi": {"tr": [3.0, 2.0, 1.0]}}
    assert recommender.agreement(rewards) == {
        "en": {"tr": pytest.approx(0.0)}, "de": {"tr": pytest.approx(0.0)}, "vi": {"tr": pytest.approx(-1.0)},
    }  # fmt: skip


def test_similarity_is_the_share_of_features_that_both_have() -> None:
    values = [Value("en", "1A", "3"), Value("en", "2A", "1"), Value("de", "1A", "3"), Value("de", "2A", "2")]
    found = recommender.similarity([*values, Value("tr", "1A", "1"), Value("tr", "9A", "1")])
    assert found["en"] == {"en": 1.0, "de": 0.5, "tr": 0.0}


def test_signals_that_lack_a_cell_are_left_out() -> None:
    half = {"en": {"en": 1.0}, "de": {}, "tr": {}}
    rules = by_rule(recommender.evaluate(RATES, recommender.signals(similarity=half)))
    assert set(rules) == {"english", "own", "random", "best", "other targets", "ridge"}


def test_cells_may_be_absent() -> None:
    """Translate-train has no diagonal, and another reward model aligns one target alone."""
    matrix = {"en": {"de": 60.0, "tr": 70.0}, "de": {"en": 56.0, "tr": 60.0}, "en>tr": {"tr": 75.0}}
    for own in (True, False):
        rules = by_rule(recommender.evaluate(matrix, {}, own=own))
        assert rules["english"].chosen == {"de": ("en",), "tr": ("en",), "en": ("de",)}
        assert rules["english"].regrets == {"de": 0.0, "tr": 5.0, "en": 0.0}
    alone = by_rule(recommender.evaluate({"en": {"en": 50.0}}, recommender.signals(similarity={"en": {"en": 1.0}})))
    assert alone["nearest"].regrets == {"en": 0.0}
    only = by_rule(recommender.evaluate({"en": {"en": 50.0, "de": 60.0}}, {}, own=False))
    assert only["random"].regrets == {"de": 0.0}, "nothing to choose from for English"


def numbers(cell: str) -> list[float]:
    return [float(number.replace("−", "-")) for number in re.findall(r"[−-]?\d+(?:\.\d+)?", cell)]


def table_after(text: str, head: str) -> dict[str, list[str]]:
    lines = text[text.index(head) :].split("\n\n")[0].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)}


def test_the_tables_of_the_page(shared_data) -> None:
    with (shared_data / "wals.csv").open(newline="") as file:
        rows = [
            Value(r["lang"], r["feature_id"], r["value"])
            for r in csv.DictReader(file)
            if r["lang"] in paper_b.LANGUAGES
        ]
    similar, page = recommender.similarity(rows), PAGE.read_text("utf-8")

    def evaluated(tables: tuple[int, ...], accuracy: int, own: bool = True) -> list[list[Choices]]:
        known = recommender.signals(paper_b.matrix(accuracy), paper_b.length(accuracy), similar)
        return [recommender.evaluate(paper_b.matrix(number), known, own=own) for number in tables]

    summaries = evaluated((6, 8, 10, 12), 18)
    together = recommender.over_matrices(summaries)
    printed = table_after(page, "| rule | Table 6")
    assert set(printed) == {each.rule for each in together}
    for rule, cells in printed.items():
        own = [by_rule(each)[rule] for each in summaries]
        for cell, choices in zip(cells[:4], own, strict=True):
            assert numbers(cell) == [
                pytest.approx(choices.regret, abs=0.0051),
                pytest.approx(choices.hits, abs=0.051),
            ], rule
        assert numbers(cells[4]) == [pytest.approx(by_rule(together)[rule].regret, abs=0.0051)]
    assert list(printed) == sorted(printed, key=lambda rule: by_rule(together)[rule].regret)
    for rules, cells in table_after(page, "| | difference in regret").items():
        found = recommender.compare(together, *rules.split(" − "))
        assert numbers(cells[0]) == [pytest.approx(found.value, abs=0.0051)], rules
        assert (numbers(cells[1]), numbers(cells[2])) == (
            [found.better, found.worse],
            [pytest.approx(found.p, abs=0.0006)],
        )
    dialogs = by_rule(recommender.over_matrices(evaluated((7, 9, 11, 13), 19)))
    others = by_rule(recommender.over_matrices(evaluated((6, 8, 10, 12), 18, own=False)))
    said = page[page.index("Dialog has three") : page.index("**What the paper")].split("Without the target's own")
    for text, rules in zip(said, (dialogs, others), strict=True):
        for rule, regret in re.findall(r"`([a-z]+(?:\s[a-z]+)*)`\s(\d\.\d\d)", text):
            assert float(regret) == pytest.approx(rules[" ".join(rule.split())].regret, abs=0.0051), rule
    assert dialogs["english"].regret == pytest.approx(0.08, abs=0.005) and dialogs["english"].hits == 11
