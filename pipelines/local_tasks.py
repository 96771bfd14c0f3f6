"""The tasks of a run on this machine, started by Kubeflow Pipelines' local runner until one fails, and one log file
with all of their output."""

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
"""The component that reports the end of a run, after success and failure."""
NOT_STARTED = 1
"""Exit status of a task that is not started because another has failed."""
TAIL, SHOWN = 200, 15
"""Number of a task's last lines that are kept in case it fails, and number of those that are shown."""
ABOUT = 40
"""Maximum number of characters that name a task in the log."""
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_ERROR = re.compile(r"error: (\S+): (.*)")
_UNSAID = re.compile(r"^killed by |ended with status")
"""Matches error lines that do not say why a step failed."""
_TRACEBACK = "Traceback (most recent call last)"


@dataclass
class Task:
    component: str
    about: str
    """Prefix of the task's lines in the log: its steps, or its component if these are too long."""
    page: Path | None
    """Where its page will be."""
    unseen: bool = False
    """Whether its lines go only to the log."""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    """Its output since its last line of progress."""
    step: str = ""
    """The step that failed, from its last line with an error."""
    why: str = ""

    @classmethod
    def of(cls, command: list[str]) -> "Task":
        """The task of a command that KFP has composed."""
        given = json.loads(command[command.index("--executor_input") + 1])
        component = command[command.index("--function_to_execute") + 1]
        pages = given.get("outputs", {}).get("artifacts", {}).get("page", {}).get("artifacts", [])
        steps = given.get("inputs", {}).get("parameterValues", {}).get("steps", component)
        about = steps if len(steps) <= ABOUT else component
        return cls(component, about, Path(pages[0]["uri"]) if pages else None)

    def heard(self, line: str) -> None:
        _, prefix, message = line.partition(progress.PREFIX)
        if error := _ERROR.fullmatch(message):
            self.step, self.why = error.groups()
        elif prefix:
            self.tail.clear()
        else:
            self.tail.append(line)

    def last_lines(self) -> list[str]:
        """The last lines of a task's traceback, or of its output if it was killed; none if its error line already
        says why it failed."""
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
    """Last lines of its error, if there are more than the line already shown."""
    page: Path | None
    """Page of what its gate refused."""


class Log(io.TextIOBase):
    """A log file with the output of all threads, without colours. `show` receives the lines of progress."""

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
        """Context in which this thread's output belongs to the task."""
        self.thread.task = task
        try:
            yield
            if getattr(self.thread, "rest", ""):
                self.write("\n")
        finally:
            self.thread.task = None


class Tasks:
    """The tasks of a run. After a failure only `conclude` is started, and running tasks are ended.

    KFP's local runner (2.17) by itself goes on with every task that does not depend on the failed one, and with the
    rest of a loop (run_enhanced_dag and ParallelExecutor in kfp/local/orchestrator/enhanced_dag_orchestrator.py).
    """

    def __init__(self, log: Log):
        self.log, self.lock = log, threading.Lock()
        self.failure: Failure | None = None
        self.at_work: dict[Callable[[], None], Task] = {}

    def run(self, start: Callable[..., int], command: list[str], **given: Any) -> int:
        """Exit status of a task. `start` runs its command to the end; output that it prints is logged as the task's."""
        task = Task.of(command)
        task.unseen = self.failure is not None  # `conclude` repeats lines already shown
        if self.failure and task.component != EXIT:
            return NOT_STARTED
        with self.log.of(task):
            status = start(command=command, ended_by=partial(self._ended_by, task), **given)
        if status:
            self._fail(task, status)
        return status

    @contextlib.contextmanager
    def _ended_by(self, task: Task, end: Callable[[], None]) -> Iterator[None]:
        """Context around a running task: `end` is called if another task fails."""
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
            if self.failure:  # that failure ended this task
                return
            page = task.page if task.page and task.page.is_file() else None
            self.failure = Failure(task.step or task.about, status, task.last_lines(), page)
            others = dict(self.at_work)
        for end, other in others.items():
            other.unseen = True  # its error would only say that it was ended
            with contextlib.suppress(Exception):  # it may have just ended by itself
                end()


def plain(text: str) -> str:
    """The text without colours; of a line that was overwritten, only the last state."""
    return _COLOURS.sub("", text).rstrip("\r").rpartition("\r")[2]


def process(command: list[str], ended_by: Callable, env_vars: dict[str, str] | None = None) -> int:
    """Exit status of a command; its standard output and standard error are both printed."""
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env=os.environ | (env_vars or {}),
        ) as child,
        ended_by(child.terminate),
    ):  # fmt: skip
        for line in child.stdout or ():
            print(line, end="")
        return child.wait()


def take_over(tasks: Tasks) -> None:
    """Makes KFP start its tasks through `tasks`, and turns off its indentation of output: all threads share it, and
    it grows with each task that ends before another."""
    from kfp.local import logging_utils, subprocess_task_handler

    logging_utils.indented_print = contextlib.nullcontext

    def run_local_subprocess(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        return tasks.run(process, full_command, env_vars=env_vars)

    subprocess_task_handler.run_local_subprocess = run_local_subprocess
