"""A run on this machine: its name and folders, and the guarantee that none of its processes outlives it."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from xlrm.processes import locks, signals
from xlrm.store import addresses
from xlrm.tracking import mlflow_runs

_LOCK, NOTE = "at_work.lock", "mlflow.json"
"""Files in a run's folder: the lock that its process holds, and the MLflow run that it has open."""


def folder(experiment: str) -> Path:
    """A new folder for the files of KFP's tasks; its name is the run's name and unique on this machine."""
    above = addresses.home() / "kfp"
    above.mkdir(parents=True, exist_ok=True)
    name = f"{experiment}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1, 1000):
        made = above / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            made.mkdir()
            return made
    raise FileExistsError(f"{above / name}: a thousand runs in one second")


@contextlib.contextmanager
def at_work(root: Path) -> Iterator[None]:
    """Context in which the tasks of the run in folder `root` end with this process and share one folder for
    temporary files. Before that, it removes what killed runs left and closes their MLflow runs."""
    _remove_leftovers(root.parent)
    with signals.ended_by_signals(), locks.alone(root / _LOCK):
        temporary = _temporary(root)
        temporary.mkdir(exist_ok=True)
        before = dict(os.environ)
        os.environ |= {"TMPDIR": str(temporary), signals.RUNNER: str(root / _LOCK)}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ |= before
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary(root: Path) -> Path:
    """The run's temporary folder; short because vLLM creates sockets in it, whose paths may have 107 characters at
    most."""
    return Path(tempfile.gettempdir(), f"xlrm-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}")


def _remove_leftovers(above: Path) -> None:
    for root in above.iterdir():
        with locks.if_free(root / _LOCK) as free:
            if free:
                mlflow_runs.close_left_open(root / NOTE)
                shutil.rmtree(_temporary(root), ignore_errors=True)
                shutil.rmtree(root, ignore_errors=True)
