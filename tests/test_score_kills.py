"""Whatever kills `xlrm score` and `xlrm evaluate`, and however many work at one output: the rewards of the run that ends are
those of a run that was not disturbed, to the bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from refusals import refused
from typer.testing import CliRunner

from benchmarks import workload
from xlrm.cli import app
from xlrm.errors import ArtifactError
from xlrm.processes import locks
from xlrm.scorers import interface
from xlrm.scorers.reward_journal import Journal
from xlrm.store.jsonl import write_jsonl

pytestmark = pytest.mark.slow
PAIRS = workload.pairs(120)
ROWS = [{"prompt": row["prompt"], "response": text} for row in PAIRS for text in row["responses"]]
KILLS = int(os.environ.get("XLRM_KILLS", "3"))
"""Interruptions of each test; more find rarer moments."""
DRAW = random.Random(os.environ.get("XLRM_KILLS_SEED", os.getpid()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two models, and a file of conversations below a window."""
    made = tmp_path_factory.mktemp("score")
    for name, width in (("model", 128), ("other", 64)):
        (made / name).mkdir()
        workload.save_model(made / name, SimpleNamespace(hidden=width, layers=2))
    write_jsonl(made / "in.jsonl", ROWS)
    assert len(ROWS) < interface.WINDOW
    items = [
        {"prompt": row["prompt"], "subset": "s", **dict(zip(("chosen", "rejected"), row["responses"], strict=True))}
        for row in PAIRS
    ]
    write_jsonl(made / "pairs.jsonl", items)
    return made


def start(folder: Path, *words: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "xlrm.cli", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def scoring(output: str, *more: object, model: str = "model") -> tuple[object, ...]:
    return ("score", "--model", model, "--input", "in.jsonl", "--output", output, "--batch-tokens", 256, *more)


def finished(process: subprocess.Popen) -> tuple[int, str]:
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def journals(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*.journal") if path.stat().st_size]


def when_at_work(folder: Path, size: int = 0) -> int:
    """Waits until more than `size` bytes of rewards are kept, and a moment more; returns the size."""
    for _ in range(2000):
        if (now := sum(path.stat().st_size for path in journals(folder))) > size:
            time.sleep(DRAW.uniform(0, 0.3))
            return now
        time.sleep(0.01)
    raise AssertionError("no reward was kept in 20 seconds")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_at_one_output_that_are_killed_together(folder, precision: str) -> None:
    how, kept = ("--precision", precision), 0
    assert finished(start(folder, *scoring("whole.jsonl", *how)))[0] == 0
    for number in [signal.SIGKILL, signal.SIGINT, signal.SIGTERM] + [signal.SIGKILL] * (KILLS - 3):
        both = [start(folder, *scoring("killed.jsonl", *how)) for _ in range(2)]
        kept = when_at_work(folder, kept)
        for process in DRAW.sample(both, 2):
            process.send_signal(number)
        for process in both:
            process.communicate(timeout=60)
        if (folder / "killed.jsonl").exists():
            break
    faster = (folder / "killed.jsonl").exists()
    code, err = finished(start(folder, *scoring("killed.jsonl", *how)))
    assert code == 0 and (faster or "continues with" in err), err
    assert (folder / "killed.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
    assert not journals(folder) and not list(folder.glob(".*.lock"))
    for name in ("whole.jsonl", "killed.jsonl"):
        (folder / name).unlink()


def test_two_at_one_output_that_are_left_alone(folder) -> None:
    both = [start(folder, *scoring("both.jsonl")) for _ in range(2)]
    results = [finished(process) for process in both]
    assert [code for code, _ in results] == [0, 0], results
    assert sum("another process is working on it" in err for _, err in results) == 1, "and says whose it is"
    rewards = [json.loads(line)["reward"] for line in (folder / "both.jsonl").read_text().splitlines()]
    assert len(rewards) == len(ROWS) and len(set(rewards)) > len(ROWS) // 2
    (folder / "both.jsonl").unlink()


def test_an_evaluation_goes_on_from_its_last_batch(folder) -> None:
    words = ("evaluate", "--model", "model", "--benchmark", "pairs.jsonl", "--batch-tokens", 256, "--output")
    assert finished(start(folder, *words, "whole"))[0] == 0
    killed = start(folder, *words, "killed")
    kept = when_at_work(folder / "killed") if (folder / "killed").exists() else when_at_work(folder)
    killed.kill()
    killed.communicate()
    assert kept and not list((folder / "killed").glob("*/results.json"))
    code, err = finished(start(folder, *words, "killed"))
    assert code == 0, err
    import pyarrow.parquet

    places = [next((folder / name).iterdir()) for name in ("whole", "killed")]
    tables = [pyarrow.parquet.read_table(place / "rewards.parquet") for place in places]
    assert tables[0].equals(tables[1])
    assert {path.name for path in places[1].iterdir()} == {"results.json", "rewards.parquet"}


def interrupted(folder: Path, output: str, *more: object) -> Path:
    """The journal of a run that was killed."""
    before = set(journals(folder))
    process = start(folder, *scoring(output, *more))
    when_at_work(folder, sum(path.stat().st_size for path in before))
    process.kill()
    process.communicate()
    (journal,) = set(journals(folder)) - before
    return journal


def test_another_model_of_the_same_name_or_other_settings_take_nothing_over(folder, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    place = folder / "same-name"
    place.mkdir()
    shutil.copytree(folder / "model", place / "model")
    shutil.copyfile(folder / "in.jsonl", place / "in.jsonl")
    journal = interrupted(place, "out.jsonl")
    shutil.rmtree(place / "model")
    shutil.copytree(folder / "other", place / "model")
    (place / "in.jsonl").write_text("".join(reversed((folder / "in.jsonl").read_text().splitlines(keepends=True))))
    assert finished(start(place, *scoring("fresh.jsonl")))[0] == 0
    assert finished(start(place, *scoring("out.jsonl")))[0] == 0
    assert (place / "out.jsonl").read_bytes() == (place / "fresh.jsonl").read_bytes()
    assert not journal.exists(), "what earlier runs for the same output left is removed"
    for more in (("--max-length", 64), ("--precision", "bfloat16")):
        assert finished(start(place, *scoring("fresh.jsonl", *more)))[0] == 0
        before = interrupted(place, "out.jsonl")
        assert finished(start(place, *scoring("out.jsonl", *more)))[0] == 0
        assert (place / "out.jsonl").read_bytes() == (place / "fresh.jsonl").read_bytes(), more
        assert not before.exists()


def test_a_journal_that_is_torn_or_of_another_run_is_used_as_far_as_it_is_right(folder) -> None:
    place = folder / "torn"
    place.mkdir()
    journal = Journal(place / "j", "one")
    for number in range(4):
        journal.append([[number, 1], [number, 2]], [number + 0.25, number + 0.5])
    whole = journal.path.read_bytes()
    size = len(whole) // 4

    def found(content: bytes, identity: str = "one") -> list[bool]:
        journal.path.write_bytes(content)
        reader = Journal(journal.path, identity)
        rewards = [reader.find([[number, 1], [number, 2]]) for number in range(4)]
        assert all(reward in (None, [number + 0.25, number + 0.5]) for number, reward in enumerate(rewards))
        return [reward is not None for reward in rewards]

    assert found(whole) == [True] * 4
    for cut in DRAW.sample(range(1, len(whole)), 40):
        assert found(whole[:cut]) == [True] * (cut // size) + [False] * (4 - cut // size), cut
    for place_of_error in DRAW.sample(range(len(whole)), 40):
        damaged = bytearray(whole)
        damaged[place_of_error] ^= 1 << DRAW.randrange(8)
        assert found(bytes(damaged))[: place_of_error // size + 1] == [True] * (place_of_error // size) + [False]
    assert found(whole, "another") == [False] * 4 and journal.path.stat().st_size == 0
    parts = [whole[i * size : (i + 1) * size] for i in range(4)]
    assert found(b"".join(parts[i] for i in (3, 1, 1, 0))) == [True, True, False, True], "in any order, and twice"
    assert journal.find([[1, 1]]) is None and journal.find([[1, 1, 1], [2]]) is None, "another batch"


def test_a_file_system_without_locks_is_refused_before_the_work(folder, monkeypatch) -> None:
    def flock(*_) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    result = CliRunner().invoke(app, [str(word) for word in scoring(folder / "no-locks.jsonl", model=folder / "model")])
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert ".no-locks.jsonl.lock" in line and "No locks available" in line
    with refused(ArtifactError, folder / "x.lock"), locks.alone(folder / "x.lock"):
        pass
