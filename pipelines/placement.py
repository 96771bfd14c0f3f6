"""Placements: GPUs, cores, memory, time and pods of each component, one file for each kind of cluster.

A placement is compiled into a package: `python -m pipelines compile --placement h100-80gb`, or with the path of a file.
"""

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from components.form import LOOPS
from components.hardware import TRAININGS, Hardware, Quantity, Share
from xlrm.errors import ConfigError

FOLDER = Path(__file__).parent / "placements"
DEFAULT = "a100-80gb"
LOCAL = "local"
"""Name of the placement for KFP's local runner."""


class Needs(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    gpus: int | None = Field(0, ge=0)
    """GPUs of a pod; a training runs one process on each. None: the GPUs of the machine (placement `local`)."""
    cores: Quantity = "4"
    """CPU cores requested, as a Kubernetes quantity."""
    memory: Quantity = "16Gi"
    """Memory requested and memory limit, as a Kubernetes quantity."""
    hours: int = Field(ge=1)
    """Hours after which the task is stopped, including all tries; the defaults are several times the estimate for
    paper A."""
    pods: int = Field(1, ge=1)
    """Maximum number of pods side by side; each runs its share of the steps, one after the other."""


DEFAULTS: dict[str, dict[str, Any]] = {
    "configure": {"hours": 1, "cores": "1", "memory": "2Gi"},
    "curate": {"hours": 6, "memory": "32Gi"},
    "translate": {"hours": 72, "cores": "8", "memory": "64Gi", "gpus": 1, "pods": 2},
    "validate": {"hours": 12, "memory": "32Gi"},
    "base": {"hours": 4, "memory": "32Gi"},  # downloads a model; the phrasebook's models take minutes on a CPU
    "reward": {"hours": 72, "cores": "32", "memory": "256Gi", "gpus": 4, "pods": 2},  # paper A: four A100s
    "sample": {"hours": 72, "cores": "8", "memory": "64Gi", "gpus": 1},
    "evaluate": {"hours": 72, "cores": "8", "memory": "64Gi", "gpus": 1, "pods": 2},
    "align": {"hours": 72, "cores": "32", "memory": "256Gi", "gpus": 4, "pods": 2},  # paper A, appendix B.2
    "answer": {"hours": 48, "cores": "8", "memory": "64Gi", "gpus": 1},
    "report": {"hours": 36, "memory": "32Gi"},  # a served judge may be slow
    "conclude": {"hours": 1, "cores": "1", "memory": "1Gi"},
}
"""Component -> needs of paper A on A100s with 80 GB; a placement's file lists only differences."""


class Placement(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Name shown in errors if something does not fit; defaults to the file's name."""
    gpu_product: str = ""
    """Value of the node label nvidia.com/gpu.product, which NVIDIA's GPU feature discovery sets; empty: any GPU."""
    nodes: int = Field(1, ge=1)
    """Nodes that a reward model is trained on, and a policy aligned on; more than one needs Kubeflow Trainer
    (docs/training.md)."""
    tasks: dict[str, Needs]
    """Component -> what differs from the defaults in pipelines/placement.py."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _over_the_defaults(cls, tasks: dict[str, dict]) -> dict[str, dict]:
        if unknown := sorted(set(tasks) - set(DEFAULTS)):
            raise ValueError(f"no component {unknown[0]!r}; there are {', '.join(DEFAULTS)}")
        return {name: needs | (tasks.get(name) or {}) for name, needs in DEFAULTS.items()}

    def hardware(self) -> Hardware:
        """The hardware that a run has to know: `configure` checks the experiment against it, estimates the run and
        distributes the steps; a training on several nodes requests it."""
        tasks = {name: Share(gpus=needs.gpus, pods=needs.pods) for name, needs in self.tasks.items() if name in LOOPS}
        if self.nodes == 1:
            return Hardware(name=self.name, gpu_product=self.gpu_product, tasks=tasks)
        for name in TRAININGS:
            needs = self.tasks[name]
            tasks[name] = Share(gpus=needs.gpus, pods=needs.pods, cores=needs.cores, memory=needs.memory)
        return Hardware(name=self.name, nodes=self.nodes, gpu_product=self.gpu_product, tasks=tasks)

    def facts(self) -> dict[str, Any]:
        """The hardware as a short parameter of a pipeline."""
        return self.hardware().model_dump(exclude_defaults=True)


def load(name: str) -> Placement:
    """A placement by its shipped name, or from a file. Raises ConfigError, one line that names file, field and
    value."""
    path = FOLDER / f"{name}.yaml" if name in SHIPPED else Path(name)
    if not path.is_file():
        raise ConfigError(
            "neither a file nor a shipped placement",
            where="--placement",
            value=name,
            hint=f"there are {', '.join(SHIPPED)}",
        )
    try:
        document = yaml.safe_load(path.read_bytes()) or {}
        placement = Placement(**{"name": path.stem, "tasks": {}} | document)
    except ValidationError as error:
        raise ConfigError.invalid(error.errors(include_url=False)[0], f"{path}: ") from error
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise ConfigError(f"not a placement: {' '.join(str(error).split())}", where=path) from error
    if open_ended := [task for task, needs in placement.tasks.items() if needs.gpus is None and name != LOCAL]:
        raise ConfigError(
            f"a number is required, 0 for none; null is only for the placement {LOCAL}",
            where=f"{path}: tasks.{open_ended[0]}.gpus",
        )
    return placement


def current() -> Placement:
    """The placement that XLRM_PLACEMENT names, or the one for paper A."""
    return load(os.environ.get("XLRM_PLACEMENT") or DEFAULT)


SHIPPED = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
CLUSTERS = tuple(name for name in SHIPPED if name != LOCAL)
