"""A real S3 server for the tests: OpenStack Swift from PyPI, four small processes on loopback.

A pretended S3 forgives what a real server refuses: a wrong key, a wrong checksum, a condition on a write.

    with start_swift(directory) as server:
        server.create_bucket("lab")
        boto3.client("s3", endpoint_url=server.endpoint, aws_access_key_id=server.access_key, ...)

Tests take the fixture `s3_server` (one server per session), `s3` (the same, and the environment leads boto3 to it), or
`store` (an empty store: they run twice then, on the file system and on S3).
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from types import TracebackType
from typing import Any
from urllib.error import URLError

import pytest

from xlrm.store import buckets, objects

SERVERS = {"account": "account", "container": "container", "object": "obj", "proxy": "proxy"}  # name: Swift's package
MEMORY = Path("/dev/shm")
START_SECONDS = 60
STOP_SECONDS = 5
REGION = "us-east-1"

SWIFT_CONF = """\
    [swift-hash]
    swift_hash_path_suffix = tests
    [storage-policy:0]
    name = only
    default = yes
"""
SERVER_CONF = """\
    [DEFAULT]
    bind_ip = 127.0.0.1
    bind_port = {port}
    workers = 0
    swift_dir = {directory}
    devices = {directory}
    mount_check = false
    disable_fallocate = true
    fallocate_reserve = 0
    log_level = WARNING
"""
STORAGE_CONF = """\
    [pipeline:main]
    pipeline = {name}-server
    [app:{name}-server]
    use = egg:swift#{name}
"""
# The order is Swift's own: `s3api` turns S3 into Swift before `tempauth` asks who calls, `slo` joins multipart uploads.
PROXY_CONF = """\
    [pipeline:main]
    pipeline = catch_errors gatekeeper healthcheck proxy-logging listing_formats bulk
        s3api tempauth copy slo versioned_writes symlink proxy-server
    [app:proxy-server]
    use = egg:swift#proxy
    account_autocreate = true
    allow_account_management = true
    [filter:catch_errors]
    use = egg:swift#catch_errors
    [filter:gatekeeper]
    use = egg:swift#gatekeeper
    [filter:healthcheck]
    use = egg:swift#healthcheck
    [filter:proxy-logging]
    use = egg:swift#proxy_logging
    [filter:listing_formats]
    use = egg:swift#listing_formats
    [filter:bulk]
    use = egg:swift#bulk
    [filter:s3api]
    use = egg:swift#s3api
    s3_acl = false
    location = us-east-1
    [filter:tempauth]
    use = egg:swift#tempauth
    user_lab_lab = {secret} .admin
    [filter:copy]
    use = egg:swift#copy
    [filter:slo]
    use = egg:swift#slo
    [filter:versioned_writes]
    use = egg:swift#versioned_writes
    [filter:symlink]
    use = egg:swift#symlink
"""
# What `swift-ring-builder X.builder create 6 1 1; add r1z1-127.0.0.1:PORT/d1 1; rebalance` does.
RINGS = """\
    import sys
    from swift.common.ring import RingBuilder
    for path, port in (argument.rsplit("=", 1) for argument in sys.argv[1:]):
        address = {"ip": "127.0.0.1", "port": int(port), "replication_ip": "127.0.0.1", "replication_port": int(port)}
        builder = RingBuilder(part_power=6, replicas=1, min_part_hours=1)
        builder.add_dev({"region": 1, "zone": 1, "device": "d1", "weight": 1.0, "meta": ""} | address)
        builder.rebalance(seed="tests")
        builder.get_ring().save(path)
"""


@dataclass
class SwiftServer:
    endpoint: str
    secret_key: str
    processes: list[subprocess.Popen] = field(repr=False)
    access_key: str = "lab:lab"

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 reads: the address and the keys, and nothing of the user's own configuration."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @cached_property
    def client(self) -> Any:
        """A boto3 client of this server, whatever the environment says."""
        import boto3

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
        )

    def create_bucket(self, name: str) -> str:
        """Makes the bucket (again is fine) and returns its URI."""
        with suppress(self.client.exceptions.BucketAlreadyOwnedByYou):
            self.client.create_bucket(Bucket=name)
        return f"s3://{name}"

    def stop(self) -> None:
        """Ends the four processes and whatever they started; a second call does nothing."""
        for process in self.processes:
            _signal_group(process, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
                process.wait()

    def __enter__(self) -> "SwiftServer":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def start_swift(directory: Path) -> SwiftServer:
    """Starts the server with its data and logs under `directory`; the caller stops it.

    Raises RuntimeError with the end of the logs when a process ends early or does not answer in time, and OSError where
    the file system keeps no extended attributes, in which Swift stores what it knows about an object.
    """
    directory = directory.resolve()
    (directory / "d1").mkdir(parents=True, exist_ok=True)
    os.setxattr(directory, "user.swift.tests", b"1")
    ports = dict(zip(SERVERS, _free_ports(len(SERVERS)), strict=True))
    secret = secrets.token_hex(16)
    _write_configuration(directory, ports, secret)
    with ExitStack() as undo:
        processes = [_start(directory, name) for name in SERVERS]
        server = SwiftServer(f"http://127.0.0.1:{ports['proxy']}", secret, processes)
        undo.callback(server.stop)
        _wait_until_ready(server, ports, directory)
        undo.pop_all()
    return server


def _free_ports(count: int) -> list[int]:
    """Ports nobody uses now; all are held until the last is known, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _write_configuration(directory: Path, ports: dict[str, int], secret: str) -> None:
    (directory / "swift.conf").write_text(dedent(SWIFT_CONF))
    for name, port in ports.items():
        own = PROXY_CONF if name == "proxy" else STORAGE_CONF
        text = dedent(SERVER_CONF) + dedent(own)
        (directory / f"{name}.conf").write_text(text.format(name=name, port=port, directory=directory, secret=secret))
    _write_rings(directory, ports)


def _write_rings(directory: Path, ports: dict[str, int]) -> None:
    # In a process of its own: importing Swift replaces parts of Python's standard library.
    arguments = [f"{directory / name}.ring.gz={port}" for name, port in ports.items() if name != "proxy"]
    subprocess.run([sys.executable, "-W", "ignore", "-c", dedent(RINGS), *arguments], check=True)


def _start(directory: Path, name: str) -> subprocess.Popen:
    main = f"from swift.{SERVERS[name]}.server import main; main()"
    with (directory / f"{name}.log").open("ab") as log:
        # A session of its own: Swift's servers signal their whole process group when they end.
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", main, str(directory / f"{name}.conf"), "-v"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait_until_ready(server: SwiftServer, ports: dict[str, int], directory: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    waiting = list(ports.items())
    while waiting:
        ended = [process.args for process in server.processes if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            logs = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(directory.glob("*.log")))
            raise RuntimeError(f"Swift did not start; not ready: {waiting}; ended: {ended}\n{logs}")
        waiting = [(name, port) for name, port in waiting if not _answers(name, port)]
        time.sleep(0.05)


def _answers(name: str, port: int) -> bool:
    if name == "proxy":
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=2) as reply:
                return reply.status == 200
        except (URLError, TimeoutError, ConnectionError):
            return False
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _signal_group(process: subprocess.Popen, number: int) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


def _fast_folder() -> Path | None:
    """Memory where there is enough that can hold Swift's files, None (the usual temporary folder) elsewhere.

    Swift waits for the disk after every object; without that the tests take two thirds of the time.
    """
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < 2**30:
        return None
    try:
        with TemporaryDirectory(dir=MEMORY) as probe:
            os.setxattr(probe, "user.swift.tests", b"1")
    except OSError:
        return None
    return MEMORY


@pytest.fixture(scope="session")
def s3_server() -> Iterator[SwiftServer]:
    """One server for the whole session."""
    with TemporaryDirectory(prefix="swift-", dir=_fast_folder()) as directory, start_swift(Path(directory)) as server:
        yield server


@pytest.fixture
def s3(s3_server: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> SwiftServer:
    """The session's server, with an environment that leads boto3 to it and to nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


class FileStore:
    """An empty `file://` store, and a way to change what is in it behind everybody's back."""

    def __init__(self, directory: Path) -> None:
        self.uri = directory.as_uri()

    def overwrite(self, uri: str, data: bytes) -> None:
        Path(uri.removeprefix("file://")).write_bytes(data)

    def delete(self, uri: str) -> None:
        Path(uri.removeprefix("file://")).unlink()


class S3Store:
    """The same in a bucket. What is overwritten keeps its metadata, as it does when a disk goes bad."""

    def __init__(self, server: SwiftServer, prefix: str) -> None:
        self.uri = f"{server.create_bucket('lab')}/{prefix}"
        self.client = server.client

    def _name(self, uri: str) -> dict[str, str]:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return {"Bucket": bucket, "Key": key}

    def overwrite(self, uri: str, data: bytes) -> None:
        metadata = self.client.head_object(**self._name(uri))["Metadata"]
        self.client.put_object(**self._name(uri), Body=data, Metadata=metadata)

    def delete(self, uri: str) -> None:
        self.client.delete_object(**self._name(uri))


@pytest.fixture
def s3_store(s3: SwiftServer) -> S3Store:
    return S3Store(s3, secrets.token_hex(8))


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore | S3Store:
    return request.getfixturevalue("s3_store") if request.param == "s3" else FileStore(tmp_path / "store")


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that `xlrm.store.objects` really sends or fetches, in order."""
    names = []

    def note(original: Callable) -> Callable:
        def noted(self: Any, *rest: Any) -> None:
            names.append(self.uri.rpartition("/")[2])
            original(self, *rest)

        return noted

    for place in (objects._File, buckets.Object):
        monkeypatch.setattr(place, "upload", note(place.upload))
        monkeypatch.setattr(place, "download", note(place.download))
    return names
