"""A run whose tasks are containers on this machine, as they are in a cluster: same images, same commands, other addresses."""

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.local_tasks import Tasks
from xlrm.errors import ConfigError
from xlrm.processes import signals
from xlrm.store import addresses

_PASSED_ON = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
    "HF_TOKEN", "OPENAI_BASE_URL", "OPENAI_API_KEY", "OMP_NUM_THREADS", "XLRM_PARENT_RUN",
    "KFP_RUN_ID", "XLRM_TRIES",
)  # fmt: skip
"""Addresses and secrets that a task may need; those that are set here are set there."""
STOP_SECONDS = 5
"""For a container that is ended, before it is killed."""


def runner(tasks: Tasks):
    """KFP's runner of containers, which are `tasks`, for the daemon of DOCKER_HOST. Raises ConfigError when none answers.

    The folder of local state is the same path inside, so the URIs of the default store and database hold on both sides.
    Tasks run with a read-only root file system and no capabilities, as whoever runs this, whose what they write is then. They
    share this machine's network: an MLflow or a store on loopback is theirs too.
    """
    import docker
    from kfp import local
    from kfp.local import docker_task_handler

    security = _ask(docker)
    docker_task_handler.run_docker_container = partial(tasks.run, run_to_the_end)
    home = addresses.home()
    home.mkdir(parents=True, exist_ok=True)
    return local.DockerRunner(
        user=user(security), network_mode="host", read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges"],
        tmpfs={"/tmp": ""}, shm_size="1g", environment=environment(home),
        mounts=[docker.types.Mount(target=str(home), source=str(home), type="bind")],
    )  # fmt: skip


def run_to_the_end(
    client: Any, image: str, command: list[str], volumes: dict[str, Any],
    ended_by: Callable = contextlib.nullcontext, **how: Any,
) -> int:  # fmt: skip
    """A container's exit status, its log on standard output; `ended_by` is given what ends it before. In the place of KFP's own
    (2.17), which has the daemon remove a container that has ended, and calls one a success that is gone before it asks for the
    status."""
    container = client.containers.run(image=image, command=command, volumes=volumes, detach=True, **how)
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
    """What a task in a container gets to know of this process's environment."""
    environment = {
        "XLRM_HOME": str(home),
        "XLRM_STORE": addresses.store(),
        "MLFLOW_TRACKING_URI": addresses.tracking_uri(),
    }
    return environment | {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def user(security: list[str]) -> str:
    """Who a task runs as, by what the daemon says of itself: without capabilities root could not write to a user's folders.
    For a daemon without root, the user whose it is goes by the number 0."""
    return "0:0" if "name=rootless" in security else f"{os.getuid()}:{os.getgid()}"


def _ask(docker) -> list[str]:
    """The daemon's options of security."""
    try:
        client = docker.from_env(timeout=10)
        security = client.info().get("SecurityOptions")
        client.close()
        return security or []
    except docker.errors.DockerException as error:
        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        raise ConfigError(f"no Docker daemon answers at {address} ({error}); start one, or set DOCKER_HOST") from error
