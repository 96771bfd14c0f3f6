"""MLflow: runs, metrics and the registry of reward models. The only module that imports mlflow."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from xlrm import progress, settings
from xlrm.errors import ArtifactError, ConfigError


def _client():
    os.environ.setdefault("MLFLOW_ENABLE_TELEMETRY", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if progress.bars_hidden():
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    uri = settings.tracking_uri()
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with _absent("pandas"):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextlib.contextmanager
def _absent(library: str) -> Iterator[None]:
    """Passes for not installed, so that MLflow leaves out what it would do with it: a third of its import's time."""
    if library in sys.modules:
        yield
        return
    sys.modules[library] = None
    try:
        yield
    finally:
        del sys.modules[library]


def _experiment_id(client, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if injected := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return injected
    if found := client.get_experiment_by_name(name):
        return found.experiment_id
    location = None
    if settings.tracking_uri().startswith("sqlite:///"):  # a server knows where its artifacts go; a database does not
        location = (settings.home() / "mlartifacts").as_uri()
    try:
        return client.create_experiment(name, artifact_location=location)
    except MlflowException:  # another task was faster
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


@dataclass
class Run:
    client: object
    id: str

    def log(self, metrics: dict[str, float]) -> None:
        from mlflow.entities import Metric

        entries = [Metric(name, value, 0, 0) for name, value in metrics.items()]
        for start in range(0, len(entries), 1000):  # the most that one call takes
            self.client.log_batch(self.id, metrics=entries[start : start + 1000])


_current: ContextVar[Run] = ContextVar("run")


def current_run() -> Run:
    """The run that the stage at work logs to."""
    return _current.get()


@contextlib.contextmanager
def run(experiment: str, name: str, params: dict[str, str], tags: dict[str, str]) -> Iterator[Run]:
    """A run of an MLflow experiment. Joins the run that MLFLOW_RUN_ID names (Kubeflow Pipelines injects one
    into each task), else starts one, under the run XLRM_PARENT_RUN where that is set. Marked failed on any error."""
    client = _client()
    from mlflow.entities import Param, RunTag

    injected = os.environ.get("MLFLOW_RUN_ID")
    if parent := os.environ.get("XLRM_PARENT_RUN"):
        tags = tags | {"mlflow.parentRunId": parent}
    run_id = injected or client.create_run(_experiment_id(client, experiment), run_name=name).info.run_id
    client.log_batch(
        run_id,
        params=[Param(key, value[:6000]) for key, value in params.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    status = "FAILED"
    opened = _current.set(Run(client, run_id))
    try:
        yield Run(client, run_id)
        status = "FINISHED"
    finally:
        _current.reset(opened)
        if not injected:
            client.set_terminated(run_id, status)


@dataclass(frozen=True)
class RegisteredModel:
    name: str
    version: str
    aliases: tuple[str, ...]
    metrics: dict[str, float]


def register(name: str, folder: Path, digest: str, alias: str, metrics: dict[str, float], run: Run) -> str:
    """Registers a model folder as a new version of `name` under `alias`, and returns the version.

    The version that holds the same files (`digest`) already is used again, so that a repeated stage adds none.
    """
    client = run.client
    existing = client.search_registered_models(f"name = '{name}'")
    if not existing:
        client.create_registered_model(name)
    same = [v for v in client.search_model_versions(f"name = '{name}'") if v.tags.get("digest") == digest]
    version = same[0].version if same else _new_version(name, folder, digest, metrics, run)
    client.set_registered_model_alias(name, alias, version)
    return version


def _new_version(name: str, folder: Path, digest: str, metrics: dict[str, float], run: Run) -> str:
    """A logged model of plain files needs no temporary copy and comes back as the Hugging Face folder it is."""
    from mlflow.entities import LoggedModelStatus

    client = run.client
    experiment = client.get_run(run.id).info.experiment_id
    model = client.create_logged_model(experiment, name=name, source_run_id=run.id, tags={"digest": digest})
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    tags = {"digest": digest} | {f"metric.{key}": f"{value:.4f}" for key, value in metrics.items()}
    return client.create_model_version(
        name, model.artifact_location, run_id=run.id, tags=tags, model_id=model.model_id
    ).version


def models() -> list[RegisteredModel]:
    client = _client()
    found = []
    for model in client.search_registered_models():
        by_version: dict[str, list[str]] = {}
        for alias, version in model.aliases.items():
            by_version.setdefault(str(version), []).append(alias)
        for version, aliases in by_version.items():
            tags = client.get_model_version(model.name, version).tags
            metrics = {k.removeprefix("metric."): float(v) for k, v in tags.items() if k.startswith("metric.")}
            found.append(RegisteredModel(model.name, version, tuple(aliases), metrics))
    return found


def cached(uri: str) -> Path:
    """A local folder of a registered model, fetched once a version."""
    from mlflow.exceptions import MlflowException

    name, at, alias = uri.removeprefix("models:/").partition("@")
    client = _client()
    try:
        version = client.get_model_version_by_alias(name, alias).version if at else name.rpartition("/")[2]
    except MlflowException as error:
        raise _no_such_model(uri) from error
    name = name if at else name.rpartition("/")[0]
    address = hashlib.sha256(settings.tracking_uri().encode()).hexdigest()[:8]
    folder = settings.home() / "cache" / "models" / address / name / str(version)
    if not folder.is_dir():
        temporary = folder.with_name(f"{version}.{os.getpid()}.part")
        download(f"models:/{name}/{version}", temporary)
        with contextlib.suppress(FileExistsError, OSError):  # another process was faster
            temporary.rename(folder)
    return folder


def _no_such_model(uri: str) -> ArtifactError:
    names = ", ".join(f"models:/{m.name}@{a}" for m in models() for a in m.aliases) or "none"
    return ArtifactError(f"{uri}: no such registered model; there are: {names}")


def download(uri: str, folder: Path) -> Path:
    """Fetches `models:/NAME@ALIAS` or `models:/NAME/VERSION` into `folder`.

    Raises ConfigError for a URI of another form, ArtifactError for a model that is not there.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    if not uri.startswith("models:/"):
        raise ConfigError(f"{uri!r}: a registered model is written models:/NAME@ALIAS or models:/NAME/VERSION")
    _client()
    mlflow.set_tracking_uri(settings.tracking_uri())
    mlflow.set_registry_uri(settings.tracking_uri())
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except MlflowException as error:
        raise _no_such_model(uri) from error
