"""The only module that imports boto3: operations of `xlrm.store.objects` for URIs `s3://bucket/prefix`.

Every exception of boto3 and its libraries becomes an ArtifactError of one line, that of the last try. Servers and
networks cause more exceptions than boto3 defines: a `KeyError` for an answer without its length, a `ValueError` for a
date, a `RecursionError` for redirects.
"""

import os
import re
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.errors import ArtifactError
from xlrm.store.files import FileEntry, Stored

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferManager

PARALLEL_REQUESTS = 16
CONNECTIONS = 24  # these, and one for each file being looked at
PART_BYTES = 16 * 2**20  # larger files go in parts of this size; S3 allows 5 MiB to 5 GiB and at most 10,000 parts
ATTEMPTS = 5  # of one request, including the first; the waits between them grow to 20 seconds
CONNECT_SECONDS = 10
READ_SECONDS = 60

NO_ENTRY = ["AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch"]
NO_KEYS = ["NoCredentialsError", "PartialCredentialsError"]
HINTS = {
    "NoSuchBucket": "create the bucket, or correct the URI",
    "NoSuchKey": "missing: there is no such object",
    "404": "missing: there is no such object, or no such bucket",
    "ProfileNotFound": "AWS_PROFILE names a profile that is not in AWS_CONFIG_FILE",
    "BadDigest": "the received data differs from what was sent; try again, and check whether the local files change meanwhile",
    "SSLError": "does it speak TLS, and is its certificate one that AWS_CA_BUNDLE or the system trusts?",
    **dict.fromkeys(NO_ENTRY + NO_KEYS, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to keys that may do this"),
    **dict.fromkeys(["ExpiredToken", "InvalidToken"], "the session token has expired or is wrong; get new credentials"),
}


@dataclass(frozen=True)
class Object:
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
        with errors(self.uri):
            return create_transfer_manager(_client(), config)

    receiving = sending

    def holds(self, entry: FileEntry) -> bool:
        head = self._head()
        return head is not None and (head[0].size, head[1]) == (entry.size, entry.sha256)

    def stat(self) -> Stored | None:
        head = self._head()
        return head and head[0]

    def _head(self) -> tuple[Stored, str | None] | None:
        """The object, and the sha256 that it was uploaded with; None if there is none."""
        from botocore.exceptions import ClientError

        with errors(self.uri):
            try:
                head = _client().head_object(Bucket=self.bucket, Key=self.key)
            except ClientError as error:
                if _code(error) in ("404", "NoSuchKey"):
                    return None
                raise
            changed = head["LastModified"].timestamp()
            stored = Stored(self.uri, head["ContentLength"], changed, head.get("ETag", ""))
            return stored, head["Metadata"].get("sha256")

    def upload(self, manager: "TransferManager", source: Path, entry: FileEntry) -> None:
        extra: dict[str, Any] = {"Metadata": {"sha256": entry.sha256}}
        with errors(self.uri):
            if _client().meta.config.request_checksum_calculation != "when_required":
                extra |= _checksum(entry)
            manager.upload(str(source), self.bucket, self.key, extra_args=extra).result()

    def download(self, manager: "TransferManager", target: Path) -> None:
        with errors(self.uri):
            manager.download(self.bucket, self.key, str(target)).result()

    def read(self) -> bytes | None:
        """Content of an object, None if there is none. Repeats the request after a truncated answer, which boto3
        itself does not do."""
        from botocore.exceptions import BotoCoreError

        with errors(self.uri):
            client = _client()
            for left in reversed(range(ATTEMPTS)):
                try:
                    body = client.get_object(Bucket=self.bucket, Key=self.key)["Body"]
                except client.exceptions.NoSuchKey:
                    return None
                try:
                    return body.read()
                except BotoCoreError:
                    if not left:
                        raise
                    time.sleep(ATTEMPTS - left)
        return None

    def write_new(self, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        with errors(self.uri):
            for _ in range(ATTEMPTS):
                try:
                    _client().put_object(Bucket=self.bucket, Key=self.key, Body=data, IfNoneMatch="*")
                    return True
                except ClientError as error:
                    if _code(error) in ("PreconditionFailed", "412"):
                        return False
                    # 409: another request for this object is under way; the next try shows its result.
                    if _code(error) not in ("ConditionalRequestConflict", "409"):
                        raise
        return False

    def write(self, data: bytes) -> None:
        with errors(self.uri):
            _client().put_object(Bucket=self.bucket, Key=self.key, Body=data)

    def below(self) -> Iterator[Stored]:
        with errors(self.uri):
            pages = _client().get_paginator("list_objects_v2")
            prefix = f"{self.key}/" if self.key else ""
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    uri = f"s3://{self.bucket}/{entry['Key']}"
                    yield Stored(uri, entry["Size"], entry["LastModified"].timestamp(), entry.get("ETag", ""))

    def remove(self) -> None:
        with errors(self.uri):
            _client().delete_object(Bucket=self.bucket, Key=self.key)

    def remove_below(self) -> None:
        """Deletes objects one by one, because servers differ in the checksum that they require for a list of
        objects."""
        every = [
            Object(entry.uri, self.bucket, entry.uri.removeprefix(f"s3://{self.bucket}/")) for entry in self.below()
        ]
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            list(pool.map(Object.remove, every))


def without_login(uri: str) -> str:
    return re.sub(r"//.*@", "//***@", uri)


@contextmanager
def errors(uri: str) -> Iterator[None]:
    """Context for calls of boto3 only: every exception raised in it is reported as the server's."""
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except RetriesExceededError as error:
        raise ArtifactError(_explain(error.last_exception), where=uri) from error
    except Exception as error:
        raise ArtifactError(str(error) if _of_a_file(error) else _explain(error), where=uri) from error


def _of_a_file(error: Exception) -> bool:
    """Whether a local file caused the error: some of botocore's errors, and those of sockets, are OSErrors too."""
    of_a_connection = isinstance(error, ConnectionError | TimeoutError | socket.gaierror | ssl.SSLError)
    return isinstance(error, OSError) and type(error).__module__ == "builtins" and not of_a_connection


def _explain(error: Exception) -> str:
    """What happened and what to do, in one line.

    For a connection error only its name is given, because its text may contain an address with a login. For a refusal
    without a hint of ours it is the server's reason, which cannot contain the secret key because that is never sent.
    """
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError

    code = _code(error)
    message = " ".join(_reply(error).get("Message", "").split())[:300]
    reason = HINTS.get(code) or message or "is AWS_ENDPOINT_URL right, and is the server up?"
    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
    tries = f" in {ATTEMPTS} tries" if isinstance(error, HTTPClientError | NoConnection) else ""
    return f"{code}{tries} from {without_login(server)}: {reason}"


def _code(error: Exception) -> str:
    return _reply(error).get("Code") or type(error).__name__


def _reply(error: Exception) -> dict[str, str]:
    """The server's answer, if any: connection errors have a `response` too, which is None or one of urllib3."""
    response = getattr(error, "response", None)
    return response.get("Error", {}) if isinstance(response, dict) else {}


def _checksum(entry: FileEntry) -> dict[str, str]:
    """Arguments that make the server check what it receives: against our sha256, or, in parts, against the sha256 of
    each part."""
    if entry.size < PART_BYTES:
        return {"ChecksumSHA256": b64encode(bytes.fromhex(entry.sha256)).decode()}
    return {"ChecksumAlgorithm": "SHA256"}


def _client() -> Any:
    """One client for all threads; a new one for other settings, and in a forked process, which must not share
    sockets."""
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
        max_pool_connections=CONNECTIONS,
    )
    try:
        return Session().client("s3", config=config)
    except ValueError as error:  # botocore's error if the endpoint is not a URL
        raise EndpointConnectionError(endpoint_url="AWS_ENDPOINT_URL") from error
