"""How a run and its tasks stand: by the run's own state, the server's details of its tasks, and what these noted in the store."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from components import RUNS
from components.notes import Note, Notes
from xlrm.run import experiment

ENDS = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
OMITTED = "OMITTED"
"""Of a task that was never begun, as one before it failed or nothing was left for it to do."""
UNKNOWN = "UNKNOWN"
"""Of a task in a run that has ended, where the details stopped before that."""
_UNSPECIFIED = "RUNTIME_STATE_UNSPECIFIED"
_GOING_ON = ("PENDING", "RUNNING", _UNSPECIFIED)
_DRIVER = "-driver"
_OURS = {*RUNS, *experiment.STAGES, "configure", "conclude"}


@dataclass(frozen=True)
class Task:
    """A task of ours, or a driver that failed: what Kubeflow runs before a task or a loop, to settle its inputs."""

    name: str
    state: str
    started: datetime | None = None
    ended: datetime | None = None
    line: str = ""
    """Why it failed."""

    @property
    def stage(self) -> str:
        """Kubeflow numbers tasks that one pipeline has several of, and notes name what a task works on."""
        return self.name.split("-")[0]

    @property
    def driver(self) -> bool:
        return self.name.endswith(_DRIVER)

    @property
    def title(self) -> str:
        return f"the driver of {self.name.removesuffix(_DRIVER)}" if self.driver else self.name


def state(run: Any, notes: Notes) -> str:
    """The run's, but for what the server says otherwise: a run that was cancelled comes as one that failed, Argo's phase Error
    has come as no state at all, and an exit handler that ends well has hidden the failure of others (kubeflow/pipelines#10917).
    """
    said = run.state or _UNSPECIFIED
    if said == _UNSPECIFIED and _is_set(run.finished_at):
        return "FAILED"
    if said == "FAILED" and _was_cancelled(run):
        return "CANCELED"
    if said == "SUCCEEDED" and _has_failure(run, notes):
        return "FAILED"
    return said


def _was_cancelled(run: Any) -> bool:
    return any(one.state == "CANCELING" for one in run.state_history or ())


def ended(run: Any, notes: Notes) -> bool:
    return state(run, notes) in ENDS


def _has_failure(run: Any, notes: Notes) -> bool:
    handlers = [one.state for one in _details(run) if re.fullmatch(r"exit-handler-\d+", one.display_name or "")]
    noted = notes.end.state if notes.end else ""
    return "FAILED" in (noted, *handlers, *(one.state for one in tasks(run, notes)))


def tasks(run: Any, notes: Notes) -> list[Task]:
    """In the order in which they began. Of a task whose steps left notes these count: the details may have stopped long ago
    (the server makes them of a workflow's nodes, which Argo compresses above 1 MB: backend/src/common/util/workflow.go,
    NodeStatuses). Only a failure that is in the details alone, such as of a pod that never began, is added to them."""
    over = run is not None and (run.state in ENDS or _is_set(run.finished_at))
    lost = over and run.state != "SUCCEEDED" and not _was_cancelled(run)
    noted = [_noted(one, lost) for one in notes.tasks.values()]
    known = tasks_of(one.stage for one in noted)
    failed = tasks_of(one.stage for one in noted if one.state == "FAILED")
    found = noted + [
        one
        for one in map(_detailed, _details(run))
        if one and (one.driver or one.stage not in known or (one.state == "FAILED" and one.stage not in failed))
    ]
    found = [replace(one, state=UNKNOWN) if over and one.state in _GOING_ON else one for one in found]
    return sorted(found, key=lambda one: one.started or datetime.max.replace(tzinfo=UTC))


def tasks_of(stages: Iterable[str]) -> set[str]:
    """Tasks, as the server calls them, that run steps of these stages; `configure` and `conclude` run none."""
    names = {*stages}
    return names | {component for component, runs in RUNS.items() if names.intersection(runs)}


def is_ours(name: str) -> bool:
    """Or a driver; Kubeflow's own, such as loops, go without saying."""
    return name.split("-")[0] in _OURS or name.endswith(_DRIVER)


def _detailed(detail: Any) -> Task | None:
    name, how = detail.display_name or "", _state(detail)
    if not is_ours(name) or (name.endswith(_DRIVER) and how != "FAILED"):
        return None
    line = " ".join(detail.error.message.split()) if detail.error and detail.error.message else ""
    ended_at = detail.end_time if _is_set(detail.end_time) else None
    return Task(name, how, detail.start_time if _is_set(detail.start_time) else None, ended_at, line)


def _state(detail: Any) -> str:
    """The API has no word for Argo's Omitted: such a task has no state, had none before, and ended when it began. It once had
    none for Argo's Error either, of tasks that did something."""
    if detail.state not in (None, "", _UNSPECIFIED):
        return detail.state
    if not _is_set(detail.end_time):
        return _UNSPECIFIED
    before = any(one.state not in (None, "", _UNSPECIFIED) for one in detail.state_history or ())
    return "FAILED" if before or detail.start_time != detail.end_time else OMITTED


def _noted(note: Note, lost: bool) -> Task:
    """`lost`: whether one that did not end is why the run failed."""
    if note.state == "RUNNING":
        return Task(note.label, "FAILED" if lost else "RUNNING", note.started, line=note.killed if lost else "")
    return Task(note.label, note.state, note.started, note.changed)


def _details(run: Any) -> list[Any]:
    return (run.run_details.task_details if run and run.run_details else None) or []


def _is_set(moment: datetime | None) -> bool:
    """The server writes the beginning of 1970, or of all time, for never."""
    return moment is not None and moment.year > 1970


def line(run: Any, notes: Notes, now: datetime | None = None) -> str:
    """State, how many tasks are done of those that were begun, and which run: since when, where it is told `now`."""
    if run is None:
        return "no answer yet"
    found = [one for one in tasks(run, notes) if one.state != OMITTED]
    done = sum(one.state in ("SUCCEEDED", "SKIPPED") for one in found)
    counted = f", {done} of {len(found)} tasks begun are done" if found else ""
    running = [f"{one.name}{_since(one, now)}" for one in found if one.state == "RUNNING"]
    return plain(run.state) + counted + (f", now {', '.join(running)}" if running else "")


def _since(task: Task, now: datetime | None) -> str:
    minutes = (now - task.started).total_seconds() / 60 if now and task.started else None
    return "" if minutes is None else f" ({minutes:.0f} min)" if minutes < 120 else f" ({minutes / 60:.1f} h)"


def took(task: Task) -> str:
    if not (task.started and task.ended) or task.ended <= task.started:
        return ""
    return f"{(task.ended - task.started).total_seconds() / 60:.1f} min"


def plain(how: str | None) -> str:
    return "pending" if how in (None, "", _UNSPECIFIED) else how.lower()
