"""`python -m pipelines submit`: an experiment onto a Kubeflow Pipelines server, as a person or continuous integration does it.

Exit codes: 0 it succeeded (or was started, or nothing has changed), 1 the run failed or its gate refused the new model,
2 the input or the server's refusal of it, 3 the time is up, 4 the run was cancelled, 5 the server cannot be reached,
130 interrupted.
"""

import hashlib
import importlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from components._parameters import pack
from pipelines import changes
from xlrm import experiment, progress, provenance
from xlrm.errors import ConfigError, XlrmError

PIPELINES = ("cross_lingual_transfer", "retrain")
POLL_SECONDS = 15
OUTAGE_SECONDS = 900
"""How long a run is followed on while its server does not answer."""
SUCCEEDED, FAILED, REFUSED, TIMED_OUT, CANCELLED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
_CODES = {"SUCCEEDED": SUCCEEDED, "FAILED": FAILED, "SKIPPED": FAILED, "CANCELED": CANCELLED}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD")


@dataclass
class Outcome:
    """What the summary says."""

    said: str
    code: int
    facts: dict[str, str] = field(default_factory=dict)
    tasks: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, state, and the error or how long it took."""


@dataclass(frozen=True)
class Submission:
    pipeline: str
    content: changes.Content
    package: Path
    commit: str

    @property
    def experiment(self) -> experiment.Experiment:
        return self.content.experiment

    @property
    def version(self) -> str:
        """Name of the pipeline version: the same commit may give two packages, by the environment or a changed file."""
        return f"{self.commit[:12]}-{hashlib.sha256(self.package.read_bytes()).hexdigest()[:8]}"

    @property
    def about(self) -> str:
        """The description of a run, by which it is found again."""
        return f"commit {self.commit}, content {self.content.key}, names {self.content.names}"


def submit(
    config: Annotated[Path, typer.Argument(help="An experiment, as in configs/.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="stage.field=value ...")] = None,
    pipeline: Annotated[str, typer.Option(help=f"{' or '.join(PIPELINES)}.")] = PIPELINES[0],
    if_changed: Annotated[bool, typer.Option("--if-changed", help="Start nothing that has succeeded before.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    timeout: Annotated[str, typer.Option(help="How long to wait, such as 90m or 12h.")] = "24h",
    cancel_on_timeout: Annotated[bool, typer.Option("--cancel-on-timeout", help="Cancel the run then.")] = False,
    schedule: Annotated[str | None, typer.Option(help="Run on a schedule: cron, of five fields or six.")] = None,
    host: Annotated[str | None, typer.Option(help="Address of the server; else KF_PIPELINES_ENDPOINT.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Profile, where the server has several.")] = None,
    summary: Annotated[Path | None, typer.Option(help="Markdown; else GITHUB_STEP_SUMMARY.")] = None,
) -> None:
    """Start a run on a Kubeflow Pipelines server, or a schedule of runs; docs/retraining.md has the exit codes."""
    summary = summary or (Path(os.environ["GITHUB_STEP_SUMMARY"]) if os.environ.get("GITHUB_STEP_SUMMARY") else None)
    facts: dict[str, str] = {"pipeline": pipeline, "experiment": str(config)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as continuous integration ends a job
    try:
        patience = seconds(timeout)
        if schedule and (wait or if_changed):
            raise ConfigError(
                "--schedule: the server starts these runs, so there is none to --wait for or --if-changed"
            )
        with tempfile.TemporaryDirectory() as folder:
            made = prepare(config, tuple(overrides or ()), pipeline, Path(folder))
            facts |= {
                "experiment": f"{made.experiment.name}: {made.experiment.source} → {', '.join(made.experiment.targets)}",
                "commit": made.commit, "content": made.content.key,
            }  # fmt: skip
            if schedule:
                outcome = _schedule(made, cron(schedule), host, namespace, facts)
            else:
                outcome = _run(made, if_changed, patience if wait else None, cancel_on_timeout, host, namespace, facts)
    except XlrmError as error:
        from pipelines.kubeflow import ServerError

        outcome = Outcome(f"error: {error}", UNREACHABLE if isinstance(error, ServerError) else REFUSED)
    except KeyboardInterrupt:
        outcome = Outcome("interrupted; a run that has been started goes on", INTERRUPTED)
    outcome.facts = facts
    progress.say(outcome.said)
    if summary:
        summary.parent.mkdir(parents=True, exist_ok=True)
        with summary.open("a", encoding="utf-8") as file:
            file.write(markdown(outcome))
    raise typer.Exit(outcome.code)


def prepare(config: Path, overrides: tuple[str, ...], pipeline: str, folder: Path) -> Submission:
    """All that can be wrong without a server is found here. Raises ConfigError."""
    if pipeline not in PIPELINES:
        raise ConfigError(f"--pipeline {pipeline!r}: there are {', '.join(PIPELINES)}")
    loaded = experiment.load(config, overrides)
    package = compile_package(pipeline, folder)
    content = changes.content(loaded, package)
    for one in content.unknown:
        progress.say(f"taken as unchanged: {one}")
    made = Submission(pipeline, content, package, _commit())
    _check_secrets(arguments(made))
    return made


def compile_package(pipeline: str, folder: Path) -> Path:
    from kfp.compiler import Compiler

    package = folder / f"{pipeline}.yaml"
    Compiler().compile(getattr(importlib.import_module(f"pipelines.{pipeline}"), pipeline), str(package))
    return package


def arguments(made: Submission) -> dict[str, Any]:
    """The pipeline's parameters."""
    return {"experiment": pack(made.experiment.as_file())}


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found:
        raise ConfigError(f"--timeout {text!r}: a number and its unit, such as 90m or 12h")
    return float(found[1]) * _UNITS[found[2]]


def cron(text: str) -> str:
    """As Kubeflow Pipelines writes it, with seconds first."""
    fields = text.split()
    if len(fields) not in (5, 6) or not all(re.fullmatch(r"[\w*/,?#-]+", one) for one in fields):
        raise ConfigError(
            f"--schedule {text!r}: five fields as in cron, or six with seconds first, such as '0 3 * * 1'"
        )
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


def _run(made: Submission, if_changed: bool, patience, cancel: bool, host, namespace, facts) -> Outcome:
    import kfp_server_api as api

    from pipelines.kubeflow import Server

    server = Server(host, namespace)
    experiment_id = server.experiment(made.experiment.name)
    run = _known(server, experiment_id, made) if if_changed else None
    if run and run.state == "SUCCEEDED":
        facts |= {"run": _link(server, run)}
        return Outcome(f"nothing has changed since {server.link(run.run_id)} succeeded; no run started", SUCCEEDED)
    if run:
        progress.say(f"a run of the same content is under way: {server.link(run.run_id)}")
    else:
        version = _upload(server, made, facts)
        name = f"{made.experiment.name[:60]} {made.pipeline} {made.commit[:12]} {uuid.uuid4().hex[:8]}"
        reference = api.V2beta1PipelineVersionReference(version.pipeline_id, version.pipeline_version_id)
        run = server.start(
            api.V2beta1Run(
                display_name=name, experiment_id=experiment_id, description=made.about,
                pipeline_version_reference=reference, runtime_config=api.V2beta1RuntimeConfig(arguments(made)),
            )
        )  # fmt: skip
        progress.say(f"run {name}: {server.link(run.run_id)}")
    facts |= {"run": _link(server, run)}
    if patience is None:
        return Outcome(f"started: {server.link(run.run_id)}", SUCCEEDED)
    return _follow(server, run.run_id, patience, cancel)


def _schedule(made: Submission, when: str, host, namespace, facts: dict[str, str]) -> Outcome:
    """The schedules of the same experiment and pipeline that came before are switched off."""
    import kfp_server_api as api

    from pipelines.kubeflow import Server

    server = Server(host, namespace)
    experiment_id = server.experiment(made.experiment.name)
    version = _upload(server, made, facts)
    series = f"{made.experiment.name[:60]} {made.pipeline} on schedule "
    name = series + hashlib.sha256(f"{when} {made.version} {made.content.key}".encode()).hexdigest()[:12]
    recurring = server.schedule(
        api.V2beta1RecurringRun(
            display_name=name, experiment_id=experiment_id, description=made.about, max_concurrency="1",
            mode="ENABLE", no_catchup=True, trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=when)),
            pipeline_version_reference=api.V2beta1PipelineVersionReference(
                version.pipeline_id, version.pipeline_version_id
            ),
            runtime_config=api.V2beta1RuntimeConfig(arguments(made)),
        )
    )  # fmt: skip
    for other in list(server.scheduled(experiment_id)):
        if other.display_name.startswith(series) and other.display_name != name and other.mode == "ENABLE":
            server.disable(other.recurring_run_id)
            progress.say(f"switched off: {other.display_name}")
    facts |= {"schedule": f"{name} ({when})"}
    return Outcome(f"scheduled: {name}, {when}, {recurring.recurring_run_id}", SUCCEEDED)


def _upload(server, made: Submission, facts: dict[str, str]):
    document = importlib.import_module(f"pipelines.{made.pipeline}").__doc__.strip()
    version = server.version(
        made.pipeline.replace("_", "-"), document, made.version, made.package, f"commit {made.commit}"
    )
    facts |= {"version": made.version}
    return version


def _known(server, experiment_id: str, made: Submission):
    """The newest run of the same content that succeeded, or else one that is under way."""
    same = f"names {made.content.names}" if made.content.unknown else f"content {made.content.key}"
    found = [run for run in server.runs(experiment_id) if same in (run.description or "")]
    done = (run for run in found if _state(run) == "SUCCEEDED")
    active = (run for run in found if run.state in ("PENDING", "RUNNING", "PAUSED"))
    return next(done, None) or next(active, None)


def _follow(server, run_id: str, patience: float, cancel: bool) -> Outcome:
    """To the run's end, or to that of the patience, in seconds."""
    from pipelines.kubeflow import DONE

    begun, shown = time.monotonic(), ""
    while True:
        run = _glance(server, run_id)
        now = _standing(run)
        if now != shown:
            progress.say(f"{(time.monotonic() - begun) / 60:.0f} min: {now}")
            shown = now
        if run.state in DONE:
            return _ended(server, run)
        left = patience - (time.monotonic() - begun)
        if left <= 0:
            break
        time.sleep(min(POLL_SECONDS, left))
    if cancel:
        server.terminate(run_id)
    then = "it has been cancelled" if cancel else "it goes on"
    return Outcome(f"time is up, the run has not ended; {then}: {server.link(run_id)}", TIMED_OUT, tasks=_tasks(run))


def _glance(server, run_id: str):
    """The run, also after an outage; a long one, or a token that has expired, ends the watch and not the run."""
    from pipelines.kubeflow import ServerError

    since = time.monotonic()
    while True:
        try:
            return server.run(run_id)
        except ServerError as error:
            if time.monotonic() - since > OUTAGE_SECONDS:
                raise ServerError(f"{error}; the run goes on: {server.link(run_id)}") from error
        except ConfigError as error:
            raise ServerError(f"cannot follow the run any more: {error}: {server.link(run_id)}") from error


def _ended(server, run) -> Outcome:
    tasks = _tasks(run)
    failed = [name for name, state, _ in tasks if state == "FAILED"]
    state = _state(run)
    said = {"SUCCEEDED": "succeeded", "CANCELED": "was cancelled"}.get(state, "failed")
    if failed:
        said += f" in {', '.join(failed)}"
    if failed == ["gate"]:
        said += " (which refuses a model that is not better than the champion; the page of register says what it found)"
    error = f": {run.error.message}" if run.error and run.error.message else ""
    return Outcome(f"the run {said}{error}: {server.link(run.run_id)}", _CODES[state], tasks=tasks)


def _state(run) -> str:
    """The run's, or that of what its exit handler handles: servers have called a run a success whose last task, which
    tells of the failure of the others, was one (kubeflow/pipelines#10917)."""
    details = run.run_details.task_details if run.run_details else None
    handled = {one.state for one in details or () if (one.display_name or "").startswith("exit-handler")}
    return "FAILED" if run.state == "SUCCEEDED" and "FAILED" in handled else run.state


def _standing(run) -> str:
    tasks = _tasks(run)
    done = sum(state in ("SUCCEEDED", "SKIPPED") for _, state, _ in tasks)
    running = [name for name, state, _ in tasks if state == "RUNNING"]
    counted = f", {done} of {len(tasks)} tasks begun are done" if tasks else ""
    now = f", now {', '.join(running)}" if running else ""
    return f"{(run.state or 'pending').lower()}{counted}{now}"


def _tasks(run) -> list[tuple[str, str, str]]:
    """Those that are a stage's, and the gate; Kubeflow's own, such as drivers and loops, go without saying."""
    details = run.run_details.task_details if run.run_details else None
    found = []
    for task in sorted(details or (), key=lambda one: one.create_time or datetime.max.replace(tzinfo=UTC)):
        if re.sub(r"-\d+$", "", task.display_name or "") in (*experiment.STAGES, "gate"):
            error = task.error.message if task.error and task.error.message else ""
            found.append((task.display_name, task.state or "PENDING", error or _took(task)))
    return found


def _took(task) -> str:
    if not (task.start_time and task.end_time) or task.end_time < task.start_time:
        return ""
    return f"{(task.end_time - task.start_time).total_seconds() / 60:.1f} min"


def _link(server, run) -> str:
    return f"[{run.display_name}]({server.link(run.run_id)})"


def markdown(outcome: Outcome) -> str:
    """For the page of a continuous integration."""
    return "\n".join([f"### {_cell(outcome.said)}", "", *_table(outcome), ""])


def _table(outcome: Outcome) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    yield from (f"| {name} | {_cell(value)} |" for name, value in outcome.facts.items())
    if outcome.tasks:
        yield from ("", "| task | state | |", "|---|---|---|")
        yield from (f"| {name} | {state.lower()} | {_cell(more)} |" for name, state, more in outcome.tasks)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _commit() -> str:
    """With a mark where files have been changed since; `unknown` outside of a checkout."""
    commit = provenance.git_commit()
    if not commit:
        return "unknown"
    if os.environ.get("XLRM_GIT_COMMIT"):
        return commit
    command = ["git", "-C", str(provenance.PACKAGE), "status", "--porcelain", "--untracked-files=no"]
    changed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return f"{commit} with changes" if changed else commit


def _check_secrets(parameters: dict[str, Any]) -> None:
    """Parameters are shown to everyone who can see the run."""
    text = json.dumps(parameters, ensure_ascii=False)
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= 8 and value in text:
            raise ConfigError(
                f"the experiment holds the value of {name}; secrets reach stages by name, not as settings"
            )
