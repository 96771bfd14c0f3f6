"""What the stages of a run are given to work on, and whether an experiment can work on that, before anything is started."""

from pydantic import BaseModel, ConfigDict

from xlrm import launching
from xlrm.errors import ConfigError
from xlrm.experiment import Experiment, stage_config

TRAININGS = ("reward", "align")
"""Stages that may train on several nodes."""
ON_GPUS_ONLY = ("paged_", "lion_8bit", "adamw_8bit", "adamw_bnb_", "ademamix_8bit", "rmsprop_bnb")
"""Beginnings of names of transformers' optimizers that bitsandbytes has for GPUs."""


class Share(BaseModel):
    """What one pod has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: int | None = None
    """None: whatever there is, which nobody checks."""
    pods: int = 1
    """Side by side, at most."""
    cores: str = ""
    memory: str = ""


class Hardware(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "this machine"
    nodes: int = 1
    """That a training takes."""
    gpu_product: str = ""
    """Value of the label nvidia.com/gpu.product of these nodes."""
    tasks: dict[str, Share] = {}
    """By component."""

    def share(self, component: str) -> Share:
        return self.tasks.get(component, Share())


def check(experiment: Experiment, has: Hardware, where: str) -> None:
    """Raises ConfigError, one line, for the first thing that cannot work."""
    for stage in TRAININGS:
        _check_training(stage, experiment, has, where)
    translation = stage_config(
        "translate", experiment.stages.get("translate", {}) | {"language": experiment.targets[0]}
    )
    if translation.engine == "vllm" and has.share("translate").gpus == 0:
        raise ConfigError(f"{where}: translate.engine: vllm needs a GPU, and placement {has.name} gives translate none")


def _check_training(stage: str, experiment: Experiment, has: Hardware, where: str) -> None:
    gpus = has.share(stage).gpus
    if gpus is None:
        return
    given = {"language": experiment.source} | ({"labeler": experiment.source} if stage == "align" else {})
    config = stage_config(stage, experiment.stages.get(stage, {}) | given)
    there = f"on placement {has.name} a pod of {stage} has {gpus} GPU(s)"
    if config.processes > max(1, gpus):
        raise ConfigError(f"{where}: {stage}.processes: {config.processes} are too many: {there}")
    try:
        launching.split_batch(
            config.batch_size, config.device_batch_size, (config.processes or max(1, gpus)) * has.nodes
        )
    except ConfigError as error:
        raise ConfigError(f"{where}: {stage}.{error}; {there}, on {has.nodes} node(s)") from error
    if not gpus and config.optimizer.startswith(ON_GPUS_ONLY):
        raise ConfigError(f"{where}: {stage}.optimizer: {config.optimizer} needs a GPU: {there}")
