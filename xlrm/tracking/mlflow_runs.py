"""MLflow's runs: opens them, logs metrics to them, and closes those that a killed process left open."""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.processes import signals
from xlrm.store import addresses
from xlrm.tracking import moved_home
from xlrm.tracking.metric_keys import key
from xlrm.tracking.mlflow_client import connected, nothing_yet

if TYPE_CHECKING:
    from mlflow import MlflowClient


def _experiment_id(client: "MlflowClient", name: str) -> str:
    from mlflow.exceptions import MlflowException

    if injected := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return injected
    if experiment := client.get_experiment_by_name(name):
        return experiment.experiment_id
    location = None
    if addresses.database():  # a server knows where its artifacts go; a database does not
        location = (addresses.home() / moved_home.ARTIFACTS).as_uri()
    try:
        return client.create_experiment(name, artifact_location=location)
    except MlflowException:  # another task was faster
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return experiment.experiment_id


_DESCRIPTION = 8000
"""Characters in a tag, at most: MAX_TAG_VAL_LENGTH of mlflow.utils.validation."""


def shortened(text: str, length: int) -> str:
    """As many whole sections of a Markdown text as fit, and a line that says so if some do not."""
    if len(text) <= length:
        return text
    left = "\n\nThe other sections are in the artifact that the tag artifact_uri names.\n"
    kept = text[: length - len(left)]
    end = kept.rfind("\n## ")
    return (kept[:end] if end > 0 else kept).rstrip() + left


@dataclass
class Run:
    id: str

    def log(self, metrics: dict[str, float]) -> None:
        self._log((key(name), value, 0, 0) for name, value in metrics.items())

    def log_points(self, points: Sequence[Mapping[str, float]], without: Set[tuple[str, int]]) -> None:
        """Logs points of a training curve, each with a `step` and values by name. MLflow's page groups them as train/
        and heldout/ (names `heldout_...`). Keys and steps in `without` are left out."""
        now = int(time.time() * 1000)
        entries = (
            (key(f"heldout/{name[8:]}" if name.startswith("heldout_") else f"train/{name}"), value, now, int(point["step"]))
            for point in points for name, value in point.items() if name != "step"
        )  # fmt: skip
        self._log(entry for entry in entries if (entry[0], entry[3]) not in without)

    def describe(self, text: str) -> None:
        """Makes a Markdown text the description that MLflow's page of the run shows; a long one loses its last sections. An
        empty text changes nothing."""
        if text:
            with connected() as client:
                client.set_tag(self.id, "mlflow.note.content", shortened(text, _DESCRIPTION))

    def logged(self) -> set[tuple[str, int]]:
        """Keys and steps of the metrics that the run has."""
        with connected() as client:
            keys = client.get_run(self.id).data.metrics
            return {(name, point.step) for name in keys for point in client.get_metric_history(self.id, name)}

    def _log(self, points: Iterable[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        entries = [Metric(*values) for values in points]
        with connected() as client:
            for start in range(0, len(entries), 1000):  # the most that one call takes
                client.log_batch(self.id, metrics=entries[start : start + 1000])


_current: ContextVar[Run] = ContextVar("run")


def current_run() -> Run:
    """The run that the current stage logs to. Raises LookupError without one."""
    return _current.get()


def running() -> str | None:
    """Id of the run that the current stage logs to; None without one."""
    current = _current.get(None)
    return current.id if current else None


@contextlib.contextmanager
def run(
    experiment: str, name: str, params: dict[str, str], tags: dict[str, str], note: Path | None = None
) -> Iterator[Run]:
    """A run of an MLflow experiment. Joins the run that MLFLOW_RUN_ID names (Kubeflow Pipelines injects one into each
    task), else starts one, below the run XLRM_PARENT_RUN if that is set. After an error it is marked as failed, after a
    signal (`xlrm.processes.signals`) as killed. The file `note` names the run while it is open; a run that a killed
    process left there is closed first."""
    if note:
        close_left_open(note)
    injected = os.environ.get("MLFLOW_RUN_ID")
    if parent := os.environ.get("XLRM_PARENT_RUN"):
        tags = tags | {"mlflow.parentRunId": parent}
    with connected() as client:
        from mlflow.entities import Param, RunTag

        run_id = injected or client.create_run(_experiment_id(client, experiment), run_name=name).info.run_id
        if note and not injected:
            note.write_text(json.dumps({"mlflow": addresses.tracking_uri(), "run": run_id}, allow_nan=False))
        client.log_batch(
            run_id,
            params=[Param(key, value[:6000]) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
    close = _Closing(None if injected else run_id, note)
    opened = _current.set(Run(run_id))
    try:
        with signals.before_the_end(partial(close, "KILLED")):
            yield Run(run_id)
    except BaseException as error:
        try:
            close("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        except ArtifactError as why:  # must not hide the original error
            progress.say(f"{name}: its MLflow run stays open: {why}")
        raise
    finally:
        _current.reset(opened)
    close("FINISHED")


@dataclass
class _Closing:
    """Closes a run, once."""

    run_id: str | None
    note: Path | None
    begun: bool = False

    def __call__(self, status: str) -> None:
        if self.begun or not self.run_id:
            return
        self.begun = True
        with connected() as client:
            client.set_terminated(self.run_id, status)
        if self.note:
            self.note.unlink(missing_ok=True)


def close_left_open(note: Path, finished: str | None = None) -> None:
    """Closes the run that the file `note` names, if it is still open: as finished if its id is `finished`, else as
    killed."""
    try:
        left = json.loads(note.read_text())
    except (OSError, ValueError):  # none, or only partly written
        return
    if left["mlflow"] == addresses.tracking_uri():
        status = "FINISHED" if left["run"] == finished else "KILLED"
        with contextlib.suppress(ArtifactError), connected() as client:  # a run that this MLflow does not know any more
            if client.get_run(left["run"]).info.status == "RUNNING":
                client.set_terminated(left["run"], status)
                progress.say(f"MLflow: closed run {left['run']} of a killed process as {status}")
    note.unlink(missing_ok=True)


def knows_run(run_id: str) -> bool:
    """Whether this MLflow has a run with that id."""
    from mlflow.exceptions import MlflowException

    if nothing_yet():
        return False
    with connected() as client:
        try:
            return bool(client.get_run(run_id))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise


def kubeflow_tags(run: Run) -> dict[str, str]:
    """Tags that identify the current Kubeflow run: KFP_RUN_ID, and the tags that Kubeflow Pipelines' own MLflow plugin
    wrote to the run that it injects, or to that run's parent."""
    from_env = {"kfp.pipeline_run_id": os.environ["KFP_RUN_ID"]} if os.environ.get("KFP_RUN_ID") else {}
    with connected() as client:
        tags = client.get_run(run.id).data.tags
        if parent := tags.get("mlflow.parentRunId"):
            tags = client.get_run(parent).data.tags | tags
    return {key: value for key, value in tags.items() if key.startswith("kfp.")} | from_env
