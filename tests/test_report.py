import re

import pyarrow.parquet
import pytest
from refusals import refused
from report_inputs import (
    LANGUAGES,
    changed,
    evaluation,
    inputs,
    plain,
    record,
    run,
    section,
    validation,
    written,
)

from xlrm.analysis import comparisons
from xlrm.data import data_card
from xlrm.data.hub_sets import Origin
from xlrm.errors import DataError
from xlrm.evaluation import reward_table
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.results import (
    EvaluationResults,
    JudgeResults,
    read_evaluations,
)
from xlrm.registry import gate
from xlrm.registry.champion import Registered
from xlrm.reporting import lineage as provenance
from xlrm.reporting import results
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
