"""`xlrm train`: from one's own preference pairs to a reward model that every command takes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from refusals import refused
from typer.testing import CliRunner

from xlrm.cli import app
from xlrm.data import reading
from xlrm.errors import ConfigError, DataError
from xlrm.run import experiment, own_data
from xlrm.run.steps import steps
from xlrm.store import addresses
from xlrm.store.jsonl import write_jsonl
from xlrm.tracking import mlflow_registry

SHORT = ["reward.max_length=64", "reward.gradient_checkpointing=false"]
THINGS = ["apples", "pears", "boats", "letters", "stones", "birds", "houses", "lamps", "rivers", "coats"]


def pairs(count: int, first: int = 0) -> list[dict]:
    """Pairs in English whose chosen response names what the prompt asks about."""
    rows = []
    for number in range(first, first + count):
        thing, other = random.Random(number).sample(THINGS, 2)
        rows.append(
            {
                "prompt": f"Which things did the {number}th visitor bring along to the market in town?",
                "chosen": f"The visitor with number {number} brought {thing} along, and sold all of them.",
                "rejected": f"I do not know what {number} is, and {other} are nothing that I like to talk about.",
            }
        )
    return rows


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "pairs.jsonl", pairs(40))
    return tmp_path


def train(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_model_from_pairs_alone_is_taken_by_every_door(tiny_base, folder) -> None:
    given = ("--base", tiny_base, "--data", "pairs.jsonl", "--output", "mine", "--register", "own", *SHORT)
    code, out, err = train(*given)
    assert code == 0, err
    assert "on 8 held-out pairs" in out and "reward.batch_size=1 instead of the paper's 128" in err
    (line,) = [line for line in out.splitlines() if line.startswith("accuracy ")]
    reported = float(line.split()[1].rstrip(","))
    page = Path(next(line for line in out.splitlines() if line.startswith("report "))[7:]).read_text()
    assert "<h1>Reward model: mine" in page and "Cross-lingual" not in page
    assert out.splitlines()[-1] == "model mine" and "registered models:/own-en/1 (champion)" in out

    corpus = next((addresses.home() / "store" / "validate").glob("*/*/en"))
    rows = [json.loads(text) for text in (corpus / "benchmark.jsonl").read_text().splitlines()]
    trained = {json.loads(text)["prompt"] for text in (corpus / "preferences.jsonl").read_text().splitlines()}
    assert len(trained) == 32 and not trained & {row["prompt"] for row in rows}
    write_jsonl(
        folder / "in.jsonl", [{"prompt": r["prompt"], "response": r[s]} for r in rows for s in ("chosen", "rejected")]
    )
    score = ["score", "--model", "mine", "--input", "in.jsonl", "--output", "out.jsonl"]
    assert CliRunner().invoke(app, score).exit_code == 0
    rewards = [json.loads(text)["reward"] for text in (folder / "out.jsonl").read_text().splitlines()]
    assert sum(a > b for a, b in zip(rewards[::2], rewards[1::2], strict=True)) / 8 == pytest.approx(reported, abs=1e-3)
    evaluate = [
        "evaluate",
        "--model",
        "models:/own-en@champion",
        "--benchmark",
        str(corpus / "benchmark.jsonl"),
        "--output",
        "r",
    ]
    assert CliRunner().invoke(app, evaluate).exit_code == 0
    assert json.loads(next((folder / "r").glob("*/results.json")).read_text())["accuracy"]["average"] == pytest.approx(
        reported, abs=1e-3
    )

    code, again, err = train(*given)
    assert (code, again) == (0, out) and "started" not in err, "all of it is reused"
    assert len(mlflow_registry.models("own-en")) == 1


def test_a_file_to_evaluate_on_and_a_base_that_reads_less(tiny_base, folder) -> None:
    write_jsonl(
        folder / "more.jsonl", [{**row, "prompt": f"Who sold {i} coats?"} for i, row in enumerate(pairs(10, first=100))]
    )
    short = folder / "short"
    short.mkdir()
    for file in tiny_base.iterdir():
        (short / file.name).write_bytes(file.read_bytes())
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 48}))
    code, out, err = train(
        "--base", short, "--data", "pairs.jsonl", "--eval", "more.jsonl", "--output", "mine", SHORT[1]
    )
    assert code == 0, err
    assert "on 10 pairs" in out and "up to 48 tokens instead of 2048" in err


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("--data", "other.jsonl"), "--data='other.jsonl'"),
        (("--eval", "other.jsonl"), "--eval='other.jsonl'"),
        (("--base", "./nothing"), "--base: nothing"),
        (("--language", "xx"), "source='xx'"),
        (("--output", "full"), "--output='full'"),
        (("reward.bach_size=3",), "reward.bach_size=3"),
        (("reward.batch_size",), "'reward.batch_size'"),
        (("--data", "pairs.doc"), "curate.preferences='pairs.doc'"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(arguments, where, tiny_base, folder) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    given = {"--base": str(tiny_base), "--data": "pairs.jsonl", "--output": "new"}
    if arguments[0].startswith("--"):
        given |= dict([arguments])
        arguments = ()
    code, _, err = train(*(part for pair in given.items() for part in pair), *arguments)
    (line,) = [line for line in err.splitlines() if line.startswith("error")]
    assert code == 2 and where in line, err
    assert not (folder / "new").exists() and not (addresses.home() / "work").exists()


def test_a_kill_at_any_moment_loses_little(tiny_base, folder, monkeypatch) -> None:
    """Killed three times at random moments, then run to its end: the model is that of an undisturbed run."""
    given = ["--base", str(tiny_base), "--data", "pairs.jsonl", *SHORT, "reward.log_steps=1"]
    command = [sys.executable, "-m", "xlrm.cli", "train", *given, "--output", "killed"]
    draw = random.Random(os.getpid())
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            time.sleep(draw.uniform(3, 15))
            process.send_signal(number)
            process.wait(60)
    code, out, err = train(*given, "--output", "killed")
    assert code == 0, err
    monkeypatch.setenv("XLRM_HOME", str(folder / "another"))
    code, expected, err = train(*given, "--output", "whole")
    assert code == 0, err
    assert (folder / "killed" / "model.safetensors").read_bytes() == (
        folder / "whole" / "model.safetensors"
    ).read_bytes()
    assert out.replace("killed", "whole").splitlines()[0] == expected.splitlines()[0]


@pytest.mark.parametrize(
    ("count", "processes", "expected"),
    [
        (5000, 1, 128),
        (2560, 4, 128),
        (2559, 1, 64),
        (640, 2, 32),
        (639, 1, 16),
        (50, 1, 2),
        (19, 1, 1),
        (50, 4, 4),
        (1000, 3, 30),
    ],
)
def test_the_batch_is_the_papers_where_that_makes_enough_steps(count: int, processes: int, expected: int) -> None:
    batch = own_data.batch_size(count, 128, processes)
    assert batch == expected and batch % processes == 0


def test_a_batch_of_more_pairs_than_there_are_is_refused_before_the_base_is_copied(tiny_base, folder) -> None:
    code, _, err = train("--base", tiny_base, "--data", "pairs.jsonl", "--output", "new", "reward.batch_size=33")
    assert code == 2 and "reward.batch_size=33: at most the 32 pairs" in err, err
    assert not (addresses.home() / "store" / "base").exists()


def test_the_config_for_a_cluster_has_the_same_stages_and_settings() -> None:
    loaded = experiment.load(Path(__file__).parents[1] / "configs" / "own_data.yaml")
    curate, base = loaded.config("curate"), loaded.config("base").model
    raw = own_data.settings(base, curate.preferences, None, loaded.source, loaded.name, "own-data")
    here = own_data.sized(experiment.build(raw, {}, "here"), 4000)
    own, cluster = own_data.own_steps(here, True), steps("cross-lingual-transfer", loaded)
    assert list(own) == ["curate", "validate", "base", "reward-en", "evaluate-en", "register", "report"]
    for label, step in own.items():
        mine, its = (experiment.stage_config(step.stage, given.config) for given in (step, cluster[label]))
        not_counted = {"save_steps": 0} if step.stage == "reward" else {}
        assert mine.model_copy(update=not_counted) == its.model_copy(update=not_counted), label
        assert step.inputs.items() <= cluster[label].inputs.items()
    assert set(cluster) - set(own) <= {"plan", "external"}, "without work here"


def test_pairs_of_another_language_are_a_benchmark_only_if_the_sources_are() -> None:
    raw = own_data.settings("Qwen/Qwen2.5-3B-Instruct", ["pairs.jsonl"], None, "en", "mine")
    raw |= {"targets": ["ko"], "corpora": {"ko": {"preferences": ["ko.jsonl"], "benchmark": "heldout"}}}
    assert experiment.build(raw, {}, "here").corpora["ko"]["benchmark"] == "heldout"
    raw["curate"]["benchmark"] = "items.jsonl"
    with refused(ConfigError, "here: corpora.ko.benchmark", "heldout"):
        experiment.build(raw, {}, "here")


def test_held_out_pairs_share_no_prompt_with_those_trained_on(folder) -> None:
    from xlrm.stages import curate

    doubled = [
        {**row, "chosen": f"{row['chosen']} {way}"}
        for row in pairs(30)
        for way in ("Indeed, so it was.", "He left at noon.")
    ]
    write_jsonl(folder / "pairs.jsonl", doubled)
    config = curate.Config(
        preferences=("pairs.jsonl",),
        benchmark="heldout",
        train_share=0.7,
        prompts=None,
        parallel=None,
        near_duplicates=1.0,
    )
    metrics = curate.run(config, output=folder / "out")
    prompts = [
        [json.loads(line)["prompt"] for line in (folder / "out" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("preferences", "benchmark")
    ]
    assert [len(group) for group in prompts] == [42, 18] == [metrics["preferences"], metrics["benchmark_items"]]
    assert not set(prompts[0]) & set(prompts[1])
    write_jsonl(folder / "pairs.jsonl", doubled[:2])
    with refused(DataError, "curate.preferences", 1):
        curate.run(config, output=folder / "again")
    write_jsonl(folder / "pairs.jsonl", [{"prompt": f"{i}?", "response": "a" * i, "label": i % 2} for i in range(1, 9)])
    with refused(DataError, "curate.benchmark", "heldout"):
        curate.run(config, output=folder / "judged")
    with refused(ConfigError, "curate.benchmark", "heldout"):
        experiment.stage_config("curate", {"benchmark": "heldout", "preferences": ["pairs.jsonl"]})


def test_columns_with_other_names(tiny_base, folder) -> None:
    lines = ["question,better,worse", *(",".join(row.values()) for row in pairs(3))]
    lines = [line.replace(", and", " and") for line in lines]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-16")
    given = ("--base", tiny_base, "--data", "pairs.csv", "--output", "mine", "curate.benchmark=heldout")
    code, _, err = train(*given, "--encoding", "utf-16")
    assert code == 2 and "3 of 3 rows are unusable" in err, err
    assert "there are question, better, worse; name other columns by --columns chosen=COLUMN" in err, err
    names = "prompt=question,chosen=better,rejected=worse"
    raw = own_data.settings("o/b", ["pairs.csv"], None, "en", "mine", None, reading.of_options([names], "utf-16"))
    curate = experiment.build(raw, {}, "here").config("curate")
    assert curate.columns == {"prompt": "question", "chosen": "better", "rejected": "worse"}
    assert curate.encoding == "utf-16"
    code, _, err = train(*given, "--columns", names, "--encoding", "utf-16", "reward.batch_size=9")
    assert code == 2 and "3 pairs in" in err and "reward.batch_size=9: at most the" in err, err


def test_a_folder_as_data(tiny_base, folder) -> None:
    code, _, err = train("--base", tiny_base, "--data", folder, "--output", "mine")
    assert code == 2 and f"curate.preferences='{folder}': is a folder; name the files in it" in err, err
