"""Hardware of a run's tasks, and a check before the run that its steps can work on it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from components import component_of
from xlrm.errors import ConfigError
from xlrm.models import base_models
from xlrm.processes import launch
from xlrm.run import judges
from xlrm.run.experiment import stage_config
from xlrm.run.steps import Step, Steps
from xlrm.scorers.interface import Scoring
from xlrm.training import memory, trainers
from xlrm.training.recipes import DpoTraining, SftTraining, TrainingConfig

TRAININGS = ("reward", "align")
"""Components whose stages train, on several nodes if the placement has them."""
DRIVER, WINDOWS = Path("/proc/driver/nvidia/gpus"), Path("/dev/dxg")
"""Where NVIDIA's driver lists its GPUs, and the device that Windows' Linux has instead."""
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i|[eE][0-9]+)?")


def quantity(text: str) -> str:
    """The text, if it is a Kubernetes quantity above 0 without a sign. Raises ValueError otherwise."""
    if not _QUANTITY.fullmatch(text) or not re.match(r"[0.]*[1-9]", text):
        raise ValueError("a Kubernetes quantity above 0 is allowed, such as 16, 500m or 256Gi")
    return text


Quantity = Annotated[str, AfterValidator(quantity)]


class Share(BaseModel):
    """Resources of one pod of a component."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: int | None = None
    """GPUs of the pod; None: those of the machine it runs on."""
    pods: int = 1
    """Maximum number of pods side by side."""
    cores: str = ""
    memory: str = ""


class Hardware(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "this machine"
    nodes: int = 1
    """Nodes of a training."""
    gpu_product: str = ""
    """Value of the node label nvidia.com/gpu.product; empty: any GPU, or not known."""
    tasks: dict[str, Share] = {}
    """Component -> resources of one of its pods."""

    def share(self, component: str) -> Share:
        return self.tasks.get(component, Share())


def check(steps: Steps, hardware: Hardware, where: str) -> None:
    """Raises ConfigError, one line that begins with `where`, for the first setting that cannot work."""
    for step in {step.stage: step for step in steps.values()}.values():
        component = component_of(step)
        gpus = hardware.share(component).gpus
        gpus = here() if gpus is None else gpus
        if gpus is None:
            continue
        for problem in problems(step, gpus, hardware.nodes if component in TRAININGS else 1):
            raise problem.within(
                f"{where}: {step.stage}.", f"on placement {hardware.name} a pod of {component} has {gpus} GPU(s)"
            )
        for problem in _memory_problems(step, steps, gpus, hardware):
            raise problem.within(f"{where}: {step.stage}.")


def here() -> int | None:
    """Number of GPUs that a task on this machine may see; None if unknown. CUDA is not asked, which would take
    seconds and memory."""
    if (seen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([device for device in seen.split(",") if device.strip() not in ("", "-1")])
    if DRIVER.is_dir():
        return sum(1 for _ in DRIVER.iterdir())
    return None if WINDOWS.exists() else 0


def problems(step: Step, gpus: int, nodes: int) -> Iterator[ConfigError]:
    """Problems of a step on `nodes` nodes with `gpus` GPUs each; their places are the fields."""
    config = stage_config(step.stage, step.config)
    if not gpus:
        yield from (ConfigError("vllm needs a GPU", where=field) for field in _engines(config))
        for judge in judges.generative(step.stage, config):
            if judge.settings.engine is None and judge.engine == "vllm":
                field = f"{judge.section}.engine".removeprefix(f"{step.stage}.")
                yield ConfigError(f"vllm needs a GPU, and is the engine of {judge.model.name}", where=field)
    if isinstance(config, Scoring):
        yield from _scoring_problems(config, gpus)
    if not isinstance(config, TrainingConfig):
        return
    if gpus and config.processes > gpus:
        yield ConfigError(f"at most the {gpus} GPUs of a pod are allowed", where="processes", value=config.processes)
    if not gpus and trainers.needs_bitsandbytes(config):
        yield ConfigError(
            "needs bitsandbytes, which images without CUDA do not contain", where="optimizer", value=config.optimizer
        )
    try:
        launch.split_batch(config.batch_size, config.device_batch_size, (config.processes or max(1, gpus)) * nodes)
    except ConfigError as error:
        yield error


def gpu_bytes(product: str) -> float | None:
    """Memory of a GPU by its product label, such as NVIDIA-A100-SXM4-40GB; None if the label does not say."""
    size = re.search(r"\b(\d+)GB\b", product)
    return int(size[1]) * 2**30 if size else None


def _memory_problems(step: Step, steps: Steps, gpus: int, hardware: Hardware) -> Iterator[ConfigError]:
    """The error of an alignment or a fine-tuning that pods with `gpus` GPUs of the placement's kind have too little memory for.
    A model of unknown shape and a GPU of unknown memory are not checked."""
    size, config = gpu_bytes(hardware.gpu_product), stage_config(step.stage, step.config)
    if size is None or not gpus or not isinstance(config, DpoTraining | SftTraining):
        return
    trained = steps[str(step.inputs["policy" if isinstance(config, DpoTraining) else "base"])]
    base: Any = stage_config("base", trained.config)
    shape, devices = base_models.shape(base.model), (config.processes or gpus) * hardware.nodes
    if shape is None or (needed := memory.of_policy(shape, config, devices)) <= size:
        return
    changes: dict[str, Any] = {}
    for field, value in memory.SAVING.items():
        if getattr(config, field) != value:
            changes[field] = value
        if changes and memory.of_policy(shape, config.model_copy(update=changes), devices) <= size:
            break
    else:
        changes = {}
    hint = ", ".join(f"{field}={value}" for field, value in changes.items()) or "more GPUs"
    field = next(iter(changes), "processes")
    yield ConfigError(
        f"needs about {needed / 2**30:.0f} GiB of each of {devices} GPUs, which have {size / 2**30:.0f} on placement "
        f"{hardware.name}", where=field, value=getattr(config, field), hint=f"{hint} would do",
    )  # fmt: skip


def _scoring_problems(config: Scoring, gpus: int) -> Iterator[ConfigError]:
    if config.device.startswith("cuda") and int(config.device.partition(":")[2] or 0) >= gpus:
        yield ConfigError(f"one of the {gpus} GPUs of a pod is required", where="device", value=config.device)
    if gpus and config.device != "cpu" and config.processes > gpus:
        yield ConfigError(f"at most the {gpus} GPUs of a pod are allowed", where="processes", value=config.processes)


def _engines(config: BaseModel, prefix: str = "") -> Iterator[str]:
    """Names of fields, including those of nested settings, that choose vLLM as the local engine."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _engines(value, f"{prefix}{name}.")
        elif name == "engine" and value == "vllm":
            yield f"{prefix}{name}"
