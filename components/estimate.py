"""Estimate of a run on its hardware."""

from components import RUNS
from components.hardware import TRAININGS, Hardware
from xlrm.run import budget
from xlrm.run.forecast import Row
from xlrm.run.sections import Experiment


def table(experiment: Experiment, pipeline: str, hardware: Hardware) -> str:
    """The estimate as Markdown. Raises ConfigError for invalid settings."""
    return budget.markdown(budget.of(experiment, pipeline), lambda row: gpus(row, hardware), hardware.gpu_product)


def gpus(row: Row, hardware: Hardware) -> int | None:
    """GPUs of all pods that work on a row side by side; None if they are those of the machine."""
    stage = row.stage.partition("[")[0]
    component = next(name for name, stages in RUNS.items() if stage in stages)
    if stage in RUNS["answer"]:
        component = "answer" if row.aligned or stage == "gains" else "report" if stage == "judge" else "sample"
    share = hardware.share(component)
    if share.gpus is None:
        return None
    return share.gpus * share.pods * (hardware.nodes if component in TRAININGS else 1)
