"""What SIGTERM does to a stage."""

import contextlib
import os
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the process at once with status 143, as the first process of a container too, for which the kernel knows no
    default action: the signal would be lost, and a node of a training would keep its GPUs for the half minute after which
    Kubernetes kills it.

    Nothing is tidied up, as by any death of a process: a stage goes on from what it left. Its training processes end with it.
    """
    before = signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
