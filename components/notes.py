"""Notes of a run's tasks in the store, below runs/RUN: the state of each task, why one failed, how the run ended.

    tasks/LABEL/MOMENT-STATE    RUNNING when a task begins, SUCCEEDED or FAILED when it ends; holds one line, such as the error
    failures/LABEL/MOMENT       an error's text
    end/MOMENT-STATE            how the run ended; holds one line

Kubeflow's API does not say why a task failed, and may stop updating the tasks' states. Notes are only added, and the
newest counts; a task that is tried again leaves notes of each try. A label is the stage and its object: `reward-es`.
"""

import contextlib
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.store import addresses, objects

RUN_ID = "KFP_RUN_ID"
"""Environment variable with the run's id; pipelines/platform.py and the local runner set it."""
RUNNING, SUCCEEDED, FAILED = "RUNNING", "SUCCEEDED", "FAILED"
NOTHING_LEFT = "everything was finished before"
"""Line of the task `configure` if no other task is needed."""
TERMINATION_LOG = Path("/dev/termination-log")
"""Kubernetes shows what a container writes here in the pod's status, and Argo in the task's message; at most 4 kB."""
_MOMENT = "%Y%m%dT%H%M%S.%fZ"
_CHANGE = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[A-Z]+")


def note_started(label: str) -> None:
    _add("tasks", label, state=RUNNING)


def note_ended(label: str, state: str, line: str = "") -> None:
    """`state`: SUCCEEDED or FAILED; `line`: the error, or another remark."""
    _add("tasks", label, state=state, line=line)
    if state == FAILED and line:
        _tell_kubernetes(line)


def note_end(state: str, line: str = "") -> None:
    """Notes the end of a run, from its last task. `state`: SUCCEEDED, FAILED or CANCELED."""
    _add("end", state=state, line=line)


def note_failure(label: str, error: str) -> None:
    """Keeps why a step failed; of several tries the last counts."""
    if run := os.environ.get(RUN_ID):
        _write(below(run, "failures", label, f"{datetime.now(UTC):{_MOMENT}}"), error)
        _tell_kubernetes(error)


@dataclass(frozen=True)
class Note:
    """State of a task, or the end of a run."""

    label: str
    state: str
    started: datetime
    changed: datetime
    uri: str

    @property
    def stage(self) -> str:
        return self.label.split("-")[0]

    @property
    def killed(self) -> str:
        """Error text for a task that began and did not end."""
        return f"began at {self.started:%Y-%m-%d %H:%M} UTC and did not end: its pod was stopped or killed"

    def line(self) -> str:
        return _read(self.uri)


@dataclass(frozen=True)
class Notes:
    tasks: dict[str, Note] = field(default_factory=dict)
    """Label -> note, in the order in which the tasks began."""
    failures: dict[str, list[str]] = field(default_factory=dict)
    """Label -> URIs of the errors of its failed tries, the latest last; includes tasks that succeeded in the end."""
    last: Note | None = None

    @property
    def end(self) -> Note | None:
        """How the run ended; None if a task began after that, because the server can retry a run."""
        begun = [note.started for note in self.tasks.values()]
        return self.last if self.last and max(begun, default=self.last.changed) <= self.last.changed else None

    def error(self, label: str) -> str:
        """Why the latest failed try failed; empty if no try noted an error."""
        uris = self.failures.get(label)
        return _read(uris[-1]) if uris else ""

    def failed(self) -> dict[str, str]:
        """Label -> why, for tasks that ended as FAILED."""
        return {label: self.why(note) for label, note in self.tasks.items() if note.state == FAILED}

    def why(self, note: Note) -> str:
        return self.error(note.label) or note.line()

    def lost(self) -> dict[str, str]:
        """Label -> why, for tasks that began and did not end, and for errors of tasks that noted nothing else. Only
        meaningful for a run in which nothing runs any more and something failed."""
        running = [note for note in self.tasks.values() if note.state == RUNNING]
        errors = {label: self.error(label) for label in self.failures if label not in self.tasks}
        return {note.label: note.killed for note in running} | errors


def notes(run: str) -> Notes:
    """Notes of the run with this id, from one listing of the store. Raises ArtifactError."""
    top = below(run)
    tasks: dict[str, Note] = {}
    failures: dict[str, list[str]] = {}
    last = None
    for uri in objects.list_uris(top):  # sorted, so by moment within one label
        match unquote(uri.removeprefix(f"{top}/")).split("/"):
            case ["tasks", label, change] if _CHANGE.fullmatch(change):
                tasks[label] = _note(label, change, uri, tasks.get(label))
            case ["failures", label, _]:
                failures.setdefault(label, []).append(uri)
            case ["end", change] if _CHANGE.fullmatch(change):
                last = _note("", change, uri, None)
    return Notes(dict(sorted(tasks.items(), key=lambda entry: entry[1].started)), failures, last)


def _note(label: str, change: str, uri: str, before: Note | None) -> Note:
    moment, _, state = change.partition("-")
    changed = datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC)
    return Note(label, state, before.started if before and state != RUNNING else changed, changed, uri)


def _add(*where: str, state: str, line: str = "") -> None:
    if run := os.environ.get(RUN_ID):
        _write(below(run, *where, f"{datetime.now(UTC):{_MOMENT}}-{state}"), " ".join(line.split()))


def below(run: str, *where: str) -> str:
    """Address of something that belongs to a run."""
    return objects.join(addresses.store(), "runs", run, *where)


def _write(uri: str, text: str) -> None:
    """Writes a note. An error is only logged, so no task fails because of it."""
    try:
        objects.write_new(uri, text.encode())
    except ArtifactError as error:
        progress.say(f"a note of this task cannot be stored: {error}")


def _read(uri: str) -> str:
    return (objects.read_bytes(uri) or b"").decode()


def _tell_kubernetes(line: str) -> None:
    with contextlib.suppress(OSError):
        if TERMINATION_LOG.is_file():  # as in every container of Kubernetes
            TERMINATION_LOG.write_text(line.encode()[:4096].decode(errors="ignore"), encoding="utf-8")
