"""A run on a Kubeflow Pipelines server: followed to its end, and told of in a line, an exit code and a page of Markdown."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from xlrm import experiment, progress, settings, storage
from xlrm.errors import ArtifactError, ConfigError, XlrmError

POLL_SECONDS = 15
OUTAGE_SECONDS = 900
"""How long a run is followed on while its server does not answer."""
SUCCEEDED, FAILED, REFUSED, TIMED_OUT, CANCELLED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
_CODES = {"SUCCEEDED": SUCCEEDED, "FAILED": FAILED, "SKIPPED": FAILED, "CANCELED": CANCELLED}
_UNSPECIFIED = "RUNTIME_STATE_UNSPECIFIED"
_COMPONENTS = (*experiment.STAGES, "configure", "gate", "conclude")


@dataclass
class Outcome:
    """What the summary says."""

    said: str
    code: int
    facts: dict[str, str] = field(default_factory=dict)
    tasks: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, state, and the error or how long it took."""


def follow(server, run_id: str, patience: float, cancel: bool) -> Outcome:
    """To the run's end, or to that of the patience, in seconds. Outlives an outage; a long one, or a token that has expired,
    ends the watch and not the run: raises ServerError."""
    from pipelines.kubeflow import ServerError

    begun = seen = time.monotonic()
    shown, run = "", None
    while True:
        try:
            run, seen = server.run(run_id), time.monotonic()
        except ServerError as error:
            if time.monotonic() - seen > OUTAGE_SECONDS:
                raise ServerError(f"{error}; the run goes on: {server.link(run_id)}") from error
        except ConfigError as error:
            raise ServerError(f"cannot follow the run any more: {error}: {server.link(run_id)}") from error
        else:
            if (now := _standing(run)) != shown:
                progress.say(f"{(seen - begun) / 60:.0f} min: {now}")
                shown = now
            if state(run) in _CODES:
                return _ended(server, _settled(server, run))
        left = patience - (time.monotonic() - begun)
        if left <= 0:
            return _late(server, run_id, run, cancel)
        time.sleep(min(POLL_SECONDS, left))


def state(run) -> str:
    """The run's, but for what the server says otherwise: Argo's phase Error comes as no state at all, a run that was
    cancelled as one that failed, and one whose exit handler ended well as a success (kubeflow/pipelines#10917)."""
    said = run.state or _UNSPECIFIED
    if said == _UNSPECIFIED and _is_set(run.finished_at):
        return "FAILED"
    if said == "FAILED" and any(one.state == "CANCELING" for one in run.state_history or ()):
        return "CANCELED"
    if said == "SUCCEEDED" and (tasks := _tasks(run)):
        handlers = [one.state for one in _details(run) if re.fullmatch(r"exit-handler-\d+", one.display_name or "")]
        passed = any(name == "gate" and how == "SUCCEEDED" for name, how, _ in tasks)
        if not passed or "FAILED" in handlers or any(how == "FAILED" for _, how, _ in tasks):
            return "FAILED"
    return said


def ended(run) -> bool:
    return state(run) in _CODES


def _settled(server, run):
    """Once more after a while: the server writes how the tasks ended after how the run did."""
    time.sleep(POLL_SECONDS)
    try:
        return server.run(run.run_id)
    except XlrmError:
        return run


def _late(server, run_id: str, run, cancel: bool) -> Outcome:
    then = "it goes on"
    if cancel:
        try:
            server.terminate(run_id)
            then = "it is being cancelled"
        except XlrmError as error:  # refused where it has just ended, or a try before that failed was heard after all
            with contextlib.suppress(XlrmError):
                run = server.run(run_id)
            if run and ended(run):
                return _ended(server, run)
            heard = run and run.state == "CANCELING"
            then = "it is being cancelled" if heard else f"{then}, and cannot be cancelled ({error})"
    tasks = _tasks(run) if run else []
    return Outcome(f"time is up, the run has not ended; {then}: {server.link(run_id)}", TIMED_OUT, tasks=tasks)


def _ended(server, run) -> Outcome:
    end, tasks = state(run), _tasks(run)
    failed = [name for name, how, _ in tasks if how == "FAILED"]
    reasons = _reasons(run.run_id) if end == "FAILED" else {}
    if failed:  # what failed first and then did well is no reason
        reasons = {stage: said for stage, said in reasons.items() if stage in map(_stage, failed)}
    for stage, reason in reasons.items():
        progress.say(f"error: {stage}: {reason}")
    said = {"SUCCEEDED": "succeeded", "CANCELED": "was cancelled"}.get(end, "failed")
    if failed:
        said += f" in {', '.join(failed)}"
    if failed == ["gate"] and not reasons:
        said += " (which refuses a model that is not better than the champion; the page of register says what it found)"
    if run.error and run.error.message:
        said += f": {run.error.message}"
    tasks = [(name, how, reasons.get(_stage(name), more) if how == "FAILED" else more) for name, how, more in tasks]
    return Outcome(f"the run {said}: {server.link(run.run_id)}", _CODES[end], tasks=tasks)


def _reasons(run_id: str) -> dict[str, str]:
    """What the tasks that failed wrote into the store, by stage: the server's API does not tell why a task failed."""
    found: dict[str, str] = {}
    if not os.environ.get("XLRM_STORE"):
        return found
    try:
        for uri in storage.list_uris(storage.join(settings.store(), "runs", run_id, "failures")):
            stage, text = uri.split("/")[-2], (storage.read_bytes(uri) or b"").decode()
            found[stage] = f"{found[stage]}; {text}" if stage in found else text
    except ArtifactError as error:
        progress.say(f"why tasks failed cannot be read: {error}")
    return found


def _standing(run) -> str:
    tasks = _tasks(run)
    done = sum(how in ("SUCCEEDED", "SKIPPED") for _, how, _ in tasks)
    running = [name for name, how, _ in tasks if how == "RUNNING"]
    counted = f", {done} of {len(tasks)} tasks begun are done" if tasks else ""
    now = f", now {', '.join(running)}" if running else ""
    return f"{_plain(run.state)}{counted}{now}"


def _details(run) -> list:
    return (run.run_details.task_details if run.run_details else None) or []


def _tasks(run) -> list[tuple[str, str, str]]:
    """Those of our components; Kubeflow's own, such as drivers and loops, go without saying."""
    found = []
    for task in sorted(_details(run), key=lambda one: one.start_time or datetime.max.replace(tzinfo=UTC)):
        if _stage(task.display_name or "") in _COMPONENTS:
            error = task.error.message if task.error and task.error.message else ""
            how = task.state or _UNSPECIFIED
            how = "FAILED" if how == _UNSPECIFIED and _is_set(task.end_time) else how
            found.append((task.display_name, how, error or _took(task)))
    return found


def _stage(task: str) -> str:
    """Of a task's name: Kubeflow numbers those that one pipeline has several of."""
    return re.sub(r"-\d+$", "", task)


def _is_set(moment: datetime | None) -> bool:
    """The server writes the beginning of 1970, or of all time, for never."""
    return moment is not None and moment.year > 1970


def _took(task) -> str:
    if not (task.start_time and task.end_time) or task.end_time < task.start_time:
        return ""
    return f"{(task.end_time - task.start_time).total_seconds() / 60:.1f} min"


def _plain(how: str | None) -> str:
    return "pending" if how in (None, "", _UNSPECIFIED) else how.lower()


def markdown(outcome: Outcome) -> str:
    """For the page of a continuous integration."""
    return "\n".join([f"### {_cell(outcome.said)}", "", *_table(outcome), ""])


def _table(outcome: Outcome) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    yield from (f"| {name} | {_cell(value)} |" for name, value in outcome.facts.items())
    if outcome.tasks:
        yield from ("", "| task | state | |", "|---|---|---|")
        yield from (f"| {name} | {_plain(how)} | {_cell(more)} |" for name, how, more in outcome.tasks)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
