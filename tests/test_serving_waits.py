"""A reward server that is started before its model is there: it waits, alive and not ready, for as long as it is told to."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from reward_server import new_model, started, until
from typer.testing import CliRunner

from xlrm.cli import app
from xlrm.models import chat_templates
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring
from xlrm.tracking import mlflow_registry, mlflow_runs

PAIR = {"prompt": "How much is one plus two?", "response": "Three."}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an MLflow server that is not started yet."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return address


@contextmanager
def mlflow(address: str, folder: Path) -> Iterator[None]:
    command = [
        sys.executable, "-m", "mlflow", "server", "--workers=1", "--host=127.0.0.1", f"--port={address.rpartition(':')[2]}",
        f"--backend-store-uri=sqlite:///{folder / 'mlflow.db'}", f"--artifacts-destination={folder / 'mlartifacts'}",
    ]  # fmt: skip
    settings = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes that nothing here needs
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=settings, start_new_session=True, **quiet)
    try:
        until(lambda: answers(address) or process.poll() is not None, [], 120)
        yield
    finally:
        process.terminate()
        process.wait(30)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_a_server_waits_for_the_registry_and_then_for_the_model(registry, home, tiny_base, tmp_path) -> None:
    model, begun = new_model(tiny_base, tmp_path / "model"), time.monotonic()
    with started("models:/xlrm-late@champion", "wait_for_model_seconds=inf", ready=False) as server:
        until(lambda: server.get("/readyz").json()["status"] == "waiting", server.lines)
        refused = server.post("/v1/rewards", {"conversations": [PAIR]})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        with mlflow(registry, home):
            with mlflow_runs.run("test", "register", {}, {}) as opened:
                number = mlflow_registry.add_version("xlrm-late", [model], {}, "", opened)
            time.sleep(6)  # it asks every five
            assert (server.get("/healthz").status_code, server.get("/readyz").status_code) == (200, 503)
            assert "xlrm_ready 0.0" in server.get("/metrics").text
            mlflow_registry.set_alias("xlrm-late", number, "champion")
            until(lambda: server.get("/readyz").status_code == 200, server.lines, 120)
        assert server.get("/readyz").json()["version"] == number
        reward = engines.load(model, Scoring()).score([chat_templates.conversation(*PAIR.values())])
        assert server.rewards([PAIR]) == pytest.approx(reward, abs=1e-5)
    said = [line for line in server.lines if line.startswith("xlrm │ waiting for models:/xlrm-late@champion: MLflow, ")]
    assert 1 <= len(said) <= 1 + (time.monotonic() - begun) // 60
    assert all(line.startswith("xlrm │ ") for line in server.lines), "the libraries' own lines, each time it asks"


def test_a_signal_ends_a_server_that_waits(registry) -> None:
    with started("models:/xlrm-late@champion", "wait_for_model_seconds=inf", ready=False) as server:
        until(lambda: server.get("/readyz").json()["status"] == "waiting", server.lines)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(4) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("model", "seconds", "message"),
    [
        ("models:/xlrm-late@champion", 0, r"MLflow, http://127\.0\.0\.1:\d+: "),
        ("models:/xlrm-late@champion", 1, r"MLflow, http://127\.0\.0\.1:\d+: "),
        ("models:/xlrm-late", "inf", "a registered model is written models:/NAME@ALIAS"),
        ("/nosuch/model", "inf", "/nosuch/model: no such folder"),
        (
            "models:/xlrm-late@champion",
            -1,
            "wait_for_model_seconds=-1: Input should be greater than or equal to 0",
        ),
    ],
)
def test_what_no_waiting_helps_is_one_line_with_status_2(model, seconds, message, registry) -> None:
    result = CliRunner().invoke(app, ["serve", "--port", "0", model, f"wait_for_model_seconds={seconds}"])
    assert result.exit_code == 2 and re.search(f"^error: .*{message}", result.output, re.M), result.output
    assert "Traceback" not in result.output
