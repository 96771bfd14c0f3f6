"""The page on reused reward models, from typed results with chosen numbers."""

import csv
import html
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from refusals import refused
from report_inputs import plain, section, table
from reuse_inputs import LANGUAGES, inputs, lineage, rate, run, verdicts, written_samples

from xlrm.analysis.bag_of_words import BagOfWords
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation.results import JudgedItems, JudgeResults
from xlrm.reporting import reuse_analyses, reuse_reading, reuse_statements
from xlrm.reporting.facts import Facts
from xlrm.reporting.reuse_material import Material
from xlrm.run.sections import stage_config
from xlrm.store.jsonl import write_jsonl


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict[str, float], str, Path]:
    folder = tmp_path_factory.mktemp("reuse")
    given = inputs(folder / "in")
    metrics, page = run(given, folder / "page", run="demo")
    return given, metrics, page, folder / "page"


def test_metrics_by_hand(whole):
    """Best-of-n: own 0.6 in five languages and 0.7 in English; the others' means by `rate`. RL: 0.05 less everywhere."""
    metrics = whole[1]
    crossed = [sum(rate(s, t) for s in LANGUAGES if s != t) / 5 for t in LANGUAGES]
    assert crossed[LANGUAGES.index("en")] == pytest.approx((0.5 + 0.52 + 0.53 + 0.54 + 0.55) / 5)
    own, cross = (5 * 0.6 + 0.7) / 6, sum(crossed) / 6
    assert metrics["best_of_n/own"] == pytest.approx(own)
    assert metrics["best_of_n/cross"] == pytest.approx(cross)
    assert metrics["best_of_n/difference"] == pytest.approx(cross - own)
    assert metrics["rl/cross"] == pytest.approx(cross - 0.05)
    assert {name: value for name, value in metrics.items() if name.startswith("best_source/rl")} == {
        f"best_source/rl/{code}": 6.0 * (code == "en") for code in LANGUAGES
    }
    assert sum(value for name, value in metrics.items() if name.startswith("statements/")) == 22


def test_the_answer_comes_first(whole):
    start = html.unescape(plain(whole[2][: whole[2].index("<nav")]))
    assert "a reward model of another language wins 55.7 %" in start
    assert "that of the target's own language 61.7 %" in start
    assert "worse than the own (\u22126.0 points" in start
    assert "Best source (best-of-n), of 6 targets: English for 6." in start
    assert "Of 22 statements of the paper" in start
    assert "Tiny models" in start


def test_win_rates_stand_beside_the_papers(whole):
    shown = section(whole[2], "best_of_n")
    interval = JudgeResults.read(whole[0]["verdicts_best_of_n"][0]).results["en"].interval
    assert f"70.0 {100 * interval[0]:.0f}\u2013{100 * interval[1]:.0f}" in shown
    assert "Paper, Table 6, judged by PaLM-2-L; other task (summarization) and models" in shown
    assert "German 52.3 50.8 63.0 66.7 63.0 60.4" in shown, "the first row of Table 6"
    assert "German 59.4 61.0 59.4 49.6 52.5 59.3" in section(whole[2], "rl"), "the first row of Table 8"


def test_own_languages_and_undecided_cells_are_marked(whole):
    part = whole[2][whole[2].index('id="best_of_n"') :]
    matrix = part[: part.index("</table>")]
    marks = re.findall(r'class="heat (?:right|wrong)( own)?( flat)?"', matrix)
    assert [bool(own) for own, _ in marks] == [s == t for s in LANGUAGES for t in LANGUAGES]
    expected = []
    results = [JudgeResults.read(folder).results for folder in whole[0]["verdicts_best_of_n"]]
    for source in LANGUAGES:
        expected += [own[source].interval[0] <= 0.5 <= own[source].interval[1] for own in results]
    assert {True, False} == set(expected)
    assert [bool(flat) for _, flat in marks] == expected


def test_a_dialog_run_stands_beside_the_dialog_tables(tmp_path):
    codes = ("en", "es", "ru")
    given = inputs(tmp_path / "in", codes, model="google/gemma-2-2b", instruction="dialog")
    page = run(given, tmp_path / "page", codes)[1]
    shown = section(page, "best_of_n")
    assert "Paper, Table 7, judged by PaLM-2-L; other models" in shown
    assert "English 62.9 65.0 59.6" in shown
    assert "66.1 68.1 71.1" in section(page, "accuracy"), "the length baseline of Table 19"
    assert "Tiny models" not in plain(page)


def test_only_languages_of_the_run_are_shown(tmp_path):
    codes = ("en", "tr")
    given = inputs(tmp_path / "in", codes)
    shown = section(run(given, tmp_path / "page", codes)[1], "best_of_n")
    assert "English 55.5 67.2 Turkish 52.9 60.4" in shown
    assert "German" not in shown


def test_the_second_judge_is_compared(tmp_path):
    """The second judge turns the order of German and Spanish around for English, and ties none: of 15 pairs of sources in
    each of two targets 29 stay."""
    given = inputs(tmp_path / "in")
    for place, target in enumerate(("de", "en")):
        rates = {source: rate(source, target) for source in LANGUAGES}
        if target == "en":
            rates["de"], rates["es"] = rates["es"], rates["de"]
        folder = verdicts(tmp_path / f"second-{place}", target, rates, judge="second")
        given["verdicts_best_of_n"].append(folder)
    _, page = run(given, tmp_path / "page")
    shown = section(page, "judges")
    assert "gold and second order 29 of 30 pairs of sources alike (96.7 %; 0 tied in one alone)" in shown
    assert "Best-of-n, judged by second" in shown
    assert "give the same verdict on" in shown
    assert "Table 10, judged by GPT-4" in shown


def test_variants_are_shown_or_missed(tmp_path, whole):
    left = section(whole[2], "left-out")
    for absent in ("Translate-train", "Bilingual", "(Back-)translated SFT data"):
        assert absent in left
    given = inputs(tmp_path / "in")
    for target in ("de", "en"):
        rates = {source: rate(source, target) for source in LANGUAGES}
        rates |= {"de+en": 0.65, **{f"{source}>{target}": 0.4 for source in LANGUAGES if source != target}}
        given["verdicts_best_of_n"][LANGUAGES.index(target)] = verdicts(tmp_path / target, target, rates)
    metrics, page = run(given, tmp_path / "page")
    shown = section(page, "translate-train")
    transferred = [rate(s, t) for t in ("de", "en") for s in LANGUAGES if s != t]
    mean = 100 * sum(transferred) / 10
    assert f"reward models that are transferred win {mean:.1f} %, those trained on translations 40.0 %" in shown
    assert "above in 10 of 10 pairs" in shown
    assert "German + English" in section(page, "bilingual")
    assert "65.0" in section(page, "bilingual")
    assert "Translate-train" not in section(page, "left-out")
    assert metrics["best_of_n/own"] == pytest.approx(whole[1]["best_of_n/own"]), "variants are no sources of their own"


def test_rewards_and_divergences(whole):
    increases = section(whole[2], "increases")
    assert "+0.75 0.70\u20130.80" in increases, "own, by the best of 8"
    assert "+0.20 0.15\u20130.25" in increases, "another language's, RL"
    assert "a higher reward than the SFT policy in 30 of 30 pairs" in increases
    others = section(whole[2], "by-sources")
    assert "in 30 of 30 pairs, in 30 by the whole" in others
    assert "= 1.20 nats" in section(whole[2], "divergence"), "log 8 - 7/8 = 1.204"
    assert whole[2].count("reward increase by k") == len(LANGUAGES)


def test_words_are_measured_on_the_samples(tmp_path):
    """The own reward model rewards the word good alone, the other one nothing that a bag of words could know."""
    codes = ("de", "en")
    given = inputs(tmp_path / "in", codes)
    given["samples"] = [
        written_samples(tmp_path / f"samples-{code}", given["best_of_n"][i], code, codes)
        for i, code in enumerate(codes)
    ]
    page = run(given, tmp_path / "page", codes)[1]
    rows = {(row["target"], row["source"]): float(row["r2_held_out"]) for row in table(page, "words")}
    assert rows["de", "de"] > 0.95 and rows["en", "en"] > 0.95
    assert rows["de", "en"] < 0.3 and rows["en", "de"] < 0.3
    assert "Bag of words and rewards" in section(page, "analyses")
    assert "has the larger one in 2 of 2 pairs" in section(page, "analyses")


def test_words_of_another_language_are_those_of_reward_models_of_one_language():
    """A bilingual one and one trained on translations are neither the own language's nor another's."""
    bag = BagOfWords(rows=100, words=10, in_sample=0.5, chance=0.1, held_out=0.4)
    words = {"de": {"de": bag, "en": bag, "de+en": replace(bag, in_sample=0.9), "en>de": replace(bag, in_sample=0.9)}}
    grid = reuse_analyses._words(Material(facts=Facts(), languages=("de", "en"), words=words))
    assert [[cell.text for cell in row][:3] for row in grid.rows] == [
        ["own language", "1", "+0.50"], ["another language", "1", "+0.50"],
    ]  # fmt: skip


def test_tables_have_every_number(whole):
    rows = table(whole[2], "win_rates")
    assert len(rows) == 2 * len(LANGUAGES) ** 2
    first = next(row for row in rows if (row["method"], row["source"], row["target"]) == ("rl", "tr", "de"))
    assert float(first["win_rate"]) == pytest.approx(rate("tr", "de") - 0.05)
    paper = {(row["table"], row["source"], row["target"]): float(row["value"]) for row in table(whole[2], "paper")}
    assert paper["6", "de", "de"] == 52.3
    assert paper["20", "vi", "tr"] == 1.47
    for name, address in re.findall(r'download="(\w+)\.csv"', whole[2]) and [("win_rates", "tables/win_rates.csv")]:
        content = (whole[3] / address).read_text(encoding="utf-8-sig")
        assert list(csv.DictReader(io.StringIO(content))) == table(whole[2], name)


def test_statements_have_both_verdicts(whole):
    rows = {row["key"]: row for row in table(whole[2], "statements")}
    assert len(rows) == 22
    assert rows["translate_train"]["verdict"] == "not measured"
    assert "58.81" in rows["translate_train"]["papers_tables"]
    assert rows["improves"]["verdict"] == "not decided"
    assert set(reuse_statements.TESTS) < set(rows)


def test_the_page_needs_nothing_else(whole):
    page = whole[2]
    assert all(re.match("#|data:text/(csv|plain)", target) for target in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)|xmlns", page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', page)) <= set(ids)
    assert not re.search(r"secret|key:", page)


def test_tags_are_closed(whole):
    class Balance(HTMLParser):
        empty = frozenset({"meta", "br", "path", "rect", "use", "stop", "link", "input"})

        def __init__(self) -> None:
            super().__init__()
            self.opened: list[str] = []
            self.wrong: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in self.empty:
                self.opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in self.empty and self.opened.pop() != tag:
                self.wrong.append(tag)

    balance = Balance()
    balance.feed(whole[2])
    assert (balance.opened, balance.wrong) == ([], [])


def test_the_same_inputs_make_the_same_page(whole, tmp_path):
    assert run(whole[0], tmp_path / "again", run="demo") == whole[1:3]


def test_markdown_has_the_same_tables(whole):
    text = (whole[3] / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Reward models in other languages than their own: demo\n")
    assert "| Vietnamese | 55.0" in text
    assert "## The paper's statements" in text
    assert "## Cost of each stage" in text


def test_an_empty_run_says_what_is_missing(tmp_path):
    metrics, page = run({"lineage": lineage(("en",))}, tmp_path / "page", ("en",))
    left = section(page, "left-out")
    for name in ("evaluations", "best_of_n", "gains", "verdicts_best_of_n", "verdicts_rl", "registered"):
        assert f"`{name}`" in left
    assert metrics["statements/not_measured"] == 22


def test_a_file_of_features_that_is_not_there_and_a_page_of_no_language_are_refused(tmp_path):
    with refused(DataError, f"reuse_report.typology: {tmp_path / 'nowhere.csv'}"):
        reuse_reading.digest(str(tmp_path / "nowhere.csv"))
    with refused(ConfigError, "reuse_report.languages", ()):
        stage_config("reuse_report", {"languages": ()})


def test_typology_is_read_from_a_file(tmp_path):
    """English and German share the only feature; their two pairs have the highest win rates. By hand: the pairs alike are
    0.70 and 0.50, the other four 0.70, 0.52, 0.52, 0.50 (source en to es, es to en, es to de, de to es)."""
    codes = ("de", "en", "es")
    given = inputs(tmp_path / "in", codes)
    path = tmp_path / "features.csv"
    path.write_text("lang,feature_id,value\nde,1A,3\nen,1A,3\nes,1A,2\n")
    page = run(given, tmp_path / "page", codes, typology=str(path))[1]
    row = next(row for row in table(page, "typology") if row["method"] == "best_of_n")
    assert (row["feature"], row["same"], row["different"]) == ("1A", "2", "4")
    assert float(row["mean_same"]) == pytest.approx(0.6)
    assert float(row["mean_different"]) == pytest.approx((0.7 + 0.52 + 0.52 + 0.5) / 4)


def test_a_file_of_features_without_a_column_is_refused(tmp_path):
    path = tmp_path / "features.csv"
    path.write_text("lang,feature\nde,1A\n")
    with refused(DataError, f"{path}:2", "feature_id"):
        run({"lineage": lineage(("de",))}, tmp_path / "page", ("de",), typology=str(path))


def test_the_recommender_is_evaluated_on_the_run_and_on_the_papers_tables(whole):
    """English is the best source for every target here, so that it costs nothing; the own reward model, accurate in its own
    language, is chosen by accuracy and loses 10 points but in English. The paper's Table 8: docs/recommender.md."""
    rows = table(whole[2], "recommender")
    regrets = {(row["of"], row["matrix"], row["rule"], row["target"]): row for row in rows}
    assert all(float(regrets["run", "best-of-n", "english", code]["regret"]) == 0 for code in LANGUAGES)
    assert regrets["run", "RL", "accuracy", "tr"]["sources"] == "tr"
    assert float(regrets["run", "RL", "accuracy", "tr"]["regret"]) == pytest.approx(10)
    english = [float(regrets["paper", "Table 8", "english", code]["regret"]) for code in LANGUAGES]
    assert sum(english) / 6 == pytest.approx(3.60, abs=0.005)
    assert "English 0.0: a difference of 0.0" in html.unescape(section(whole[2], "recommender"))


def test_results_without_an_order_leave_the_page_whole(tmp_path):
    """One reward model gives every response the same reward, one policy has no counterpart for translate-train, and the second
    judge read nothing."""
    codes = ("de", "en")
    given = inputs(tmp_path / "in", codes)
    row = {"id": "p", "subset": None, "rewards": {"de": [1.0, 1.0, 1.0], "en": [1.0, 2.0, 3.0]}}
    write_jsonl(given["best_of_n"][0] / "rewards.jsonl", [row])
    given["verdicts_best_of_n"] = [verdicts(tmp_path / "own", "de", {"de": 0.6, "en>de": 0.5})]
    second = verdicts(tmp_path / "second", "de", {"de": 0.6}, judge="second")
    given["verdicts_best_of_n"].append(second)
    JudgedItems(ids=("x",), wins={"de": (None,)}).write(second)
    page = run(given, tmp_path / "page", codes)[1]
    assert "Translate-train" in page
    assert "those trained on translations" not in page
    assert "give the same verdict" not in page
