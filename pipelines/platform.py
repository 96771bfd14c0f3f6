"""What stages run on in a cluster, said once: GPU nodes, memory, secrets. Local runs ignore all of it."""

from kfp import dsl, kubernetes
from kfp.dsl.structures import ResourceSpec

GPU_PRODUCT = "NVIDIA-A100-SXM4-80GB"
"""Value of the node label nvidia.com/gpu.product, which NVIDIA's GPU feature discovery sets."""
TRAINING_GPUS = 4
"""Of one node, for a reward model's training: paper A's four A100s, one process on each."""
SECRETS = {
    "xlrm-store": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "xlrm-hub": ("HF_TOKEN",),
    "xlrm-endpoint": ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
}
"""Kubernetes secrets by name, and the keys that become environment variables of the same name."""
ADDRESSES = "xlrm-addresses"
"""Config map with the addresses: XLRM_STORE, AWS_ENDPOINT_URL, MLFLOW_TRACKING_URI."""


def on_cpu(task: dsl.PipelineTask, cores: int = 4, memory: str = "16Gi") -> dsl.PipelineTask:
    return _on(task, ResourceSpec(cpu_request=str(cores), memory_request=memory, memory_limit=memory))


def on_gpu(task: dsl.PipelineTask, gpus: int = 1, memory: str = "64Gi") -> dsl.PipelineTask:
    """On a node with A100s; /dev/shm in memory, for workers that share tensors."""
    resources = ResourceSpec(
        cpu_request="8", memory_request=memory, memory_limit=memory,
        accelerator_type="nvidia.com/gpu", accelerator_count=str(gpus),
    )  # fmt: skip
    _on(task, resources)
    kubernetes.add_node_selector(task, "nvidia.com/gpu.product", GPU_PRODUCT)
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="16Gi")
    return task


def _on(task: dsl.PipelineTask, resources: ResourceSpec) -> dsl.PipelineTask:
    """Without KFP's own cache: it would know nothing of a stage's code; the store reuses what is finished."""
    task.set_caching_options(False)
    # Not by KFP's setters: each reads all callers' source to know its own name, together half of a compilation's time.
    task.container_spec.resources = resources
    kubernetes.use_config_map_as_env(
        task, ADDRESSES, {key: key for key in ("XLRM_STORE", "AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI")}
    )
    for secret, keys in SECRETS.items():
        kubernetes.use_secret_as_env(task, secret, {key: key for key in keys}, optional=True)
    return task
