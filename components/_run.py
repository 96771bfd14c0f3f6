"""A run: what it was asked for, and what its tasks have made, below runs/RUN in the store. What one task has to tell the
next goes through here: Kubeflow keeps every parameter of every task several times in a status that may not exceed 1 MB."""

import os
from collections.abc import Mapping

from pydantic import BaseModel

from components.hardware import Hardware
from xlrm.errors import ArtifactError, ConfigError
from xlrm.run import steps
from xlrm.run.experiment import STAGES, Experiment
from xlrm.run.runner import Inputs
from xlrm.run.steps import Step, Steps
from xlrm.store import addresses, artifacts, objects

ID = "KFP_RUN_ID"
"""Environment variable with the run's id, which pipelines/platform.py and the local runner set."""


class Run(BaseModel, frozen=True, extra="forbid"):
    pipeline: str
    """cross-lingual-transfer or retrain."""
    experiment: Experiment
    hardware: Hardware = Hardware()
    """What its tasks run on."""

    def steps(self) -> Steps:
        return steps.steps(self.pipeline, self.experiment)

    def step(self, label: str) -> Step:
        """Raises ConfigError for one that this run does not have."""
        if not (found := self.steps().get(label)):
            raise ConfigError(f"{label}: no step of this run; there are {', '.join(self.steps())}")
        return found

    def labels(self, names: str) -> list[str]:
        """Of the steps with these labels, and of all steps of the stages with these names; commas between them. Raises
        ConfigError for what is neither."""
        made = self.steps()
        every = {name: [label for label in made if made[label].stage == name] for name in STAGES}
        return [
            label for name in names.split(",") for label in (every[name] if name in every else [self.step(name).label])
        ]


class Refused(BaseModel, frozen=True, extra="forbid"):
    """What a gate refused."""

    uri: str
    """Of the folder with what was computed."""
    reason: str


def folder(*parts: str) -> str:
    """Address of something of this run. Raises ConfigError outside of one."""
    if not (run := os.environ.get(ID)):
        raise ConfigError(f"{ID}: not set; a component is a task of a run, a single stage is `xlrm stage`")
    return objects.join(addresses.store(), "runs", run, *parts)


def begin(run: Run) -> None:
    objects.write(folder("run.json"), run.model_dump_json().encode())


def read() -> Run:
    """Raises ArtifactError where `configure` has not run."""
    where = folder("run.json")
    if (data := objects.read_bytes(where)) is None:
        raise ArtifactError(f"{where}: missing: the task `configure` writes it; is XLRM_STORE the same for all tasks?")
    return Run.model_validate_json(data)


def note_made(label: str, uri: str) -> None:
    objects.write(folder("made", label), uri.encode())


def note_refused(label: str, refused: Refused) -> None:
    objects.write(folder("refused", label), refused.model_dump_json().encode())


def made(label: str) -> str | None:
    """URI of a step's artifact, None where this run has none."""
    return _text(folder("made", label))


def refused(label: str) -> Refused | None:
    """What a step's gate refused, None where it refused nothing."""
    text = _text(folder("refused", label))
    return Refused.model_validate_json(text) if text else None


def inputs(step: Step, known: Mapping[str, str] | None = None) -> Inputs:
    """URIs of what a step takes, from `known` or else from what this run's tasks noted. Raises ArtifactError for one that is
    missing."""

    def uri(label: str) -> str:
        found = made(label) if known is None else known.get(label)
        if not found and known is None and step.shows_refusals and (kept := refused(label)):
            return artifacts.refused(kept.uri)
        if not found:
            raise ArtifactError(f"{step.label}: takes what {label} makes, and this run has nothing of that")
        return found

    return {name: uri(of) if isinstance(of, str) else [uri(one) for one in of] for name, of in step.inputs.items()}


def _text(uri: str) -> str | None:
    data = objects.read_bytes(uri)
    return None if data is None else data.decode()
