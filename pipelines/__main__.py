"""`python -m pipelines run | compile | submit | doctor | reference`: run pipelines on this machine, compile them
into packages, and submit them to a Kubeflow server."""

import contextlib
import importlib
import logging
import os
import shutil
import sys
import uuid
import warnings
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from components import estimate, hardware
from pipelines import local_run, local_tasks, placement, submission
from xlrm.run import doctor as machine
from xlrm.run import experiment, pages
from xlrm.run.output import errors, errors_in_one_line, print_result, terminal
from xlrm.run.steps import steps
from xlrm.store import addresses, outputs

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="An experiment, as in configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings that replace those of the file, as stage.field=value.")
    ] = None,
    pipeline: Annotated[str | None, typer.Option(help=submission.PIPELINE_HELP)] = None,
    runner: Annotated[
        Literal["process", "docker"], typer.Option(help="Run each task as a process or a Docker container.")
    ] = "process",
) -> None:
    """Run a pipeline on this machine, task by task, with Kubeflow Pipelines' local runner, and print the path of its
    report. Exit codes: 2 if the user can fix the cause, such as a gate that refuses; 1 for any other failure."""
    with errors_in_one_line():
        asked, on = submission.kind(pipeline) if pipeline else None, placement.load(placement.LOCAL).hardware()
        outputs.check_places(addresses.store())
        loaded = experiment.load(config, tuple(overrides or ()), asked)
        name = asked or loaded.of_pipeline
        hardware.check(steps(name, loaded), on, str(config))
        print(estimate.table(loaded, name, on), file=sys.stderr, flush=True)
        root = local_run.folder(loaded.name)
        file = addresses.home() / "logs" / f"{root.name}.log"
        shown = terminal()
        shown.print(f"{loaded.name}: {loaded.named_languages} · store {addresses.store()} · log {file}")
        log = local_tasks.Log(file, partial(_show, shown))
        tasks = local_tasks.Tasks(log)
        try:
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log), _quiet_logging():
                page = _run_locally(name, loaded, root, tasks, runner)
        except RuntimeError as error:  # KFP raises it for a failed task
            raise typer.Exit(_failed(loaded.name, root, tasks.failure, error, file)) from error
    print_result(page)


def _show(terminal: Console, line: str) -> None:
    """Prints a line of progress."""
    terminal.print(f"{datetime.now():%H:%M:%S} {line}", style="bold red" if line.startswith("error") else None)


def _failed(name: str, root: Path, failure: local_tasks.Failure | None, error: RuntimeError, log: Path) -> int:
    """Prints what there is to say after the error's line, which has been shown already; returns the exit status."""
    if failure is None:
        errors.print(f"error: {local_tasks.plain(str(error))}\nlog: {log}", style="bold red")
        return 1
    if failure.lines:
        errors.print(f"The last lines of {failure.step}:", *failure.lines, sep="\n")
    # `conclude` shows a report even after `register` refused.
    report = _written(root) if failure.step == "register" and failure.page else None
    rest = "only the report was made after that" if report else "no further step was started"
    errors.print(f"{failure.step} failed, and {rest}.", style="bold red")
    if failure.page:
        errors.print(f"page: {_kept(failure.page, f'{name}-{failure.step}')}")
    if report:
        errors.print(f"report: {_kept(report, name)}")
    remedy = pages.REMEDIES.get(failure.step) if failure.page else ""
    errors.print(f"log: {log}")
    errors.print(f"next: {remedy or 'fix the cause'}; the same command then continues from what is finished")
    return 2 if failure.status == 2 else 1


def _run_locally(name: str, loaded: experiment.Experiment, root: Path, tasks: local_tasks.Tasks, runner: str) -> Path:
    """Runs the pipeline of this name and returns the path of a copy of its report. Raises RuntimeError if a task fails, and
    XlrmError."""
    from kfp import local

    from pipelines import containers
    from xlrm.tracking import mlflow_runs

    build = importlib.import_module(f"pipelines.{submission.file(name)}").build
    run_all = build(placement.load(placement.LOCAL))

    warnings.filterwarnings("ignore", module="kfp")  # images and resources mean nothing in a local run
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the runner works on two tasks at a time
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads sleep, and do not hold up the other task
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (
        local_run.at_work(root),
        mlflow_runs.run(loaded.name, name, {}, {"pipeline": name}, root / local_run.NOTE) as parent,
    ):
        os.environ |= {
            "XLRM_PARENT_RUN": parent.id,
            "KFP_RUN_ID": f"{root.name}-{uuid.uuid4().hex[:6]}",
            "XLRM_TRIES": "1",
        }
        local_tasks.take_over(tasks)
        kind = containers.runner(tasks) if runner == "docker" else local.SubprocessRunner(use_venv=False)
        local.init(kind, pipeline_root=str(root))
        run_all(experiment=experiment.write(loaded))
    report = _written(root)
    assert report, "a pipeline without a failure ends with `conclude`"
    return _kept(report, loaded.name)


def _written(root: Path) -> Path | None:
    """The report of a run, searched for in its folder because KFP returns no output of an exit task."""
    return next(root.rglob("conclude/report"), None)


def _kept(page: Path, name: str) -> Path:
    """Copies a task's page to a file name with the ending that a browser needs."""
    suffix = ".html" if page.read_text(encoding="utf-8").lstrip().startswith("<") else ".md"
    copy = addresses.home() / "reports" / f"{name}{suffix}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(page, copy)
    return copy


@contextlib.contextmanager
def _quiet_logging() -> Iterator[None]:
    """Silences KFP's account of every task; its errors are in the log."""
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
        outputs.check_folder(output)
        output.mkdir(parents=True, exist_ok=True)
        packages = [submission.compile_package(name, output, chosen) for name in submission.PIPELINES]
    print_result(*packages)


@app.command()
def doctor(
    namespace: Annotated[
        str,
        typer.Option(help="Namespace of the pipelines: the Kubeflow profile, or kubeflow if there are no profiles."),
    ] = "xlrm",
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig (default: its current one).")] = None,
) -> None:
    """Check this machine and the Kubernetes cluster before a run there. Exit code 2: something is missing that
    submitting a run, or the run itself, needs."""
    from pipelines.doctor import checks as cluster_checks

    with errors_in_one_line():
        checks = [*machine.checks({"pipeline"}), *cluster_checks(namespace, context)]
    raise typer.Exit(0 if machine.show(checks) else 2)


@app.command()
def reference(
    output: Annotated[Path, typer.Argument(help="File to write the page to.")] = Path("docs/configuration.md"),
) -> None:
    """Write the page with every field of an experiment and of a placement."""
    from pipelines import configuration_page

    with errors_in_one_line():
        outputs.check_file(output, "OUTPUT")
        output.write_text(configuration_page.text(), encoding="utf-8")
    print_result(output)


app.command()(submission.submit)


if __name__ == "__main__":
    app()
