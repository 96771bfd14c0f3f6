"""Follows a run on a Kubeflow Pipelines server to its end, and reports it as a line, an exit code and a page of
Markdown."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from components.notes import Notes, notes
from pipelines import reasons, standing
from pipelines.standing import Task
from xlrm import markdown_table, progress
from xlrm.errors import ArtifactError, ConfigError, XlrmError

POLL_SECONDS = 15
SAY_SECONDS = 60
"""Longest time in seconds without a line of progress, also while the server or the store does not answer."""
OUTAGE_SECONDS = 900
"""Seconds for which a run is followed while its server does not answer."""
SUCCEEDED, FAILED, REFUSED, TIMED_OUT, CANCELLED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
_CODES = {"SUCCEEDED": SUCCEEDED, "FAILED": FAILED, "SKIPPED": FAILED, "CANCELED": CANCELLED}


@dataclass
class Outcome:
    """The result of a submission: what the summary shows."""

    message: str
    code: int
    facts: dict[str, str] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)


@dataclass
class _Watch:
    """A run, with its last known state and the lines printed for it."""

    server: Any
    run_id: str
    run: Any = None
    notes: Notes = field(default_factory=Notes)
    readable: bool = True
    """Whether the notes can be read; the error is printed once."""
    begun: float = field(default_factory=time.monotonic)
    answered: float = field(default_factory=time.monotonic)
    printed: tuple[float, str] = (0, "")

    def look(self) -> bool:
        """Asks for the run's state; returns whether the run has ended."""
        self._ask()
        self.read_notes()
        self.say()
        return self.run is not None and self.state in _CODES

    @property
    def state(self) -> str:
        return standing.state(self.run, self.notes)

    def _ask(self) -> None:
        from pipelines.kubeflow import ServerError

        link = self.server.link(self.run_id)
        try:
            self.run, self.answered = self.server.run(self.run_id), time.monotonic()
        except ServerError as error:
            if time.monotonic() - self.answered > OUTAGE_SECONDS:
                error.within("", f"the run continues: {link}")
                raise
        except ConfigError as error:
            raise ServerError(f"the run can no longer be followed: {error}", hint=link) from error

    def read_notes(self) -> None:
        try:
            self.notes, self.readable = notes(self.run_id), True
        except ArtifactError as error:
            if self.readable:
                progress.say(f"the notes of the tasks in the store cannot be read: {error}")
            self.readable = False

    def say(self) -> None:
        """Prints what has changed, and each minute the state of the run."""
        now, line = time.monotonic(), standing.line(self.run, self.notes)
        if line == self.printed[1] and now - self.printed[0] < SAY_SECONDS - _tick():
            return
        self.printed = now, line
        silent = f"no answer from the server for {(now - self.answered) / 60:.0f} min, before that "
        since = standing.line(self.run, self.notes, datetime.now(UTC))
        progress.say(f"{(now - self.begun) / 60:.0f} min: {silent if now - self.answered > SAY_SECONDS else ''}{since}")


def follow(server: Any, run_id: str, patience: float, cancel: bool) -> Outcome:
    """Follows the run until it ends or `patience` seconds are over. Continues after an outage; raises ServerError
    after a long one or if a token has expired, without ending the run."""
    watch = _Watch(server, run_id)
    with _each_tick(watch.say):
        while not watch.look():
            left = patience - (time.monotonic() - watch.begun)
            if left <= 0:
                return _late(watch, cancel)
            time.sleep(min(POLL_SECONDS, left))
        time.sleep(POLL_SECONDS)  # the server writes the tasks' ends after the run's
        with contextlib.suppress(XlrmError):
            watch.look()
        return _ended(watch)


def _tick() -> float:
    return SAY_SECONDS / 6


@contextlib.contextmanager
def _each_tick(action: Callable[[], None]) -> Iterator[None]:
    """Context in which a thread calls `action` regularly, also during a request that takes longer than a minute."""
    done = threading.Event()

    def act() -> None:
        while not done.wait(_tick()):
            action()

    threading.Thread(target=act, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def succeeded(run: Any) -> bool:
    """Whether a run, given with its details, succeeded."""
    watch = _Watch(None, run.run_id, run)
    watch.read_notes()
    return watch.state == "SUCCEEDED"


def _late(watch: _Watch, cancel: bool) -> Outcome:
    then = "it goes on"
    if cancel:
        try:
            watch.server.terminate(watch.run_id)
            then = "it is being cancelled"
        except XlrmError as error:  # the run has just ended, or an earlier try that failed was accepted
            with contextlib.suppress(XlrmError):
                if watch.look():
                    return _ended(watch)
            heard = watch.run and watch.run.state == "CANCELING"
            then = "it is being cancelled" if heard else f"{then}, and cannot be cancelled ({error})"
    message = f"the time is up and the run has not ended; {then}: {watch.server.link(watch.run_id)}"
    return Outcome(message, TIMED_OUT, tasks=standing.tasks(watch.run, watch.notes))


def _ended(watch: _Watch) -> Outcome:
    end, tasks = watch.state, standing.tasks(watch.run, watch.notes)
    if end == "FAILED":
        tasks = reasons.explained(watch.server, watch.run_id, watch.notes, tasks)
    failed = [task for task in tasks if task.state == "FAILED"]
    for task in failed:
        if task.line:
            progress.say(f"error: {task.title}: {task.line}")
    ending = {"SUCCEEDED": "succeeded", "CANCELED": "was cancelled"}.get(end, f"failed{_more(watch, failed)}")
    return Outcome(f"the run {ending}: {watch.server.link(watch.run_id)}", _CODES[end], tasks=tasks)


def _more(watch: _Watch, failed: list[Task]) -> str:
    """Which tasks failed, and why the first one failed."""
    message = f" in {', '.join(dict.fromkeys(task.title for task in failed))}" if failed else ""
    lines = [task.line for task in failed if task.line] or ([] if failed else reasons.noted_end(watch.notes))
    if [task.name for task in failed] == ["report"] and not lines:
        message += " (which registers models: where the gate refused one, the page of conclude has the decision)"
    if watch.run.error and watch.run.error.message:
        lines = [watch.run.error.message]
    return f"{message}: {lines[0]}" if lines else message


def markdown(outcome: Outcome) -> str:
    """The outcome as Markdown, for the summary page of a continuous integration."""
    return "\n".join([f"### {markdown_table.cell(outcome.message)}", "", *_table(outcome), ""])


def _table(outcome: Outcome) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    yield from (markdown_table.row(fact) for fact in outcome.facts.items())
    if outcome.tasks:
        yield from ("", "| task | state | |", "|---|---|---|")
        for task in outcome.tasks:
            more = task.line if task.state == "FAILED" and task.line else standing.took(task)
            yield markdown_table.row((task.name, standing.plain(task.state), more))
