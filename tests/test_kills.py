"""Whenever a process is killed, and whatever by: what it was for goes on, and nothing of it is left at work or open."""

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import phrasebook_settings as settings
import pytest
from refusals import refused

from pipelines import local_run
from xlrm.errors import ArtifactError
from xlrm.processes import signals
from xlrm.run.runner import run_stage
from xlrm.store import addresses, artifacts
from xlrm.tracking import mlflow_client, mlflow_registry, mlflow_runs
from xlrm.training import pretraining
from xlrm.training.pretraining import Pretraining, pretrain

CURATE = settings.CURATE | {
    "pairs": 32, "benchmark_items": 28, "train_prompts": 8, "eval_prompts": 8, "parallel_texts": 8
}  # fmt: skip
TINY = Pretraining(languages=("en", "ko"), layers=1, width=64, vocabulary=1024, documents=240, batch_tokens=256)


def statuses() -> list[str]:
    """Statuses of all runs in MLflow's database, in the order in which they were begun."""
    with closing(sqlite3.connect(addresses.home() / "mlflow.db")) as database:
        return [status for (status,) in database.execute("select status from runs order by start_time")]


def work() -> list[Path]:
    return sorted((addresses.home() / "work").glob("*/*"))


# Checkpoints


class Killed(BaseException):
    pass


def test_a_base_model_killed_at_a_checkpoint_is_what_it_would_have_been(tmp_path, monkeypatch) -> None:
    import torch

    monkeypatch.setattr(pretraining, "CHECKPOINT_STEPS", 10)
    pretrain(TINY, tmp_path / "whole" / "output")
    real = torch.save

    def cut_off(step: int, content, file, **how):
        real(content, file, **how)
        if f"checkpoint-{step}/" in str(file):
            os.truncate(file, os.path.getsize(file) // 2)
            raise Killed

    for step in (10, 20):  # without a whole one before, and with one
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(torch, "save", partial(cut_off, step))
            pretrain(TINY, tmp_path / "killed" / "output")
    pretrain(TINY, tmp_path / "killed" / "output")
    whole, killed = (tmp_path / name / "output" / "model.safetensors" for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Quota")])
def test_a_full_disk_is_one_line(error, monkeypatch) -> None:
    from xlrm.stages import curate

    def full(config, *, output: Path):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(curate, "run", full)
        with refused(ArtifactError, "curate[en]") as raised:
            run_stage("curate", CURATE, {})
        assert "work/curate" in raised.value.hint
    assert run_stage("curate", CURATE, {}).record.stage == "curate" and statuses() == ["FAILED", "FINISHED"]


# Runs of MLflow, and leftovers

AT_WORK = """
import sys, time
from xlrm.processes import signals
from xlrm.run.runner import run_stage
from xlrm.stages import curate
def slow(config, *, output):
    print("begun", flush=True)
    time.sleep(60)
curate.run = slow
with signals.ended_by_signals():
    run_stage("curate", {config}, {{}})
"""


def killed_at_work(number: int) -> int:
    command = [sys.executable, "-c", AT_WORK.format(config=CURATE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert any("begun" in line for line in process.stdout)
        process.send_signal(number)
        return process.wait(30)


def test_a_signal_closes_the_run_and_a_kill_leaves_that_to_the_next(capsys) -> None:
    assert killed_at_work(signal.SIGHUP) == 128 + signal.SIGHUP and statuses() == ["KILLED"]
    assert killed_at_work(signal.SIGKILL) == -signal.SIGKILL and statuses() == ["KILLED", "RUNNING"]
    run_stage("curate", CURATE, {})
    assert statuses() == ["KILLED", "KILLED", "FINISHED"]
    assert work() == []


def test_what_is_left_of_a_finished_stage_is_removed_by_the_next(monkeypatch) -> None:
    publish = artifacts.publish
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "publish", lambda *given, **facts: (publish(*given, **facts), os._exit(0)))
        if not (child := os.fork()):
            try:
                run_stage("curate", CURATE, {})
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    assert statuses() == ["RUNNING"] and len(work()) == 2
    run_stage("curate", CURATE | {"seed": 43}, {})
    assert statuses() == ["FINISHED", "FINISHED"] and work() == []


def test_an_error_is_not_hidden_by_an_mlflow_that_is_gone(monkeypatch) -> None:
    with pytest.raises(ZeroDivisionError), mlflow_runs.run("xlrm", "name", {}, {}):
        (addresses.home() / "mlflow.db").write_text("not a database")
        raise ZeroDivisionError


# Databases


def replaced(database: Path) -> None:
    database.rename(database.with_suffix(".before"))
    shutil.copyfile(database.with_suffix(".before"), database)


def emptied(database: Path) -> None:
    replaced(database)
    database.write_bytes(b"")


def overwritten(database: Path) -> None:
    database.write_text("not a database " * 1000)


@pytest.mark.parametrize("fault", [replaced, emptied, overwritten], ids=lambda one: one.__name__)
def test_a_database_that_is_lost_at_work_is_one_line(fault, caplog) -> None:
    with pytest.raises(ArtifactError) as raised, mlflow_runs.run("xlrm", "name", {}, {}) as run:
        fault(addresses.home() / "mlflow.db")
        run.log({"accuracy": 1.0})
    assert str(raised.value).startswith("MLflow, sqlite:///") and "\n" not in str(raised.value)


def test_a_database_that_is_locked_is_one_line(monkeypatch) -> None:
    monkeypatch.setattr(mlflow_client, "LOCKED_SECONDS", 0.1)
    with closing(sqlite3.connect(addresses.home() / "mlflow.db")) as other:
        other.execute("begin exclusive")
        with pytest.raises(ArtifactError) as raised:
            mlflow_registry.models()
        assert "database is locked" in raised.value.message and raised.value.hint
    assert mlflow_registry.models() == []


def test_a_database_killed_in_the_making_is_made_again(monkeypatch) -> None:
    (addresses.home() / "mlflow.db").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(
            mlflow_client,
            "_client_of",
            lambda uri: Path(uri.removeprefix("sqlite:///")).write_text("half") and killed(),
        )
        with pytest.raises(Killed), mlflow_runs.run("x", "y", {}, {}):
            pass
    with mlflow_runs.run("x", "y", {}, {}) as run:
        assert mlflow_runs.knows_run(run.id)
    assert not list(addresses.home().glob("mlflow.db.*"))


def killed() -> None:
    raise Killed


# Runs of a pipeline


def test_runs_of_one_second_have_folders_of_their_own() -> None:
    assert len({local_run.folder("demo") for _ in range(3)}) == 3


RUN = """
import os, subprocess, sys, time
from pathlib import Path
from pipelines import local_run
task = "import components, time; print('begun', flush=True); time.sleep(60)"
with local_run.at_work(Path(sys.argv[1])):
    print(os.environ["TMPDIR"], flush=True)
    # As KFP's local runner starts its tasks: by a shell with more to do, which outlives who started it.
    subprocess.call(["sh", "-c", f'"{sys.executable}" -c "{task}"; true'])
"""


def test_a_task_ends_with_its_run_and_the_next_run_tidies_up() -> None:
    root = local_run.folder("demo")
    (root / local_run.NOTE).write_text(json.dumps({"mlflow": addresses.tracking_uri(), "run": "gone"}))
    process = subprocess.Popen([sys.executable, "-c", RUN, str(root)], stdout=subprocess.PIPE, text=True)
    temporary = Path(next(process.stdout).strip())
    assert next(process.stdout) == "begun\n" and temporary.is_dir()
    process.kill()
    began = time.monotonic()
    assert process.stdout.read() == "", "the pipe is closed when the last of them is gone"
    assert time.monotonic() - began < 10
    process.wait()
    with local_run.at_work(local_run.folder("demo")):
        assert not temporary.exists() and not root.exists()
    assert signals.RUNNER not in os.environ
