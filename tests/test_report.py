import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from refusals import refused
from report_inputs import (
    LANGUAGES,
    SUBSETS,
    changed,
    evaluation,
    inputs,
    plain,
    record,
    run,
    section,
    similarity,
    table,
    validation,
    written,
)

from xlrm.analysis import comparisons
from xlrm.analysis.comparisons import Difference
from xlrm.data import data_card
from xlrm.data.hub_sets import Origin
from xlrm.errors import DataError
from xlrm.evaluation import reward_table
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.credit import credit, tied
from xlrm.evaluation.results import (
    Evaluation,
    EvaluationResults,
    JudgeResults,
    read_evaluations,
)
from xlrm.evaluation.statistics import summary
from xlrm.registry import gate
from xlrm.registry.champion import Registered
from xlrm.reporting import accuracy_sentences, mistakes, plots, representation_sentences, results
from xlrm.reporting import lineage as provenance
from xlrm.reporting.curves import Curves
from xlrm.reporting.labels import Box, spread
from xlrm.reporting.plots import Mark
from xlrm.store import artifacts
from xlrm.store.artifacts import Record
from xlrm.validation.summary import FileSummary, Summary


def test_values_appear_with_their_intervals(whole):
    given, metrics, page = whole
    for on in LANGUAGES:
        result = EvaluationResults.read(given["evaluations"][0]).results[on]
        low, high = result.interval[AVERAGE]
        cell = f"<b>{100 * result.accuracy[AVERAGE]:.1f}</b> <small>{100 * low:.0f}–{100 * high:.0f}</small>"
        assert cell in page
    rate = JudgeResults.read(given["verdicts"][0]).results["en"]
    judged = f"{100 * rate.win_rate:.1f}{100 * rate.interval[0]:.0f}–{100 * rate.interval[1]:.0f}"
    for shown in ("Spanish", "Korean", judged, "length 9", "2,391", "models:/demo-ko@champion",
                  "xlrm pull models:/demo-es/4 DIR", "2026-01-02", "900 MiB", "run-7"):  # fmt: skip
        assert shown in re.sub(r"<[^>]+>", "", page), shown
    assert f"{100 * metrics['transfer/mean_delta']:+.1f}".replace("-", "\u2212") in page


def test_cells_at_chance_are_marked(whole):
    given, _, page = whole
    cell = r'class="heat (?:right|wrong)( own)?( flat)?"'
    marks = [bool(flat) for _, flat in re.findall(cell, page)]
    expected = []
    for folder in given["evaluations"]:
        for result in EvaluationResults.read(folder).results.values():
            low, high = result.interval[AVERAGE]
            expected.append(low <= 0.5 <= high)
    assert True in expected
    assert marks[: len(expected)] == expected


def test_the_page_needs_nothing_else(whole):
    page = whole[2]
    assert all(re.match("#|data:text/(csv|plain)", target) for target in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)|xmlns", page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', page)) <= set(ids)


def test_credentials_stay_out(whole):
    assert not re.search(r"secret|me:pw|key:", whole[2])
    assert "s3://store/xlrm/base" in whole[2]
    assert "https://hub.test" in whole[2]


def test_artifacts_name_what_they_were_made_from(whole):
    page = whole[2]
    uris = list(whole[0]["lineage"])
    row = page[page.index(f'id="artifact-{uris.index("s3://key:secret@store/xlrm/align/es") + 1}"') :]
    row = row[: row.index("</tr>")]
    assert "es, labeled by en" in row
    assert [int(number) for number in re.findall(r'href="#artifact-(\d+)"', row)] == [
        uris.index(f"s3://key:secret@store/xlrm/reward/{one}") + 1 for one in ("en", "es")
    ]


def test_the_drawing_leads_from_left_to_right(whole):
    drawing = provenance.drawing(provenance.made(whole[0]["lineage"]))
    assert all(x < to_x for x, _, to_x, _ in drawing.edges)
    assert len({(box.x, box.y) for box in drawing.boxes}) == len(drawing.boxes)
    column = {box.stage: box.x for box in drawing.boxes}
    assert column["curate"] < column["translate"] < column["base"] == column["validate"] < column["reward"]


def test_the_same_inputs_make_the_same_page(whole, tmp_path):
    assert run(whole[0], tmp_path / "again") == whole[1:]


def test_deltas_are_english_minus_own(tmp_path):
    """By hand: in Spanish 3/4 - 2/4, in Korean 1/4 - 3/4; each section has two items."""
    subsets = ["facts", "facts", "refuse", "refuse"]
    given = inputs(tmp_path, count=8)
    english = {"en": [1, 1, 1, 1], "es": [1, 1, -1, 1], "ko": [-1, -1, 1, 0]}  # a tie is lost
    own = {"es": [1, -1, -1, 1], "ko": [1, 1, 1, -1]}
    given["evaluations"] = [evaluation(tmp_path / "en", "en", english, subsets)] + [
        evaluation(tmp_path / one, one, {one: margins}, subsets) for one, margins in own.items()
    ]
    metrics, page = run(given, tmp_path / "output")
    assert metrics == {
        "transfer/mean_delta": -0.125,
        "transfer/es": 0.25,
        "transfer/ko": -0.5,
    }  # own only: no correlation
    assert (
        "right on 50.0\u00a0% of 4 test pairs in each of Spanish and Korean, models trained in those languages on "
        "62.5\u00a0%" in page
    )
    spanish = comparisons.compare(*read_evaluations(given["evaluations"])[:2])
    assert {name: one.value for name, one in spanish.deltas.items() if "/" not in name} == {
        "Chat": 0.5, "Safety": 0, AVERAGE: 0.25,
    }  # fmt: skip
    assert all(one.low <= one.value <= one.high for one in spanish.deltas.values())


def test_models_evaluated_on_different_items_are_not_compared(tmp_path):
    given = inputs(tmp_path, count=16)
    path = given["evaluations"][1] / reward_table.FILE
    kept = pyarrow.parquet.read_table(path).to_pylist()
    reward_table.write(path, [one | {"id": one["id"].replace("b0", "b99")} for one in kept])
    with refused(DataError, "report.evaluations"):
        run(given, tmp_path / "output")


def test_one_target_language(tmp_path):
    metrics, page = run(inputs(tmp_path, languages=("en", "ko"), count=80), tmp_path / "output")
    assert set(metrics) == {"transfer/mean_delta", "transfer/ko"}, "two models correlate with anything"
    assert metrics["transfer/mean_delta"] == metrics["transfer/ko"]
    assert "of 80 Korean test pairs, the Korean one on" in page


def test_a_source_that_is_not_english_has_no_papers_numbers_beside_it(tmp_path):
    page = run(inputs(tmp_path, languages=("es", "ko"), count=80), tmp_path / "output")[1]
    assert "The Spanish reward model" in page
    assert "Llama" not in page


def test_text_is_escaped(tmp_path):
    given = inputs(tmp_path, languages=("en", "es"), count=80)
    validation(("en", "es"), **{"<img src=x>": 9}).write(given["corpora"])
    page = run(given, tmp_path / "output", title="</title><script>alert(1)</script>")[1]
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "Tiny model" not in page


def test_tables_3_to_7_stand_beside_each_cell(whole):
    """The English model on Spanish: Table 4, row L32-3B-IT-EN; the Korean one on English: Table 3, row Q25-7B-IT-KO."""
    cells = section(whole[2], "cells")
    assert "86.3 69.3 89.3 72.4 79.3" in cells
    assert "89.4 70.8 87.9 94.9 85.8" in cells
    assert cells.count("Korean") == 1 + 3, "tested in once, trained in three times"


def test_table_2_stands_beside_models_off_the_shelf(whole):
    given, _, page = whole
    found = section(page, "external")
    assert "Self-Taught-Llama-70B, the paper's generative 90.0 83.1 75.6" in found
    mine = EvaluationResults.read(given["evaluations"][0]).results["ko"].accuracy[AVERAGE]
    assert f"{100 * mine:.1f}" in found[found.index("a-classifier") : found.index("a-judge")]
    judge = found[found.index("a-judge") : found.index("English RM")]
    assert judge.count("&ndash;") == 2, "not evaluated in two languages"
    assert "7 of 240 unreadable" in judge and "a-judge: 7 of 240 verdicts are unreadable" in found


def test_who_judged_and_what_could_not_be_read_stand_beside_the_win_rates(whole):
    """Three policies in each of two languages, with three unreadable of 240 verdicts and a refused question each."""
    found = section(whole[2], "wins")
    assert "Judged by gpt-4o: 18 of 1,440 verdicts are unreadable, 6 questions refused." in found
    assert "the same response won twice in 75.0 % of the pairs; the first position won twice +4.0 points" in found
    assert "read and wrote 19,440 tokens, $2.50 (estimated before: $3.00)" in found


def test_what_the_paper_says_of_figure_3_stands_beside_the_win_rates(whole):
    assert "increasing up to 9.3% point in Spanish” (section 4.2)" in section(whole[2], "wins")


def test_a_further_benchmark_has_a_section(whole):
    given, _, page = whole
    found = section(page, "benchmark-1")
    result = EvaluationResults.read(given["evaluations"][1]).benchmarks["m-rewardbench"]["es"]
    assert f"{100 * result.accuracy['Chat Hard']:.1f}" in found
    assert found.startswith('id="benchmark-1"> m-rewardbench As published, in English, Spanish and Korean.')
    assert "chance 50.0 50.0 50.0 50.0 50.0" in found


def test_subsets_that_a_test_lacks_are_said_once(whole, tmp_path):
    """As the evaluate stage notes them: of the corpora's own benchmark under the matrix, of a further one in its section."""
    assert 'class="missing"' not in whole[2]
    given = inputs(tmp_path, languages=("en", "es", "ko"), count=16)
    for folder in given["evaluations"]:
        content = EvaluationResults.read(folder)
        for code in ("es", "ko"):
            content.results[code] = content.results[code].model_copy(update={"missing": ("hep-rust", "hep-go")})
        further = content.benchmarks["m-rewardbench"]
        further["en"] = further["en"].model_copy(update={"missing": ("donotanswer",)})
        content.write(folder)
    page = run(given, tmp_path / "output")[1]
    said = "hep-rust and hep-go in Spanish and Korean."
    assert section(page, "matrix").count(said) == 1 and "hep-rust" not in section(page, "benchmark-1")
    assert "donotanswer in English." in section(page, "benchmark-1")


def test_differences_have_p_values_adjusted_for_their_number(whole):
    evaluations = read_evaluations(whole[0]["evaluations"])
    alone = [comparisons.compare(evaluations[0], own).deltas for own in evaluations[1:]]
    together = [one.deltas for one in comparisons.compare_all(evaluations[0], evaluations[1:])]
    lowest = min((one[name].p, i, name) for i, one in enumerate(alone) for name in one if "/" not in name)
    assert together[lowest[1]][lowest[2]].p == pytest.approx(10 * lowest[0]), (
        "two languages, four sections and the average"
    )
    assert all(b[name].p >= a[name].p for a, b in zip(alone, together, strict=True) for name in a)
    assert together[0]["subset/facts"] == alone[0]["subset/facts"]


def test_evaluations_with_other_rules_for_ties_are_not_compared(tmp_path):
    given = inputs(tmp_path, count=16)
    changed(given["evaluations"][1], tie_policy="half")
    with refused(DataError, "evaluate.ties", ("lost", "half")):
        run(given, tmp_path / "output")


def test_the_papers_differences():
    assert results.paper_delta("Llama-3.2-3B", "zh", "Reasoning") == 26.7
    assert results.paper_delta("Qwen2.5-3B", "ko", "Chat Hard") == -1.6
    assert results.paper_delta("Qwen2.5-3B", "it", AVERAGE) == 3.2
    assert results.paper_delta("Qwen2.5-3B", "de", AVERAGE) is None


# What it is of


def test_the_share_of_reasoning_and_the_sizes_stand_beside_the_papers_tables(whole):
    page = whole[2]
    assert "Reasoning makes up 73 % (Llama-3.2-3B) and 73 % (Qwen2.5-3B)" in plain(section(page, "table"))
    assert "Qwen2.5-7B +0.43" in plain(page)


def test_rows_that_were_not_taken_and_numbers_that_differ_from_the_papers_are_said(tmp_path):
    origins = {
        "preferences": {"wildguard": Origin(licence="odc-by", rows=8400, paper=8383)},
        "benchmark": {"mine.jsonl": Origin(licence="your own", rows=41, not_taken=21, lost=("rare",))},
    }
    given = {"curated": written(tmp_path / "curated", data_card.card("en", origins, {})), "lineage": {}}
    data = plain(section(run(given, tmp_path / "output")[1], "data"))
    assert "wildguard (preferences): 8,400 rows, the paper says 8,383." in data
    assert "mine.jsonl (benchmark): 21 of 41 rows not taken, and with them all of rare." in data


def test_title_and_first_lines_name_run_models_data_and_date(tmp_path):
    given = inputs(tmp_path, languages=("en", "es"), count=16)
    at = "s3://key:secret@store/xlrm"
    trained = {
        f"{at}/reward/en": with_inputs(record("reward", language="en"), base=f"{at}/base", pairs=320),
        f"{at}/reward/es": with_inputs(record("reward", language="es"), base=f"{at}/base", pairs=300),
        f"{at}/align/es": with_inputs(record("align", language="es", labeler="en"), policy=f"{at}/policy", pairs=40),
    }
    lineage = {f"{at}/policy": record("base", model="a-policy"), **given["lineage"], **trained}
    page = run(given | {"lineage": lineage}, tmp_path / "output", run="my-run")[1]
    title = re.search(r"<title>(.*)</title>", page).group(1)
    for part in ("my-run", "tiny", "320 pairs", "2026-01-02"):
        assert part in title
    first = plain(page[page.index("<header>") : page.index('class="tiles"')])
    for part in ("my-run", "trained from tiny", "320 preference pairs in English and 300 in Spanish",
                 "aligned from a-policy", "16 pairs in each",
                 "Trained from tiny on 320 pairs", "2026-01-02 03:06 UTC"):  # fmt: skip
        assert part in first, part


def with_inputs(one: Record, pairs: int, **given: str) -> Record:
    inputs = {name: [{"uri": uri, "digest": "0" * 64}] for name, uri in given.items()}
    return Record.model_validate(one.model_dump() | {"inputs": inputs, "metrics": {"pairs": pairs}})


@pytest.mark.parametrize(("model", "marked"), [("phrasebook-tiny", True), ("Qwen/Qwen2.5-3B-Instruct", False)])
def test_only_the_tiny_model_s_numbers_are_marked(tmp_path, model, marked):
    trained = with_inputs(record("reward", language="en"), base="s3://s/base", pairs=9)
    lineage = {"s3://s/base": record("base", model=model), "s3://s/reward": trained}
    assert ("Tiny model" in run({"lineage": lineage}, tmp_path / "output")[1]) is marked


def test_reward_models_come_before_representations(whole):
    order = re.findall(r'<section id="([^"]+)"', whole[2])
    assert order.index("models") < order.index("representations")
    assert order[:2] == ["claims", "matrix"]
    own = EvaluationResults.read(whole[0]["evaluations"][2]).results["ko"].accuracy[AVERAGE]
    row = section(whole[2], "models")
    assert f"demo-ko 5 {100 * own:.1f}" in row


# Fewer inputs

ABSENT = {
    "corpora": ("Translations and wrongly ranked pairs:", "validation"),
    "evaluations": ("Accuracies:", "matrix"),
    "representations": ("Representations:", "representations"),
    "verdicts": ("Win rates:", "wins"),
    "registered": ("Registered models:", "models"),
    "external": ("External reward models:", "external"),
}
"""Input -> what the page says is left out, and the section that is."""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return inputs(tmp_path_factory.mktemp("small"), languages=("en", "es"), count=16)


@pytest.mark.parametrize("name", ABSENT)
def test_without_an_input_its_part_is_left_out_and_said_to_be(whole, small, tmp_path, name):
    said, part = ABSENT[name]
    page = run({key: value for key, value in small.items() if key != name}, tmp_path / "output")[1]
    assert f'id="{part}"' in whole[2] and f'id="{part}"' not in page
    assert said in section(page, "left-out") and said not in section(whole[2], "left-out")
    for target in re.findall(r'href="#([^"]*)"', page):
        assert f'id="{target}"' in page, "a link into what is left out"


def test_a_report_of_nothing_names_all_it_lacks(tmp_path):
    metrics, page = run({"lineage": {}}, tmp_path / "output")
    assert metrics == {}
    assert len(re.findall("<li>", page)) == len(ABSENT)


def test_one_reward_model_alone(tmp_path):
    """What a retraining has: nothing to compare, no verdicts, no representations."""
    given = inputs(tmp_path, languages=("en", "es"), count=16)
    given = {name: given[name] for name in ("corpora", "registered", "lineage")} | {
        "evaluations": given["evaluations"][:1]
    }
    metrics, page = run(given, tmp_path / "output")
    assert metrics == {}
    assert "English reward model is right on" in plain(page) and 'id="table"' not in page


def test_a_model_of_another_language_than_those_tested_is_not_compared(tmp_path):
    given = inputs(tmp_path, languages=("en", "es"), count=16)
    changed(given["evaluations"][1], language="en+es")
    metrics, page = run(given, tmp_path / "output")
    assert metrics == {}
    assert "English + Spanish" in section(page, "matrix") and "English against English + Spanish" in section(
        page, "left-out"
    )


@pytest.mark.parametrize(
    ("files", "aligned", "said"),
    [
        (["preferences.jsonl"], False, "set curate.prompts"),
        (["preferences.jsonl", "prompts.jsonl"], True, "judge.judge"),
        (["preferences.jsonl", "prompts.jsonl"], False, "verdicts=URI"),
    ],
)
def test_why_there_are_no_win_rates(tmp_path, files, aligned, said):
    """A reward model that was reused may come from a corpus with prompts that this run's does not have."""
    lineage = {"s3://s/curate": record("curate", language="en", prompts="phrasebook")}
    if aligned:
        lineage["s3://s/align"] = record("align", language="es", labeler="en")
    counts = FileSummary(rows_in=10, rows_out=10, failures={})
    summary = Summary(rows_in=10, rows_out=10, languages={"en": dict.fromkeys(files, counts)})
    given = {"corpora": written(tmp_path / "corpora", summary), "lineage": lineage}
    assert said in section(run(given, tmp_path / "output")[1], "left-out")


# What the gates decided


def test_a_model_that_the_registry_refused_is_said_to_be(tmp_path):
    given = {"registered": tmp_path / "registered"}
    row = gate.Row("corpus", "all", "average", 80, 0.71, 0.69, -0.02, -0.05, 0.01, "not better")
    decision = gate.Decision(False, "not better on corpus", "2", {}, (row,))
    registered = Registered(
        versions={"demo-en": "3"}, aliases={"demo-en": ["challenger"]}, decisions={"demo-en": decision}
    )
    registered.write(given["registered"])
    page = run({"registered": given["registered"], "lineage": {}}, tmp_path / "output")[1]
    assert "refused demo-en, version 3: not better on corpus." in plain(page[: page.index("</header>")])
    assert "refused: not better on corpus" in section(page, "models")
    assert "71.0 69.0" in plain(page[page.index('id="models"') :])


def test_translations_that_were_refused_are_said_to_be(tmp_path):
    """A validation that kept nothing has only its summary."""
    shares = {"failed": 0.2, "expected": 0.02, "excess": 0.18, "limit": 0.07}
    file = FileSummary(rows_in=100, rows_out=80, failures={"length": 20}, passed=False, **shares)
    content = Summary(passed=False, rows_in=100, rows_out=80, languages={"es": {"preferences.jsonl": file}})
    corpora = written(tmp_path / "corpora", content)
    page = run({"corpora": corpora, "lineage": {}}, tmp_path / "output")[1]
    expected = "preferences in Spanish (20.0\u00a0% of the rows failed, 9.0\u00a0% are allowed)"
    assert expected in page[: page.index("</header>")] and "length 20" in section(page, "validation")


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


# Files


def test_tables_can_be_downloaded(whole):
    given, _, page = whole
    result = EvaluationResults.read(given["evaluations"][0]).results["ko"]
    (cell,) = [
        one for one in table(page, "accuracy")
        if (one["benchmark"], one["model"], one["tested_in"], one["part"]) == ("corpus", "en", "ko", "Safety")
    ]  # fmt: skip
    assert float(cell["accuracy"]) == result.accuracy["Safety"] and float(cell["low"]) == result.interval["Safety"][0]
    differences = {(one["language"], one["part"]): one for one in table(page, "differences")}
    spanish = comparisons.compare_all(*(lambda found: (found[0], found[1:]))(read_evaluations(given["evaluations"])))[0]
    assert float(differences["es", AVERAGE]["p"]) == spanish.deltas[AVERAGE].p
    assert len(table(page, "win_rates")) == 6 and len(table(page, "artifacts")) == len(given["lineage"])
    assert not any("secret" in one["uri"] for one in table(page, "artifacts"))
    every = set(re.findall(r'download="(\w+)\.csv"', page))
    assert {"external", "models", "representations", "correlations", "embedding_norms", "validation", "paper"} <= every


def test_a_text_is_no_formula_of_a_spreadsheet():
    from xlrm.reporting.tables import Table

    content = Table(("text", "number"), [("=1+1", -0.5), ("-x", 2)]).content().decode("utf-8-sig")
    assert content.split() == ["text,number", "'=1+1,-0.5", "'-x,2"]


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
