"""A run's settings and the artifacts of its tasks, kept below runs/RUN in the store. Tasks pass information to each
other here because Kubeflow keeps every parameter of every task several times in a status that may not exceed 1 MB."""

import os
from collections.abc import Mapping

from pydantic import BaseModel

from components.hardware import Hardware
from components.notes import RUN_ID, below
from xlrm.errors import ArtifactError, ConfigError
from xlrm.run import pages, steps
from xlrm.run.experiment import STAGES, Experiment
from xlrm.run.runner import Inputs
from xlrm.run.steps import Step, Steps
from xlrm.store import artifacts, objects


class Run(BaseModel, frozen=True, extra="forbid"):
    pipeline: str
    """A pipeline of `xlrm.run.steps`."""
    experiment: Experiment
    hardware: Hardware = Hardware()
    """Hardware of the run's tasks."""

    def steps(self) -> Steps:
        return steps.steps(self.pipeline, self.experiment)

    def step(self, label: str) -> Step:
        """The step with this label. Raises ConfigError if the run has no such step."""
        if not (step := self.steps().get(label)):
            raise ConfigError("this run has no such step", where=label, hint=f"there are {', '.join(self.steps())}")
        return step

    def labels(self, names: str) -> list[str]:
        """Labels for comma-separated names; the name of a stage stands for all steps of that stage. Raises
        ConfigError for a name that is neither a label nor a stage."""
        made = self.steps()
        every = {name: [label for label in made if made[label].stage == name] for name in STAGES}
        return [
            label for name in names.split(",") for label in (every[name] if name in every else [self.step(name).label])
        ]


class Refused(BaseModel, frozen=True, extra="forbid"):
    """What a gate refused."""

    uri: str
    """URI of the folder with what was computed."""
    reason: str


def folder(*parts: str) -> str:
    """Address of something that belongs to the current run. Raises ConfigError outside of a run."""
    if not (run := os.environ.get(RUN_ID)):
        raise ConfigError(
            "not set; a component is a task of a run", where=RUN_ID, hint="`xlrm stage` runs a single stage"
        )
    return below(run, *parts)


def begin(run: Run) -> None:
    objects.write(folder("run.json"), run.model_dump_json().encode())


def read() -> Run:
    """The run that `configure` stored. Raises ArtifactError if `configure` has not run."""
    where = folder("run.json")
    if (data := objects.read_bytes(where)) is None:
        raise ArtifactError(
            "missing; the task `configure` writes it", where=where, hint="is XLRM_STORE the same for all tasks?"
        )
    return Run.model_validate_json(data)


def note_made(label: str, uri: str) -> None:
    objects.write(folder("made", label), uri.encode())


def note_refused(label: str, refused: Refused) -> None:
    objects.write(folder("refused", label), refused.model_dump_json().encode())


def made(label: str) -> str | None:
    """URI of a step's artifact; None if this run has none."""
    return _text(folder("made", label))


def report() -> str | None:
    """URI of the run's report; None if it has none."""
    return next(filter(None, map(made, pages.REPORTS)), None)


def refused(label: str) -> Refused | None:
    """What a step's gate refused; None if it refused nothing."""
    text = _text(folder("refused", label))
    return Refused.model_validate_json(text) if text else None


def inputs(step: Step, known: Mapping[str, str] | None = None) -> Inputs:
    """URIs of a step's inputs, from `known` or else from the notes of this run's tasks. Raises ArtifactError if one
    is missing."""

    def uri(label: str) -> str:
        artifact_uri = made(label) if known is None else known.get(label)
        if not artifact_uri and known is None and step.shows_refusals and (kept := refused(label)):
            return artifacts.refused(kept.uri)
        if not artifact_uri:
            raise ArtifactError(f"this run has no artifact of {label}, which this step reads", where=step.label)
        return artifact_uri

    return {name: uri(of) if isinstance(of, str) else [uri(label) for label in of] for name, of in step.inputs.items()}


def _text(uri: str) -> str | None:
    data = objects.read_bytes(uri)
    return None if data is None else data.decode()
