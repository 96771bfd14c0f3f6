import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from xlrm import rewards
from xlrm.artifacts import Record
from xlrm.credit import credit, tied
from xlrm.embeddings import distances
from xlrm.errors import DataError
from xlrm.reporting import lineage as provenance
from xlrm.reporting import results
from xlrm.reporting.results import AVERAGE
from xlrm.stages import report
from xlrm.statistics import summary

LANGUAGES = ("en", "es", "ko")
SUBSETS = {
    "facts": "Chat", "offtopic": "Chat", "neighbor": "Chat Hard", "padded": "Chat Hard", "refuse": "Safety",
    "respond": "Safety", "truth": "Reasoning", "code-python": "Reasoning",
}  # fmt: skip
MARGIN = {("en", "en"): 1.4, ("en", "es"): 0.5, ("en", "ko"): 0.05, ("es", "es"): 1.2, ("ko", "ko"): 1.0}


def evaluation(
    folder: Path, trained: str, margins: dict[str, list[float]], subsets: list[str], further: tuple[str, ...] = ()
) -> Path:
    """What the evaluate stage writes for a model whose `margins` (language -> items) are chosen minus rejected; on a
    `further` benchmark of that name as on the corpus's own."""
    found, kept = {}, []
    for language, many in margins.items():
        rows = [
            {"id": f"b{i}", "subset": s, "section": SUBSETS[s], "chosen": "yes", "rejected": "no"}
            for i, s in enumerate(subsets)
        ]
        scored = [([margin / 2], [-margin / 2]) for margin in many]
        found[language] = summary(rows, credit(rows, scored), tied(scored))
        for name in (rewards.CORPUS, *further):
            kept += rewards.records(name, language, rows, scored)
    said = {"language": trained, "tie_policy": "lost", "results": found, "benchmarks": dict.fromkeys(further, found)}
    written(folder, "results.json", said)
    rewards.write(folder / rewards.FILE, kept)
    return folder


def record(stage: str, inputs: tuple[str, ...] = (), **config) -> Record:
    size = len(inputs)
    return Record(
        stage=stage, key=f"{stage}1", digest="d" * 64, files=({"path": "f", "size": 1, "sha256": "0" * 64},),
        config=config, inputs={"given": [{"uri": uri, "digest": "0" * 64} for uri in inputs]}, metrics={},
        code_version="c", git_commit="0123abc", image=None, versions={"torch": "2.13.0"}, mlflow_run_id="run-7",
        started=datetime(2026, 1, 2, 3, 4, tzinfo=UTC) + timedelta(minutes=size), seconds=3.5 + size,
        peak_memory_mib=900.0,
    )  # fmt: skip


def lineage(languages: tuple[str, ...] = LANGUAGES) -> dict[str, Record]:
    """The artifacts of a run in `languages`, the first one the source."""
    source, *targets = languages
    at = "s3://key:secret@store/xlrm"
    found = {f"{at}/base": record("base", model="tiny"), f"{at}/curate": record("curate", language=source)}
    for one in targets:
        found[f"{at}/translate/{one}"] = record("translate", (f"{at}/curate",), language=one)
    found[f"{at}/validate"] = record("validate", (f"{at}/curate", *(f"{at}/translate/{one}" for one in targets)))
    for one in languages:
        found[f"{at}/reward/{one}"] = record("reward", (f"{at}/base", f"{at}/validate"), language=one, epochs=1)
        found[f"{at}/evaluate/{one}"] = record("evaluate", (f"{at}/reward/{one}",), language=one)
    for one in targets:
        models = (f"{at}/reward/{source}", f"{at}/reward/{one}")
        found[f"{at}/align/{one}"] = record("align", models, language=one, labeler=source, hub="https://me:pw@hub.test")
        found[f"{at}/judge/{one}"] = record("judge", (f"{at}/align/{one}",), language=one)
    return found


def written(folder: Path, name: str, content: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def representations(languages: tuple[str, ...], rng: np.random.Generator) -> dict:
    """What the represent stage writes, with the norms of two models; the last language has no tokens of its own."""
    size = len(languages)
    models = {
        name: {"mean": 0.4 + i / 50, "interval": [0.38 + i / 50, 0.42 + i / 50], "spectrum": [0.4 + i / 50, 0.3, 0.2],
               "values": rng.normal(0.4 + i / 50, 0.05, 60).tolist(), "truncated": i,
               "cosine": np.full((size, size), 0.3 + i / 10).tolist()}
        for i, name in enumerate(("base", *languages))
    }  # fmt: skip
    norms = {one: rng.normal(1 + i / 10, 0.1, 50).tolist() for i, one in enumerate(languages)} | {languages[-1]: []}
    return {
        "languages": list(languages), "texts": 60, "models": models, "token_sets": {"min_count": 2, "share": 1.0},
        "reading": {"position": "last", "template": "raw", "layer": -1, "max_length": 1024},
        "parallel": {"set": "belebele", "incomplete": 1, "duplicates": 2},
        "embedding_norms": {
            name: {"norms": norms, "distances": distances(norms)} for name in ("base", "HuggingFaceTB/SmolLM-1.7B")
        },
    }  # fmt: skip


def inputs(folder: Path, languages: tuple[str, ...] = LANGUAGES, count: int = 240) -> dict:
    """All that the report stage reads."""
    rng = np.random.default_rng(0)
    subsets = [name for name in SUBSETS for _ in range(count // len(SUBSETS))]
    evaluations = []
    for trained in languages:
        margins = {on: rng.normal(MARGIN.get((trained, on), 0.1), 1, len(subsets)).tolist() for on in languages}
        evaluations.append(evaluation(folder / f"evaluate-{trained}", trained, margins, subsets, ("m-rewardbench",)))
    represented = representations(languages, rng)
    verdicts = [
        written(folder / f"judge-{one}", "results.json", {"language": one, "results": {
            languages[0]: {"win_rate": 0.61, "interval": [0.53, 0.69], "items": 120, "draws": 11},
            one: {"win_rate": 0.66, "interval": [0.58, 0.74], "items": 120, "draws": 9},
        }})
        for one in languages[1:]
    ]  # fmt: skip
    results = json.loads((evaluations[0] / "results.json").read_text())["results"]
    external = {
        "a-classifier": {"kind": "classifier", "results": results, "cost": {}},
        "a-judge": {"kind": "generative", "results": {languages[0]: results[languages[0]]}, "cost": {}},
    }
    files = {"preferences.jsonl": {"rows_in": 2400, "rows_out": 2391, "failures": {"length": 9}}}
    summary = {
        "passed": True, "rows_in": 2400, "rows_out": 2391, "reject_share": 9 / 2400,
        "thresholds": {"max_reject_share": 0.05}, "languages": dict.fromkeys(languages, files),
    }  # fmt: skip
    versions = {f"demo-{one}": i for i, one in enumerate(languages, 3)}
    return {
        "corpora": written(folder / "corpora", "summary.json", summary),
        "evaluations": evaluations,
        "representations": written(folder / "represent", "results.json", represented),
        "verdicts": verdicts,
        "registered": written(
            folder / "register",
            "registered.json",
            {"aliases": {one: ["champion"] for one in versions} | {"demo-es": []}, "versions": versions},
        ),
        "lineage": lineage(languages),
        "external": written(folder / "external", "results.json", {"models": external}),
    }


def run(given: dict, output: Path, **config) -> tuple[dict[str, float], str]:
    output.mkdir()
    metrics = report.run(report.Config(**config), **given, output=output)
    return metrics, (output / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    given = inputs(folder)
    return given, *run(given, folder / "output")


def test_values_appear_with_their_intervals(whole):
    given, metrics, page = whole
    for on in LANGUAGES:
        result = json.loads((given["evaluations"][0] / "results.json").read_text())["results"][on]
        low, high = result["interval"][AVERAGE]
        cell = f"<b>{100 * result['accuracy'][AVERAGE]:.1f}</b> <small>{100 * low:.0f}–{100 * high:.0f}</small>"
        assert cell in page
    for shown in ("Spanish", "Korean", "61.0 53–69", "length 9", "2,391", "models:/demo-ko@champion",
                  "xlrm pull models:/demo-es/4 DIR", "2026-01-02", "900 MiB", "run-7"):  # fmt: skip
        assert shown in re.sub(r"<[^>]+>", "", page), shown
    assert f"{100 * metrics['transfer/mean_delta']:+.1f}".replace("-", "\u2212") in page


def test_cells_at_chance_are_marked(whole):
    given, _, page = whole
    cell = r'class="heat (?:right|wrong)( own)?( flat)?"'
    marks = [bool(flat) for _, flat in re.findall(cell, page)]
    expected = []
    for folder in given["evaluations"]:
        for result in json.loads((folder / "results.json").read_text())["results"].values():
            low, high = result["interval"][AVERAGE]
            expected.append(low <= 0.5 <= high)
    assert True in expected
    assert marks[: len(expected)] == expected


def test_the_page_needs_nothing_else(whole):
    page = whole[2]
    assert all(target.startswith("#") for target in re.findall(r'(?:src|href)="([^"]*)"', page))
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
        "right on 50.0\u00a0% of pairs in Spanish and Korean, models trained in those languages on 62.5\u00a0%" in page
    )
    spanish = results.compare(*results.read_evaluations(given["evaluations"])[:2])
    assert {name: one.value for name, one in spanish.deltas.items() if "/" not in name} == {
        "Chat": 0.5, "Safety": 0, AVERAGE: 0.25,
    }  # fmt: skip
    assert all(one.low <= one.value <= one.high for one in spanish.deltas.values())


def test_models_evaluated_on_different_items_are_not_compared(tmp_path):
    given = inputs(tmp_path, count=16)
    path = given["evaluations"][1] / rewards.FILE
    kept = pyarrow.parquet.read_table(path).to_pylist()
    rewards.write(path, [one | {"id": one["id"].replace("b0", "b99")} for one in kept])
    with pytest.raises(DataError, match="en and es were not evaluated on the same items"):
        run(given, tmp_path / "output")


def test_one_target_language(tmp_path):
    metrics, page = run(inputs(tmp_path, languages=("en", "ko"), count=80), tmp_path / "output")
    assert set(metrics) == {"transfer/mean_delta", "transfer/ko"}, "two models correlate with anything"
    assert metrics["transfer/mean_delta"] == metrics["transfer/ko"]
    assert "of Korean pairs, the Korean one on" in page


def test_a_run_without_alignment_says_so(tmp_path):
    given = inputs(tmp_path, languages=("en", "es"), count=80) | {"verdicts": []}
    assert "This run aligned no policies." in run(given, tmp_path / "output")[1]


def test_a_source_that_is_not_english_has_no_papers_numbers_beside_it(tmp_path):
    page = run(inputs(tmp_path, languages=("es", "ko"), count=80), tmp_path / "output")[1]
    assert "The Spanish reward model" in page
    assert "Llama" not in page


def test_text_is_escaped(tmp_path):
    given = inputs(tmp_path, languages=("en", "es"), count=80)
    path = given["corpora"] / "summary.json"
    path.write_text(path.read_text().replace('"length"', '"<img src=x>"'))
    page = run(given, tmp_path / "output", title="</title><script>alert(1)</script>", tiny=False)[1]
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "Tiny model" not in page


def plain(page: str) -> str:
    """The page's text, white space as one blank."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def section(page: str, name: str) -> str:
    found = page[page.index(f'id="{name}"') :]
    return plain(found[: min(found.index(end) for end in ("</section>", "</details>") if end in found)])


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
    mine = json.loads((given["evaluations"][0] / "results.json").read_text())["results"]["ko"]["accuracy"][AVERAGE]
    assert f"{100 * mine:.1f}" in found[found.index("a-classifier") : found.index("a-judge")]
    judge = found[found.index("a-judge") : found.index("English RM")]
    assert judge.count("&ndash;") == 2, "not evaluated in two languages"


def test_what_the_paper_says_of_figure_3_stands_beside_the_win_rates(whole):
    assert "increasing up to 9.3% point in Spanish” (section 4.2)" in section(whole[2], "wins")


def test_a_further_benchmark_has_a_section(whole):
    given, _, page = whole
    found = section(page, "benchmark-1")
    result = json.loads((given["evaluations"][1] / "results.json").read_text())["benchmarks"]["m-rewardbench"]["es"]
    assert f"{100 * result['accuracy']['Chat Hard']:.1f}" in found
    assert found.startswith(
        'id="benchmark-1"> m-rewardbench As it is given, not translated here, in English, Spanish and Korean.'
    )
    assert "chance 50.0 50.0 50.0 50.0 50.0" in found


def test_differences_have_p_values_adjusted_for_their_number(whole):
    evaluations = results.read_evaluations(whole[0]["evaluations"])
    alone = [results.compare(evaluations[0], own).deltas for own in evaluations[1:]]
    together = [one.deltas for one in results.compare_all(evaluations[0], evaluations[1:])]
    lowest = min((one[name].p, i, name) for i, one in enumerate(alone) for name in one if "/" not in name)
    assert together[lowest[1]][lowest[2]].p == pytest.approx(10 * lowest[0]), (
        "two languages, four sections and the average"
    )
    assert all(b[name].p >= a[name].p for a, b in zip(alone, together, strict=True) for name in a)
    assert together[0]["subset/facts"] == alone[0]["subset/facts"]


def test_evaluations_with_other_rules_for_ties_are_not_compared(tmp_path):
    given = inputs(tmp_path, count=16)
    path = given["evaluations"][1] / "results.json"
    path.write_text(path.read_text().replace('"tie_policy": "lost"', '"tie_policy": "half"'))
    with pytest.raises(DataError, match=r"evaluate\.ties of the reward models of en and es is lost and half"):
        run(given, tmp_path / "output")


def test_a_report_without_models_off_the_shelf(tmp_path):
    given = inputs(tmp_path, languages=("en", "es"), count=80)
    given.pop("external")
    assert "Reward models off the shelf" not in run(given, tmp_path / "output")[1]


def test_the_papers_differences():
    assert results.paper_delta("Llama-3.2-3B", "zh", "Reasoning") == 26.7
    assert results.paper_delta("Qwen2.5-3B", "ko", "Chat Hard") == -1.6
    assert results.paper_delta("Qwen2.5-3B", "it", AVERAGE) == 3.2
    assert results.paper_delta("Qwen2.5-3B", "de", AVERAGE) is None
