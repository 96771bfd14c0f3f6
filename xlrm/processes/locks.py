"""File locks: one process at a time, until it releases the lock or is killed."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from xlrm import progress
from xlrm.errors import ArtifactError


@contextmanager
def alone(path: Path, what: str = "") -> Iterator[None]:
    """Holds the lock file `path`, which is removed afterwards. Waits for a process that holds it, and logs that if
    `what` names the common task; the system releases the lock of a killed process. Raises ArtifactError if such
    a file cannot exist."""
    with _opened(path) as file:
        if not _taken(file, wait=False):
            if what:
                progress.say(f"{what}: another process is working on it{_of(path)}; waiting for it to finish")
            _taken(file, wait=True)
        if _is_gone(path, file):  # deleted by its last holder
            file.close()
            with alone(path, what):
                yield
            return
        file.write(str(os.getpid()).encode())
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Holds the lock and gives True, unless another process holds it; gives False if the file does not exist."""
    with suppress(FileNotFoundError), _existing(path) as file:
        if _taken(file, wait=False):
            yield True
            return
    yield False


def is_held(path: Path) -> bool:
    """Whether a process holds the lock now."""
    with suppress(FileNotFoundError), _existing(path) as file:
        return not _taken(file, wait=False)
    return False


@contextmanager
def unless_held(path: Path) -> Iterator[bool]:
    """As `alone`, but gives False instead of waiting if another process holds the lock."""
    with _opened(path) as file:
        free = _taken(file, wait=False) and not _is_gone(path, file)
        try:
            yield free
        finally:
            if free:
                path.unlink(missing_ok=True)


def wait_for_its_end(path: Path) -> None:
    """Returns when the process that holds the lock has ended, for any reason."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def _opened(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+b")
    except OSError as error:
        raise ArtifactError(f"cannot be used as a lock: {error}", where=path) from error


def _existing(path: Path) -> IO[bytes]:
    """The lock file, opened for writing where that is permitted: NFS locks no other file exclusively."""
    try:
        return path.open("r+b")
    except PermissionError:
        return path.open("rb")


def _taken(file: IO[bytes], wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        raise ArtifactError(
            f"cannot be locked: {error.strerror}", where=file.name,
            hint="a file system with locks is required, so that no two processes write the same file",
        ) from error  # fmt: skip
    if file.writable():
        os.ftruncate(file.fileno(), 0)
    return True


def _is_gone(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino != path.stat().st_ino
    except FileNotFoundError:
        return True


def _of(path: Path) -> str:
    """Names the holder of the lock, if the lock file does."""
    with suppress(OSError):
        if number := path.read_text().strip():
            return f", process {number}"
    return ""
