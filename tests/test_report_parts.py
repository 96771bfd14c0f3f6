"""Parts of the report: labels of figures, wrongly ranked pairs, training curves, sentences."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from report_inputs import (
    LANGUAGES,
    SUBSETS,
    inputs,
    record,
    run,
    similarity,
    table,
)

from xlrm.analysis import comparisons
from xlrm.analysis.comparisons import Difference
from xlrm.evaluation import reward_table
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.credit import credit, tied
from xlrm.evaluation.results import (
    Evaluation,
    EvaluationResults,
    read_evaluations,
)
from xlrm.evaluation.statistics import summary
from xlrm.reporting import accuracy_sentences, mistakes, plots, representation_sentences
from xlrm.reporting.curves import Curves
from xlrm.reporting.labels import Box, spread
from xlrm.reporting.plots import Mark
from xlrm.store import artifacts

# Labels of scatter plots


def meetings(boxes: list[Box]) -> int:
    return sum(
        box.left < other.right and other.left < box.right and box.low < other.high and other.low < box.high
        for i, box in enumerate(boxes)
        for other in boxes[:i]
    )


def test_labels_are_moved_apart_and_no_farther_than_they_must():
    rng = np.random.default_rng(0)
    for count in (1, 2, 9, 15):
        for across in (1.0, 40.0, 300.0):
            boxes = [
                Box(x, y, 45, 13)
                for x, y in zip(rng.uniform(0, across, count), rng.uniform(0, 200, count), strict=True)
            ]
            found = spread(boxes, 0, 320)
            assert not meetings(found)
            assert all(box.low >= 0 and box.high <= 320 for box in found)
            assert [(a.left, a.width) for a in found] == [(b.left, b.width) for b in boxes]
            if not meetings(boxes) and across == 300.0 and count < 3:
                assert [box.low for box in found] == pytest.approx([box.low for box in boxes], abs=1.01)
    pile = spread([Box(0, 100, 45, 13)] * 3, 0, 320)
    assert [box.low for box in pile] == pytest.approx([86, 100, 114])


def drawn_labels(marks: list[Mark], monkeypatch) -> list[Box]:
    """The boxes that matplotlib gives the labels in the finished figure."""
    found = []

    def measured(axes, title):
        frame = axes.get_window_extent()
        for note in axes.texts:
            if note.get_text():
                box = note.get_window_extent()
                assert frame.y0 - 1 <= box.y0 and box.y1 <= frame.y1 + 1 and box.x0 >= frame.x0 - 1
                found.append(Box(box.x0, box.y0, box.width, box.height))
        return "<svg>"

    monkeypatch.setattr(plots, "_svg", measured)
    plots.scatter("test", marks, 0.74, "f", "accuracy")
    return found


DEMO = {"English": (0.8617, 57.5, 0.008), "Spanish": (0.8389, 55.6, 0.009), "Korean": (0.8226, 54.4, 0.012)}
"""f, mean accuracy in other languages and half of f's interval, of the reward models of the short demo."""
NAMES = ("English", "Spanish", "Italian", "Korean", "Chinese", "German", "Russian", "Turkish", "Vietnamese")


@pytest.mark.parametrize("case", ["demo", "one point", "one height", "one column", "right edge", "sixteen"])
def test_no_label_of_a_scatter_plot_lies_on_another(case, monkeypatch):
    points = {
        "demo": DEMO,
        "one point": dict.fromkeys(NAMES, (0.8, 60, 0.01)),
        "one height": {name: (0.8 + i / 1000, 60, 0.01) for i, name in enumerate(NAMES)},
        "one column": {name: (0.8, 60 + i / 100, 0.01) for i, name in enumerate(NAMES)},
        "right edge": {"base": (0.74, 50, 0.0)}
        | {name: (0.9 + i / 500, 60 - i / 9, 0.0) for i, name in enumerate(NAMES)},
        "sixteen": {f"{a} + {b}": (0.8 + len(b) / 999, 60, 0.01) for a in NAMES[:4] for b in NAMES[4:8]},
    }[case]
    marks = [Mark(name, x, y, "target", x - w, x + w, [y - 2, y + 2]) for name, (x, y, w) in points.items()]
    boxes = drawn_labels(marks, monkeypatch)
    assert len(boxes) == len(points) and not meetings(boxes)


# Pairs ranked wrongly


def corpus(folder: Path, language: str, subsets: list[str], texts: str = "{side} {i}") -> list[dict]:
    """Rows of a benchmark, also as a file."""
    rows = [
        {"id": f"b{i}", "prompt": f"prompt {i} in {language}", "subset": subset, "section": SUBSETS[subset],
         **{side: texts.format(side=side, i=i) for side in ("chosen", "rejected")}}
        for i, subset in enumerate(subsets)
    ]  # fmt: skip
    path = folder / language / "benchmark.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def evaluated(rows: dict[str, list[dict]], margins: dict[str, list[float]], language: str = "en") -> Evaluation:
    scores, reports = {}, {}
    for on, many in rows.items():
        scored = [([margin], [0.0]) for margin in margins[on]]
        kept = list(reward_table.records(reward_table.CORPUS, on, many, scored))
        chosen = [one for one in kept if one["side"] == "chosen"]
        scores[on] = [one | {"chosen": side[0], "rejected": side[1]} for one, side in zip(chosen, scored, strict=True)]
        reports[on] = summary(many, credit(many, scored), tied(scored))
    return Evaluation(language, reports, scores)


def test_three_of_a_section_are_those_most_wrong_of_different_languages(tmp_path):
    subsets = ["facts"] * 5 + ["refuse"] * 2
    rows = {on: corpus(tmp_path, on, subsets) for on in LANGUAGES}
    margins = {"en": [-9, -8, -7, 1, 1, 1, 0], "es": [-1, -2, 1, 1, 1, -5, 1], "ko": [1] * 7}
    found = mistakes.find([evaluated(rows, margins)], tmp_path)["en"]
    assert [(one.section, one.language, one.id) for one in found] == [
        ("Chat", "en", "b0"), ("Chat", "es", "b1"), ("Chat", "en", "b1"), ("Safety", "es", "b5"),
    ]  # fmt: skip
    assert (found[1].prompt, found[1].chosen, found[1].rejected) == ("prompt 1 in es", "chosen 1", "rejected 1")
    assert (found[1].chosen_reward, found[1].rejected_reward) == (-2, 0)


def test_texts_of_another_corpus_are_not_shown(tmp_path):
    rows = {"en": corpus(tmp_path / "one", "en", ["facts"])}
    corpus(tmp_path / "other", "en", ["facts"], texts="another {side} {i}")
    wrong = evaluated(rows, {"en": [-1]})
    assert mistakes.find([wrong], tmp_path / "one") and not mistakes.find([wrong], tmp_path / "other")


def test_wrongly_ranked_pairs_stand_on_the_page_escaped_and_shortened(tmp_path):
    given = inputs(tmp_path, languages=("en", "es"), count=8)
    long = "{side} <script>alert({i})</script>" + "x" * 900 + " end"
    rows = {on: corpus(given["corpora"], on, ["facts"] * 4, long) for on in ("en", "es")}
    for folder, language in zip(given["evaluations"], ("en", "es"), strict=True):
        one = evaluated(rows, {"en": [-0.25, 1, 1, 1], "es": [1, -0.5, 1, 1]}, language)
        EvaluationResults(language=language, tie_policy="lost", results=one.results).write(folder)
        scored = {on: [(item["chosen"], item["rejected"]) for item in items] for on, items in one.scores.items()}
        reward_table.write(
            folder / reward_table.FILE,
            [r for on in rows for r in reward_table.records("corpus", on, rows[on], scored[on])],
        )
    page = run(given, tmp_path / "output")[1]
    found = page[page.index('id="mistakes"') : page.index('id="rewards"')]
    assert "<script" not in page and "&lt;script&gt;alert(1)" in found
    assert 'lang="es"' in found and "prompt 1 in es" in found and "reward −0.50" in found and "reward 0.00" in found
    assert "2 of 8 pairs ranked wrongly" in found and "xxx end" in found
    assert not re.search("x{400}", found), "shortened"
    (row,) = [one for one in table(page, "mistakes") if one["model"] == "en" and one["language"] == "es"]
    assert row["rejected"] == long.format(side="rejected", i=1) and float(row["chosen_reward"]) == -0.5


# Trainings


def test_curves_are_drawn_of_those_who_have_some(tmp_path):
    points = [
        {"step": 10 * i, "loss": 0.7 - i / 100, "accuracy": 0.5 + i / 100, "learning_rate": 1e-5} for i in range(1, 30)
    ]
    points += [{"step": 290, "heldout_loss": 0.5, "heldout_accuracy": 0.625}]
    lineage = {}
    for stage, config in (("reward", {"language": "en"}), ("align", {"language": "es", "labeler": "en"})):
        folder = tmp_path / stage
        folder.mkdir()
        (folder / "curves.jsonl").write_text("".join(json.dumps(one) + "\n" for one in points))
        uri = (tmp_path / "store" / stage).as_uri()
        facts_of = record(stage, **config).model_dump() | {"mlflow_run_id": None}
        lineage[uri] = artifacts.publish(
            folder, uri, **{k: v for k, v in facts_of.items() if k not in ("digest", "files")}
        )
    page = run({"lineage": lineage}, tmp_path / "output")[1]
    files = (tmp_path / "output" / "tables").iterdir()
    assert {one.stem for one in files} == set(re.findall(r'download="(\w+)\.csv"', page)) == {"artifacts", "curves"}
    drawn = page[page.index('id="training"') : page.index('id="costs"')]
    assert drawn.count("<svg") == 4, "loss and accuracy of both"
    assert "held-out pairs" in drawn
    assert [Curves("reward", "en", "en", "", rows).held_out for rows in (points, points[:-1])] == [True, False]
    assert "English reward model" in drawn and "Spanish policy, preferences by English" in drawn
    rows = table(page, "curves")
    assert Counter(one["run"] for one in rows) == {"en": 30, "es, labeled by en": 30}
    assert float(rows[29]["heldout_accuracy"]) == 0.625 and rows[29]["loss"] == ""


# Languages whose tests hold different items


def test_languages_are_compared_over_the_items_that_all_have(tmp_path):
    """Spanish lacks b0 and b1, Korean b7; by hand, on b2 to b6."""
    subsets = ["facts"] * 8
    rows = {on: corpus(tmp_path, on, subsets) for on in LANGUAGES}
    rows["es"], rows["ko"] = rows["es"][2:], rows["ko"][:7]
    right = {"en": [1] * 8, "es": [1, 1, 1, 0, 0, 1], "ko": [0, 0, 1, 1, 0, 0, 0]}
    own = {"es": [1, 1, 0, 0, 0, 0], "ko": [1, 1, 1, 1, 1, 1, 0]}
    source = evaluated(rows, {on: [2 * one - 1 for one in many] for on, many in right.items()})
    targets = [
        evaluated({on: rows[on]}, {on: [2 * one - 1 for one in own[on]]}, language=on) for on in ("es", "ko")
    ]  # fmt: skip
    compared = comparisons.compare_all(source, targets)
    assert compared[0].deltas[AVERAGE].value == pytest.approx(4 / 6 - 2 / 6), "within a language, over all its items"
    mean = comparisons.mean_delta(compared)
    assert (mean.items, mean.source, mean.own) == (5, pytest.approx(5 / 10), pytest.approx(6 / 10))
    assert mean.value == pytest.approx(-1 / 10)
    shared = comparisons.shared([source, *targets])
    assert shared.items == 5 and shared.averages["en", "es"].value == pytest.approx(3 / 5)
    assert (
        accuracy_sentences.sizes([source, *targets])
        == "Tests differ in size: 8 pairs in English, 6 in Spanish and 7 in Korean."
    )


def test_where_all_languages_have_the_same_items_nothing_is_said_twice(whole):
    evaluations = read_evaluations(whole[0]["evaluations"])
    assert comparisons.shared(evaluations) is None and accuracy_sentences.sizes(evaluations) == ""
    assert 'id="shared"' not in whole[2]


# Sentences


def comparison(value: float, p: float) -> comparisons.Comparison:
    one = Evaluation("en", {}, {})
    return comparisons.Comparison("es", one, one, {AVERAGE: Difference(value, value, value, p)})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            [(0.1, 0.01), (-0.1, 0.01), (0.1, 0.5)],
            "own in 1 of 3 languages, behind it in 1 and level with it in 1 (level",
        ),
        ([(-0.1, 0.01)] * 4, "behind the language's own in 4 of 4 languages."),
        ([(0.1, 0.5)], "level with the language's own in 1 of 1 language (level"),
    ],
)
def test_who_is_ahead(values, said):
    assert said in accuracy_sentences.transfer([comparison(*one) for one in values])


def test_counts_of_none_and_all_read_as_words(tmp_path):
    rows = {"en": corpus(tmp_path, "en", ["facts"] * 20)}
    sure = [evaluated(rows, {"en": [1.0] * 20})]
    assert accuracy_sentences.matrix(sure) == "The accuracy differs from chance."
    assert accuracy_sentences.ties(sure) == "Chosen and rejected had different rewards in all 20 cases."
    unsure = [evaluated(rows, {"en": [1.0, -1.0] * 9 + [0.0] * 2})]
    assert "within the interval of 1 of 1" in accuracy_sentences.matrix(unsure)
    assert "in 2 of 20 cases, which count as lost" in accuracy_sentences.ties(unsure)


def test_what_training_moved_is_said_of_one_model_and_of_several():
    models = {"base": similarity(0.4), "en": similarity(0.42)}
    assert representation_sentences.singular(models).endswith(
        "is 0.400 in the base model; the English RM differs from it by +0.020."
    )
    assert representation_sentences.singular(models | {"ko": similarity(0.31)}).endswith(
        "; the English RM is closest to it (+0.020), the Korean RM farthest from it (−0.090)."
    )
