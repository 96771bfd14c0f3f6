"""What stages run on in a cluster, said once: GPU nodes, memory, time, secrets. Local runs ignore all of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.structures import ResourceSpec

GPU_PRODUCT = "NVIDIA-A100-SXM4-80GB"
"""Value of the node label nvidia.com/gpu.product, which NVIDIA's GPU feature discovery sets."""
SECRETS = {
    "xlrm-store": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "xlrm-hub": ("HF_TOKEN",),
    "xlrm-endpoint": ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
    "xlrm-notify": ("XLRM_NOTIFY_URL",),
}
"""Kubernetes secrets by name, and the keys that become environment variables of the same name."""
ADDRESSES = "xlrm-addresses"
"""Config map with the addresses: XLRM_STORE, MLFLOW_TRACKING_URI and, where the store is not Amazon's, AWS_ENDPOINT_URL."""
PULL_POLICY = "IfNotPresent"
"""Images have a version in their names, so one that a node has is the right one."""
PULL_SECRET = "xlrm-registry"
"""Where images are private; without the secret of this name they are pulled without one."""
USER = 1000
"""Of the images, docker/Dockerfile; namespaces under the restricted pod security want it said."""
TRAINING_NODES = 1
"""Nodes that a reward model trains on, and a policy is aligned on; several need Kubeflow Trainer (docs/training.md)."""
RETRIES = 2
"""Of what can go away and come back: the Hub, an endpoint, a node's room. A minute after the first time, two after the second.
Argo does not try again a pod that was deleted under it, as with its node."""


@dataclass(frozen=True)
class Needs:
    hours: int
    """After which the task is stopped, all tries together: several times what the estimate for paper A says."""
    cores: int = 4
    memory: str = "16Gi"
    gpus: int = 0
    retried: bool = False
    """Whether a failure may be the network's or a node's; what depends on the data alone fails alike each time."""


NEEDS = {
    "configure": Needs(1, cores=1, memory="2Gi"),
    "curate": Needs(6, memory="32Gi", retried=True),
    "plan": Needs(1, cores=1, memory="4Gi"),
    "translate": Needs(72, cores=8, memory="64Gi", gpus=1, retried=True),
    "validate": Needs(12, memory="32Gi"),
    "base": Needs(4, cores=8, memory="64Gi", gpus=1, retried=True),
    "reward": Needs(48, cores=32, memory="256Gi", gpus=4, retried=True),  # paper A's four A100s, a process on each
    "evaluate": Needs(12, cores=8, memory="64Gi", gpus=1, retried=True),
    "external": Needs(24, cores=8, memory="64Gi", gpus=1, retried=True),
    "represent": Needs(12, cores=8, memory="64Gi", gpus=1, retried=True),
    "sample": Needs(48, cores=8, memory="64Gi", gpus=1, retried=True),
    "rank": Needs(12, cores=8, memory="64Gi", gpus=1, retried=True),
    "align": Needs(48, cores=8, memory="64Gi", gpus=1, retried=True),
    "judge": Needs(24, retried=True),
    "register": Needs(4, memory="32Gi"),
    "gate": Needs(1, cores=1, memory="1Gi"),
    "report": Needs(1),
    "conclude": Needs(1, cores=1, memory="1Gi"),
}
"""By component."""


def placed(task: dsl.PipelineTask, needs: Needs | None = None) -> dsl.PipelineTask:
    """The task on what its component needs, or on `needs`.

    Without KFP's own cache: it would know nothing of a stage's code; the store reuses what is finished.
    """
    needs = needs or NEEDS[task.component_spec.name]
    task.set_caching_options(False)
    # Not by KFP's setters: each reads all callers' source to know its own name, together half of a compilation's time.
    task.container_spec.resources = ResourceSpec(
        cpu_request=str(needs.cores), memory_request=needs.memory, memory_limit=needs.memory,
        **({"accelerator_type": "nvidia.com/gpu", "accelerator_count": str(needs.gpus)} if needs.gpus else {}),
    )  # fmt: skip
    if needs.retried and RETRIES:
        # Without a maximum it is KFP's hour: from the first try's start, after which Argo begins no other and ends the one
        # that is on, whatever its own time limit.
        task.set_retry(RETRIES, backoff_duration="60s", backoff_factor=2, backoff_max_duration=f"{needs.hours}h")
    kubernetes.set_timeout(task, needs.hours * 3600)
    kubernetes.set_image_pull_policy(task, PULL_POLICY)
    kubernetes.set_image_pull_secrets(task, [PULL_SECRET])
    kubernetes.set_security_context(task, run_as_user=USER, run_as_non_root=True)
    _environment(task)
    if needs.gpus:
        _on_gpu_node(task)
    return task


def trained(component: Callable[..., dsl.PipelineTask], **arguments: Any) -> dsl.PipelineTask:
    """A task that trains: on its own GPUs, or with TRAINING_NODES as a TrainJob, for which it waits on a CPU."""
    if TRAINING_NODES == 1:
        return placed(component(**arguments))
    needs = NEEDS[component.component_spec.name]
    node = {"gpus": needs.gpus, "gpu_product": GPU_PRODUCT, "cpu": str(needs.cores), "memory": needs.memory}
    return placed(
        component(**arguments, nodes=TRAINING_NODES, node=node), replace(needs, cores=1, memory="4Gi", gpus=0)
    )


def _environment(task: dsl.PipelineTask) -> None:
    """Addresses, secrets by name, and the id of the run, which its MLflow runs and registered models are tagged with."""
    for key, optional in (("XLRM_STORE", False), ("MLFLOW_TRACKING_URI", False), ("AWS_ENDPOINT_URL", True)):
        kubernetes.use_config_map_as_env(task, ADDRESSES, {key: key}, optional=optional)
    for secret, keys in SECRETS.items():
        kubernetes.use_secret_as_env(task, secret, {key: key for key in keys}, optional=True)
    kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", "metadata.labels['pipeline/runid']")


def _on_gpu_node(task: dsl.PipelineTask) -> None:
    """/dev/shm in memory, for workers that share tensors."""
    kubernetes.add_node_selector(task, "nvidia.com/gpu.product", GPU_PRODUCT)
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="16Gi")
