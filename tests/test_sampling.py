"""Responses of a policy: a run that is killed goes on from what the store has, on a machine that has nothing."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from xlrm.data.corpus_schema import Description
from xlrm.models.transformers_engine import Transformers
from xlrm.scorers.reward_journal import Journal
from xlrm.stages import sample, translate
from xlrm.store import addresses, answers, objects
from xlrm.store.jsonl import read_rows, write_jsonl

PROMPTS = [
    f"How much is one plus {word}?"
    for word in ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
]
SETTINGS = {"languages": ["en"], "split": "all", "samples": 4, "max_new_tokens": 8, "batch_size": 4}
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from xlrm.store import answers
from xlrm.stages import sample
from xlrm.models.transformers_engine import Transformers

batch, asked = Transformers._batch, 0

def killed(engine, encoded, *rest):
    global asked
    asked += len(encoded)
    if asked > 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return batch(engine, encoded, *rest)

Transformers._batch = killed
answers.SECONDS_BETWEEN_FILES = 0
policies, corpora, output = [Path(sys.argv[1])], Path(sys.argv[2]), Path(sys.argv[3])
sample.run(sample.Config(**json.loads(sys.argv[4])), policies=policies, corpora=corpora, output=output)
"""
"""Killed when the 21st response is asked for."""


@pytest.fixture
def corpora(tmp_path) -> Path:
    rows = [{"id": str(i), "prompt": text, "split": ("train", "eval")[i > 7]} for i, text in enumerate(PROMPTS)]
    write_jsonl(tmp_path / "corpora" / "en" / "prompts.jsonl", rows)
    return tmp_path / "corpora"


@pytest.fixture
def asked(monkeypatch) -> Counter[str]:
    """Responses that policies were asked for."""
    batch, found = Transformers._batch, Counter()

    def counted(engine, encoded, *rest):
        found["responses"] += len(encoded)
        return batch(engine, encoded, *rest)

    monkeypatch.setattr(Transformers, "_batch", counted)
    return found


def output(home: Path) -> Path:
    return home / "work/sample/key/output"


def run(base: Path, corpora: Path, home: Path, **fields) -> None:
    config = sample.Config(**SETTINGS | fields)
    sample.run(config, policies=[base], corpora=corpora, output=output(home))


def test_a_killed_run_goes_on_on_another_machine(tiny_base, corpora, tmp_path, monkeypatch, asked) -> None:
    """32 responses to 8 prompts, and 2 to judge by."""
    monkeypatch.setenv("XLRM_STORE", f"file://{tmp_path}/store")
    given = [str(tiny_base), str(corpora), str(output(tmp_path / "one")), json.dumps(SETTINGS)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "XLRM_HOME": str(tmp_path / "one")}
    assert subprocess.run([sys.executable, "-c", SCRIPT, *given], env=environment, check=False).returncode == -9
    monkeypatch.setenv("XLRM_HOME", str(tmp_path / "two"))
    run(tiny_base, corpora, tmp_path / "two")
    assert asked["responses"] == 34 - 20
    kept = [uri for uri in objects.list_uris(addresses.store()) if uri.endswith(".gz")]
    assert kept and all("/store/unfinished/sample/key/samples/" in uri for uri in kept)
    monkeypatch.setenv("XLRM_STORE", f"file://{tmp_path}/another")
    run(tiny_base, corpora, tmp_path / "whole")
    assert asked["responses"] == 14 + 34
    for name in ("0/train/en.jsonl", "0/eval/en.jsonl"):
        assert (output(tmp_path / "two") / name).read_bytes() == (output(tmp_path / "whole") / name).read_bytes()
    assert {len(row["responses"]) for row in read_rows(output(tmp_path / "two") / "0/train/en.jsonl")} == {4}


def test_what_is_kept_is_of_one_policy_and_one_way_to_ask_it(tiny_base, corpora, tmp_path, asked) -> None:
    for fields, count in (({}, 2), ({}, 2), ({"repetition_penalty": 1.5}, 4), ({"seed": 1}, 6)):
        run(tiny_base, corpora, tmp_path, split="eval", **fields)
        assert asked["responses"] == count


def test_like_prompts_are_answered_by_noise_of_their_own(tiny_base, tmp_path) -> None:
    rows = [{"id": str(i), "prompt": text, "split": "train"} for i, text in enumerate(PROMPTS)]
    write_jsonl(tmp_path / "corpora/en/prompts.jsonl", rows)
    config = sample.Config(**SETTINGS | {"split": "train", "samples": 10, "temperature": 1.5})
    sample.run(config, policies=[tiny_base], corpora=tmp_path / "corpora", output=tmp_path / "a" / "output")
    responses = [one for row in read_rows(tmp_path / "a/output/0/train/en.jsonl") for one in row["responses"]]
    assert len(responses) == 100 and len(set(responses)) > 90
    smaller = config.model_copy(update={"batch_size": 7})
    sample.run(smaller, policies=[tiny_base], corpora=tmp_path / "corpora", output=tmp_path / "b" / "output")
    assert read_rows(tmp_path / "a/output/0/train/en.jsonl") == read_rows(tmp_path / "b/output/0/train/en.jsonl")


def test_what_comes_is_sent_while_more_comes(monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(answers.time, "monotonic", lambda: clock[0])
    kept = answers.Memory("words", {})

    def sent() -> int:
        return sum(uri.endswith(".gz") for uri in objects.list_uris(kept.uri))

    kept.add({"one": "uno"}, 0)
    assert sent() == 0
    clock[0] = answers.SECONDS_BETWEEN_FILES
    kept.add({"two": "dos"}, 0)
    assert sent() == 1 and answers.SECONDS_BETWEEN_FILES <= 60
    kept.add({"three": "tres"}, 0)
    kept.close()
    assert sent() == 2


def test_a_journal_goes_on_on_another_machine(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XLRM_STORE", addresses.store())
    monkeypatch.setattr(answers, "SECONDS_BETWEEN_FILES", 0)
    place = ("work", "rank", "key", "output")
    first, second = (Journal.beside(tmp_path.joinpath(home, *place), "en") for home in ("one", "two"))
    assert first.uri == second.uri == objects.join(addresses.store(), "unfinished", "rank", "key", "en.journal")
    one, two, three = [[1, 2], [3]], [[4]], [[1, 2]]
    assert first.find(one) is None
    first.append(one, [1.0, 2.0])
    first.append(two, [3.0])
    assert (second.find(one), second.find(two), second.find(three)) == ([1.0, 2.0], [3.0], None)
    second.append(three, [4.5])
    third = Journal.beside(tmp_path.joinpath("three", *place), "en")
    assert (third.find(one), third.find(two), third.find(three)) == ([1.0, 2.0], [3.0], [4.5])
    assert Journal.beside(tmp_path / "work" / "rank" / "other" / "output", "en").find(one) is None


def test_translations_are_kept_as_they_come(monkeypatch, tmp_path) -> None:
    """Not when a block is whole: the answers of one block are on the store before its last has come."""
    from benchmarks.served_translations import serving

    monkeypatch.setattr(answers, "SECONDS_BETWEEN_FILES", 0)
    write_jsonl(tmp_path / "corpus/preferences.jsonl", [{"id": str(i), "prompt": f"Text {i}."} for i in range(40)])
    Description(language="en").write(tmp_path / "corpus")
    (tmp_path / "es").mkdir()
    seen = []

    def answer(text: str, _: dict) -> tuple[str, str]:
        seen.append(sum(uri.endswith(".gz") for uri in objects.list_uris(f"{addresses.store()}/translation_memory")))
        return text.replace("Text", "Texto"), "stop"

    with serving(answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        config = translate.Config(language="es", translator="served", engine="endpoint", repairs=0)
        translate.run(config, corpus=tmp_path / "corpus", output=tmp_path / "es")
    assert len(seen) == 40 and max(seen) > 0
