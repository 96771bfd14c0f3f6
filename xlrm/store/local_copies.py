"""Files of rows that a user names, on this machine: a path, standard input as `-`, or `s3://bucket/key`."""

import gzip
import hashlib
import io
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from xlrm.errors import ArtifactError, DataError
from xlrm.store import addresses, objects

STDIN = "-"
S3 = "s3://"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
"""First bytes of compressed files, whatever they are named."""
BLOCK = 1 << 20


def local_copy(name: str) -> Path:
    """The file's path on this machine. Standard input is read once, into a temporary file that the end of the process
    removes. An object of S3 is downloaded into the cache, again only if it has changed there. Raises DataError for
    what is not a file that can be read, ArtifactError for an object that cannot be downloaded."""
    if name == STDIN:
        return Path(_standard_input().name)
    path = _downloaded(name) if name.startswith(S3) else Path(name)
    with readable(name):
        kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        form = "a folder" if stat.S_ISDIR(kind) else "a pipe or device"
        raise DataError(f"{form}; a file is required", where=name, hint="standard input is -")
    return path


@cache
def _standard_input() -> IO[bytes]:
    copy = tempfile.NamedTemporaryFile(prefix="xlrm-stdin-")  # noqa: SIM115  # kept until the process ends
    with readable(STDIN):
        shutil.copyfileobj(sys.stdin.buffer, copy, BLOCK)
        copy.flush()
    return copy


def _downloaded(uri: str) -> Path:
    if (stored := objects.stat(uri)) is None:
        raise ArtifactError("missing: there is no such object, or no such bucket", where=uri)
    version = f"{uri} {stored.etag} {stored.size} {stored.changed}"
    folder = addresses.home() / "cache" / "files" / hashlib.sha256(version.encode()).hexdigest()[:16]
    objects.download_unlisted(uri.rpartition("/")[0], [stored], folder)
    return folder / uri.rpartition("/")[2]


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Raises DataError, with the file's name, for a file that the system or a decompressor cannot read."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError("no such file", where=name) from error
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise DataError(f"cannot be read: {' '.join(reason.split())[:200]}", where=name) from error


def opened(path: Path) -> IO[bytes]:
    """The file's content, decompressed if it is compressed with gzip or zstd, whatever its name is."""
    start = _start(path)
    if start.startswith(_GZIP):
        return gzip.open(path)  # type: ignore[return-value]
    if start.startswith(_ZSTD):
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


@contextmanager
def decompressed(path: Path) -> Iterator[Path]:
    """Context with the file itself or, if it is compressed, with a temporary copy that is not."""
    if not _start(path).startswith((_GZIP, _ZSTD)):
        yield path
        return
    with opened(path) as content, tempfile.NamedTemporaryFile(prefix="xlrm-rows-") as copy:
        shutil.copyfileobj(content, copy, BLOCK)
        copy.flush()
        yield Path(copy.name)
