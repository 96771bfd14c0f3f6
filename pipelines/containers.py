"""Runs tasks as containers on this machine, with the images and commands of a cluster and other addresses."""

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.local_tasks import Tasks
from xlrm.errors import ConfigError
from xlrm.processes import signals
from xlrm.store import addresses

if TYPE_CHECKING:
    from kfp import local
_PASSED_ON = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
    "HF_TOKEN", "OPENAI_BASE_URL", "OPENAI_API_KEY", "OMP_NUM_THREADS", "OMP_WAIT_POLICY",
    "XLRM_PARENT_RUN", "KFP_RUN_ID", "XLRM_TRIES",
)  # fmt: skip
"""Addresses and secrets that a task may need; those set here are passed on to the container."""
STOP_SECONDS = 5
"""Seconds that a container has between SIGTERM and SIGKILL."""


def runner(tasks: Tasks) -> "local.DockerRunner":
    """KFP's Docker runner for the daemon at DOCKER_HOST, with containers started by `tasks`. Raises ConfigError if no
    daemon answers.

    The folder of local state has the same path inside a container, so the URIs of the default store and database are
    valid on both sides. Tasks run with a read-only root file system, without capabilities, and as the user who runs
    this, who then owns their files. They share this machine's network, so they can reach an MLflow server or a store on
    loopback.
    """
    import docker
    from docker.types import Mount
    from kfp import local
    from kfp.local import docker_task_handler

    security = _ask(docker)
    docker_task_handler.run_docker_container = partial(tasks.run, run_to_the_end)
    home = addresses.home()
    home.mkdir(parents=True, exist_ok=True)
    return local.DockerRunner(
        user=user(security), network_mode="host", read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges"],
        tmpfs={"/tmp": ""}, shm_size="1g", environment=environment(home),
        mounts=[Mount(target=str(home), source=str(home), type="bind")],
    )  # fmt: skip


def run_to_the_end(
    client: Any, image: str, command: list[str], volumes: dict[str, Any],
    ended_by: Callable = contextlib.nullcontext, **options: Any,
) -> int:  # fmt: skip
    """Exit status of a container; its log goes to standard output. `ended_by` receives the function that stops the
    container. Replaces KFP's function (2.17), which lets the daemon remove a container that has ended, and reports
    success if the container is gone before its status is read."""
    container = client.containers.run(image=image, command=command, volumes=volumes, detach=True, **options)
    try:

        def stop() -> None:
            container.stop(timeout=STOP_SECONDS)

        with ended_by(stop), signals.before_the_end(stop):
            return _followed(container)
    finally:
        container.remove(force=True)


def _followed(container: Any) -> int:
    for line in container.logs(stream=True):
        print(line.decode(errors="replace"), end="")
    return container.wait()["StatusCode"]


def environment(home: Path) -> dict[str, str]:
    """Environment variables of a task in a container."""
    environment = {
        "XLRM_HOME": str(home),
        "XLRM_STORE": addresses.store(),
        "MLFLOW_TRACKING_URI": addresses.tracking_uri(),
    }
    return environment | {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def user(security: list[str]) -> str:
    """UID:GID of a task, from the daemon's security options: this user, because root without capabilities cannot
    write to a user's folders. In a daemon without root, 0:0 is the user who started it."""
    return "0:0" if "name=rootless" in security else f"{os.getuid()}:{os.getgid()}"


def _ask(docker: Any) -> list[str]:
    """The daemon's security options. Raises ConfigError if no daemon answers."""
    try:
        client = docker.from_env(timeout=10)
        security = client.info().get("SecurityOptions")
        client.close()
        return security or []
    except docker.errors.DockerException as error:
        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        raise ConfigError(
            f"no Docker daemon answers ({error})", where=address, hint="start one, or set DOCKER_HOST"
        ) from error
