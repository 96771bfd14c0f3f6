"""What commands write to standard output and what to standard error; and a local run that fails."""

import ast
import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from kfp import dsl, local
from test_architecture import TREES

from components._step import errors_in_one_line
from pipelines import __main__ as commands
from pipelines import local_tasks
from xlrm import progress
from xlrm.errors import GateError
from xlrm.store import artifacts

ROOT = Path(__file__).parents[1]
PRINTING = {"xlrm.run.output", "pipelines.local_tasks", "pipelines.containers"}
"""The latter two what tasks say, into the log."""

NOISY = """
import os, subprocess
from xlrm import cli
from xlrm.stages import curate
real = curate.run
def noisy(config, *, output):
    print("a library prints")
    os.write(1, b"a library in C prints\\n")
    subprocess.run(["echo", "a child process prints"], check=True)
    return real(config, output=output)
curate.run = noisy
cli.app(["stage", "curate", "preferences=[phrasebook]", "pairs=32", "benchmark=phrasebook", "benchmark_items=28"])
"""


def test_a_stage_prints_the_uri_of_its_artifact_and_nothing_else(home) -> None:
    done = subprocess.run([sys.executable, "-c", NOISY], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert artifacts.load(done.stdout.removesuffix("\n")).stage == "curate" and done.stdout.count("\n") == 1
    for said in ("a library prints", "a library in C prints", "a child process prints", "curate[en]: finished in"):
        assert said in done.stderr


def test_a_command_whose_reader_is_gone_ends_in_silence(home) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "xlrm.cli", "--version"]
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == "" and done.returncode in (0, 1)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_command_works_without_the_streams_that_were_closed(closed: str, home) -> None:
    command = [sys.executable, "-c", "from xlrm import cli; cli.app()", "models"]
    result = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, "")
    assert ("no registered models" in result.stderr) == ("2>" not in closed)


def test_all_that_is_printed_goes_through_one_place() -> None:
    found = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
        if "file" not in [one.arg for one in node.keywords]
    }
    assert found <= PRINTING, "results by xlrm.run.output.print_result, progress by xlrm.progress.say"


# A task that fails

MODULE = """
import signal, sys, time
from pathlib import Path

def ended(number, frame):
    print("xlrm │ ended by SIGTERM", flush=True)
    sys.exit(143)

def work(steps: str, folder: str):
    signal.signal(signal.SIGTERM, ended)
    Path(folder, f"{steps}.started").touch()
    print("xlrm │ \\033[1mat work\\033[0m", flush=True)
    while steps in ("long", "wrong") and not (Path(folder, "long.started").exists() and Path(folder, "wrong.started").exists()):
        time.sleep(0.05)
    if steps == "wrong":
        print("xlrm │ error: wrong: \\033[31mrow 3\\033[0m", flush=True)
        sys.exit(2)
    time.sleep(60 if steps == "long" else 0)
    Path(folder, f"{steps}.ended").touch()

def conclude(folder: str, status: dict):
    Path(folder, "conclude.ended").touch()
    print("xlrm │ all in all: failed")
"""


def test_a_failure_ends_a_run_at_once_but_for_its_account(tmp_path: Path, monkeypatch) -> None:
    """One task of a loop fails, one is at work and one has not begun, nor has a task that depends on none of them."""
    file = tmp_path / "tasks.py"
    file.write_text(MODULE)

    @dsl.component
    def work(steps: str, folder: str):
        pass

    @dsl.component
    def conclude(folder: str, status: dsl.PipelineTaskFinalStatus):
        pass

    def placed(task):
        task.container_spec.command = [
            "env",
            "python3",
            "-m",
            "kfp.dsl.executor_main",
            "--component_module_path",
            str(file),
        ]
        return task

    @dsl.pipeline
    def loop(folder: str):
        with dsl.ExitHandler(placed(conclude(folder=folder))):
            with dsl.ParallelFor(["long", "wrong", "next"]) as steps:
                placed(work(steps=steps, folder=folder))
            with dsl.ParallelFor(["another"]) as steps:
                placed(work(steps=steps, folder=folder))

    shown: list[str] = []
    tasks = local_tasks.Tasks(local_tasks.Log(tmp_path / "log", shown.append))
    local_tasks.take_over(tasks)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
    monkeypatch.setattr(sys, "stdout", tasks.log)
    with pytest.raises(RuntimeError):
        loop(folder=str(tmp_path))
    started = {one.stem for one in tmp_path.glob("*.started")}
    assert {"wrong"} <= started and "next" not in started, "another loop may have begun by then"
    assert {one.stem for one in tmp_path.glob("*.ended")} - {"another"} == {"conclude"}
    assert (tasks.failure.step, tasks.failure.status, tasks.failure.lines) == ("wrong", 2, [])
    assert [line for line in shown if line != "at work"] == ["error: wrong: row 3"]
    log = (tmp_path / "log").read_text()
    assert "wrong │ xlrm │ error: wrong: row 3\n" in log and "all in all: failed" in log and "\x1b" not in log


def heard(text: str) -> local_tasks.Task:
    task = local_tasks.Task("reward", "reward-es", None)
    for line in textwrap.dedent(text).splitlines():
        task.heard(line)
    return task


def test_the_last_lines_of_a_crash_are_its_last_traceback() -> None:
    first = "Traceback (most recent call last):\nsomebody else's\nKeyError: 1\nxlrm │ reward[es]: started\nworking\n"
    task = heard(
        f"{first}Traceback (most recent call last):\n  line\n  ^~~^\nOSError: no\nxlrm │ error: reward-es: OSError: no\n"
    )
    assert (task.step, task.last_lines()) == ("reward-es", [local_tasks._TRACEBACK + ":", "  line", "OSError: no"])
    killed = heard("xlrm │ started\nKilled by the kernel\nxlrm │ error: reward-es: killed by SIGKILL")
    assert killed.last_lines() == ["Killed by the kernel"]
    assert heard("old\nxlrm │ error: reward-es: bad row").last_lines() == [], "the line says it all"


@pytest.mark.parametrize(
    ("step", "refused", "rest", "named"),
    [
        ("register", True, "only the report was made after that", ["page", "report", "log", "next"]),
        ("register", False, "no further step was started", ["log", "next"]),
        ("validate", True, "no further step was started", ["page", "log", "next"]),
    ],
)
def test_a_refusal_by_register_names_the_report_that_was_made_after_it(
    home: Path, tmp_path: Path, capsys, step: str, refused: bool, rest: str, named: list[str]
) -> None:
    (tmp_path / "conclude").mkdir()
    (tmp_path / "conclude" / "report").write_text("<html>")
    page = tmp_path / "page"
    page.write_text("# Refused")
    failure = local_tasks.Failure(step, 2, [], page if refused else None)
    assert commands._failed("mine", tmp_path, failure, RuntimeError(), tmp_path / "log") == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == f"{step} failed, and {rest}." and [line.partition(": ")[0] for line in lines] == named


def test_a_line_that_was_written_over_is_kept_as_it_was_last(tmp_path) -> None:
    log = local_tasks.Log(tmp_path / "log", print)
    log.write("0%\r50%\r100% done\r\n\x1b[1;31mred\x1b[0m\n")
    assert (tmp_path / "log").read_text() == "100% done\nred\n" and isinstance(log, io.TextIOBase)


@pytest.mark.slow
def test_a_run_with_a_bad_row_ends_in_what_is_wrong_and_what_to_do(home: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "chosen": 5, "rejected": "b"}\n')
    command = [sys.executable, "-m", "pipelines", "run", "configs/demo_short.yaml", f"curate.preferences=[{bad}]"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (log,) = (home / "logs").iterdir()
    *_, error, failed, where, _ = done.stderr.splitlines()
    assert f"error: curate: {bad}" in error and failed.startswith("curate failed") and where == f"log: {log}"
    for text in (done.stderr, log.read_text(encoding="utf-8")):
        assert "\x1b" not in text and "executor" not in text and text.count("Traceback") == 0


@pytest.mark.parametrize(
    ("label", "why", "line"),
    [
        ("register", "register: not promoted", "error: register: not promoted"),
        ("translate-es", "translate[es]: 30 texts fail", "error: translate-es: 30 texts fail"),
        ("validate", "translate[es]: no rows", "error: validate: translate[es]: no rows"),
    ],
)
def test_an_error_of_a_step_names_its_stage_once(capsys, label: str, why: str, line: str) -> None:
    with pytest.raises(SystemExit) as ended, errors_in_one_line(label):
        raise GateError(why)
    assert ended.value.code == 2 and capsys.readouterr().err == f"xlrm │ {line}\n"


@pytest.mark.parametrize(
    ("label", "text", "shown"),
    [
        ("sample-rl-de", "sample: started", "sample-rl-de: started"),
        ("rl-de-en", "rl[de, en]: finished in 3 s", "rl-de-en: finished in 3 s"),
        ("judge-rl-de", "judge[human]: 3 verdicts", "judge-rl-de[human]: 3 verdicts"),
        ("reward-es", "a batch of 64: 1 process(es)", "reward-es: a batch of 64: 1 process(es)"),
        ("reward-es", "error: reward[es]: no rows", "error: reward-es: no rows"),
        ("reward-es", "error: reward-es: no rows", "error: reward-es: no rows"),
        ("sample-de", "samples are there", "sample-de: samples are there"),
    ],
)
def test_a_line_of_a_step_names_it_also_from_a_process_that_it_starts(label, text, shown, capfd) -> None:
    with progress.of_step(label):
        progress.say(text)
        subprocess.run([sys.executable, "-c", f"from xlrm import progress; progress.say({text!r})"], check=True)
    progress.say(text)
    assert capfd.readouterr().err.splitlines() == [f"xlrm │ {line}" for line in (shown, shown, text)]
