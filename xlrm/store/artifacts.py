"""Artifacts: immutable directories, each with a record of what it is and how it was made.

    {store}/{stage}/{key}/artifact.json        the record, written last: no record, no artifact
    {store}/{stage}/{key}/{digest[:16]}/...    the files, under a name that follows from their own bytes

An artifact's URI is `{store}/{stage}/{key}`. Writers of the same key never mix their files, even if these differ:
each has its own folder, and the first record decides which folder counts.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from pathlib import Path
from shutil import rmtree
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from xlrm.errors import ArtifactError
from xlrm.processes import locks
from xlrm.store import objects
from xlrm.store.objects import FileEntry

__all__ = ["FileEntry", "Input", "Record", "digest_directory", "digest_files", "fetch", "find", "load", "publish"]

RECORD = "artifact.json"
REFUSED = "refused"


def _utc(moment: datetime) -> datetime:
    if moment.utcoffset() != timedelta(0):
        raise ValueError(f"{moment} is not in UTC")
    return moment


class Input(BaseModel):
    """An artifact that another artifact was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    digest: str
    """Digest of the input's files from its record: the URI says where to look, the digest what was there."""


class Record(BaseModel):
    """Everything known about an artifact."""

    # By default pydantic writes an infinite number in `config` as null; `json` refuses it instead.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    stage: str
    key: str
    """Digest of all that can change the result: stage, config, inputs, code version."""
    digest: str
    """sha256 over the files' paths and sha256s, see `digest_directory`."""
    files: tuple[FileEntry, ...] = Field(min_length=1)
    """Sorted by path."""
    config: dict[str, Any]
    """The stage's resolved config, in the form that JSON gives back: a tuple is a list."""
    inputs: dict[str, list[Input]]
    metrics: dict[str, FiniteFloat]
    code_version: str
    git_commit: str | None
    image: str | None
    """The container image the stage ran in."""
    versions: dict[str, str]
    """Versions of the libraries that were used."""
    started: Annotated[AwareDatetime, AfterValidator(_utc)]
    seconds: FiniteFloat
    peak_memory_mib: FiniteFloat
    mlflow_run_id: str | None


def digest_directory(local: Path) -> tuple[str, tuple[FileEntry, ...]]:
    """The digest of a directory, and its files sorted by path. Empty folders do not count. Raises ArtifactError for a
    directory that is missing or has no files, and for anything that is neither file nor folder, such as a symbolic
    link, which may point elsewhere tomorrow."""
    if not local.is_dir():
        raise ArtifactError("not a directory; a stage writes its files into it", where=local)
    with ThreadPoolExecutor(objects.PARALLEL_FILES) as pool:
        files = sorted(pool.map(partial(_entry, local), _regular_files(local)), key=attrgetter("path"))
    if not files:
        raise ArtifactError("no files; an artifact has at least one", where=local)
    return digest_files(files), tuple(files)


def find(uri: str) -> Record | None:
    """The record of the artifact at `uri`, or None. Raises ArtifactError if the record is unreadable or the store
    does not answer."""
    where = objects.join(uri, RECORD)
    data = objects.read_bytes(where)
    if data is None:
        return None
    try:
        record = Record.model_validate_json(data)
    except ValidationError as error:
        raise ArtifactError(
            f"not the record of an artifact: {_problems(error)}", where=where, hint=_remedy(uri)
        ) from error
    if record.digest != digest_files(record.files):
        raise ArtifactError("its digest does not match its list of files", where=where, hint=_remedy(uri))
    return record


def wait(uri: str, seconds: float = 3600) -> Record:
    """The record of an artifact that another machine is about to publish. Raises ArtifactError if none appears."""
    end = time.monotonic() + seconds
    while (record := find(uri)) is None:
        if time.monotonic() > end:
            raise ArtifactError(
                f"no artifact {seconds:.0f} s after it should have been complete", where=uri, hint="see the first node"
            )
        time.sleep(min(2, seconds))
    return record


def load(uri: str) -> Record:
    """The record of the artifact at `uri`. Raises ArtifactError as `find` does, and if there is none."""
    record = find(uri)
    if record is None:
        raise ArtifactError("no artifact", where=uri, hint="correct the URI, or run the stage that makes it to its end")
    return record


def publish(local: Path, uri: str, **facts: Any) -> Record:
    """Stores the files of the directory `local` as the artifact at `uri`, and returns its record. `facts` are all
    fields of Record except `digest` and `files`. If another writer's record is there first, it counts and is
    returned. After an interruption the same call continues. Raises ArtifactError for a directory or facts that make
    no artifact, and if the store fails."""
    existing = find(uri)
    if existing is not None:
        return existing
    digest, files = digest_directory(local)
    data = _as_json(uri, facts | {"digest": digest, "files": files})
    objects.upload_directory(local, files, _data_uri(uri, digest))
    objects.write_new(objects.join(uri, RECORD), data)
    return load(uri)  # not `record`: all writers return the one that is stored


def keep_refused(local: Path, uri: str, **facts: Any) -> str | None:
    """Stores the complete files in `local`, which a gate refused, as the artifact at {uri}/refused, replacing an
    earlier one. Returns the URI of their folder, or None without files. `facts` as for `publish`."""
    paths = [path for path in _regular_files(local) if path.suffix != ".part"]
    if not paths:
        return None
    where, files = objects.join(uri, REFUSED), tuple(_entry(local, path) for path in sorted(paths))
    digest = digest_files(files)
    objects.upload_directory(local, files, _data_uri(where, digest))
    objects.write(objects.join(where, RECORD), _as_json(where, facts | {"digest": digest, "files": files}))
    return _data_uri(where, digest)


def refused(kept: str) -> str:
    """URI of the artifact with the files at `kept`, the result of `keep_refused`."""
    return kept.rpartition("/")[0]


def place(uri: str) -> str:
    """STORE/STAGE/KEY of an artifact, refused or not."""
    return re.sub(rf"/{REFUSED}(/.*)?$", "", uri.rstrip("/"))


def lineage(uris: Iterable[str]) -> dict[str, Record]:
    """The records of the artifacts at `uris` and of everything they were made from, by URI, inputs first. In a store
    that was moved, records give the present addresses of their inputs."""
    records: dict[str, Record] = {}
    for uri in uris:
        if uri not in records:
            record = load(uri)
            inputs = {name: [_found_again(item, uri) for item in items] for name, items in record.inputs.items()}
            records |= lineage(item.uri for items in inputs.values() for item in items)
            records[uri] = record.model_copy(update={"inputs": inputs})
    return records


def _found_again(given: Input, uri: str) -> Input:
    """An input of the artifact at `uri`, with its address in the same store if both are there now."""
    store = uri.rstrip("/").rsplit("/", 2)[0]
    beside = "/".join([store, *given.uri.rsplit("/", 2)[1:]])
    if given.uri == beside or objects.read_bytes(objects.join(beside, RECORD)) is None:
        return given
    return given.model_copy(update={"uri": beside})


def newest(store: str, stage: str) -> str:
    """URI of the newest artifact of `stage`. Raises ArtifactError if there is none."""
    uris = listed(store, stage)
    if not uris:
        raise ArtifactError(f"no artifact of {stage}", where=store, hint="run an experiment first (`make demo`)")
    return max(uris, key=lambda uri: load(uri).started)


def listed(store: str, stage: str) -> list[str]:
    """URIs of all artifacts of `stage`."""
    uris = objects.list_uris(objects.join(store, stage))
    return [uri.removesuffix(f"/{RECORD}") for uri in uris if uri.endswith(f"/{RECORD}")]


def fetch(uri: str, cache: Path, files: tuple[FileEntry, ...] | None = None) -> Path:
    """A local directory with the files of the artifact at `uri`, or those of its `files`, each verified; it is
    read-only. A `file://` store is read in place; files from `s3://` are copied to `cache / digest`, once for all
    processes. Raises ArtifactError with the URI of a file that is missing, corrupted, or was added."""
    record = load(uri)
    data_uri = _data_uri(uri, record.digest)
    in_place = objects.local_path(data_uri)
    files = record.files if files is None else files
    known = {entry.path for entry in record.files}
    if in_place is not None:
        objects.verify_directory(in_place, files, data_uri)
        objects.refuse_added(in_place, known, data_uri)
        return in_place
    local = cache / record.digest
    with locks.alone(cache / f"{record.digest}.lock", f"fetching {uri}"):
        for leftover in list(local.rglob(f"{objects.UNFINISHED}*")):  # left by a process that was killed here
            rmtree(leftover)
        objects.download_directory(data_uri, files, local)
        objects.refuse_added(local, known, local.absolute().as_uri())
    return local


def _data_uri(uri: str, digest: str) -> str:
    return objects.join(uri, digest[:16])


def _regular_files(local: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(local, onerror=_cannot_read):
        for path in (Path(folder, name) for name in subfolders + names):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ArtifactError(
                    "neither a file nor a folder", where=path, hint="replace a link by a copy of its target"
                )
            if path.is_file():
                yield path


def _cannot_read(error: OSError) -> NoReturn:
    raise ArtifactError(f"cannot be read: {error}", where=error.filename) from error


def _entry(local: Path, path: Path) -> FileEntry:
    name = path.relative_to(local).as_posix()
    try:
        return FileEntry(path=name, size=path.stat().st_size, sha256=objects.sha256_of(path))
    except OSError as error:
        _cannot_read(error)
    except ValidationError as error:
        raise ArtifactError(
            f"a file of this name is not allowed: {_problems(error)}", where=local, value=name
        ) from error


def digest_files(files: Iterable[FileEntry]) -> str:
    """sha256 over the files' paths and sha256s."""
    listing = sorted((entry.path, entry.sha256) for entry in files)
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _as_json(uri: str, fields: dict[str, Any]) -> bytes:
    """The bytes of a record; equal fields give equal bytes."""
    try:
        plain = Record(**fields).model_dump(mode="json")
        return f"{json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()
    except ValidationError as error:
        raise ArtifactError(f"invalid fields of a record: {_problems(error)}", where=uri) from error
    except ValueError as error:
        raise ArtifactError(f"its config cannot be written as JSON: {error}", where=uri) from error


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'it'}: {problem['msg']}" for problem in error.errors())


def _remedy(uri: str) -> str:
    return f"remove {uri} and run its stage again"
