"""The Kubeflow Pipelines face of the stages: a component is a pod that runs steps one after the other, without logic of its
own."""

import os

from xlrm import __version__
from xlrm.processes import signals
from xlrm.run.experiment import POLICY
from xlrm.run.steps import Step

# A task of the local runner: Kubeflow Pipelines starts it by a shell, which would leave it alone.
signals.end_with_the_run()

REGISTRY = os.environ.get("XLRM_IMAGE_REGISTRY", "ghcr.io/xlrm")
RUNS = {
    "curate": ("curate", "plan"),
    "translate": ("translate",),
    "validate": ("validate",),
    "base": ("base",),
    "reward": ("reward",),
    "sample": ("external", "sample"),
    "evaluate": ("evaluate", "rank", "represent"),
    "align": ("align",),
    "answer": ("sample",),
    "report": ("judge", "register", "report"),
}
"""Component -> the stages it runs: those that want the same image and GPUs share pods, since each pod costs a run twenty
seconds and some 3 % of what Kubeflow can show of it (docs/kubeflow.md)."""
IMAGES = {
    **dict.fromkeys(("base", "reward", "evaluate", "align"), "train"),
    **dict.fromkeys(("translate", "sample", "answer"), "sample"),
}
"""Component -> image; the others need no torch."""


def image(component: str) -> str:
    """The container image of a component: the extras in pyproject.toml, and the target in docker/Dockerfile, of its name."""
    return f"{REGISTRY}/xlrm-{IMAGES.get(component, 'data')}:{__version__}"


def component_of(step: Step) -> str:
    """Whose image runs a step. Responses of aligned policies are sampled by `answer`, after `align`; those to rank and align on
    by `sample`, before."""
    if step.stage == "sample":
        return "sample" if step.of == (POLICY,) else "answer"
    return next(component for component, stages in RUNS.items() if step.stage in stages)
