"""Finds the finished steps of a run in the store; the first task of a run calls it once."""

import json
import os
from collections.abc import Mapping

from components import IMAGES, _run, component_of
from components._stage import libraries_uri
from xlrm import progress
from xlrm.errors import XlrmError
from xlrm.run import runner
from xlrm.run.steps import Step, Steps
from xlrm.store import artifacts, objects


def finished(made: Steps) -> dict[str, str]:
    """Label -> URI of each step's artifact in the store. A step counts as unfinished if a step that it reads from is
    unfinished, if the libraries of its image are not known yet, or if what it uses from outside cannot be looked up."""
    uris: dict[str, str] = {}
    for label, step in made.items():
        if all(label in uris for label in step.reads):
            uri = _address(step, uris)
            if uri and artifacts.find(uri):
                uris[label] = uri
    return uris


def _address(step: Step, uris: Mapping[str, str]) -> str | None:
    known, libraries = _libraries(IMAGES.get(component_of(step), "data"))
    if not known:
        return None
    try:
        return runner.address(step.stage, step.config, _run.inputs(step, uris), libraries=libraries)
    except XlrmError as error:
        progress.say(f"{step.label}: treated as unfinished: {error}")
        return None


def _libraries(image: str) -> tuple[bool, dict[str, str] | None]:
    """(whether the libraries of an image of this commit are known, the libraries); None for the libraries installed
    here."""
    here = os.environ.get("XLRM_IMAGE", "")
    if not here or f"/xlrm-{image}:" in here:
        return True, None
    where = libraries_uri(here.replace("/xlrm-data:", f"/xlrm-{image}:"))
    noted = objects.read_bytes(where) if where else None
    return noted is not None, json.loads(noted) if noted else None
