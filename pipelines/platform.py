"""How a task is placed in a cluster, said once: its GPU node, memory, time, secrets. Local runs ignore all of it."""

from kfp import dsl, kubernetes
from kfp.dsl.structures import ResourceSpec

from pipelines.placement import Placement

SECRETS = {
    "xlrm-store": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "xlrm-hub": ("HF_TOKEN",),
    "xlrm-endpoint": ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
    "xlrm-notify": ("XLRM_NOTIFY_URL",),
}
"""Kubernetes secrets by name, and the keys that become environment variables of the same name."""
GIVEN = {
    "xlrm-hub": ("configure", "curate", "translate", "base", "sample", "evaluate"),
    "xlrm-endpoint": ("translate", "sample"),
    "xlrm-notify": ("conclude",),
}
"""Secret -> the components that have use for it; the store's is given to all. Each costs a task 1 kB of its run's status."""
ADDRESSES = "xlrm-addresses"
"""Config map with the addresses: XLRM_STORE, MLFLOW_TRACKING_URI and, where the store is not Amazon's, AWS_ENDPOINT_URL."""
PULL_POLICY = "IfNotPresent"
"""Images have a version in their names, so one that a node has is the right one."""
PULL_SECRET = "xlrm-registry"
"""Where images are private; without the secret of this name they are pulled without one."""
USER = 1000
"""Of the images, docker/Dockerfile; namespaces under the restricted pod security want it said."""
COMMAND = ["python3", "-m", "components", "kfp.dsl.executor_main"]
"""In the place of KFP's, which carries the function's source: a run's status keeps each character of it sixteen times."""


def placed(task: dsl.PipelineTask, placement: Placement) -> dsl.PipelineTask:
    """The task on what its component needs. A training on several nodes waits for its TrainJob on a CPU.

    Without KFP's own cache: it would know nothing of a stage's code; the store reuses what is finished. Without its retries,
    too: a package cannot say of what (components/_stage.py); Kubeflow's own settings replace a pod that is lost, twice.
    """
    name = task.component_spec.name
    needs = placement.tasks[name]
    if placement.nodes > 1 and name in ("reward", "align"):
        needs = needs.model_copy(update={"gpus": 0, "cores": "1", "memory": "4Gi"})
    task.set_caching_options(False)
    task.container_spec.command = list(COMMAND)
    # Not by KFP's setters: each reads all callers' source to know its own name, together half of a compilation's time.
    task.container_spec.resources = ResourceSpec(
        cpu_request=needs.cores, memory_request=needs.memory, memory_limit=needs.memory,
        **({"accelerator_type": "nvidia.com/gpu", "accelerator_count": str(needs.gpus)} if needs.gpus else {}),
    )  # fmt: skip
    kubernetes.set_timeout(task, needs.hours * 3600)
    kubernetes.set_image_pull_policy(task, PULL_POLICY)
    kubernetes.set_image_pull_secrets(task, [PULL_SECRET])
    kubernetes.set_security_context(task, run_as_user=USER, run_as_non_root=True)
    _environment(task)
    if needs.gpus:
        _on_gpu_node(task, placement)
    return task


def _environment(task: dsl.PipelineTask) -> None:
    """Addresses, secrets by name, and the id of the run, by which its tasks find each other's artifacts in the store."""
    keys = {key: key for key in ("XLRM_STORE", "MLFLOW_TRACKING_URI")}
    kubernetes.use_config_map_as_env(task, ADDRESSES, keys)
    kubernetes.use_config_map_as_env(task, ADDRESSES, {"AWS_ENDPOINT_URL": "AWS_ENDPOINT_URL"}, optional=True)
    for secret, names in SECRETS.items():
        if task.component_spec.name in GIVEN.get(secret, (task.component_spec.name,)):
            kubernetes.use_secret_as_env(task, secret, {key: key for key in names}, optional=True)
    kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", "metadata.labels['pipeline/runid']")


def _on_gpu_node(task: dsl.PipelineTask, placement: Placement) -> None:
    """/dev/shm in memory, for workers that share tensors."""
    if placement.gpu_product:
        kubernetes.add_node_selector(task, "nvidia.com/gpu.product", placement.gpu_product)
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="16Gi")
