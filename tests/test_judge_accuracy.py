"""Accuracy of a judge on the data that reward models are validated on: held-out pairs, and pairs of single judgments."""

import csv
import json
import math
import re

import pytest
from refusals import refused
from typer.testing import CliRunner

from benchmarks.served_translations import serving
from xlrm.cli import app
from xlrm.data.pair_records import pairs_of_judgments
from xlrm.errors import DataError
from xlrm.evaluation import benchmarks
from xlrm.scorers.judges import rewardbench
from xlrm.store.jsonl import read_rows, write_jsonl


def judgment(key: str, prompt: str, response: str, label: float, subset: str = "xsum") -> dict:
    return {"id": key, "prompt": prompt, "response": response, "label": label, "subset": subset, "source": "seahorse"}


ROWS = [
    judgment("1", "A", "good a", 1), judgment("2", "A", "bad a", 0), judgment("3", "A", "poor a", 0),
    judgment("4", "B", "bad b", 0), judgment("5", "B", "good b", 1, "wikilingua"),
    judgment("6", "C", "half c", 0.5, "wikilingua"), judgment("7", "C", "good c", 1, "wikilingua"),
]  # fmt: skip


def test_pairs_are_every_two_judgments_of_a_document_with_different_labels() -> None:
    pairs = pairs_of_judgments(ROWS)
    assert [(each["id"], each["chosen"], each["rejected"], each["subset"]) for each in pairs] == [
        ("1>2", "good a", "bad a", "xsum"), ("1>3", "good a", "poor a", "xsum"), ("7>6", "good c", "half c", "wikilingua"),
    ]  # fmt: skip
    with refused(DataError, ""):
        pairs_of_judgments(ROWS[1:5])


def test_a_file_of_judgments_is_a_benchmark_of_their_pairs(tmp_path) -> None:
    write_jsonl(tmp_path / "heldout.jsonl", ROWS)
    loaded = benchmarks.load(str(tmp_path / "heldout.jsonl"), "en", None, 0)
    assert [row["id"] for row in loaded.rows] == ["1>2", "1>3", "7>6"]
    assert [row["section"] for row in loaded.rows] == ["xsum", "xsum", "wikilingua"]
    assert len(benchmarks.load(str(tmp_path / "heldout.jsonl"), "en", 2, 0).rows) == 2
    write_jsonl(tmp_path / "equal.jsonl", ROWS[1:3])
    with refused(DataError, str(tmp_path / "equal.jsonl")):
        benchmarks.load(str(tmp_path / "equal.jsonl"), "en", None, 0)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    assert [row["id"] for row in benchmarks.load(str(tmp_path / "rows.csv"), "en", None, 0).rows] == [
        "1>2",
        "1>3",
        "7>6",
    ]


def test_credits_between_are_decided_too() -> None:
    """0.7 and 0.5 of two items: a judge that has to decide is right in one and a half of them."""
    judged = [{"verdicts": ["A", "B"], "credit": 0.7}, {"verdicts": ["A", "A"], "credit": 0.5}]
    assert rewardbench.bias(judged)["decided"] == 0.75
    assert "decided" not in rewardbench.bias(
        [{"verdicts": ["A"], "credit": 1.0}, {"verdicts": ["error"], "credit": 0.5}]
    )


def likes_good(text: str, request: dict) -> tuple[dict, str]:
    """Gives `good` 0.8 in the first place and 0.6 in the second, and the others half."""
    first, second = (part.startswith("good") for part in re.search(r"1 - (.*)\nSummary 2 - (.*)\n", text).groups())
    one = 0.5 if first == second else 0.8 if first else 0.4
    likely = [{"token": token, "logprob": math.log(p)} for token, p in (("1", one), ("2", 1 - one))]
    content = [likely[0] | {"bytes": None, "top_logprobs": [each | {"bytes": None} for each in likely]}]
    message = {"role": "assistant", "content": "1"}
    choice = {"index": 0, "finish_reason": "length", "logprobs": {"content": content}, "message": message}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return reply, "length"


def test_one_command_gives_the_accuracy_of_a_judge(tmp_path, monkeypatch) -> None:
    write_jsonl(tmp_path / "heldout.jsonl", ROWS)
    how = [
        "evaluate",
        "--benchmark",
        str(tmp_path / "heldout.jsonl"),
        "--language",
        "de",
        "--output",
        str(tmp_path / "out"),
    ]
    with serving(likes_good, read=str) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        asked = ["--model", "served=m", "--judge", "prompt=summarization,orders=both"]
        made = CliRunner().invoke(app, [*how, *asked])
    assert made.exit_code == 0, made.output
    assert all("knowledgeable in German" in request["messages"][0]["content"] for request in server.requests)
    (folder,) = (tmp_path / "out").glob("*--de")
    results = json.loads((folder / "results.json").read_text())
    assert results["accuracy"]["average"] == pytest.approx(0.7), "0.8 and 0.6, averaged"
    assert results["bias"]["de"]["decided"] == 1.0 and results["items"] == 3
    assert read_rows(folder / "verdicts.jsonl")[0]["preferences"] == pytest.approx([1.2, 1.6])
    for wrong in (["--judge", "prompt"], ["--judge", "nothing=1"], ["--judge", "prompt=dialogue"]):
        refusal = CliRunner().invoke(app, [*how, "--model", "served=m", *wrong])
        assert refusal.exit_code == 2 and "--judge" in refusal.output
    refusal = CliRunner().invoke(app, [*how, "--model", "armorm", "--judge", "orders=both"])
    assert refusal.exit_code == 2 and "--judge" in refusal.output
