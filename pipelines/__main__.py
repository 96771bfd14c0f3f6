"""`python -m pipelines run | compile | submit`: the pipelines on this machine, as packages, and on a Kubeflow server."""

import contextlib
import logging
import os
import shutil
import sys
import uuid
import warnings
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from components._parameters import pack
from pipelines import local_tasks, placement, submission
from xlrm import experiment, pages, settings
from xlrm.output import errors, errors_in_one_line, print_result, terminal

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="An experiment, as in configs/.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="stage.field=value ...")] = None,
    runner: Annotated[Literal["process", "docker"], typer.Option(help="What a task is here.")] = "process",
) -> None:
    """Run the cross-lingual transfer pipeline here, task by task, through Kubeflow Pipelines' local runner, and print the path
    of its report. Exit codes: 2 what is the user's to mend, such as a gate that refuses, 1 any other failure."""
    with errors_in_one_line():
        loaded = experiment.load(config, tuple(overrides or ()))
        file = settings.home() / "logs" / f"{loaded.name}-{datetime.now():%Y%m%d-%H%M%S}.log"
        targets, shown = ", ".join(loaded.targets), terminal()
        shown.print(f"{loaded.name}: {loaded.source} → {targets} · store {settings.store()} · log {file}")
        log = local_tasks.Log(file, partial(_show, shown))
        tasks = local_tasks.Tasks(log)
        try:
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log), _quiet_logging():
                page = _run_locally(loaded, file.stem, tasks, runner)
        except RuntimeError as error:  # what KFP raises for a failed task
            raise typer.Exit(_failed(loaded.name, tasks.failure, error, file)) from error
    print_result(page)


def _show(terminal: Console, line: str) -> None:
    """A line of progress."""
    terminal.print(f"{datetime.now():%H:%M:%S} {line}", style="bold red" if line.startswith("error") else None)


def _failed(name: str, failure: local_tasks.Failure | None, error: RuntimeError, log: Path) -> int:
    """Says what there is to say after the line of the error, which has been shown; the exit status."""
    if failure is None:
        errors.print(f"error: {local_tasks.plain(str(error))}\nlog: {log}", style="bold red")
        return 1
    if failure.lines:
        errors.print(f"The last lines of {failure.step}:", *failure.lines, sep="\n")
    errors.print(f"{failure.step} failed, and nothing more was started.", style="bold red")
    if failure.page:
        errors.print(f"page: {_kept(failure.page, f'{name}-{failure.step}')}")
    remedy = pages.REMEDIES.get(failure.step) if failure.page else ""
    errors.print(f"log: {log}")
    errors.print(f"next: {remedy or 'mend that'}; the same command goes on from what is finished")
    return 2 if failure.status == 2 else 1


def _run_locally(loaded: experiment.Experiment, name: str, tasks: local_tasks.Tasks, runner: str) -> Path:
    """Runs the pipeline, and returns the path of a copy of its report. Raises RuntimeError when a task fails, and XlrmError."""
    from kfp import local

    from pipelines import containers
    from pipelines.cross_lingual_transfer import build
    from xlrm import tracking

    pipeline = build(placement.load(placement.LOCAL))

    warnings.filterwarnings("ignore", module="kfp")  # images and resources that a local run has no use for
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the runner works on two tasks at a time
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    root = settings.home() / "kfp" / name
    root.mkdir(parents=True, exist_ok=True)  # or a Docker daemon makes it, as root
    with tracking.run(loaded.name, "cross-lingual-transfer", {}, {"pipeline": "cross-lingual-transfer"}) as parent:
        os.environ |= {
            "XLRM_PARENT_RUN": parent.id,
            "KFP_RUN_ID": f"{name}-{uuid.uuid4().hex[:6]}",
            "XLRM_TRIES": "1",
        }
        local_tasks.take_over(tasks)
        kind = containers.runner(tasks) if runner == "docker" else local.SubprocessRunner(use_venv=False)
        local.init(kind, pipeline_root=str(root))
        pipeline(experiment=pack(loaded.as_file()))
    (shown,) = root.rglob("conclude/report")  # of an exit task KFP gives no output
    return _kept(shown, loaded.name)


def _kept(page: Path, name: str) -> Path:
    """A copy of a page of a task, under a name by which a browser knows what it is."""
    suffix = ".html" if page.read_text(encoding="utf-8").lstrip().startswith("<") else ".md"
    copy = settings.home() / "reports" / f"{name}{suffix}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(page, copy)
    return copy


@contextlib.contextmanager
def _quiet_logging():
    """Without KFP's own account of every task; its errors are in the log."""
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
    with errors_in_one_line():
        chosen = placement.load(on) if on else placement.current()
        output.mkdir(parents=True, exist_ok=True)
        packages = [submission.compile_package(name, output, chosen) for name in submission.PIPELINES]
    print_result(*packages)


app.command()(submission.submit)


if __name__ == "__main__":
    app()
