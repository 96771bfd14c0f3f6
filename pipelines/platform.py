"""Kubernetes settings of a task: GPU node, memory, time limit, secrets. Local runs ignore all of it."""

from kfp import dsl, kubernetes
from kfp.dsl.structures import ResourceSpec

from components.hardware import TRAININGS
from pipelines.placement import Placement

SECRETS = {
    "xlrm-store": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "xlrm-hub": ("HF_TOKEN",),
    "xlrm-endpoint": ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
    "xlrm-notify": ("XLRM_NOTIFY_URL",),
}
"""Kubernetes secret -> its keys, which become environment variables of the same name."""
GIVEN = {
    "xlrm-hub": ("configure", "curate", "translate", "base", "sample", "evaluate", "answer"),
    "xlrm-endpoint": ("configure", "translate", "sample", "report"),
    "xlrm-notify": ("conclude",),
}
"""Secret -> the components that use it; all components get the store's. Each secret adds 1 kB to the status of a run
for each task."""
ADDRESSES = "xlrm-addresses"
"""Config map with the addresses: XLRM_STORE, MLFLOW_TRACKING_URI and, for a store other than Amazon's,
AWS_ENDPOINT_URL."""
PULL_POLICY = "IfNotPresent"
"""Pull only images that the node does not have: names contain a version, so an image does not change."""
PULL_SECRET = "xlrm-registry"
"""Secret to pull private images with; if no secret of this name exists, images are pulled without one."""
USER = 1000
"""User id of the images (docker/Dockerfile); namespaces under the pod security level `restricted` require it."""
COMMAND = ["python3", "-m", "components", "kfp.dsl.executor_main"]
"""Replaces KFP's command, which contains the function's source: a run's status holds each character of it sixteen
times."""


def placed(task: dsl.PipelineTask, placement: Placement) -> dsl.PipelineTask:
    """The task with the resources of its component. A training on several nodes waits for its TrainJob on a CPU.

    KFP's cache is off because it ignores changes of a stage's code; the store reuses finished artifacts instead. KFP's
    retries are off because a package cannot say which failures to retry (components/_stage.py does); Kubeflow's own
    settings replace a lost pod, twice.
    """
    name = task.component_spec.name
    needs = placement.tasks[name]
    if placement.nodes > 1 and name in TRAININGS:
        needs = needs.model_copy(update={"gpus": 0, "cores": "1", "memory": "4Gi"})
    task.set_caching_options(False)
    task.container_spec.command = list(COMMAND)
    # Not with KFP's setters, each of which reads its callers' source to find its own name: half of the time of a
    # compilation.
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
    """Sets addresses, secrets by name, and the run's id, which tasks need to find each other's artifacts in the
    store."""
    keys = {key: key for key in ("XLRM_STORE", "MLFLOW_TRACKING_URI")}
    kubernetes.use_config_map_as_env(task, ADDRESSES, keys)
    kubernetes.use_config_map_as_env(task, ADDRESSES, {"AWS_ENDPOINT_URL": "AWS_ENDPOINT_URL"}, optional=True)
    for secret, names in SECRETS.items():
        if task.component_spec.name in GIVEN.get(secret, (task.component_spec.name,)):
            kubernetes.use_secret_as_env(task, secret, {key: key for key in names}, optional=True)
    kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", "metadata.labels['pipeline/runid']")


def _on_gpu_node(task: dsl.PipelineTask, placement: Placement) -> None:
    """Requests a GPU node, and /dev/shm in memory for workers that share tensors."""
    if placement.gpu_product:
        kubernetes.add_node_selector(task, "nvidia.com/gpu.product", placement.gpu_product)
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="16Gi")
