"""The report's other forms: Markdown, LaTeX, and the pages of MLflow and Kubeflow that show the Markdown."""

import base64
import html
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from refusals import refused
from report_inputs import plain, record, run, section, table

from components import _notice, _run
from xlrm.analysis import comparisons
from xlrm.errors import ConfigError
from xlrm.evaluation.alignment_results import AlignmentResults
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.rankings import Agreement, LabelerPairs, Ranking
from xlrm.evaluation.results import (
    EvaluationResults,
    JudgedItems,
    JudgeResults,
    JuryMember,
    Scores,
    read_evaluations,
)
from xlrm.models.samples import Counts, SampleCounts
from xlrm.reporting import latex
from xlrm.reporting.documents import Cell, Document, Grid
from xlrm.reporting.tables import Table
from xlrm.run import pages
from xlrm.scorers.judges.agreement import JudgesAgreement
from xlrm.store import artifacts
from xlrm.store.artifacts import Record
from xlrm.store.json_file import JsonFile
from xlrm.tracking import mlflow_client, mlflow_runs


def files(whole) -> Path:
    return whole[0]["corpora"].parent / "output"


def test_the_markdown_has_the_paper_s_tables_beside_the_run_s(whole) -> None:
    text = (files(whole) / "report.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)", text, re.MULTILINE)
    expected = ("The paper's claims", *(f"Table {n}:" for n in (1, 2, 3, 4, 6)), *(f"Figure {n}:" for n in (1, 2, 3)))
    for start in expected:
        assert any(title.startswith(start) for title in titles), start
    result = EvaluationResults.read(whole[0]["evaluations"][0]).results["es"]
    cells = [f"{100 * result.accuracy[name]:.1f}" for name in ("Chat", "Chat Hard", "Safety", "Reasoning", "average")]
    row = next(line for line in part(text, "Table 4").splitlines() if line.startswith("| English | this run"))
    assert re.findall(r"(\d+\.\d) \[", row) == cells
    assert "| English | the paper's Llama-3.2-3B | 86.3 | 69.3 | 89.3 | 72.4 | 79.3 |" in text
    rate = JudgeResults.read(whole[0]["verdicts"][0]).results["en"]
    assert f"| Spanish | by English RM | {100 * rate.win_rate:.1f} [" in part(text, "Figure 3")
    numbers = [int(number) for number in re.findall(r"#(\d+) \(", part(text, "Table 1"))]
    stages = [one.stage for one in whole[0]["lineage"].values()]
    assert [stages[number - 1] for number in numbers] == ["evaluate"] * 3
    assert all(f"| #{number} | evaluate |" in part(text, "Artifacts") for number in numbers)


def part(text: str, title: str) -> str:
    """The section of that title."""
    found = text[text.index(f"## {title}") :]
    return found[: found.find("\n## ", 1)] if "\n## " in found[1:] else found


def test_the_latex_has_the_same_rows_in_booktabs(whole) -> None:
    text, markdown = ((files(whole) / name).read_text(encoding="utf-8") for name in ("report.tex", "report.md"))
    assert text.count(r"\begin{longtable}") == text.count(r"\bottomrule") == markdown.count("\n## ")
    assert "86.3 & 69.3 & 89.3 & 72.4 & 79.3 \\\\" in text
    body = re.sub(r"(?m)^%.*", "", text)
    assert not re.search(r"(?<!\\)[#_%]", re.sub(r"\\(setlength|tabcolsep|begin|end)\{.*?\}", "", body)), (
        "specials are escaped"
    )
    for table_ in re.findall(r"\\endlastfoot(.*?)\\end\{longtable\}", text, re.DOTALL):
        sizes = {len(re.findall(r"(?<!\\)&", line)) for line in table_.splitlines() if line.endswith("\\\\")}
        assert len(sizes) == 1, "each row has all columns"


def test_latex_escapes_what_is_special() -> None:
    grid = Grid(
        "50 % of a_b", ("x & y", "#"), [[Cell("{~^}"), Cell("−1 → “2”")], [Cell("{~^}"), Cell("$\\")]], labels=1
    )
    text = latex.latex(Document("t", ["100 %"], [grid], Table((), [])))
    assert r"\caption{50 \% of a\_b.}" in text and r"x \& y & \# \\" in text
    assert r"\{\textasciitilde{}\textasciicircum{}\} & $-$1 $\to$ ``2'' \\" in text and r"\$\textbackslash{}" in text


def test_both_can_be_downloaded_from_the_page(whole) -> None:
    for name in ("report.md", "report.tex"):
        address = re.search(rf'download="{name}" href="data:text/plain;charset=utf-8;base64,([^"]*)"', whole[2]).group(
            1
        )
        assert base64.b64decode(address) == (files(whole) / name).read_bytes()


def test_the_command_s_file_decides_on_the_form() -> None:
    assert [pages.report_file(Path(name)) for name in ("a.html", "b/c.md", "d.tex")] == [
        "report.html",
        "report.md",
        "report.tex",
    ]
    with refused(ConfigError, "OUTPUT", "report.pdf"):
        pages.report_file(Path("report.pdf"))


def test_a_description_keeps_whole_sections(whole, tmp_path) -> None:
    text = (files(whole) / "report.md").read_text(encoding="utf-8")
    short = mlflow_runs.shortened(text, 8000)
    assert len(short) <= 8000 < len(text)
    kept, _, last = short.rpartition("\n\n")
    assert text.startswith(kept) and text[len(kept) :].lstrip("\n").startswith("## ") and "artifact_uri" in last
    assert mlflow_runs.shortened("x" * 50, 90) == "x" * 50
    assert pages.description("report", files(whole)) == text and pages.description("report", tmp_path) == ""


# Counts of the stages sample and rank


def published(uri: Path, content: JsonFile, record_: Record) -> tuple[str, Record]:
    """An artifact of the store with that file, and its record."""
    folder = uri.parent / f"{uri.name}-work"
    content.write(folder)
    facts = {k: v for k, v in record_.model_dump().items() if k not in ("digest", "files")} | {"mlflow_run_id": None}
    return uri.as_uri(), artifacts.publish(folder, uri.as_uri(), **facts)


def counted(responses: int, **fields) -> Counts:
    given = {
        "prompts": responses,
        "distinct": responses,
        "empty": 0,
        "cut": 0,
        "other_language": 0,
        "unknown_language": 0,
        "mean_characters": 100.0,
    }
    return Counts(responses=responses, **{**given, **fields})


BASE, EN, ES = "s3://store/xlrm/base", "s3://store/xlrm/align/en", "s3://store/xlrm/align/es"


@pytest.fixture
def sampled(tmp_path) -> dict[str, Record]:
    """Two shards of the base policy's responses, and those of two aligned policies; a ranking by both reward models."""
    lineage = {BASE: record("base", model="tiny")}
    lineage |= {uri: record("align", language="es", labeler=labeler) for uri, labeler in ((EN, "en"), (ES, "es"))}

    def sample(name: str, policies: dict[str, dict[str, dict[str, Counts]]], shard: tuple[int, int] = (1, 1)) -> None:
        given = {"policies": [{"uri": uri, "digest": "0" * 64} for uri in policies]}
        facts = Record.model_validate(record("sample", languages=["es"]).model_dump() | {"inputs": given})
        content = SampleCounts(shard=shard, policies=list(policies.values()))
        lineage.update([published(tmp_path / name, content, facts)])

    train = {"es": counted(80)}
    sample("after", {EN: {"eval": {"es": counted(40, cut=1)}}, ES: {"eval": {"es": counted(40, empty=2)}}})
    sample("1of2", {BASE: {"train": train, "eval": {"es": counted(30, cut=3)}}}, (1, 2))
    sample("2of2", {BASE: {"train": train, "eval": {"es": counted(10, cut=1, mean_characters=60.0)}}}, (2, 2))
    lengths = {"chosen_characters": 90, "rejected_characters": 80, "chosen_longer": 0.6}
    pairs = {"en": LabelerPairs(pairs=17, equal_texts=3, margin=1.25, **lengths)}
    pairs["es"] = LabelerPairs(pairs=18, equal_rewards=2)
    shares = {"same_best": 0.5, "same_pair": 0.25, "ordered_alike": 0.7, "kendall_tau": 0.4, "pearson": 0.55}
    both = Agreement(first="en", second="es", prompts=17, responses=60, **shares)
    ranking = Ranking(language="es", prompts=20, responses=80, candidates=66, labelers=pairs, agreements=(both,))
    lineage.update([published(tmp_path / "rank", ranking, record("rank", language="es"))])
    return lineage


def test_responses_before_and_after_alignment_are_counted_over_shards(sampled, tmp_path) -> None:
    """By hand: 4 of 40 responses of the base policy are cut; (30 x 100 + 10 x 60) / 40 characters."""
    page = run({"lineage": sampled}, tmp_path / "output")[1]
    text = section(page, "responses")
    assert re.search(r"Spanish base policy #\d+ ?#\d+ 40 100\.0 10\.0 0\.0 0\.0 90", text), "two shards"
    assert re.search(r"by English RM #\d+ 40 100\.0 2\.5 0\.0 0\.0 100", text)
    assert re.search(r"by Spanish RM #\d+ 40 100\.0 0\.0 5\.0", text)
    rows = {row["policy"]: row for row in table(page, "responses")}
    assert list(rows) == ["base", "en", "es"]
    assert (rows["base"]["cut"], rows["base"]["responses"]) == ("4", "40")


def test_what_reward_models_chose_before_anything_was_trained(sampled, tmp_path) -> None:
    page = run({"lineage": sampled}, tmp_path / "output")[1]
    text = section(page, "ranking")
    assert "English and Spanish order 70.0 % of the pairs of responses alike, Kendall's tau +0.40" in text.replace(
        "&#39;", "'"
    )
    assert re.search(r"English RM 20 17 3 1\.25 90, 80 60\.0", text) and "Spanish RM 20 18 2 – &ndash; –" in text
    (row,) = table(page, "agreement")
    assert (row["language"], float(row["pearson"])) == ("es", 0.55)


def test_a_run_s_page_in_mlflow_shows_the_report(whole) -> None:
    text = (files(whole) / "report.md").read_text(encoding="utf-8")
    with mlflow_runs.run("xlrm", "report", {}, {}) as opened:
        opened.describe(text)
        opened.describe("")
    shown = mlflow_client.client().get_run(opened.id).data.tags["mlflow.note.content"]
    assert shown == mlflow_runs.shortened(text, 8000)


def test_the_first_page_of_a_kubeflow_run_shows_the_report(whole, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(_run.RUN_ID, "run-1")
    view, ended = SimpleNamespace(path=str(tmp_path / "view")), SimpleNamespace(state="COMPLETE", error_message="")
    _notice.report("retrain", ended, view)
    assert Path(view.path).read_text(encoding="utf-8").endswith("retrain run-1: succeeded\n"), "a run without a report"
    facts = {k: v for k, v in record("report").model_dump().items() if k not in ("digest", "files")}
    uri = (tmp_path / "store" / "report" / "k").as_uri()
    artifacts.publish(files(whole), uri, **facts)
    _run.note_made("report", uri)
    _notice.report("retrain", ended, view)
    shown = Path(view.path).read_text(encoding="utf-8")
    assert shown.startswith("# Succeeded") and shown.endswith((files(whole) / "report.md").read_text(encoding="utf-8"))


def test_what_dpo_did_stands_beside_each_policy(tmp_path) -> None:
    drift = {"chosen_drift": -1.25, "rejected_drift": -3.5}
    counts = {
        "pairs": 38,
        "cut": 2,
        "cut_chosen": 1,
        "cut_rejected": 2,
        "cut_answers": 0,
        "equal": 0,
        "dropped": 0,
        "steps": 5,
    }
    content = AlignmentResults(language="es", labeler="en", loss=0.61, accuracy=0.75, **counts, **drift)
    lineage = dict([published(tmp_path / "align", content, record("align", language="es", labeler="en"))])
    page = run({"lineage": lineage}, tmp_path / "output")[1]
    assert "Spanish #1 English RM 38 2 5 0.610 75.0 −1.25 −3.50" in section(page, "dpo")
    assert table(page, "alignment")[0]["cut_rejected"] == "2"


def test_the_judges_of_a_jury_are_shown_one_by_one(whole, tmp_path) -> None:
    given = whole[0]
    judged = JudgeResults.read(given["verdicts"][0])
    alone = judged.results["en"].model_copy(update={"win_rate": 0.25, "interval": (0.2, 0.3), "unreadable": 5})
    kappa = JudgesAgreement(first="gpt-4o", second="reward=m", items=90, agreement=0.8, kappa=0.55)
    scores = {
        "gpt-4o": Scores(unit="ratings", reference=6.25, system=7.5, weighted=0.75),
        "reward=m": Scores(unit="rewards", reference=-1.5, system=0.125),
    }
    members = {
        name: JuryMember(results={"en": alone} if of.weighted else {}, scores={"en": of}) for name, of in scores.items()
    }
    judged.model_copy(update={"members": members, "kappa": (kappa,), "judge": "gpt-4o, reward=m"}).write(
        tmp_path / "jury"
    )
    JudgedItems.read(given["verdicts"][0]).write(tmp_path / "jury")
    page = run({"verdicts": [tmp_path / "jury"], "lineage": {}}, tmp_path / "output")[1]
    text = section(page, "judging")
    assert "Spanish gpt-4o by English RM 25.0 20–30 5 of 240" in text
    assert "Spanish gpt-4o, reward=m 90 80.0 +0.55" in text
    assert "Spanish gpt-4o by English RM ratings 6.25 7.50 75.0" in text
    assert "Spanish reward=m by English RM rewards −1.50 0.12 –" in text
    sentence = "Two judges each agree on 80.0 % of the pairs, Cohen's kappa +0.55."
    assert sentence in html.unescape(plain(page))
    assert [(row["judge"], row["system"], row["unit"], row["weighted"]) for row in table(page, "scores")] == [
        ("gpt-4o", "en", "ratings", "0.75"), ("reward=m", "en", "rewards", ""),
    ]  # fmt: skip


def test_the_mean_scores_of_a_single_judge_are_shown(whole, tmp_path) -> None:
    folder = whole[0]["verdicts"][0]
    scores = {"base": Scores(unit="rewards", reference=1.0, system=-2.25)}
    JudgeResults.read(folder).model_copy(update={"judge": "reward=m", "scores": scores}).write(tmp_path / "judged")
    JudgedItems.read(folder).write(tmp_path / "judged")
    page = run({"verdicts": [tmp_path / "judged"], "lineage": {}}, tmp_path / "output")[1]
    text = section(page, "judging")
    assert "Spanish reward=m base policy rewards 1.00 −2.25 –" in text
    assert "Agreement of judges" not in text and "Two judges" not in section(page, "wins")


# CSV


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
    content = Table(("text", "number"), [("=1+1", -0.5), ("-x", 2)]).content().decode("utf-8-sig")
    assert content.split() == ["text,number", "'=1+1,-0.5", "'-x,2"]
