"""The form for people who judge: what it shows and hides, how it is used in a browser, and what its answers give."""

import csv
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from refusals import refused
from sampled import answered
from typer.testing import CliRunner

from xlrm.cli import app
from xlrm.errors import ConfigError
from xlrm.evaluation.results import JudgeResults
from xlrm.scorers.judges import form, human, table
from xlrm.scorers.judges.pairs import Pair
from xlrm.stages import judge
from xlrm.store.jsonl import write_jsonl

PAIRS = [Pair(f"p{n}", f"Metin {n}", f"ours {n}", f"theirs {n}", system="en") for n in range(6)]
HOSTILE = '</script><script>alert("x")</script> & <b>bold</b> "quoted", \'so\'\nÜç yüz\u2028'


class Parsed(HTMLParser):
    """Elements of a page, and the text of its data."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.data, self._in_data = "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        named = dict(attributes)
        self.addresses += [named[name] for name in ("src", "href", "action") if name in named]
        self._in_data = named.get("id") == "data"

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False

    def handle_data(self, data: str) -> None:
        self.data += data * self._in_data


def test_the_form_holds_the_rows_and_nothing_that_tells_who_wrote_what() -> None:
    pairs = [*PAIRS, Pair("px", HOSTILE, HOSTILE, "theirs", system="en")]
    rows = human.sheet(pairs, "tr", seed=3)
    page = form.html(rows, "summarization", "tr")
    parsed = Parsed(page)
    assert parsed.tags.count("script") == 2 and not parsed.addresses, "one file, which fetches nothing"
    data = json.loads(parsed.data)
    assert [{key: row[key] for key in each} for row, each in zip(rows, data["pairs"], strict=True)] == data["pairs"]
    assert set(data["pairs"][0]) == {"id", "language", "pair", "prompt", "first", "second"}
    assert set(data) == {"key", "title", "language", "asked", "written", "instructions", "pairs"}
    assert "Turkish" in data["title"] and any(
        "best adheres to coherence, accuracy" in text for text in data["instructions"]
    )
    swapped = [Pair(each.id, each.prompt, each.b, each.a, system="de") for each in pairs]
    assert {row["pair"] for row in human.sheet(pairs, "tr", 3)} & {
        row["pair"] for row in human.sheet(swapped, "tr", 3)
    }, "a pair's name follows from what is shown, not from whose it is"
    with refused(ConfigError, "--task", "essay"):
        form.html(rows, "essay", "tr")
    with refused(ConfigError, "JUDGED", 0):
        form.html([], "dialog", "tr")


@pytest.mark.parametrize(
    ("task", "words"), [("dialog", "Respond 1 or 2 to indicate the better output."), ("response", "1 or 2")]
)
def test_instructions_are_those_of_the_task(task: str, words: str) -> None:
    data = json.loads(Parsed(form.html(human.sheet(PAIRS, "ru", 0), task, "ru")).data)
    text = "\n".join(data["instructions"])
    assert words in text and "Russian" in text and "{" not in text and "python" not in text


DRIVE = """
<script>
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
const seen = [];
press("1");
seen.push(document.getElementById("note").textContent);
document.getElementById("annotator").value = " Ayşe, \\"A\\" ";
document.getElementById("annotator").dispatchEvent(new Event("change"));
for (const pair of data.pairs) {
  const shown = ["prompt", "first", "second"].map((name) => document.getElementById(name).textContent);
  seen.push(shown);
  press(shown[1].startsWith("theirs") ? "1" : "2");
}
seen.push(document.getElementById("count").textContent);
press("ArrowLeft");
document.querySelectorAll(".choose")[data.pairs.at(-2).first.startsWith("ours") ? 0 : 1].click(); // changes the last but one
place = 0; memory = {};
recall(); toFirstOpen();
seen.push(document.getElementById("count").textContent);
window.Blob = function (parts, options) {
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify([seen, parts.join("")]);
  document.body.append(result);
};
URL.createObjectURL = () => "about:blank#";
HTMLAnchorElement.prototype.click = () => {};
document.getElementById("download").click();
</script>
"""


def test_a_person_uses_the_form_in_a_browser_and_the_answers_are_read(tmp_path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium")
    rows = human.sheet([*PAIRS, Pair("px", HOSTILE, f"ours {HOSTILE}", "theirs", system="en")], "tr", seed=3)
    page = tmp_path / "form.html"
    page.write_text(form.html(rows, "summarization", "tr") + DRIVE, "utf-8")
    asked = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    asked += [f"--user-data-dir={tmp_path / 'profile'}", "--timeout=60000", "--dump-dom", page.as_uri()]
    made = subprocess.run(asked, capture_output=True, text=True, timeout=180)
    assert 'id="result"' in made.stdout, f"{made.returncode}: {made.stdout[-500:]} {made.stderr[-2000:]}"
    (found,) = re.findall(r'<pre id="result">(.*?)</pre>', made.stdout, re.DOTALL)
    (unnamed, *shown, done, later), answers = json.loads(html.unescape(found))
    assert "name" in unnamed and done.endswith("7 answered") and later.endswith("7 answered"), "kept by the browser"
    assert shown == [[row["prompt"], row["first"], row["second"]] for row in rows]
    read = list(csv.DictReader(io.StringIO(answers.removeprefix("\ufeff"), newline="")))
    assert [row["pair"] for row in read] == [row["pair"] for row in rows]
    assert {row["annotator"] for row in read} == {'Ayşe, "A"'}
    (tmp_path / "answers.csv").write_text(answers, "utf-8", newline="")
    given = [*PAIRS, Pair("px", HOSTILE, f"ours {HOSTILE}", "theirs", system="en")]
    said = table.judge(f"human={tmp_path / 'answers.csv'}", table.Settings(), given, "tr")
    changed = rows[-2]["id"]
    assert [each.preference for each in said.judgements] == [1.0 if pair.id == changed else 2.0 for pair in given]


def answers(folder: Path, *systems: list[str]) -> Path:
    for place, texts in enumerate(systems):
        rows = [answered(f"p{n}", f"Question {n}?", [text], "es", subset="ab"[n % 2]) for n, text in enumerate(texts)]
        write_jsonl(folder / str(place) / "eval/es.jsonl", rows)
    return folder


def test_a_number_of_pairs_of_each_system_and_the_same_statistics(tmp_path) -> None:
    """30 prompts and two systems; people judge 10 prompts of each, and like the first system's responses."""
    base = [f"base {n}" for n in range(30)]
    given = {
        "reference": [answers(tmp_path / "reference", base)],
        "candidates": [
            answers(
                tmp_path / "candidates",
                [f"good {n}" for n in range(30)],
                ["base 0", *(f"bad {n}" for n in range(1, 30))],
            )
        ],
    }
    (tmp_path / "none.csv").write_text("id,system,preference\np0,en,1\n")

    def judged(name: str, file: str) -> JudgeResults:
        (tmp_path / name).mkdir()
        how = {"language": "es", "labelers": ("en", "es"), "max_missing_share": 1.0}
        judge.run(judge.Config(judge=f"human={tmp_path / file}", **how), output=tmp_path / name, **given)
        return JudgeResults.read(tmp_path / name)

    (tmp_path / "none.csv").write_text(
        "id,system,preference\n" + "".join(f"p{n},{s},1\n" for n in (1, 2) for s in ("en", "es"))
    )
    judged("first", "none.csv")
    made = CliRunner().invoke(
        app,
        [
            "sheet",
            str(tmp_path / "first"),
            "--output",
            str(tmp_path / "form.html"),
            "--per-system",
            "10",
            "--task",
            "dialog",
        ],
    )
    assert made.exit_code == 0 and "20 pairs" in made.output
    pairs = json.loads(Parsed((tmp_path / "form.html").read_text("utf-8")).data)["pairs"]
    ids = {
        system: {row["id"] for row in pairs if f"{system} " in row["first"] + row["second"]}
        for system in ("good", "bad")
    }
    assert len(ids["good"]) == len(ids["bad"]) == 10 and len(ids["good"] & ids["bad"]) >= 9, "of the same prompts"
    filled = [
        {name: row[name] for name in ("id", "pair")}
        | {"preference": "1" if row["first"].split()[0] in ("good", "base")[: 1 + ("bad" in row["second"])] else "2"}
        for row in pairs
    ]
    with (tmp_path / "filled.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, filled[0])
        writer.writeheader()
        writer.writerows(filled)
    results = judged("second", "filled.csv").results
    assert (results["en"].win_rate, results["en"].items) == (1.0, 10) and set(results["en"].subsets) == {"a", "b"}
    assert (results["es"].win_rate, results["es"].items) == (0.0, 10)
    write_jsonl(tmp_path / "second" / "verdicts.jsonl", [])
    for name in ("empty.csv", "empty.html"):
        none = CliRunner().invoke(app, ["sheet", str(tmp_path / "second"), "--output", str(tmp_path / name)])
        assert none.exit_code == 2 and "no pair of different responses" in none.output
        assert not (tmp_path / name).exists()
