"""The stages as Kubeflow Pipelines components. A component is a pod that runs steps one after the other; it has no
logic of its own."""

import os

from xlrm import __version__
from xlrm.processes import signals
from xlrm.run import judges
from xlrm.run.sections import POLICY, REFERENCE, SFT, stage_config
from xlrm.run.steps import Step

# Kubeflow Pipelines' local runner starts a task through a shell, which would leave the task running when the run ends.
signals.end_with_the_run()

REGISTRY = os.environ.get("XLRM_IMAGE_REGISTRY", "ghcr.io/xlrm")
RUNS = {
    "curate": ("curate", "plan"),
    "translate": ("translate",),
    "validate": ("validate",),
    "base": ("base",),
    "reward": ("sft", "reward"),
    "sample": ("external", "sample"),
    "evaluate": ("evaluate", "rank", "represent", "best_of_n"),
    "align": ("align", "rl"),
    "answer": ("sample", "gains", "judge"),
    "report": ("judge", "register", "report", "reuse_report"),
}
"""Component -> the stages it runs. Stages that need the same image and GPUs share pods, because each pod adds twenty
seconds to a run and takes about 3 % of the status in which Kubeflow can show a run (docs/kubeflow.md)."""
IMAGES = {
    **dict.fromkeys(("base", "reward", "evaluate", "align"), "train"),
    **dict.fromkeys(("translate", "sample", "answer"), "sample"),
}
"""Component -> image; components not listed use `data`, the image without torch."""


def image(component: str) -> str:
    """Container image of a component: xlrm-NAME, where NAME is an extra in pyproject.toml and a target in
    docker/Dockerfile."""
    return f"{REGISTRY}/xlrm-{IMAGES.get(component, 'data')}:{__version__}"


def component_of(step: Step) -> str:
    """Component that runs a step. `sample` generates the responses that `rank`, `align` and `best_of_n` use, and those that a
    judge compares with; `answer`, which runs after `align`, those of the other policies. A judge that is a model of this
    task's machine runs in `answer`, which has GPUs, any other in `report`."""
    if step.stage == "sample":
        return "sample" if step.of[0] in (POLICY, REFERENCE, SFT) else "answer"
    if step.stage == "judge":
        return "answer" if judges.on_this_machine(stage_config(step.stage, step.config)) else "report"
    return next(component for component, stages in RUNS.items() if step.stage in stages)
