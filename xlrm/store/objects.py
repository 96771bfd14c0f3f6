"""Moves files to and from a store, and checks what arrives.

A URI is `file:///absolute/path` (special characters may be percent-encoded) or `s3://bucket/prefix`. The same functions
serve both, with the same guarantees:

- a file appears under its name complete or not at all;
- every file is checked against its sha256 where it arrives, and on S3 the server checks what it receives, too;
- a file already in place with the right content is not sent again, so a stopped transfer can continue.

boto3's environment variables configure the S3 server and credentials: AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3),
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, or a profile. For a server that does not know S3's newer
checksums set AWS_REQUEST_CHECKSUM_CALCULATION=when_required. A killed upload of a large file leaves invisible parts in
the bucket; a lifecycle rule (AbortIncompleteMultipartUpload) removes them.

Everything here raises ArtifactError with the URI and what to do; keys and secrets are never part of a message.
"""

import fcntl
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, rmtree
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

from xlrm.errors import ArtifactError
from xlrm.store import buckets
from xlrm.store.files import FileEntry, Stored, sha256_of

PARALLEL_FILES = 8
UNFINISHED = ".unfinished-"  # prefix of folders with incomplete files; only a killed process leaves one
REMAKE = "remove the artifact it belongs to, and make that again"
_AT_WORK = ".lock"  # a file in it, locked by the process that writes there


def join(uri: str, *parts: str) -> str:
    """`uri` with `parts` below it. Parts are plain names; a file URI gets them percent-encoded."""
    for part in parts:
        uri = (uri if uri.endswith("/") else uri + "/") + (quote(part) if uri.startswith("file:") else part)
    return uri


def local_path(uri: str) -> Path | None:
    """The path of a file URI, or None for an S3 URI."""
    place = _at(uri)
    return place.path if isinstance(place, _File) else None


def upload_directory(local: Path, files: Iterable[FileEntry], uri: str) -> None:
    """Copies `files` of the directory `local` to `uri`; files that are there with the same content are not sent. Raises
    ArtifactError also if a file no longer matches its entry."""

    def upload(transfer: Any, entry: FileEntry) -> None:
        place = _at(join(uri, entry.path))
        if not place.holds(entry):
            place.upload(transfer, local / entry.path, entry)

    _in_parallel(upload, files, _at(uri).sending())


def download_directory(uri: str, files: Iterable[FileEntry], local: Path) -> None:
    """Copies `files` from `uri` into the directory `local`; files that are there with the same content are kept. A file
    that does not match its entry never appears under its name."""

    def download(transfer: Any, entry: FileEntry) -> None:
        source, target = join(uri, entry.path), local / entry.path
        if target.is_file() and _fault(target, entry, str(target)) is None:
            return
        with _folder_beside(target, source) as folder, _file_errors(source):
            _at(source).download(transfer, folder / "file")
            _check(folder / "file", entry, source)
            os.replace(folder / "file", target)

    _in_parallel(download, files, _at(uri).receiving())


def download_unlisted(uri: str, files: Iterable[Stored], local: Path) -> None:
    """Copies `files`, as `list_files(uri)` gives them, into the directory `local`. Only their sizes are known, so a file
    of the right size that is there is kept."""

    def download(transfer: Any, file: Stored) -> None:
        target = local / file.uri.removeprefix(uri.rstrip("/")).lstrip("/")
        if target.is_file() and target.stat().st_size == file.size:
            return
        with _folder_beside(target, file.uri) as folder, _file_errors(file.uri):
            _at(file.uri).download(transfer, folder / "file")
            if (size := (folder / "file").stat().st_size) != file.size:
                raise ArtifactError(f"incomplete: {size} of {file.size} bytes", where=file.uri, hint="run it again")
            os.replace(folder / "file", target)

    _in_parallel(download, files, _at(uri).receiving())


def verify_directory(local: Path, files: Iterable[FileEntry], uri: str, remedy: str = REMAKE) -> None:
    """Checks `files` of the directory `local`; errors name `uri` and `remedy`."""
    _in_parallel(
        lambda _, entry: _check(local / entry.path, entry, join(uri, entry.path), remedy), files, nullcontext()
    )


def added(local: Path, known: Container[str]) -> list[str]:
    """Sorted paths of the files in `local` that are not among `known`, without those that no loader of a model reads:
    names that begin with a dot, and Python's `__pycache__`."""
    paths = [path.relative_to(local) for path in local.rglob("*") if not path.is_dir()]
    read = [path for path in paths if not any(part.startswith(".") or part == "__pycache__" for part in path.parts)]
    return sorted(path.as_posix() for path in read if path.as_posix() not in known)


def refuse_added(local: Path, known: Container[str], uri: str) -> None:
    """Raises ArtifactError, with `uri`, for a file that was added to a directory with the files `known`."""
    if others := added(local, known):
        raise ArtifactError(
            "added later: not among the files that were stored", where=join(uri, others[0]), hint="remove it"
        )


def read_bytes(uri: str) -> bytes | None:
    """The content of a small file, or None if there is none."""
    return _at(uri).read()


def write_new(uri: str, data: bytes) -> bool:
    """Writes a small file unless one is there; False when one was.

    Of several writers at once exactly one gets True. A few S3 servers keep this promise only roughly (OpenStack Swift
    checks first and writes later), so read the file again where the winner matters.
    """
    return _at(uri).write_new(data)


def write(uri: str, data: bytes) -> None:
    """Writes a small file, replacing an existing one; of several writers at once the last one counts."""
    _at(uri).write(data)


def remove_leftovers(uri: str) -> None:
    """Removes incomplete files that killed processes left in a folder of a `file://` store."""
    if path := local_path(uri):
        _remove_leftovers(path)


def list_uris(uri: str) -> list[str]:
    """The URIs of all complete files below `uri`, sorted."""
    return sorted(entry.uri for entry in _at(uri).below())


def list_files(uri: str) -> list[Stored]:
    """All complete files below `uri`, by URI."""
    return sorted(_at(uri).below(), key=lambda entry: entry.uri)


def stat(uri: str) -> Stored | None:
    """Size and date of one file, or None if there is none."""
    return _at(uri).stat()


def remove_directory(uri: str, first: Iterable[str] = ()) -> None:
    """Removes all files below `uri`, those named in `first` before the others. Files that are already gone are no
    error, so that an interrupted removal can continue."""
    for name in first:
        _at(join(uri, name)).remove()
    _at(uri).remove_below()


@dataclass(frozen=True)
class _File:
    uri: str
    path: Path

    def sending(self) -> AbstractContextManager[Path]:
        """Context with a folder for incomplete files. It lies beside the directory, whose readers then see complete
        files only."""
        return _folder_beside(self.path, self.uri)

    def receiving(self) -> AbstractContextManager[None]:
        return nullcontext()

    def holds(self, entry: FileEntry) -> bool:
        return self.path.is_file() and _fault(self.path, entry, self.uri) is None

    def upload(self, folder: Path, source: Path, entry: FileEntry) -> None:
        copy = folder / uuid4().hex
        with _file_errors(self.uri):
            copyfile(source, copy)
            if fault := _fault(copy, entry, str(source)):
                raise ArtifactError(f"changed while it was stored: {fault}", where=source, hint="store it again")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(copy, self.path)

    def download(self, _: None, target: Path) -> None:
        with _file_errors(self.uri):
            copyfile(self.path, target)

    def read(self) -> bytes | None:
        with _file_errors(self.uri):
            return self.path.read_bytes() if self.path.exists() else None

    def write_new(self, data: bytes) -> bool:
        with _folder_beside(self.path, self.uri) as folder, _file_errors(self.uri):
            complete = folder / "file"
            complete.write_bytes(data)
            try:
                os.link(complete, self.path)  # unlike a rename, it never replaces what another writer put there
            except FileExistsError:
                return False
            return True

    def write(self, data: bytes) -> None:
        with _folder_beside(self.path, self.uri) as folder, _file_errors(self.uri):
            (folder / "file").write_bytes(data)
            os.replace(folder / "file", self.path)

    def below(self) -> Iterator[Stored]:
        for path in self.path.rglob("*"):
            name = path.relative_to(self.path)
            with suppress(FileNotFoundError):  # another process has already removed it
                if path.is_file() and not any(part.startswith(UNFINISHED) for part in name.parts):
                    status = path.stat()
                    yield Stored(join(self.uri, name.as_posix()), status.st_size, status.st_mtime)

    def stat(self) -> Stored | None:
        with _file_errors(self.uri), suppress(FileNotFoundError):
            status = self.path.stat()
            return Stored(self.uri, status.st_size, status.st_mtime)
        return None

    def remove(self) -> None:
        with _file_errors(self.uri):
            self.path.unlink(missing_ok=True)

    def remove_below(self) -> None:
        with _file_errors(self.uri), suppress(FileNotFoundError):
            rmtree(self.path)


def _at(uri: str) -> _File | buckets.Object:
    scheme, _, rest = uri.partition("://")
    if scheme == "file" and rest.startswith("/"):
        return _File(uri, Path(unquote(rest)))
    bucket, _, key = rest.partition("/")
    if scheme == "s3" and re.fullmatch(r"[\w.-]+", bucket):
        return buckets.Object(uri, bucket, key.strip("/"))
    raise ArtifactError(
        "not the URI of a store; file:///absolute/path and s3://bucket/prefix are allowed",
        value=buckets.without_login(uri),
    )


def _in_parallel(
    action: Callable[[Any, Any], None],
    files: Iterable[FileEntry] | Iterable[Stored],
    transfer: AbstractContextManager[Any],
) -> None:
    """Applies `action` to all files. Raises the first error; after it no further file is begun, and S3 transfers are
    cancelled."""
    with ThreadPoolExecutor(PARALLEL_FILES) as pool, transfer as transfer:
        try:
            for done in as_completed([pool.submit(action, transfer, entry) for entry in files]):
                done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _check(path: Path, entry: FileEntry, uri: str, remedy: str = REMAKE) -> None:
    if fault := _fault(path, entry, uri):
        raise ArtifactError(f"corrupted: {fault}", where=uri, hint=remedy)


def _fault(path: Path, entry: FileEntry, name: str) -> str | None:
    """How the file at `path` differs from its entry, which the text calls `name`; None if it does not."""
    with _file_errors(name):
        size = path.stat().st_size
        if size != entry.size:
            return f"it has {size} bytes, its record says {entry.size}"
        sha256 = sha256_of(path)
        return None if sha256 == entry.sha256 else f"its sha256 is {sha256}, its record says {entry.sha256}"


@contextmanager
def _folder_beside(path: Path, uri: str) -> Iterator[Path]:
    """Context with an empty folder on the file system of `path`, from which a complete file gets to its final name
    in one step. Removes the folders of killed processes."""
    with _file_errors(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
    with ExitStack() as stack:
        with _file_errors(uri):
            folder = _locked_folder(path.parent, stack)
        yield folder


def _locked_folder(above: Path, stack: ExitStack) -> Path:
    """A new folder, locked so that other processes see it is in use. Makes another if one of them removed it before
    it was locked."""
    while True:
        # After an error another thread may still write into the folder.
        folder = TemporaryDirectory(prefix=UNFINISHED, dir=above, ignore_cleanup_errors=True)
        lock = Path(folder.name, _AT_WORK)
        mark = lock.open("w")
        with suppress(OSError):  # on a file system without locks nobody removes it
            fcntl.flock(mark, fcntl.LOCK_EX)
        if lock.exists():
            stack.enter_context(folder)
            stack.enter_context(mark)
            return lock.parent
        mark.close()
        folder.cleanup()


def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError), (leftover / _AT_WORK).open("r") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            rmtree(leftover, ignore_errors=True)


@contextmanager
def _file_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ArtifactError(f"missing ({error})", where=uri) from error
    except OSError as error:
        raise ArtifactError(str(error), where=uri) from error
