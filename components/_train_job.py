"""Runs a stage on several nodes: starts a Kubeflow Trainer TrainJob that runs `xlrm stage` on each node, and follows
it.

The component's pod only waits, on a CPU. The nodes get its image, pull secrets and variables (secrets by reference), so
these are configured in one place.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from components import component_of
from components._cluster import Cluster, follow, start
from components.hardware import TRAININGS, Hardware, Quantity, problems
from xlrm import progress
from xlrm.errors import ConfigError, JobError
from xlrm.run import runner
from xlrm.run.runner import Inputs
from xlrm.run.steps import Step
from xlrm.store import artifacts

RUNTIME = "torch-distributed"
"""The ClusterTrainingRuntime that Kubeflow Trainer ships for torchrun's variables; its job and its container are
named `node`."""
HOME = "/var/lib/xlrm"
"""XLRM_HOME of a node, on the pod's own volume, so that a restarted container continues from its checkpoints."""
PASSED_ON = ("XLRM_", "AWS_", "MLFLOW_", "HF_")
"""Prefixes of the variables that the nodes get unchanged from the component's container."""
WITHHELD = ("XLRM_NOTIFY_URL",)
"""Exceptions to PASSED_ON: a secret address that a node does not need."""
INJECTED = (
    "XLRM_STORE",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_RUN_ID",
    "XLRM_PARENT_RUN",
    progress.STEP,
)
"""Variables that this process may have received in another way, none of them a secret; nodes get them too."""
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes mounts the account's token unless something else is mounted there."""


class Node(BaseModel, frozen=True, extra="forbid"):
    """Resources of a node."""

    gpus: int = Field(4, ge=0)
    """GPUs of a node; a training runs one process on each, unless its config sets another number."""
    gpu_product: str = ""
    """Value of the node label nvidia.com/gpu.product; empty: any GPU."""
    cpu: Quantity = "16"
    """CPU cores, as a Kubernetes quantity."""
    memory: Quantity = "256Gi"
    """Memory, as a Kubernetes quantity."""


def train_on_nodes(hardware: Hardware, step: Step, inputs: Inputs, experiment: str) -> None:
    """Runs a training on the run's nodes, so that the stage then finds its artifact finished. Does nothing for a single
    node or a step that is not a training.

    Raises ConfigError before the cluster is asked for anything if the settings cannot work, JobError if the job fails
    or is deleted, and ArtifactError if it cannot be created or followed. The job is deleted when it fails and when the
    task is ended; a job that merely cannot be followed goes on.
    """
    component = component_of(step)
    if hardware.nodes < 2 or component not in TRAININGS:
        return
    node, uri = _node(hardware, component), runner.address(step.stage, step.config, inputs)
    if not artifacts.find(uri):
        for problem in problems(step, node.gpus, hardware.nodes):  # each node would find these out minutes later
            raise problem.within(f"{step.stage}.")
        _train(uri, hardware.nodes, node, stage_arguments(step.stage, step.config, inputs, experiment))


def _train(uri: str, nodes: int, node: Node, arguments: list[str]) -> None:
    cluster = Cluster.connect()
    body = train_job(job_name(uri), arguments, nodes, node, cluster.own_pod())
    name = body["metadata"]["name"]
    with _sigterm_raised():
        _run(cluster, body, nodes)
    if not artifacts.find(uri):
        raise JobError(
            "complete, but its artifact is missing; do its nodes have this pod's image and XLRM_STORE?",
            where=f"TrainJob {name}", value=uri,
        )  # fmt: skip


def _node(hardware: Hardware, component: str) -> Node:
    """The resources of each node. Raises ConfigError for a quantity that Kubernetes cannot parse."""
    has = hardware.share(component)
    try:
        return Node(gpus=has.gpus, gpu_product=hardware.gpu_product, cpu=has.cores, memory=has.memory)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        field = {"cpu": "cores"}.get(name, name)
        raise ConfigError.invalid({**first, "loc": (field,)}, f"tasks.{component}.") from error


def job_name(uri: str) -> str:
    """Name of the job that makes the artifact at `uri`; a task that is tried again finds its job by this name."""
    *_, stage, key = uri.split("/")
    return f"xlrm-{stage}-{key[:16]}"


def stage_arguments(name: str, config: dict[str, Any], inputs: Inputs, experiment: str) -> list[str]:
    """Arguments with which `xlrm` runs the component's stage on a node."""
    arguments = ["stage", name, *(f"{field}={_in_yaml(value)}" for field, value in config.items())]
    arguments += ["--experiment", experiment]
    for key, uris in inputs.items():
        arguments += ["--input", f"{key}={uris}"] if isinstance(uris, str) else ["--inputs", f"{key}={','.join(uris)}"]
    return arguments


def _in_yaml(value: Any) -> str:
    """The value as one line of YAML that `xlrm.run.experiment.parse_value` reads back; 1e-05 in JSON would be a text
    in YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("...").removesuffix("\n")


def train_job(name: str, arguments: list[str], nodes: int, node: Node, pod: dict[str, Any]) -> dict[str, Any]:
    """The TrainJob, in the form of Kubeflow Trainer 2.2 and later. `pod`: the component's own pod."""
    container = next(
        (entry for entry in pod["spec"]["containers"] if entry["name"] == "main"), pod["spec"]["containers"][0]
    )
    gpus = {"nvidia.com/gpu": node.gpus} if node.gpus else {}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "xlrm"}, "ownerReferences": [_owner(pod)]},
        "spec": {
            "runtimeRef": {"name": RUNTIME},
            "trainer": {
                "image": container["image"], "numNodes": nodes, "command": ["xlrm"],
                "args": [argument.replace("$", "$$") for argument in arguments],  # Kubernetes expands $(NAME)
                "env": _variables(container),
                "resourcesPerNode": {
                    "requests": {"cpu": node.cpu, "memory": node.memory},
                    "limits": {"memory": node.memory, **gpus},
                },
            },
            "runtimePatches": [{"manager": "xlrm.io/component", "trainingRuntimeSpec": {"template": {"spec": {
                "replicatedJobs": [{"name": "node", "template": {"spec": {"template": _pod_patch(node, pod)}}}],
            }}}}],
        },
    }  # fmt: skip


def _owner(pod: dict[str, Any]) -> dict[str, Any]:
    """Owner with which the job is deleted: the workflow, which also owns the next try's pod; for a pod without one,
    the pod itself."""
    owners = [owner for owner in pod["metadata"].get("ownerReferences") or [] if owner.get("controller")]
    owner = owners[0] if owners else {"apiVersion": "v1", "kind": "Pod"} | pod["metadata"]
    return {key: owner[key] for key in ("apiVersion", "kind", "name", "uid")}


def _variables(container: dict[str, Any]) -> list[dict[str, Any]]:
    passed = [variable for variable in container.get("env") or [] if variable["name"].startswith(PASSED_ON)]
    given = {variable["name"]: variable for variable in passed if variable["name"] not in WITHHELD}
    for name in INJECTED:
        if value := os.environ.get(name):
            given.setdefault(name, {"name": name, "value": value})
    return list((given | {"XLRM_HOME": {"name": "XLRM_HOME", "value": HOME}}).values())


def _pod_patch(node: Node, pod: dict[str, Any]) -> dict[str, Any]:
    """Changes to the nodes' pods: the settings that Kubernetes' pod security level `restricted` requires; no Istio
    sidecar, with which a job never ends; no account token, for which a TrainJob has no field, so an empty volume is
    mounted in its place."""
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    mounts = [
        {"name": "shm", "mountPath": "/dev/shm"}, {"name": "home", "mountPath": HOME},
        {"name": "no-token", "mountPath": TOKEN, "readOnly": True},
    ]  # fmt: skip
    spec: dict[str, Any] = {
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{"name": "node", "securityContext": restricted, "volumeMounts": mounts}],
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}}, {"name": "home", "emptyDir": {}},
            {"name": "no-token", "emptyDir": {}},
        ],
    }  # fmt: skip
    if node.gpus:
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    if node.gpu_product:
        spec["nodeSelector"] = {"nvidia.com/gpu.product": node.gpu_product}
    if secrets := pod["spec"].get("imagePullSecrets"):
        spec["imagePullSecrets"] = secrets
    labels = {"app.kubernetes.io/part-of": "xlrm", "sidecar.istio.io/inject": "false"}
    return {"metadata": {"labels": labels}, "spec": spec}


def _run(cluster: Cluster, body: dict[str, Any], nodes: int) -> None:
    """Creates the job and follows it to its end. The job is deleted if it fails or the task is being ended, so that
    it does not hold GPUs; after an error that may pass it keeps running, and the next try follows it."""
    name, job = body["metadata"]["name"], None
    try:
        job = start(cluster, body)
        follow(cluster, name, nodes)
    except (ConfigError, JobError, SystemExit, KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the task is already ending
        if outcome := cluster.delete_at_last(body, job):
            progress.say(f"TrainJob {name}: {outcome}")
        raise
    except Exception:
        if job:
            progress.say(
                f"TrainJob {name}: keeps running, and the next try follows it; to end it: {cluster.by_hand(name)}"
            )
        raise


@contextlib.contextmanager
def _sigterm_raised() -> Iterator[None]:
    """Raises SystemExit at the first SIGTERM, which ends the pods of a cancelled run. Later ones are ignored: the
    container's runtime and the process that waits for this one may both send it."""

    def stop(number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
