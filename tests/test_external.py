"""The stage that evaluates reward models from elsewhere: what it writes, what it asks again after a kill, what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from refusals import refused
from test_judging import by_habit, serve
from typer.testing import CliRunner

from xlrm.cli import app
from xlrm.errors import ConfigError, GateError
from xlrm.evaluation import reward_results, reward_table
from xlrm.models import loading
from xlrm.run.experiment import stage_config
from xlrm.scorers import engines, interface
from xlrm.scorers.engines import TransformersScorer
from xlrm.scorers.interface import Scoring
from xlrm.scorers.judges import pairwise
from xlrm.scorers.judges.pairs import coin
from xlrm.stages import external
from xlrm.store import answers
from xlrm.store.jsonl import read_rows, write_jsonl

SUBSETS = {"facts": "Chat", "padded": "Chat Hard"}
HABITS = ("knows", "knows", "first", "first", "errs", "garbage", "knows", "half")


def benchmark(size: int = 8) -> list[dict]:
    return [
        {"id": f"b{i}", "prompt": f"{HABITS[i % 8]} {i}", "chosen": f"right {i}", "rejected": f"wrong, and longer {i}",
         "subset": list(SUBSETS)[i % 2], "section": list(SUBSETS.values())[i % 2]}
        for i in range(size)
    ]  # fmt: skip


@pytest.fixture
def corpora(tmp_path) -> Path:
    for language in ("en", "ko"):
        write_jsonl(tmp_path / "corpora" / language / "benchmark.jsonl", benchmark())
    return tmp_path / "corpora"


@pytest.fixture
def scalar(tiny_base, tmp_path) -> Path:
    folder = tmp_path / "scalar"
    tokenizer = loading.load_tokenizer(tiny_base)
    loading.new_reward_model(tiny_base, tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(corpora: Path, output: Path, **config) -> tuple[dict[str, float], dict]:
    output.mkdir(parents=True, exist_ok=True)
    metrics = external.run(stage_config("external", config), corpora=corpora, output=output)
    return metrics, json.loads((output / "results.json").read_text())["models"]


def test_without_models_it_does_nothing(tmp_path) -> None:
    assert run(tmp_path / "nowhere", tmp_path / "out") == ({}, {})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]
    assert external.fingerprint(external.Config()) == "[]"


def test_a_judge_and_a_classifier_side_by_side(corpora, scalar, tmp_path, monkeypatch) -> None:
    languages = ("en", "ko")
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        metrics, found = run(corpora, tmp_path / "out", models=(f"mine={scalar}", "served=org/Judge-7B"),
                             languages=languages, judge={"usd_per_million": {"Judge-7B": (1, 1)}})  # fmt: skip
    first = [coin(42, f"b{i}") for i in range(8)]
    lost = 1 + (not first[7])
    assert len(server.requests) == 8 + lost, (
        "the two languages have the same texts; what could not be read is asked again"
    )
    judge, mine = found["Judge-7B"], found["mine"]
    assert (judge["kind"], mine["kind"]) == ("generative", "classifier")
    half = 1.0 if first[7] else 0.5
    credits = [1, 1, float(first[2]), float(first[3]), 0, 0.5, 1, half]
    verdicts = read_rows(tmp_path / "out" / "Judge-7B" / "verdicts.jsonl", ("language", "order", "verdicts", "answers"))
    assert [row["credit"] for row in verdicts if row["language"] == "ko"] == credits
    chat, hard = (sum(credits[i::2]) / 4 for i in (0, 1))
    for language in languages:
        assert metrics[f"external/Judge-7B/accuracy/{language}/average"] == pytest.approx((chat + hard) / 2)
        assert metrics[f"external/Judge-7B/accuracy/{language}/Chat Hard"] == pytest.approx(hard)
        assert judge["results"][language]["length_baseline"]["average"] == 0
        assert metrics[f"external/Judge-7B/errors/{language}"] == judge["bias"][language]["errors"]
        assert judge["bias"][language]["errors"] == lost / 8
        assert (judge["results"][language]["verdicts"], judge["results"][language]["unreadable"]) == (8, lost)
    counts = {"questions": 16, "known": 8 - lost, "requests": 8 + lost, "verdicts": 16, "unreadable": 2 * lost}
    assert judge["cost"] | counts == judge["cost"]
    assert metrics["external/Judge-7B/usd"] == judge["cost"]["usd"] and "external/mine/usd" not in metrics
    assert judge["cost"]["usd"] > 0 and judge["cost"]["estimated_usd"] > 0
    kept = reward_table.read(tmp_path / "out" / "mine" / "rewards.parquet")
    scored = reward_table.score_items(benchmark(), engines.load(scalar, Scoring()))
    assert mine["results"]["en"]["accuracy"] == pytest.approx(
        reward_results.result(benchmark(), scored, "lost").accuracy
    )
    assert mine["results"]["en"].keys() == reward_results.result(benchmark(), scored, "lost").model_fields_set
    for ours, row, (chosen, rejected) in zip(kept["en"], benchmark(), scored, strict=True):
        assert ours["id"] == row["id"]
        assert ours["chosen"] + ours["rejected"] == pytest.approx([*chosen, *rejected], abs=1e-5)


def test_what_a_language_lost_of_the_benchmark_is_said(corpora, scalar, tmp_path, capsys) -> None:
    write_jsonl(corpora / "ko" / "benchmark.jsonl", benchmark()[::2])
    _, found = run(corpora, tmp_path / "out", models=(f"mine={scalar}",), languages=("en", "ko"))
    lost = list(SUBSETS)[1]
    assert found["mine"]["results"]["ko"]["missing"] == [lost] and "missing" not in found["mine"]["results"]["en"]
    assert f"in ko has no item of {lost}" in "".join(capsys.readouterr())


def test_a_model_that_runs_here_judges_too(corpora, tiny_base, tmp_path) -> None:
    """The same path as a 70B model's, with one that has learned nothing of judging: what it says cannot be read."""
    judge = {"engine": "transformers", "max_new_tokens": 24, "max_usd": 0}  # there is no price on what runs here
    with refused(ConfigError, "external.judge.context", 8192):
        run(corpora, tmp_path / "no", models=(f"self-taught={tiny_base}",), judge=judge | {"context": 8192})
    config = {"models": (f"self-taught={tiny_base}",), "judge": judge}
    _, found = run(corpora, tmp_path / "out", **config)
    result, cost = found["self-taught"], found["self-taught"]["cost"]
    assert result["bias"]["en"] == {"errors": 1.0, "first": None}
    assert result["results"]["en"]["accuracy"]["average"] == 0.5
    assert cost["requests"] == 8 and cost["tokens_in"] > 8 * 100 and 0 < cost["tokens_out"] <= 8 * 24
    assert cost["usd"] is None and len(result["version"]) == 64
    assert cost["unreadable"] == result["results"]["en"]["unreadable"] == 8
    _, again = run(corpora, tmp_path / "again", **config)
    assert again["self-taught"]["cost"]["known"] == 0, "none is kept"
    verdicts = [read_rows(tmp_path / name / "self-taught" / "verdicts.jsonl") for name in ("out", "again")]
    assert verdicts[0] == verdicts[1] and all(len(row["answers"]) == 1 for row in verdicts[0])


def test_a_finished_model_is_not_evaluated_again(corpora, scalar, tmp_path, monkeypatch) -> None:
    config = {"models": (f"mine={scalar}", "served=m"), "judge": {"retries": 0, "max_refused_share": 0}}
    output = tmp_path / "out"
    with serve(lambda *_: ("no", "stop", 400, {})) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        with pytest.raises(GateError):
            run(corpora, output, **config)
    assert not (output / "results.json").exists()
    (scalar / "model.safetensors").unlink()
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        _, found = run(corpora, output, **config)
    assert found.keys() == {"mine", "m"} and found["mine"]["cost"] == {"conversations": 16}


def test_interrupted_scoring_goes_on_on_another_machine(corpora, scalar, tmp_path, monkeypatch) -> None:
    """A run of 32 conversations of both languages, twelve of which have a reward on the store."""
    monkeypatch.setattr(interface, "WINDOW", 4)
    monkeypatch.setattr(answers, "SECONDS_BETWEEN_FILES", 0)
    config, real, asked = {"models": (f"mine={scalar}",), "languages": ("en", "ko")}, TransformersScorer.computed, []

    def counted(self, batches):
        asked.append(sum(map(len, batches)))
        return real(self, batches)

    def killed(self, batches):
        if len(asked) == 3:
            raise KeyboardInterrupt
        return counted(self, batches)

    write_jsonl(corpora / "ko" / "benchmark.jsonl", [row | {"prompt": f"ko {row['prompt']}"} for row in benchmark()])
    whole, _ = run(corpora, tmp_path / "whole" / "external" / "other" / "output", **config)
    monkeypatch.setattr(TransformersScorer, "computed", killed)
    with pytest.raises(KeyboardInterrupt):
        run(corpora, tmp_path / "one" / "external" / "key" / "output", **config)
    asked.clear()
    monkeypatch.setattr(TransformersScorer, "computed", counted)
    again, _ = run(corpora, tmp_path / "two" / "external" / "key" / "output", **config)
    assert asked == [4] * 5 and again == pytest.approx(whole)


def test_a_run_above_its_limit_does_not_begin(corpora, scalar, tmp_path, monkeypatch) -> None:
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        with refused(ConfigError, "external.judge.max_usd", 0.001):
            run(corpora, tmp_path / "out", models=(f"mine={scalar}", "gpt-4o"), judge={"max_usd": 0.001})
    assert not server.requests and not list((tmp_path / "out").iterdir())


def test_a_judge_without_an_address_is_noticed_before_any_model_has_run(corpora, scalar, tmp_path) -> None:
    with refused(ConfigError, "OPENAI_BASE_URL"):
        run(corpora, tmp_path / "out", models=(f"mine={scalar}", "served=m"))
    assert not list((tmp_path / "out").iterdir())


STAGE = """
import sys
from pathlib import Path
from xlrm.stages import external
judge = {"parallel": 4}
config = external.Config(models=("served=m",), judge=judge)
external.run(config, corpora=Path(sys.argv[1]), output=Path(sys.argv[2]))
"""


def test_a_killed_run_asks_only_for_what_nobody_has_answered(home, tmp_path, monkeypatch) -> None:
    size, asked_at_once = 60, 4
    write_jsonl(tmp_path / "corpora" / "en" / "benchmark.jsonl", benchmark(size))

    def slow(text: str, request: dict) -> tuple:
        time.sleep(0.05)
        return by_habit(text.replace("garbage", "knows").replace("half", "knows"), request)  # each can be read

    with serve(slow) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        (tmp_path / "killed").mkdir()
        command = [sys.executable, "-c", STAGE, str(tmp_path / "corpora"), str(tmp_path / "killed")]
        process = subprocess.Popen(command, env=os.environ | {"XLRM_HOME": str(home)}, stdout=subprocess.DEVNULL)
        while sum(server.asked.values()) < size / 2 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.3)
        before = sum(server.asked.values())
        assert size / 2 <= before < size
        metrics, found = run(tmp_path / "corpora", tmp_path / "resumed", models=("served=m",))
        twice = sum(server.asked.values()) - size
    cost = found["m"]["cost"]
    assert cost["known"] + cost["requests"] == size and cost["known"] >= before - 2 * asked_at_once
    assert 0 <= twice <= 2 * asked_at_once, "those under way when it was killed, and no others"
    assert metrics["external/m/accuracy/en/average"] > 0.5


def test_the_runner_knows_a_run_by_what_it_used(scalar) -> None:
    config = external.Config(models=(f"mine={scalar}", "served=m@v1"))
    before = external.fingerprint(config)
    assert before == external.fingerprint(config) and '"v1"' in before
    (scalar / "config.json").write_text((scalar / "config.json").read_text() + "\n")
    assert external.fingerprint(config) != before


@pytest.mark.parametrize("model", ["served=m", "armorm={scalar}", "nosuch=m"])
def test_evaluate_takes_a_model_from_elsewhere(model: str, scalar, tmp_path, monkeypatch) -> None:
    write_jsonl(tmp_path / "mine.jsonl", benchmark())
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        result = CliRunner().invoke(
            app, ["evaluate", "--model", model.format(scalar=scalar), "--benchmark", str(tmp_path / "mine.jsonl"),
                  "--output", str(tmp_path / "out")],
        )  # fmt: skip
    if model == "served=m":
        assert result.exit_code == 0, result.output
        (folder,) = (tmp_path / "out").iterdir()
        found = json.loads((folder / "results.json").read_text())
        assert found["model"] == {"given": "served=m", "resolved": "m"} and found["language"] == "en"
        assert found["items"] == 8 and found["cost"]["requests"] == 8 and found["kind"] == "generative"
        assert len(read_rows(folder / "verdicts.jsonl", ("verdicts",))) == 8
    else:
        expected = "missing weights" if "armorm" in model else "error: 'nosuch=m': "
        assert result.exit_code == 2 and expected in result.output and "Traceback" not in result.output


def test_verdicts_are_kept_beside_translations_on_the_store(home, corpora, tmp_path, monkeypatch) -> None:
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        run(corpora, tmp_path / "out", models=("served=m",))
    (folder,) = (home / "store" / pairwise.MEMORY).iterdir()
    assert json.loads((folder / "identity.json").read_text())["judge"] == "m"
    assert list(folder.glob("*.jsonl.gz"))
