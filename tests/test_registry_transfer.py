"""Files of registered models, to and from a real MLflow server with a store that those outside do not reach."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow_server import MlflowServer, mlflow_server  # noqa: F401
from refusals import refused
from test_registry import CHATS, SETTINGS, corpus, newest_inputs, register, trained  # noqa: F401

from xlrm.errors import ArtifactError
from xlrm.run.runner import run_stage
from xlrm.store import artifacts
from xlrm.tracking import direct_store, mlflow_registry

# ruff: noqa: F811
pytestmark = pytest.mark.slow
SECONDS = 120
"""For a command that loads torch on a busy machine; MLflow's own client waits ten minutes, and when it uploads, for ever."""
QUERY = ("X-Amz", "Signature", "uploadId")


@pytest.fixture
def outside(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """The server, as one who says no more than its address meets it; what is larger than a byte is large."""
    for name in (direct_store.DIRECT_DOWNLOAD, direct_store.DIRECT_UPLOAD):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1")
    mlflow_server.asked()
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(2 * SECONDS)
    yield mlflow_server
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def give_up(*_) -> None:
    raise TimeoutError(f"not done in {2 * SECONDS} s")


@pytest.fixture
def prefix() -> str:
    """Prefix of the names, in the one registry of the session."""
    return f"m{secrets.token_hex(3)}"


def xlrm(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [environment.pop("PYTHONPATH", "")])])
    return subprocess.run(
        [sys.executable, "-m", "xlrm.cli", *map(str, arguments)], check=False, capture_output=True, text=True,
        timeout=SECONDS, env=os.environ | {"PYTHONPATH": path} | environment,
    )  # fmt: skip


@pytest.fixture
def registered(outside: MlflowServer, register, prefix: str) -> str:
    register(1, 7, prefix=prefix)
    return f"models:/{prefix}-en@champion"


def test_models_are_registered_pulled_and_scored_through_mlflow(registered, outside, tmp_path) -> None:
    done = xlrm("pull", registered, tmp_path / "model")
    assert done.returncode == 0 and (tmp_path / "model" / "gate.json").is_file(), done.stderr
    (tmp_path / "in.jsonl").write_text(json.dumps({"messages": CHATS[0]}) + "\n")
    done = xlrm("score", "--model", registered, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 0 and len((tmp_path / "out.jsonl").read_text().splitlines()) == 1, done.stderr
    assert outside.asked() == 0


def test_the_next_model_is_compared_through_mlflow(registered, outside, register, prefix) -> None:
    assert register(2, 9, prefix=prefix).record.metrics[f"promoted/{prefix}-en"] == 1.0
    mlflow_registry.add_files(
        mlflow_registry.version(registered), artifacts.fetch(newest_inputs()["evaluations"][0], Path())
    )
    assert outside.asked() == 0


def test_a_pull_from_an_address_that_does_not_answer_is_one_line_in_seconds(registered, outside, tmp_path) -> None:
    began = time.monotonic()
    done = xlrm("pull", registered, tmp_path / "model", **{direct_store.DIRECT_DOWNLOAD: "true"})
    line = only_line(done)
    assert line.startswith(f"error: MLflow, {outside.uri}: {outside.store}, ") and time.monotonic() - began < 60
    assert f"{direct_store.DIRECT_DOWNLOAD}=false" in line and outside.asked() == 1
    assert not any((tmp_path / "model").rglob("*.safetensors"))


def test_an_upload_to_an_address_that_does_not_answer_is_one_line_in_seconds(
    outside, register, monkeypatch, prefix
) -> None:
    monkeypatch.setenv(direct_store.DIRECT_UPLOAD, "true")
    began = time.monotonic()
    with refused(ArtifactError, f"MLflow, {outside.uri}") as raised:
        register(1, 7, prefix=prefix)
    assert outside.store in raised.value.message
    assert time.monotonic() - began < 60 and outside.asked() == 1
    assert f"{direct_store.DIRECT_UPLOAD}=false" in str(raised.value) and not any(
        word in str(raised.value) for word in QUERY
    )
    assert mlflow_registry.models(f"{prefix}-en") == []
    monkeypatch.setenv(direct_store.DIRECT_UPLOAD, "false")
    run_stage("register", SETTINGS | {"prefix": prefix}, newest_inputs())
    assert mlflow_registry.models(f"{prefix}-en")[0].aliases == ("champion",)


def test_an_upload_that_cannot_be_aborted_is_the_same_line(registered, outside, monkeypatch, tmp_path) -> None:
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
    from requests import HTTPError

    def forbidden(*_):
        raise HTTPError("403 Client Error")

    monkeypatch.setattr(MlflowArtifactsRepository, "abort_multipart_upload", forbidden)
    monkeypatch.setenv(direct_store.DIRECT_UPLOAD, "true")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "large").write_bytes(b"12")
    with refused(ArtifactError, f"MLflow, {outside.uri}"):
        mlflow_registry.add_files(mlflow_registry.version(registered), tmp_path / "files")
    assert outside.asked() == 1


def only_line(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2 and not any(word in done.stdout + done.stderr for word in QUERY), done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_inside_files_may_go_to_the_store_directly(registered, outside, tmp_path, prefix) -> None:
    """With the store's address leading to it, as it does for the server."""
    direct = {
        direct_store.DIRECT_DOWNLOAD: "true",
        direct_store.DIRECT_UPLOAD: "true",
        "PYTHONPATH": str(outside.routes),
    }
    done = xlrm("pull", registered, tmp_path / "model", **direct)
    assert done.returncode == 0 and (tmp_path / "model" / "model.safetensors").is_file(), done.stderr
    given = [f"--inputs={key}={','.join(uris)}" for key, uris in newest_inputs().items()]
    done = xlrm("stage", "register", "resamples=300", f"prefix={prefix}-direct", *given, **direct)
    assert done.returncode == 0 and mlflow_registry.models(f"{prefix}-direct-en")[0].aliases == ("champion",), (
        done.stderr
    )
    log = (outside.routes / "mlflow.log").read_text()
    assert "GET /api/2.0/mlflow-artifacts/presigned/" in log and "POST /api/2.0/mlflow-artifacts/mpu/complete/" in log


@contextmanager
def refusing(server: MlflowServer) -> Iterator[None]:
    """The store's address answers, and refuses whatever it is asked for."""

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_error(403)

        do_PUT = do_GET

        def log_message(self, *_) -> None:
            pass

    httpd = HTTPServer(("", 0), Refusal, bind_and_activate=False)
    httpd.socket.close()
    httpd.socket, httpd.server_name, httpd.server_port = server.silent, "", 0
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield
    finally:
        httpd.shutdown()
        thread.join()


def test_what_signs_an_address_is_in_no_message(registered, outside, tmp_path, prefix) -> None:
    given = [f"--inputs={key}={','.join(uris)}" for key, uris in newest_inputs().items()]
    with refusing(outside):
        once = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        pulled = xlrm("pull", registered, tmp_path / "model", **once, **{direct_store.DIRECT_DOWNLOAD: "true"})
        command = ("stage", "register", "resamples=300", f"prefix={prefix}-direct", *given)
        sent = xlrm(*command, **once, **{direct_store.DIRECT_UPLOAD: "true"})
    for one in (pulled, sent):
        assert one.returncode == 2 and f"error: MLflow, {outside.uri}: " in one.stderr, one.stderr
        assert not any(word in one.stdout + one.stderr for word in QUERY), one.stderr
    assert "403" in sent.stderr
