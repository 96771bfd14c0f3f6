"""Moves files to and from a store, checks what arrives, and is the only door to boto3.

A URI is `file:///absolute/path` (special characters may be percent-encoded) or `s3://bucket/prefix`. Both go through
the same functions and keep the same promises:

- a file stands under its name complete or not at all;
- every file is checked against its sha256 where it arrives, and on S3 the server checks what it receives, too;
- a file that already stands where it should, with the right content, is not sent again: a stopped transfer goes on.

boto3's own environment says where the S3 server is and who asks: AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3),
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, or a profile. For a server that does not know S3's newer
checksums set AWS_REQUEST_CHECKSUM_CALCULATION=when_required. A killed upload of a large file leaves its parts in the
bucket, out of sight: a lifecycle rule (AbortIncompleteMultipartUpload) removes them.

Everything here raises ArtifactError with the URI and what to do; keys and secrets are never part of a message.
"""

import hashlib
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from shutil import copyfile, rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, field_validator

from xlrm.errors import ArtifactError

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferManager

PARALLEL_FILES = 8
PARALLEL_REQUESTS = 16
PART_BYTES = 16 * 2**20  # larger files go in parts of this size; S3 allows 5 MiB to 5 GiB and at most 10,000 parts
ATTEMPTS = 5  # of one request, the first included; the waits between them grow to 20 seconds
CONNECT_SECONDS = 10
READ_SECONDS = 60
UNFINISHED = ".unfinished-"  # what the name of a folder of incomplete files begins with; only a kill leaves one behind

NO_ENTRY = ["AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch"]
NO_KEYS = ["NoCredentialsError", "PartialCredentialsError"]
HINTS = {
    "NoSuchBucket": "create the bucket, or correct the URI",
    "NoSuchKey": "missing: there is no such object",
    "404": "missing: there is no such object, or no such bucket",
    "ProfileNotFound": "AWS_PROFILE names a profile that is not in AWS_CONFIG_FILE",
    "BadDigest": "what arrived is not what was sent; try again, and check whether the local files change meanwhile",
    **dict.fromkeys(NO_ENTRY + NO_KEYS, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to keys that may do this"),
    **dict.fromkeys(["ExpiredToken", "InvalidToken"], "the session token has expired or is wrong; get new credentials"),
}


class FileEntry(BaseModel):
    """One file of a directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Relative to the directory, with `/` between its parts; never leads out of the directory."""
    size: int = Field(ge=0)
    """In bytes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or path != "/".join(parts) or path.startswith("/"):
            raise ValueError(f"{path!r} is not a plain relative path")
        path.encode()  # a name that is not text raises a ValueError, too
        return path


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def join(uri: str, *parts: str) -> str:
    """`uri` with `parts` below it. The parts are names as they are; a file URI gets them percent-encoded."""
    for part in parts:
        uri = (uri if uri.endswith("/") else uri + "/") + (quote(part) if uri.startswith("file:") else part)
    return uri


def local_path(uri: str) -> Path | None:
    """The path a file URI means, None for an S3 URI."""
    place = _at(uri)
    return place.path if isinstance(place, _File) else None


def upload_directory(local: Path, files: Iterable[FileEntry], uri: str) -> None:
    """Copies `files` of the directory `local` to below `uri`; those that stand there with this content are not sent.

    Raises ArtifactError also when a file is no longer what its entry says.
    """

    def upload(transfer: Any, entry: FileEntry) -> None:
        place = _at(join(uri, entry.path))
        if not place.holds(entry):
            place.upload(transfer, local / entry.path, entry)

    _in_parallel(upload, files, _at(uri).sending())


def download_directory(uri: str, files: Iterable[FileEntry], local: Path) -> None:
    """Copies `files` from below `uri` into the directory `local`; those that are there with this content are kept.

    A file that does not arrive as its entry describes it is never seen under its name.
    """

    def download(transfer: Any, entry: FileEntry) -> None:
        source, target = join(uri, entry.path), local / entry.path
        if target.is_file() and _fault(target, entry, str(target)) is None:
            return
        with _folder_beside(target, source) as folder, _file_errors(source):
            _at(source).download(transfer, folder / "file")
            _check(folder / "file", entry, source)
            os.replace(folder / "file", target)

    _in_parallel(download, files, _at(uri).receiving())


def verify_directory(local: Path, files: Iterable[FileEntry], uri: str) -> None:
    """Checks `files` of the directory `local`, which an error calls by `uri`."""
    _in_parallel(lambda _, entry: _check(local / entry.path, entry, join(uri, entry.path)), files, nullcontext())


def read_bytes(uri: str) -> bytes | None:
    """The content of a small file, None when there is none."""
    return _at(uri).read()


def write_new(uri: str, data: bytes) -> bool:
    """Writes a small file unless one is there; False when one was.

    Of several writers at once exactly one gets True. A few S3 servers keep this promise only roughly (OpenStack Swift
    checks first and writes later), so read the file again where the winner matters.
    """
    return _at(uri).write_new(data)


def write(uri: str, data: bytes) -> None:
    """Writes a small file in the place of what is there; of several writers at once the last one's stays."""
    _at(uri).write(data)


def list_uris(uri: str) -> list[str]:
    """The URIs of all files below `uri`, sorted."""
    return sorted(one.uri for one in _at(uri).below())


@dataclass(frozen=True)
class Stored:
    """A file of a store."""

    uri: str
    size: int
    """In bytes."""
    changed: float
    """When it was written, in seconds since 1970."""


def list_files(uri: str) -> list[Stored]:
    """All files below `uri`, by URI."""
    return sorted(_at(uri).below(), key=lambda one: one.uri)


def remove_directory(uri: str, first: Iterable[str] = ()) -> None:
    """Removes all files below `uri`, those named in `first` before any other. What is gone already is no error: a removal
    that was cut off is gone on with."""
    for name in first:
        _at(join(uri, name)).remove()
    _at(uri).remove_below()


@dataclass(frozen=True)
class _File:
    uri: str
    path: Path

    def sending(self) -> AbstractContextManager[Path]:
        """A folder for incomplete files. It is beside the directory: who reads that in place finds its files only."""
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
                raise ArtifactError(f"{source}: changed while it was stored: {fault}; store it again")
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
            with suppress(FileNotFoundError):  # which another process has removed by now
                if path.is_file():
                    status = path.stat()
                    uri = join(self.uri, path.relative_to(self.path).as_posix())
                    yield Stored(uri, status.st_size, status.st_mtime)

    def remove(self) -> None:
        with _file_errors(self.uri):
            self.path.unlink(missing_ok=True)

    def remove_below(self) -> None:
        with _file_errors(self.uri), suppress(FileNotFoundError):
            rmtree(self.path)


@dataclass(frozen=True)
class _Object:
    uri: str
    bucket: str
    key: str

    def sending(self) -> AbstractContextManager["TransferManager"]:
        """Threads that send and receive parts; an error inside `with` cancels what they do."""
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        config = TransferConfig(
            multipart_threshold=PART_BYTES,
            multipart_chunksize=PART_BYTES,
            max_concurrency=PARALLEL_REQUESTS,
            preferred_transfer_client="classic",
        )
        with _s3_errors(self.uri):
            return create_transfer_manager(_client(), config)

    receiving = sending

    def holds(self, entry: FileEntry) -> bool:
        from botocore.exceptions import ClientError

        with _s3_errors(self.uri):
            try:
                head = _client().head_object(Bucket=self.bucket, Key=self.key)
            except ClientError as error:
                if _code(error) in ("404", "NoSuchKey"):
                    return False
                raise
        return head["ContentLength"] == entry.size and head["Metadata"].get("sha256") == entry.sha256

    def upload(self, manager: "TransferManager", source: Path, entry: FileEntry) -> None:
        extra: dict[str, Any] = {"Metadata": {"sha256": entry.sha256}}
        with _s3_errors(self.uri):
            if _client().meta.config.request_checksum_calculation != "when_required":
                extra |= _checksum(entry)
            manager.upload(str(source), self.bucket, self.key, extra_args=extra).result()

    def download(self, manager: "TransferManager", target: Path) -> None:
        with _s3_errors(self.uri):
            manager.download(self.bucket, self.key, str(target)).result()

    def read(self) -> bytes | None:
        with _s3_errors(self.uri):
            client = _client()
            try:
                return client.get_object(Bucket=self.bucket, Key=self.key)["Body"].read()
            except client.exceptions.NoSuchKey:
                return None

    def write_new(self, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        with _s3_errors(self.uri):
            for _ in range(ATTEMPTS):
                try:
                    _client().put_object(Bucket=self.bucket, Key=self.key, Body=data, IfNoneMatch="*")
                    return True
                except ClientError as error:
                    if _code(error) in ("PreconditionFailed", "412"):
                        return False
                    # 409: another request for this object is under way; what comes of it shows when asked again.
                    if _code(error) not in ("ConditionalRequestConflict", "409"):
                        raise
        return False

    def write(self, data: bytes) -> None:
        with _s3_errors(self.uri):
            _client().put_object(Bucket=self.bucket, Key=self.key, Body=data)

    def below(self) -> Iterator[Stored]:
        with _s3_errors(self.uri):
            pages = _client().get_paginator("list_objects_v2")
            prefix = f"{self.key}/" if self.key else ""
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                for found in page.get("Contents", []):
                    uri = f"s3://{self.bucket}/{found['Key']}"
                    yield Stored(uri, found["Size"], found["LastModified"].timestamp())

    def remove(self) -> None:
        with _s3_errors(self.uri):
            _client().delete_object(Bucket=self.bucket, Key=self.key)

    def remove_below(self) -> None:
        """One by one: servers differ in which checksum they want with a list of objects to delete."""
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            list(pool.map(lambda one: _at(one.uri).remove(), list(self.below())))


def _at(uri: str) -> _File | _Object:
    scheme, _, rest = uri.partition("://")
    if scheme == "file" and rest.startswith("/"):
        return _File(uri, Path(unquote(rest)))
    bucket, _, key = rest.partition("/")
    if scheme == "s3" and re.fullmatch(r"[\w.-]+", bucket):
        return _Object(uri, bucket, key.strip("/"))
    allowed = "allowed are file:///absolute/path and s3://bucket/prefix"
    raise ArtifactError(f"not the URI of a store: '{_without_login(uri)}'; {allowed}")


def _without_login(uri: str) -> str:
    return re.sub(r"//.*@", "//***@", uri)


def _in_parallel(
    action: Callable[[Any, FileEntry], None], files: Iterable[FileEntry], transfer: AbstractContextManager[Any]
) -> None:
    """Raises the first error; what has not begun by then never does, and S3 transfers under way are given up."""
    with ThreadPoolExecutor(PARALLEL_FILES) as pool, transfer as transfer:
        try:
            for done in as_completed([pool.submit(action, transfer, entry) for entry in files]):
                done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _check(path: Path, entry: FileEntry, uri: str) -> None:
    if fault := _fault(path, entry, uri):
        raise ArtifactError(f"{uri}: corrupted: {fault}; remove the artifact it belongs to, and make that again")


def _fault(path: Path, entry: FileEntry, name: str) -> str | None:
    """How the file at `path` differs from its entry; an error calls it by `name`."""
    with _file_errors(name):
        size = path.stat().st_size
        if size != entry.size:
            return f"it has {size} bytes, its record says {entry.size}"
        sha256 = sha256_of(path)
        return None if sha256 == entry.sha256 else f"its sha256 is {sha256}, its record says {entry.sha256}"


@contextmanager
def _folder_beside(path: Path, uri: str) -> Iterator[Path]:
    """An empty folder on the file system of `path`: a complete file gets from there to its final name in one step."""
    with _file_errors(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        # After an error another thread may still write into it.
        folder = TemporaryDirectory(prefix=UNFINISHED, dir=path.parent, ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name)


@contextmanager
def _file_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ArtifactError(f"{uri}: missing ({error})") from error
    except OSError as error:
        raise ArtifactError(f"{uri}: {error}") from error


@contextmanager
def _s3_errors(uri: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

    try:
        with _file_errors(uri):
            yield
    except RetriesExceededError as error:
        raise ArtifactError(f"{uri}: {_explain(error.last_exception)}") from error
    except (ClientError, BotoCoreError, S3DownloadFailedError) as error:
        raise ArtifactError(f"{uri}: {_explain(error)}") from error


def _explain(error: Exception) -> str:
    """What happened and what to do.

    Of a connection's error only the name is told, its text may hold an address with a login; of a refusal without a
    hint of ours the server's reason, which cannot hold the secret key because that is never sent.
    """
    code = _code(error)
    reply = getattr(error, "response", {}).get("Error", {})
    reason = HINTS.get(code) or reply.get("Message") or "is AWS_ENDPOINT_URL right, and is the server up?"
    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
    return f"{code} from {_without_login(server)}: {reason}"


def _code(error: Exception) -> str:
    return getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__


def _checksum(entry: FileEntry) -> dict[str, str]:
    """What makes the server check what it receives: against our sha256, or, for parts, that of each part as read."""
    if entry.size < PART_BYTES:
        return {"ChecksumSHA256": b64encode(bytes.fromhex(entry.sha256)).decode()}
    return {"ChecksumAlgorithm": "SHA256"}


def _client() -> Any:
    """One client for all threads; another for other settings and for a forked process, which must not share sockets."""
    settings = frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return _connect(settings, os.getpid())


@lru_cache(maxsize=2)
def _connect(settings: frozenset[tuple[str, str]], pid: int) -> Any:
    from boto3.session import Session
    from botocore.config import Config
    from botocore.exceptions import EndpointConnectionError

    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=PARALLEL_FILES + PARALLEL_REQUESTS,
    )
    try:
        return Session().client("s3", config=config)
    except ValueError as error:  # how botocore says that the endpoint is not a URL
        raise EndpointConnectionError(endpoint_url="AWS_ENDPOINT_URL") from error
