"""State of a run and its tasks, from the run's own state, the server's details of its tasks, and their notes in the
store."""

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
"""State of a task that was never started, because an earlier one failed or nothing was left for it to do."""
UNKNOWN = "UNKNOWN"
"""State of a task in a run that has ended, if the task's details stopped before its end."""
_UNSPECIFIED = "RUNTIME_STATE_UNSPECIFIED"
_GOING_ON = ("PENDING", "RUNNING", _UNSPECIFIED)
_DRIVER = "-driver"
_OURS = {*RUNS, *experiment.STAGES, "configure", "conclude"}


@dataclass(frozen=True)
class Task:
    """A task of this project, or a driver that failed; drivers are run by Kubeflow before a task or a loop to
    resolve its inputs."""

    name: str
    state: str
    started: datetime | None = None
    ended: datetime | None = None
    line: str = ""
    """Why the task failed."""

    @property
    def stage(self) -> str:
        """The stage: Kubeflow numbers tasks that a pipeline has several of, and notes add what a task works on."""
        return self.name.split("-")[0]

    @property
    def driver(self) -> bool:
        return self.name.endswith(_DRIVER)

    @property
    def title(self) -> str:
        return f"the driver of {self.name.removesuffix(_DRIVER)}" if self.driver else self.name


def state(run: Any, notes: Notes) -> str:
    """The run's state, corrected in three cases: the server reports a cancelled run as failed, has reported Argo's
    phase Error as no state at all, and hides the failure of other tasks if the exit handler succeeds
    (kubeflow/pipelines#10917)."""
    reported = run.state or _UNSPECIFIED
    if reported == _UNSPECIFIED and _is_set(run.finished_at):
        return "FAILED"
    if reported == "FAILED" and _was_cancelled(run):
        return "CANCELED"
    if reported == "SUCCEEDED" and _has_failure(run, notes):
        return "FAILED"
    return reported


def _was_cancelled(run: Any) -> bool:
    return any(entry.state == "CANCELING" for entry in run.state_history or ())


def ended(run: Any, notes: Notes) -> bool:
    return state(run, notes) in ENDS


def _has_failure(run: Any, notes: Notes) -> bool:
    handlers = [
        detail.state for detail in _details(run) if re.fullmatch(r"exit-handler-\d+", detail.display_name or "")
    ]
    noted = notes.end.state if notes.end else ""
    return "FAILED" in (noted, *handlers, *(task.state for task in tasks(run, notes)))


def tasks(run: Any, notes: Notes) -> list[Task]:
    """Tasks in the order in which they began. If a task's steps left notes, these count, because the details may
    have stopped earlier: the server makes them from a workflow's nodes, which Argo compresses above 1 MB
    (backend/src/common/util/workflow.go, NodeStatuses). A failure that only the details have, such as of a pod that
    never began, is added."""
    over = run is not None and (run.state in ENDS or _is_set(run.finished_at))
    lost = over and run.state != "SUCCEEDED" and not _was_cancelled(run)
    noted = [_noted(note, lost) for note in notes.tasks.values()]
    known = tasks_of(task.stage for task in noted)
    failed = tasks_of(task.stage for task in noted if task.state == "FAILED")
    listed = noted + [
        task
        for task in map(_detailed, _details(run))
        if task and (task.driver or task.stage not in known or (task.state == "FAILED" and task.stage not in failed))
    ]
    listed = [replace(task, state=UNKNOWN) if over and task.state in _GOING_ON else task for task in listed]
    return sorted(listed, key=lambda task: task.started or datetime.max.replace(tzinfo=UTC))


def tasks_of(stages: Iterable[str]) -> set[str]:
    """Names of the stages, and of the tasks on the server that run their steps; `configure` and `conclude` run no
    stage."""
    names = {*stages}
    return names | {component for component, runs in RUNS.items() if names.intersection(runs)}


def is_ours(name: str) -> bool:
    """Whether a task belongs to this project or is a driver; Kubeflow's own, such as loops, are not shown."""
    return name.split("-")[0] in _OURS or name.endswith(_DRIVER)


def _detailed(detail: Any) -> Task | None:
    name, state = detail.display_name or "", _state(detail)
    if not is_ours(name) or (name.endswith(_DRIVER) and state != "FAILED"):
        return None
    line = " ".join(detail.error.message.split()) if detail.error and detail.error.message else ""
    ended_at = detail.end_time if _is_set(detail.end_time) else None
    return Task(name, state, detail.start_time if _is_set(detail.start_time) else None, ended_at, line)


def _state(detail: Any) -> str:
    """State of a task. The API has no state for Argo's Omitted: such a task has none, never had one, and ended when
    it began. It once had none for Argo's Error either; those tasks had a state before, or took time."""
    if detail.state not in (None, "", _UNSPECIFIED):
        return detail.state
    if not _is_set(detail.end_time):
        return _UNSPECIFIED
    before = any(entry.state not in (None, "", _UNSPECIFIED) for entry in detail.state_history or ())
    return "FAILED" if before or detail.start_time != detail.end_time else OMITTED


def _noted(note: Note, lost: bool) -> Task:
    """The task of a note. `lost`: whether a task that did not end is the reason for the run's failure."""
    if note.state == "RUNNING":
        return Task(note.label, "FAILED" if lost else "RUNNING", note.started, line=note.killed if lost else "")
    return Task(note.label, note.state, note.started, note.changed)


def _details(run: Any) -> list[Any]:
    return (run.run_details.task_details if run and run.run_details else None) or []


def _is_set(moment: datetime | None) -> bool:
    """Whether a time is set: for "never" the server writes the beginning of 1970 or of the calendar."""
    return moment is not None and moment.year > 1970


def line(run: Any, notes: Notes, now: datetime | None = None) -> str:
    """The run's state, the number of tasks done among those begun, and the running tasks, with their durations if
    `now` is given."""
    if run is None:
        return "no answer yet"
    begun = [task for task in tasks(run, notes) if task.state != OMITTED]
    done = sum(task.state in ("SUCCEEDED", "SKIPPED") for task in begun)
    counted = f", {done} of {len(begun)} tasks begun are done" if begun else ""
    running = [f"{task.name}{_since(task, now)}" for task in begun if task.state == "RUNNING"]
    return plain(run.state) + counted + (f", now {', '.join(running)}" if running else "")


def _since(task: Task, now: datetime | None) -> str:
    minutes = (now - task.started).total_seconds() / 60 if now and task.started else None
    return "" if minutes is None else f" ({minutes:.0f} min)" if minutes < 120 else f" ({minutes / 60:.1f} h)"


def took(task: Task) -> str:
    if not (task.started and task.ended) or task.ended <= task.started:
        return ""
    return f"{(task.ended - task.started).total_seconds() / 60:.1f} min"


def plain(state: str | None) -> str:
    return "pending" if state in (None, "", _UNSPECIFIED) else state.lower()
