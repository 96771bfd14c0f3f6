"""A real MLflow server over a store that only it can reach, as one in a cluster is for those outside.

A client finds at the store's address a socket that takes connections and never answers, as if packets went nowhere. In the
server's own process the same address leads to the store.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from swift_server import SwiftServer

START_SECONDS = 120
# Python imports this module when it starts.
ROUTES = """\
import socket
real = socket.getaddrinfo
def getaddrinfo(host, port, *rest, **named):
    if (host, int(port or 0)) == {address!r}:
        host, port = {store!r}
    return real(host, port, *rest, **named)
socket.getaddrinfo = getaddrinfo
"""


@dataclass
class MlflowServer:
    uri: str
    store: str
    """Host and port that it gives out for its store."""
    silent: socket.socket
    routes: Path
    """Folder for PYTHONPATH, with which that address leads to the store."""

    def asked(self) -> int:
        """How many connections to the store's address were tried since the last call."""
        found = 0
        while True:
            try:
                self.silent.accept()[0].close()
            except BlockingIOError:
                return found
            found += 1


@contextmanager
def start_mlflow(directory: Path, swift: SwiftServer) -> Iterator[MlflowServer]:
    """Raises RuntimeError with the end of the log when it ends early or does not answer in time."""
    with socket.socket() as silent, socket.socket() as held:
        silent.bind(("127.0.0.1", 0))
        silent.listen(512)
        silent.setblocking(False)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        held.close()
        address = silent.getsockname()
        process = _start(directory, port, address, swift)
        try:
            _wait_until_ready(process, port, directory / "mlflow.log")
            yield MlflowServer(f"http://127.0.0.1:{port}", "{}:{}".format(*address), silent, directory)
        finally:
            process.terminate()
            process.wait()


def _start(directory: Path, port: int, address: tuple[str, int], swift: SwiftServer) -> subprocess.Popen:
    store = urlsplit(swift.endpoint)
    (directory / "sitecustomize.py").write_text(ROUTES.format(address=address, store=(store.hostname, store.port)))
    routes = {"PYTHONPATH": str(directory), "MLFLOW_S3_ENDPOINT_URL": "http://{}:{}".format(*address)}
    bucket = swift.create_bucket(f"mlflow-{secrets.token_hex(4)}")
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--artifacts-destination", f"{bucket}/mlflow",
    ]  # fmt: skip
    kept = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))}
    environment |= swift.environment | routes | kept
    with (directory / "mlflow.log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _wait_until_ready(process: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"MLflow did not start: {log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, s3_server: SwiftServer) -> Iterator[MlflowServer]:
    """One server for the whole session."""
    with start_mlflow(tmp_path_factory.mktemp("mlflow"), s3_server) as server:
        yield server
