"""What a run is estimated at, on the hardware that it is given."""

from components import RUNS
from components.hardware import TRAININGS, Hardware
from xlrm.run import budget
from xlrm.run.forecast import Row
from xlrm.run.sections import Experiment


def table(experiment: Experiment, pipeline: str, hardware: Hardware) -> str:
    """As Markdown. Raises ConfigError for settings that are not right."""
    return budget.markdown(budget.of(experiment, pipeline), lambda row: gpus(row, hardware), hardware.gpu_product)


def gpus(row: Row, hardware: Hardware) -> int | None:
    """Of all pods together that work on it side by side; None where whatever there is does."""
    stage = row.stage.partition("[")[0]
    component = "answer" if row.aligned else next(name for name, stages in RUNS.items() if stage in stages)
    share = hardware.share(component)
    if share.gpus is None:
        return None
    return share.gpus * share.pods * (hardware.nodes if component in TRAININGS else 1)
