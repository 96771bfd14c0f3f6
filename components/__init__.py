"""The Kubeflow Pipelines face of the stages: one component each, under the same name, without logic of its own."""

import os

from xlrm import __version__

REGISTRY = os.environ.get("XLRM_IMAGE_REGISTRY", "ghcr.io/xlrm")


def image(name: str) -> str:
    """The container image of the extras `name` in pyproject.toml, and target `name` in docker/Dockerfile."""
    return f"{REGISTRY}/xlrm-{name}:{__version__}"
