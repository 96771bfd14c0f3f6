"""Whether a file or folder that the user names can be written, before the work for it starts."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xlrm.errors import ConfigError
from xlrm.store import addresses, objects

_BESIDE = ".{}.0123456789abcdef.journal"
"""The longest name of a file that is made beside an output while it is made."""


def check_file(path: Path, where: str = "--output") -> None:
    """Raises ConfigError for a folder or device, and for a file that cannot be made."""
    with _refused(path, where):
        if path.exists() and not path.is_file():
            raise ConfigError("a file is required, which may be new", where=where, value=str(path))
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path.with_name(_BESIDE.format(path.name)))
        _check_folder(path.parent)


def check_folder(path: Path, where: str = "--output") -> None:
    """Raises ConfigError for a file, and for a folder that cannot be made or written to."""
    with _refused(path, where):
        if path.exists() and not path.is_dir():
            raise ConfigError("a folder is required, which may be new", where=where, value=str(path))
        _check_folder(path)


def check_places(store: str) -> None:
    """Raises ConfigError if the folder of local state, or a store in a folder, cannot be made or written to."""
    check_folder(addresses.home(), "XLRM_HOME")
    if path := objects.local_path(store):
        check_folder(path, "XLRM_STORE")


def _check_folder(folder: Path) -> None:
    """Makes a file without a name in the folder, or in the one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def _refused(path: Path, where: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ConfigError(f"cannot be written: {reason}", where=where, value=str(path)) from error
