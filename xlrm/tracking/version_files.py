"""The files of a registered version, listed with their sha256 when they are uploaded, and checked against that list
afterwards and whenever they are downloaded.

The list is the file `files.json`, and the version's tag `files_digest` is the sha256 of that file. Versions registered
before have neither and are not checked. A folder may also have the files of `NOT_LISTED` and those that no loader reads
(`objects.added`); any other file that is not listed is refused, since a loader might read it: an added chat template or
adapter changes rewards.
"""

import hashlib
import json
import posixpath
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.store import artifacts, objects
from xlrm.store.artifacts import FileEntry

FILES = "files.json"
"""File of a version with path, size and sha256 of all its other files."""
TAG = "files_digest"
NOT_LISTED = frozenset((FILES, "registered_model_meta", "gate.json", "gate.md"))
"""Files that may be missing in the list: MLflow writes registered_model_meta into what it downloads, and lists written
by earlier versions of this project lack the gate's files."""
_REMEDY = "register the model again"


def listed(folders: Iterable[Path]) -> dict[str, FileEntry]:
    """Path -> entry of the files of `folders`; of the same path, that in the last folder."""
    return {entry.path: entry for folder in folders for entry in artifacts.digest_directory(folder)[1]}


def write(folder: Path, entries: Iterable[FileEntry]) -> str:
    """Writes the list into `folder`; returns its digest, the value of `TAG`."""
    fields = [entry.model_dump() for entry in sorted(entries, key=lambda entry: entry.path)]
    data = f"{json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False)}\n".encode()
    (folder / FILES).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read(path: Path, uri: str, digest: str | None) -> dict[str, FileEntry]:
    """Path -> entry of a list. Raises ArtifactError, with the version's `uri`, for another file than that with the
    digest; None for a version without one."""
    data = path.read_bytes()
    if digest and hashlib.sha256(data).hexdigest() != digest:
        raise ArtifactError(f"corrupted: its sha256 is not that in the tag {TAG}", where=f"{uri}/{FILES}", hint=_REMEDY)
    try:
        entries = [FileEntry(**fields) for fields in json.loads(data)]
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"not a list of files: {reason}", where=f"{uri}/{FILES}", hint=_REMEDY) from error
    return {entry.path: entry for entry in entries}


def check_folder(folder: Path, uri: str, digest: str | None) -> None:
    """Raises ArtifactError, with `uri` and the file's path, if a file of the version in `folder` is missing, changed or
    added."""
    if not (folder / FILES).is_file():
        if digest:
            raise ArtifactError(f"missing, and the version has the tag {TAG}", where=f"{uri}/{FILES}", hint=_REMEDY)
        say_unchecked(uri)
        return
    entries = read(folder / FILES, uri, digest)
    objects.verify_directory(folder, entries.values(), uri, _REMEDY)
    objects.refuse_added(folder, entries.keys() | NOT_LISTED, uri)


def check_file(path: Path, file: str, entries: dict[str, FileEntry], uri: str) -> None:
    """Raises ArtifactError if `path`, the version's file `file`, is not that of the list."""
    if file in entries:
        entry = entries[file].model_copy(update={"path": path.name})
        objects.verify_directory(path.parent, [entry], f"{uri}/{posixpath.dirname(file)}".rstrip("/"), _REMEDY)
    elif file not in NOT_LISTED:
        raise ArtifactError(f"added later: not in {FILES}", where=f"{uri}/{file}", hint="remove it")


@cache
def say_unchecked(uri: str) -> None:
    progress.say(f"{uri}: registered without {FILES}: nothing shows whether its files are those that were registered")
