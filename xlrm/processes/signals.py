"""How SIGTERM, SIGINT and SIGHUP end a stage or a run."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from xlrm import progress
from xlrm.processes import locks

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SECONDS = 5
"""For what is to be done before the end; Kubernetes kills half a minute after SIGTERM."""
RUNNER = "XLRM_ENDS_WITH"
"""Environment variable with the lock that the process holds which all this is for."""

_before_the_end: list[Callable[[], None]] = []


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Each of them ends the process with 128 and its number as status, as the first process of a container too, for which
    the kernel knows no default action: SIGTERM would be lost, and a node of a training would keep its GPUs for the half
    minute after which Kubernetes kills it. One that was ignored before (nohup) still is.

    Nothing is tidied up but by `before_the_end`, as by any death of a process: a stage goes on from what it left. Its
    training processes end with it.
    """
    here = [one for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, _end) for one in here}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextlib.contextmanager
def before_the_end(action: Callable[[], None]) -> Iterator[None]:
    """Context in which a signal that ends the process first runs `action`, if that takes at most `SECONDS`."""
    _before_the_end.append(action)
    try:
        yield
    finally:
        _before_the_end.remove(action)


def _end(number: int, _frame: object) -> None:
    """By threads, which may use what the one at work was cut off in; one that waits for its locks is left behind."""
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    said = f"ended by {signal.Signals(number).name}; the same command goes on from what is there"
    actions = [lambda: progress.say(said), *reversed(_before_the_end)]
    threads = [threading.Thread(target=action, daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    os._exit(128 + number)


def end_with_the_run() -> None:
    """Ends this process when the process that holds the lock in the variable `RUNNER` ends, for any reason and
    whatever is between the two: Kubeflow Pipelines' local runner starts a shell that starts a task."""
    if lock := os.environ.get(RUNNER):
        threading.Thread(target=_watch, args=(Path(lock),), daemon=True).start()


def _watch(lock: Path) -> None:
    locks.wait_for_its_end(lock)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(2 * SECONDS)
    os._exit(128 + signal.SIGTERM)  # the first process of a container, say
