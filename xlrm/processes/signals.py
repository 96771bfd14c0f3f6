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
"""Time limit for each action before the end; Kubernetes kills a process 30 seconds after SIGTERM."""
RUNNER = "XLRM_ENDS_WITH"
"""Environment variable with the path of the lock that the run's process holds; tasks end when it is released."""

_before_the_end: list[Callable[[], None]] = []


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Context in which each of these signals ends the process with status 128 + its number. This also works in the
    first process of a container, which the kernel gives no default action: SIGTERM would have no effect, and a node of
    a training would keep its GPUs until Kubernetes kills it after 30 seconds. A signal ignored before (nohup) stays
    ignored.

    Only the actions of `before_the_end` run; as after any other death, a stage continues from its files. The stage's
    training processes end with it.
    """
    here = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _end) for number in here}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def before_the_end(action: Callable[[], None]) -> Iterator[None]:
    """Context in which a signal that ends the process first runs `action`, if that takes at most `SECONDS`."""
    _before_the_end.append(action)
    try:
        yield
    finally:
        _before_the_end.remove(action)


def also_at_the_end(action: Callable[[], None]) -> None:
    """Has a signal that ends the process run `action` too, which must do no harm later either."""
    _before_the_end.append(action)


def _end(number: int, _frame: object) -> None:
    """Runs the actions in threads, because the interrupted thread may hold a lock that an action needs; an action
    that waits for such a lock is abandoned."""
    for ignored in SIGNALS:
        signal.signal(ignored, signal.SIG_IGN)
    message = f"ended by {signal.Signals(number).name}; the same command continues from what is finished"
    actions = [lambda: progress.say(message), *reversed(_before_the_end)]
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
    os._exit(128 + signal.SIGTERM)  # SIGTERM had no effect, as in the first process of a container
