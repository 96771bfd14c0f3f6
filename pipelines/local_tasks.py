"""The tasks of a run on this machine, as Kubeflow Pipelines' local runner starts them, until one fails; and all that they say, in
one file."""

import contextlib
import io
import json
import os
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from xlrm import progress

EXIT = "conclude"
"""The component that gives the account of a run, well ended or not."""
NOT_STARTED = 1
"""Exit status of a task that is not started any more."""
TAIL, SHOWN = 200, 15
"""Lines of a task that are kept in case it fails, and that are shown of them."""
ABOUT = 40
"""Characters that name a task in the log, at most."""
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_ERROR = re.compile(r"error: (\S+): (.*)")
_UNSAID = re.compile(r"^killed by |ended with status")
"""In a line that does not say why a step failed."""
_TRACEBACK = "Traceback (most recent call last)"


@dataclass
class Task:
    component: str
    about: str
    """Its steps, or where these are many its component: what its lines in the log begin with."""
    page: Path | None
    """Where its page will be."""
    unseen: bool = False
    """Its lines are for the log alone."""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    """What it has said since its last line of progress."""
    step: str = ""
    """That failed, as its last line of progress has it."""
    why: str = ""

    @classmethod
    def of(cls, command: list[str]) -> "Task":
        """By the command that KFP has made for it."""
        given = json.loads(command[command.index("--executor_input") + 1])
        component = command[command.index("--function_to_execute") + 1]
        pages = given.get("outputs", {}).get("artifacts", {}).get("page", {}).get("artifacts", [])
        steps = given.get("inputs", {}).get("parameterValues", {}).get("steps", component)
        about = steps if len(steps) <= ABOUT else component
        return cls(component, about, Path(pages[0]["uri"]) if pages else None)

    def heard(self, line: str) -> None:
        _, prefix, said = line.partition(progress.PREFIX)
        if error := _ERROR.fullmatch(said):
            self.step, self.why = error.groups()
        elif prefix:
            self.tail.clear()
        else:
            self.tail.append(line)

    def last_lines(self) -> list[str]:
        """Of its traceback, if there is one; of one that was killed, its last lines. A line says why any other failed."""
        lines = [line for line in self.tail if line.strip(" ^~")]  # without the marks below a traceback's lines
        begins = [number for number, line in enumerate(lines) if _TRACEBACK in line]
        if begins:
            return lines[begins[-1] :][-SHOWN:]
        return [] if self.why and not _UNSAID.search(self.why) else lines[-SHOWN:]


@dataclass(frozen=True)
class Failure:
    """The first task that failed."""

    step: str
    status: int
    lines: list[str]
    """The last ones of its error, where these are more than the line that has been shown."""
    page: Path | None
    """Of what its gate refused."""


class Log(io.TextIOBase):
    """A file with all that is written, without colours, whoever's thread writes it. `show` gets the lines of progress."""

    def __init__(self, file: Path, show: Callable[[str], None]):
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file, self.show, self.lock = file.open("w", encoding="utf-8"), show, threading.Lock()
        self.thread = threading.local()

    def write(self, text: str) -> int:
        *lines, self.thread.rest = (getattr(self.thread, "rest", "") + text).split("\n")
        for line in lines:
            self._line(plain(line))
        return len(text)

    def _line(self, line: str) -> None:
        task = getattr(self.thread, "task", None)
        if task:
            task.heard(line)
        with self.lock:
            self.file.write(f"{task.about} │ {line}\n" if task else f"{line}\n")
            self.file.flush()
        if progress.PREFIX in line and not (task and task.unseen):
            self.show(line.partition(progress.PREFIX)[2])

    @contextlib.contextmanager
    def of(self, task: Task) -> Iterator[None]:
        """In it, what this thread writes is the task's."""
        self.thread.task = task
        try:
            yield
            if getattr(self.thread, "rest", ""):
                self.write("\n")
        finally:
            self.thread.task = None


class Tasks:
    """Of a run: none is started after one that failed, but for `conclude`, and those at work are ended.

    KFP's local runner (2.17) starts every task that does not depend on the failed one, and all that a loop has left
    (run_enhanced_dag and ParallelExecutor in kfp/local/orchestrator/enhanced_dag_orchestrator.py).
    """

    def __init__(self, log: Log):
        self.log, self.lock = log, threading.Lock()
        self.failure: Failure | None = None
        self.at_work: dict[Callable[[], None], Task] = {}

    def run(self, start: Callable[..., int], command: list[str], **given: Any) -> int:
        """A task's exit status. `start` runs its command to the end; what it prints is the task's."""
        task = Task.of(command)
        task.unseen = self.failure is not None  # `conclude` repeats what has been said
        if self.failure and task.component != EXIT:
            return NOT_STARTED
        with self.log.of(task):
            status = start(command=command, ended_by=partial(self._ended_by, task), **given)
        if status:
            self._fail(task, status)
        return status

    @contextlib.contextmanager
    def _ended_by(self, task: Task, end: Callable[[], None]) -> Iterator[None]:
        """Around a task at work: `end` ends it when another fails."""
        with self.lock:
            self.at_work[end] = task
            late = self.failure is not None and task.component != EXIT
        try:
            if late:
                end()
            yield
        finally:
            self.at_work.pop(end)

    def _fail(self, task: Task, status: int) -> None:
        with self.lock:
            if self.failure:  # which has ended this one
                return
            page = task.page if task.page and task.page.is_file() else None
            self.failure = Failure(task.step or task.about, status, task.last_lines(), page)
            others = dict(self.at_work)
        for end, other in others.items():
            other.unseen = True  # that it is ended, which says nothing of why
            with contextlib.suppress(Exception):  # of one that ends by itself
                end()


def plain(text: str) -> str:
    """Without colours, and of a line that was written over, the last state."""
    return _COLOURS.sub("", text).rstrip("\r").rpartition("\r")[2]


def process(command: list[str], ended_by: Callable, env_vars: dict[str, str] | None = None) -> int:
    """Exit status of a command; what it says on either of its outputs is printed."""
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env=os.environ | (env_vars or {}),
        ) as one,
        ended_by(one.terminate),
    ):  # fmt: skip
        for line in one.stdout:
            print(line, end="")
        return one.wait()


def take_over(tasks: Tasks) -> None:
    """Puts `tasks` in the place of what KFP starts tasks by, and leaves the lines of a task where they begin: KFP's indentation
    is of one print for all threads, and grows with each that ends before another."""
    from kfp.local import logging_utils, subprocess_task_handler

    logging_utils.indented_print = contextlib.nullcontext

    def run_local_subprocess(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        return tasks.run(process, full_command, env_vars=env_vars)

    subprocess_task_handler.run_local_subprocess = run_local_subprocess
