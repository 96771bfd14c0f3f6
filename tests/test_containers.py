"""Tasks as containers of this machine: what they are told, and what is said when there is nothing to run them."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kfp.local import docker_task_handler
from refusals import refused

from pipelines import containers
from xlrm.errors import ConfigError

ROOT = Path(__file__).parents[1]


def test_a_task_gets_the_addresses_and_the_secrets_that_are_set_here(monkeypatch, tmp_path: Path) -> None:
    for name in ("XLRM_STORE", "MLFLOW_TRACKING_URI", "HF_TOKEN", "XLRM_PARENT_RUN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XLRM_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "lab")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("EDITOR", "vi")

    told = containers.environment(tmp_path)

    assert told["XLRM_HOME"] == str(tmp_path)
    assert told["OMP_WAIT_POLICY"] == "PASSIVE"
    assert told["XLRM_STORE"] == f"file://{tmp_path}/store"
    assert told["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert told["AWS_ACCESS_KEY_ID"] == "lab"
    assert not told.keys() & {"HF_TOKEN", "XLRM_PARENT_RUN", "EDITOR", "PATH"}


def test_a_task_runs_as_who_starts_it() -> None:
    mine = f"{os.getuid()}:{os.getgid()}"

    assert containers.user([]) == containers.user(["name=seccomp,profile=default", "name=cgroupns"]) == mine
    assert containers.user(["name=seccomp,profile=default", "name=rootless"]) == "0:0"


def test_no_daemon_is_said_in_one_line(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")

    with refused(ConfigError, f"unix://{tmp_path}/none.sock"):
        containers.runner(None)


class Container:
    """A container of a daemon that no test has here; `.ci/containers` has one, and sees to the real thing."""

    def __init__(self, status: int):
        self.status, self.removed = status, False

    def logs(self, stream: bool) -> list[bytes]:
        return [b"a line\n", b"\xff\n"]

    def wait(self) -> dict:
        assert not self.removed
        return {"StatusCode": self.status}

    def remove(self, force: bool) -> None:
        self.removed = force


@pytest.mark.parametrize("status", [0, 1])
def test_a_container_is_there_until_its_status_is_known(status: int, capsys) -> None:
    container, asked = Container(status), {}
    client = SimpleNamespace(containers=SimpleNamespace(run=lambda **how: asked.update(how) or container))

    assert containers.run_to_the_end(client, "an/image:1", ["true"], {}, user="0:0") == status
    assert container.removed and not asked.get("auto_remove") and asked["user"] == "0:0"
    assert capsys.readouterr().out == "a line\n\ufffd\n"


def test_kubeflows_runner_asks_for_what_is_put_in_its_place() -> None:
    assert "run_docker_container" in docker_task_handler.DockerTaskHandler.run.__code__.co_names


def test_no_component_brings_an_environment_of_its_own() -> None:
    """KFP's runner of containers would give a task that one in place of the addresses."""
    package = next(yaml.safe_load_all((ROOT / "tests/golden/cross_lingual_transfer.yaml").read_text(encoding="utf-8")))
    executors = package["deploymentSpec"]["executors"]

    assert executors
    assert not [name for name, one in executors.items() if one["container"].get("env")]


def test_a_run_without_a_daemon_ends_in_that_line(home: Path) -> None:
    environment = {**os.environ, "DOCKER_HOST": f"unix://{home}/none.sock", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipelines", "run", "configs/demo_short.yaml", "--runner", "docker"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "error: unix:" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
