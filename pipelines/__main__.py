"""`python -m pipelines run | compile | submit`: the pipelines on this machine, as packages, and on a Kubeflow server."""

import contextlib
import io
import logging
import os
import re
import shutil
import sys
import uuid
import warnings
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from components import _estimate, _hardware
from components._parameters import pack
from pipelines import local_run, placement, submission
from xlrm import experiment, progress, settings
from xlrm.errors import XlrmError
from xlrm.sections import CROSS_LINGUAL
from xlrm.steps import steps

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
console = Console(stderr=True)


class _Log(io.TextIOBase):
    """Standard output of a run: all of it goes to a file, and the lines of progress to the terminal as well."""

    def __init__(self, file: Path):
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file.open("w", encoding="utf-8")
        self.rest = ""

    def write(self, text: str) -> int:
        self.file.write(text)
        self.file.flush()
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if progress.PREFIX in line:
                said = re.sub(r"\x1b\[[0-9;]*m", "", line.partition(progress.PREFIX)[2])
                style = "bold red" if said.startswith("error") else None
                console.print(
                    f"{datetime.now():%H:%M:%S} {said}", style=style, highlight=False, markup=False, soft_wrap=True
                )
        return len(text)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="An experiment, as in configs/.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="stage.field=value ...")] = None,
    runner: Annotated[Literal["process", "docker"], typer.Option(help="What a task is here.")] = "process",
) -> None:
    """Run the cross-lingual transfer pipeline here, task by task, through Kubeflow Pipelines' local runner."""
    loaded = _or_exit(lambda: experiment.load(config, tuple(overrides or ())))
    hardware = placement.load(placement.LOCAL).hardware()
    _or_exit(lambda: _hardware.check(steps(CROSS_LINGUAL, loaded), hardware, str(config)))
    print(_estimate.table(loaded, CROSS_LINGUAL, hardware), file=sys.stderr)
    root = local_run.folder(loaded.name)
    log = settings.home() / "logs" / f"{root.name}.log"
    console.print(
        f"{loaded.name}: {loaded.source} → {', '.join(loaded.targets)} · store {settings.store()} · log {log}"
    )
    try:
        page = _or_exit(lambda: _run_locally(loaded, root, log, runner))
    except typer.Exit:  # a RuntimeError too, whose message has been shown
        raise
    except RuntimeError as error:  # what KFP raises for a failed task; the task's own message has been shown
        console.print(f"{error}\nFrom {log}:\n{_why(log)}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    console.print(f"report: {page}", style="bold green", soft_wrap=True)


def _why(log: Path) -> str:
    """The last traceback, or the end: the task that concludes a run comes after the one that failed."""
    lines = log.read_text(encoding="utf-8").splitlines()
    tracebacks = [number for number, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    first = tracebacks[-1] if tracebacks else len(lines) - 15
    return "\n".join(lines[max(0, first) :][:40])


def _run_locally(loaded: experiment.Experiment, root: Path, log: Path, runner: str) -> Path:
    """Runs the pipeline, and returns the path of a copy of its report. Raises RuntimeError when a task fails, and XlrmError."""
    from kfp import local

    from pipelines import containers
    from pipelines.cross_lingual_transfer import build
    from xlrm import tracking

    pipeline = build(placement.load(placement.LOCAL))

    warnings.filterwarnings("ignore", module="kfp")  # images and resources that a local run has no use for
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the runner works on two tasks at a time
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    name = "cross-lingual-transfer"
    with (
        local_run.at_work(root),
        tracking.run(loaded.name, name, {}, {"pipeline": name}, root / local_run.NOTE) as parent,
    ):
        os.environ |= {
            "XLRM_PARENT_RUN": parent.id,
            "KFP_RUN_ID": f"{root.name}-{uuid.uuid4().hex[:6]}",
            "XLRM_TRIES": "1",
        }
        tasks = _or_exit(containers.runner) if runner == "docker" else local.SubprocessRunner(use_venv=False)
        local.init(tasks, pipeline_root=str(root))
        with contextlib.redirect_stdout(_Log(log)), _quiet_logging():
            pipeline(experiment=pack(loaded.as_file()))
    (shown,) = root.rglob("conclude/report")  # of an exit task KFP gives no output
    page = settings.home() / "reports" / f"{loaded.name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shown, page)
    return page


@contextlib.contextmanager
def _quiet_logging():
    """Without KFP's own account of every task; failures still reach the terminal."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@app.command("compile")
def compile_pipelines(
    output: Annotated[Path, typer.Option(help="Folder for the packages.")],
    on: Annotated[str | None, typer.Option("--placement", help=submission.PLACEMENT_HELP)] = None,
) -> None:
    """Compile every pipeline into a package to upload to a Kubeflow Pipelines server."""
    chosen = _or_exit(lambda: placement.load(on) if on else placement.current())
    output.mkdir(parents=True, exist_ok=True)
    for name in submission.PIPELINES:
        print(submission.compile_package(name, output, chosen))


app.command()(submission.submit)


def _or_exit(action):
    try:
        return action()
    except XlrmError as error:
        console.print(f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    app()
