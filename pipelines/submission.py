"""`python -m pipelines submit`: starts an experiment on a Kubeflow Pipelines server, for a user or continuous
integration.

Standard output is the address of the run, or the id of the schedule, as soon as it exists. Exit codes: 0 it succeeded
(or was started, or nothing has changed), 1 it or one of its tasks failed, such as a gate that refused, 2 the input is
wrong or the server refused it, 3 the time is up, 4 the run was cancelled, 5 the server cannot be reached, 130
interrupted.
"""

import hashlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components import estimate, hardware
from components.form import LOOPS
from components.notes import Notes
from pipelines import changes, following, standing, uploads
from pipelines import placement as placements
from pipelines.following import INTERRUPTED, REFUSED, SUCCEEDED, UNREACHABLE, Outcome
from xlrm import progress
from xlrm.errors import ConfigError, XlrmError
from xlrm.run import experiment
from xlrm.run.output import print_result
from xlrm.run.steps import steps
from xlrm.store import provenance

if TYPE_CHECKING:
    from pipelines.kubeflow import Server
    from pipelines.server.values import Facts
PIPELINES = ("cross_lingual_transfer", "retrain", "reuse_rewards")
PIPELINE_HELP = f"{', '.join(PIPELINES)} (default: the experiment's own, or else {PIPELINES[0]})."
PLACEMENT_HELP = f"Hardware to run on: {', '.join(placements.CLUSTERS)}, or a file (default: XLRM_PLACEMENT)."
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)


@dataclass(frozen=True)
class Submission:
    pipeline: str
    content: changes.Content
    package: Path
    commit: str
    estimate: str
    """The estimate as a table in Markdown."""
    sent: tuple[uploads.Upload, ...] = ()
    """Files of this machine that the run reads."""

    @property
    def experiment(self) -> experiment.Experiment:
        return self.content.experiment

    @property
    def version(self) -> str:
        """Name of the pipeline version. One commit may give two packages if the environment or a changed file
        differs."""
        return f"{self.commit[:12]}-{hashlib.sha256(self.package.read_bytes()).hexdigest()[:8]}"

    @property
    def about(self) -> str:
        """The description of a run, by which later submissions find it."""
        return f"commit {self.commit}, content {self.content.key}, names {self.content.names}"

    @property
    def facts(self) -> dict[str, str]:
        """What the summary says of it."""
        named = f"{self.experiment.name}: {self.experiment.named_languages}"
        return {"experiment": named, "commit": self.commit, "content": self.content.key}


def submit(
    config: Annotated[Path, typer.Argument(help="An experiment, as in configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings that replace those of the file, as stage.field=value.")
    ] = None,
    pipeline: Annotated[str | None, typer.Option(help=PIPELINE_HELP)] = None,
    placement: Annotated[str | None, typer.Option(help=PLACEMENT_HELP)] = None,
    if_changed: Annotated[
        bool, typer.Option("--if-changed", help="Start no run if one of the same content has succeeded.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the run.")] = False,
    timeout: Annotated[str, typer.Option(help="Maximum time to wait, such as 90m or 12h.")] = "24h",
    cancel_on_timeout: Annotated[
        bool, typer.Option("--cancel-on-timeout", help="Cancel the run at the timeout.")
    ] = False,
    schedule: Annotated[
        str | None, typer.Option(help="Run on a schedule in cron format, five fields or six with seconds first.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address of the server (default: KF_PIPELINES_ENDPOINT).")] = None,
    namespace: Annotated[str | None, typer.Option(help="Kubeflow profile, if the server has several.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and estimate only: nothing is uploaded, and no server is asked.")
    ] = False,
    summary: Annotated[
        Path | None, typer.Option(help="File for a summary in Markdown (default: GITHUB_STEP_SUMMARY).")
    ] = None,
) -> None:
    """Start a run on a Kubeflow Pipelines server, or a schedule of runs; docs/retraining.md has the exit codes."""
    summary = summary or (Path(os.environ["GITHUB_STEP_SUMMARY"]) if os.environ.get("GITHUB_STEP_SUMMARY") else None)
    facts: dict[str, str] = {"experiment": str(config)}
    if not _append(summary, ""):
        raise typer.Exit(REFUSED)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as continuous integration ends a job
    try:
        patience = seconds(timeout)
        when = cron(schedule, wait or if_changed) if schedule else None
        with tempfile.TemporaryDirectory() as folder:
            on = placements.load(placement) if placement else placements.current()
            made = prepare(config, tuple(overrides or ()), pipeline, Path(folder), on, dry_run)
            facts = {"pipeline": made.pipeline} | facts | made.facts
            print(made.estimate, file=sys.stderr, flush=True)
            _append(summary, f"\n{made.estimate}\n")
            if dry_run:
                outcome = Outcome("dry run: nothing uploaded, no run started", SUCCEEDED)
            elif when:
                outcome = _schedule(made, when, host, namespace, facts)
            else:
                outcome = _run(made, if_changed, patience if wait else None, cancel_on_timeout, host, namespace, facts)
    except XlrmError as error:
        from pipelines.kubeflow import ServerError

        outcome = Outcome(f"error: {error}", UNREACHABLE if isinstance(error, ServerError) else REFUSED)
    except KeyboardInterrupt:
        goes_on = "; a run that has been started continues" if "run" in facts else "; no run has been started"
        outcome = Outcome(f"interrupted{goes_on}", INTERRUPTED)
    outcome.facts = facts
    progress.say(outcome.message)
    _append(summary, following.markdown(outcome))
    raise typer.Exit(outcome.code)


def prepare(
    config: Path, overrides: tuple[str, ...], pipeline: str | None, folder: Path, placement: placements.Placement,
    dry_run: bool = False,
) -> Submission:  # fmt: skip
    """Checks all that can be checked without a server, and uploads what the run reads of this machine, unless it is a
    dry run. `pipeline`: None for the experiment's own. Raises ConfigError, and ArtifactError if the store does not answer."""
    asked = kind(pipeline) if pipeline else None
    try:
        loaded = experiment.load(config, overrides, asked)
    except ConfigError as error:  # the message contains the values that it is about
        _check_secrets({"overrides": list(overrides), "error": str(error), "value": error.value})
        raise
    name = asked or loaded.of_pipeline
    hardware.check(steps(name, loaded), placement.hardware(), str(config))
    _check_secrets(loaded.as_file())
    moved, sent = uploads.resolve(loaded)
    package = compile_package(file(name), folder, placement)
    for upload in () if dry_run else sent:
        upload.send()
    uploads.say(sent, not dry_run)
    content = changes.content(loaded if dry_run else moved, package)
    for entry in content.unknown:
        progress.say(f"assumed to be unchanged: {entry}")
    return Submission(
        file(name), content, package, _commit(), estimate.table(loaded, name, placement.hardware()), tuple(sent)
    )


def kind(pipeline: str) -> str:
    """The name by which the package's steps and the server know a pipeline, which has hyphens. Raises ConfigError for one that
    does not exist."""
    if file(pipeline) not in PIPELINES:
        raise ConfigError(
            "no such pipeline", where="--pipeline", value=pipeline, hint=f"there are {', '.join(PIPELINES)}"
        )
    return pipeline.replace("_", "-")


def file(pipeline: str) -> str:
    """Name of the module and the package of a pipeline."""
    return pipeline.replace("-", "_")


def compile_package(pipeline: str, folder: Path, placement: placements.Placement) -> Path:
    """Compiles a pipeline. Raises ConfigError for a package that a server would refuse, or whose runs it could not
    show."""
    from kfp.compiler import Compiler

    from pipelines.server import package, rules

    path = folder / f"{pipeline}.yaml"
    Compiler().compile(importlib.import_module(f"pipelines.{pipeline}").build(placement), str(path))
    compiled = package.load(path)
    if errors := rules.findings(compiled) or rules.size_findings(compiled, _largest(placement)):
        raise ConfigError(
            errors[0],
            where=f"placement {placement.name}",
            hint="reduce the pods of a component, or change the value named",
        )
    return path


def _largest(placement: placements.Placement) -> "Facts":
    """Facts about a run with all the pods that a placement allows."""
    from pipelines.server.values import Facts

    returned = {f"configure.{name}": ["x" * 600] * placement.tasks[name].pods for name in LOOPS}
    return Facts({}, returned | {"configure.Output": "99"})


def arguments(made: Submission) -> dict[str, Any]:
    """Parameters of the pipeline."""
    return {"experiment": experiment.write(made.experiment)}


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match:
        raise ConfigError("a number and its unit are allowed, such as 90m or 12h", where="--timeout", value=text)
    return float(match[1]) * _UNITS[match[2]]


def cron(text: str, expects_run: bool = False) -> str:
    """A cron expression in the form of Kubeflow Pipelines, with seconds first. Raises ConfigError, also if the
    submission expects a run at once."""
    if expects_run:
        raise ConfigError(
            "the server starts these runs later, so --wait and --if-changed do not apply",
            where="--schedule",
            value=text,
        )
    fields = text.split()
    if len(fields) not in (5, 6) or not all(re.fullmatch(r"[\w*/,?#-]+", field) for field in fields):
        raise ConfigError(
            "five fields as in cron, or six with seconds first, are allowed, such as '0 3 * * 1'",
            where="--schedule",
            value=text,
        )
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


def _run(
    made: Submission, if_changed: bool, patience: float | None, cancel: bool, host: str | None, namespace: str | None,
    facts: dict[str, str],
) -> Outcome:  # fmt: skip
    import kfp_server_api as api

    server, experiment_id = _experiment(made, host, namespace)
    run = _known(server, experiment_id, made) if if_changed else None
    if run:
        facts |= {"run": _link(server, run)}
        print_result(server.link(run.run_id))
        if run.state == "SUCCEEDED":
            return Outcome(f"nothing has changed since {server.link(run.run_id)} succeeded; no run started", SUCCEEDED)
        message = f"a run of the same content is already running: {server.link(run.run_id)}"
    else:
        version = _upload(server, made, facts)
        name = f"{made.experiment.name[:60]} {made.pipeline} {made.commit[:12]} {uuid.uuid4().hex[:8]}"
        reference = api.V2beta1PipelineVersionReference(version.pipeline_id, version.pipeline_version_id)
        facts |= {"run": name}  # for a user who interrupts before there is a link
        run = server.start(
            api.V2beta1Run(
                display_name=name, experiment_id=experiment_id, description=made.about,
                pipeline_version_reference=reference, runtime_config=api.V2beta1RuntimeConfig(arguments(made)),
            )
        )  # fmt: skip
        facts |= {"run": _link(server, run)}
        print_result(server.link(run.run_id))
        message = f"run {name} started: {server.link(run.run_id)}"
    if patience is None:
        return Outcome(message, SUCCEEDED)
    progress.say(message)
    return following.follow(server, run.run_id, patience, cancel)


def _schedule(made: Submission, when: str, host: str | None, namespace: str | None, facts: dict[str, str]) -> Outcome:
    """Starts a schedule, and switches off earlier schedules of the same experiment and pipeline."""
    import kfp_server_api as api

    server, experiment_id = _experiment(made, host, namespace)
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
    if recurring.mode != "ENABLE":  # it existed and had been switched off in favour of another
        server.enable(recurring.recurring_run_id)
    for other in list(server.scheduled(experiment_id)):
        if other.display_name.startswith(series) and other.display_name != name and other.mode == "ENABLE":
            server.disable(other.recurring_run_id)
            progress.say(f"switched off: {other.display_name}")
    facts |= {"schedule": f"{name} ({when})"}
    print_result(recurring.recurring_run_id)
    return Outcome(f"scheduled: {name}, {when}, {recurring.recurring_run_id}", SUCCEEDED)


def _experiment(made: Submission, host: str | None, namespace: str | None) -> "tuple[Server, str]":
    """The server, and the id of the experiment there, which is created if there is none."""
    from pipelines.kubeflow import Server

    server = Server(host, namespace)
    return server, server.experiment(made.experiment.name)


def _upload(server: "Server", made: Submission, facts: dict[str, str]) -> Any:
    document = str(importlib.import_module(f"pipelines.{made.pipeline}").__doc__).strip()
    version = server.version(kind(made.pipeline), document, made.version, made.package, f"commit {made.commit}")
    facts |= {"version": made.version}
    return version


def _known(server: "Server", experiment_id: str, made: Submission) -> Any:
    """The newest successful run with the same content, or else a run under way."""
    runs = [run for run in server.runs(experiment_id) if _same(run, made.content)]
    for run in runs:
        if run.state == "SUCCEEDED":
            whole = server.run(run.run_id)  # a list may lack the states of the tasks
            if following.succeeded(whole):
                return whole
    return next((run for run in runs if run.state != "CANCELING" and not standing.ended(run, Notes())), None)


def _same(run: Any, content: changes.Content) -> bool:
    """Whether the run has this content. If the Hub could not be asked for everything, the known commits must be
    those that the run was given."""
    about = run.description or ""
    if not content.unknown:
        return f"content {content.key}" in about
    given = json.dumps(run.runtime_config.parameters, allow_nan=False) if run.runtime_config else ""
    return f"names {content.names}" in about and all(commit in given for commit in content.commits)


def _link(server: "Server", run: Any) -> str:
    return f"[{run.display_name}]({server.link(run.run_id)})"


def _append(summary: Path | None, text: str) -> bool:
    """Appends to the summary, if there is one. Prints why and returns False if that fails."""
    if not summary:
        return True
    try:
        summary.parent.mkdir(parents=True, exist_ok=True)
        with summary.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        progress.say(f"error: --summary {summary}: {error.strerror or error}; a writable file is required")
        return False
    return True


def _commit() -> str:
    """The commit, with a mark if files have changed since; `unknown` outside of a checkout."""
    commit = provenance.git_commit()
    if not commit:
        return "unknown"
    if os.environ.get("XLRM_GIT_COMMIT"):
        return commit
    command = ["git", "-C", str(provenance.PACKAGE), "status", "--porcelain", "--untracked-files=no"]
    changed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return f"{commit} with changes" if changed else commit


def _check_secrets(settings: dict[str, Any]) -> None:
    """Raises ConfigError for a secret in the settings: they are parameters, visible to everyone who can see the run,
    and appear in messages here."""
    texts = list(_texts(settings))
    for name, value in os.environ.items():
        secret = value.strip()
        if _SECRET.search(name) and len(secret) >= 8 and any(secret in text for text in texts):
            raise ConfigError(
                "the experiment contains the value of this variable; secrets reach stages by name, not as settings",
                where=name,
            )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    else:
        yield str(value)
