"""MLflow: runs, metrics and the registry of reward models. The only module that imports mlflow."""

import contextlib
import hashlib
import logging
import os
import posixpath
import re
import shutil
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xlrm import progress, settings
from xlrm.errors import ArtifactError, ConfigError
from xlrm.metric_keys import key

DIRECT_DOWNLOAD, DIRECT_UPLOAD = "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"
"""Variables of MLflow's client. Unset, it takes what a server of 3.17 advertises, presigned addresses of the store, which those
outside the server's network do not reach (mlflow/store/artifact/mlflow_artifacts_repo.py)."""
ANSWER_SECONDS = 10
"""How long such an address may take to answer. MLflow's client would try a download for minutes and an upload for ever."""


def _client():
    os.environ.setdefault("MLFLOW_ENABLE_TELEMETRY", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in (DIRECT_DOWNLOAD, DIRECT_UPLOAD):
        os.environ[name] = os.environ.get(name) or "false"
    if progress.bars_hidden():
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    uri = settings.tracking_uri()
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with _absent("pandas"):
        from mlflow import MlflowClient

        for handler in logging.getLogger("mlflow").handlers:
            handler.addFilter(_without_queries)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextlib.contextmanager
def _mlflow() -> Iterator[Any]:
    """MLflow's client. Raises ArtifactError, in one line, for what it refuses or does not answer."""
    client = _client()
    from mlflow.exceptions import MlflowException

    try:
        yield client
    except (MlflowException, OSError) as error:  # those of requests are OSErrors
        raise _failed(error) from None  # what it is from may name the server with its password


def _failed(error: Exception) -> ArtifactError:
    said = _shown(" ".join(str(error).split()))[:500]
    hint = "; is MLFLOW_TRACKING_URI right, and does the server run?" if "failed with exception" in said else ""
    return ArtifactError(f"MLflow, {settings.shown(settings.tracking_uri())}: {said}{hint}")


def _shown(text: str) -> str:
    """`text` without passwords and without the queries of URLs: a presigned one opens the store to who reads it."""
    return re.sub(r"\?[^\s'\"<>]*=[^\s'\"<>)]*", "", settings.shown(text))


def _without_queries(record: logging.LogRecord) -> bool:
    record.msg, record.args = _shown(record.getMessage()), ()
    return True


@contextlib.contextmanager
def _patiently() -> Iterator[None]:
    """For files: a server says nothing while it passes gigabytes on to or from its store. After MLflow's usual two minutes
    its client would send all of them again, and at last give up."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name)
    os.environ[name] = before or "3600"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


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
    id: str

    def log(self, metrics: dict[str, float]) -> None:
        """Under the key of each name (`xlrm.metric_keys`)."""
        from mlflow.entities import Metric

        entries = [Metric(key(name), value, 0, 0) for name, value in metrics.items()]
        with _mlflow() as client:
            for start in range(0, len(entries), 1000):  # the most that one call takes
                client.log_batch(self.id, metrics=entries[start : start + 1000])


_current: ContextVar[Run] = ContextVar("run")


def current_run() -> Run:
    """The run that the stage at work logs to."""
    return _current.get()


@contextlib.contextmanager
def run(experiment: str, name: str, params: dict[str, str], tags: dict[str, str]) -> Iterator[Run]:
    """A run of an MLflow experiment. Joins the run that MLFLOW_RUN_ID names (Kubeflow Pipelines injects one
    into each task), else starts one, under the run XLRM_PARENT_RUN where that is set. Marked failed on any error."""
    injected = os.environ.get("MLFLOW_RUN_ID")
    if parent := os.environ.get("XLRM_PARENT_RUN"):
        tags = tags | {"mlflow.parentRunId": parent}
    with _mlflow() as client:
        from mlflow.entities import Param, RunTag

        run_id = injected or client.create_run(_experiment_id(client, experiment), run_name=name).info.run_id
        client.log_batch(
            run_id,
            params=[Param(key, value[:6000]) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
    status = "FAILED"
    opened = _current.set(Run(run_id))
    try:
        yield Run(run_id)
        status = "FINISHED"
    finally:
        _current.reset(opened)
        if not injected:
            with _mlflow() as client:
                client.set_terminated(run_id, status)


@dataclass(frozen=True)
class Version:
    """A registered reward model."""

    name: str
    number: str
    aliases: tuple[str, ...]
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.number}"

    @property
    def metrics(self) -> dict[str, float]:
        return {k.removeprefix(_METRIC): float(v) for k, v in self.tags.items() if k.startswith(_METRIC)}


_METRIC, _MODEL_ID = "metric.", "model_id"


def models(name: str | None = None) -> list[Version]:
    """All versions of all registered models, or of one: by name, the newest first."""
    found = []
    with _mlflow() as client:
        for model in client.search_registered_models(f"name = '{name}'" if name else None, max_results=1000):
            by_version: dict[str, list[str]] = {}
            for alias, number in model.aliases.items():
                by_version.setdefault(str(number), []).append(alias)
            versions = client.search_model_versions(f"name = '{model.name}'")
            for one in sorted(versions, key=lambda one: -int(one.version)):
                aliases = tuple(sorted(by_version.get(str(one.version), ())))
                found.append(Version(model.name, str(one.version), aliases, dict(one.tags)))
    return found


def version(uri: str) -> Version:
    """The one that `models:/NAME@ALIAS` or `models:/NAME/VERSION` is now.

    Raises ConfigError for a URI of another form, ArtifactError for a version that is not there."""
    rest = uri.removeprefix("models:/")
    name, separator, which = rest.rpartition("@") if "@" in rest else rest.rpartition("/")
    if not (uri.startswith("models:/") and name and which):
        raise ConfigError(f"{uri!r}: a registered model is written models:/NAME@ALIAS or models:/NAME/VERSION")
    with _mlflow() as client:
        from mlflow.exceptions import MlflowException

        get = client.get_model_version_by_alias if separator == "@" else client.get_model_version
        try:
            found = get(name, which)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise _no_such_model(uri) from None
            raise
    return Version(name, str(found.version), tuple(sorted(found.aliases)), dict(found.tags))


def _no_such_model(uri: str) -> ArtifactError:
    names = ", ".join(f"models:/{m.name}@{a}" for m in models() for a in m.aliases) or "none"
    return ArtifactError(f"{uri}: no such registered model; there are: {names}")


def add_version(name: str, folders: list[Path], tags: dict[str, str], description: str, run: Run) -> str:
    """Registers the files of `folders`, of which a later one's count, as a new version of `name`, and returns its number. It
    is there when all its files are.

    A logged model of plain files needs no temporary copy and comes back as the Hugging Face folder it is.
    """
    with _mlflow() as client, _patiently():
        from mlflow.entities import LoggedModelStatus

        _name_there(client, name)
        experiment = client.get_run(run.id).info.experiment_id
        model = client.create_logged_model(experiment, name=name, source_run_id=run.id, tags=tags)
        for folder in folders:
            _send(client, model, folder)
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        made = client.create_model_version(
            name, model.artifact_location, run_id=run.id, tags=tags | {_MODEL_ID: model.model_id},
            model_id=model.model_id, description=description[:5000],
        )  # fmt: skip
    return str(made.version)


def _name_there(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # there already; another reason comes up with the version
        client.create_registered_model(name)


def add_files(version: Version, folder: Path) -> None:
    """Stores further files with a version, in the place of those of the same names."""
    with _mlflow() as client, _patiently():
        _send(client, client.get_logged_model(version.tags[_MODEL_ID]), folder)


def _send(client: Any, model: Any, folder: Path) -> None:
    from mlflow.environment_variables import MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE as LARGE

    if any(path.stat().st_size >= LARGE.get() for path in folder.rglob("*") if path.is_file()):
        _check_upload(model.artifact_location)
    client.log_model_artifacts(model.model_id, str(folder))


def _check_upload(location: str) -> None:
    """Raises ArtifactError where large files go to MLflow's store directly, and its address does not answer."""
    from requests import HTTPError

    if store := _direct_store(location, DIRECT_UPLOAD):
        with contextlib.suppress(HTTPError):  # a server without such addresses, which MLflow's client sees to
            begun = store.create_multipart_upload("probe")
            with contextlib.suppress(HTTPError):  # an upload that is left over says nothing of the address
                store.abort_multipart_upload("probe", begun.upload_id)
            _check_answer(begun.credentials[0].url, DIRECT_UPLOAD)  # an aborted upload's address answers too


def tag(name: str, number: str, tags: dict[str, str]) -> None:
    with _mlflow() as client:
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value)


def set_alias(name: str, number: str, alias: str) -> None:
    with _mlflow() as client:
        client.set_registered_model_alias(name, alias, number)


def drop_alias(name: str, alias: str) -> None:
    with _mlflow() as client:
        client.delete_registered_model_alias(name, alias)


def kubeflow_tags(run: Run) -> dict[str, str]:
    """Names of the Kubeflow run at work: KFP_RUN_ID, and what Kubeflow Pipelines' own MLflow plugin has written to the run
    that it injects, or to the one above that."""
    found = {"kfp.pipeline_run_id": os.environ["KFP_RUN_ID"]} if os.environ.get("KFP_RUN_ID") else {}
    with _mlflow() as client:
        tags = client.get_run(run.id).data.tags
        if parent := tags.get("mlflow.parentRunId"):
            tags = client.get_run(parent).data.tags | tags
    return {key: value for key, value in tags.items() if key.startswith("kfp.")} | found


def cached(uri: str) -> Path:
    """A local folder of a registered model, fetched once a version. A version of the same number with other files, as a
    registry that was set up again has, is another."""
    found = version(uri)
    address = hashlib.sha256(settings.tracking_uri().encode()).hexdigest()[:8]
    files = found.tags.get("digest", "unknown")[:16]
    folder = settings.home() / "cache" / "models" / address / found.name / files / found.number
    if not folder.is_dir():
        temporary = folder.with_name(f"{found.number}.{os.getpid()}.part")
        download(found.uri, temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            shutil.rmtree(temporary)  # another process was faster
    return folder


def has(version: Version, file: str) -> bool:
    """Whether `file`, by its path in the version, was stored with it."""
    with _mlflow():
        listed = _artifacts().list_artifacts(artifact_uri=f"{version.uri}/{posixpath.dirname(file)}".rstrip("/"))
    return file in [one.path for one in listed]


def download(uri: str, folder: Path, file: str = "") -> Path:
    """Fetches `models:/NAME@ALIAS` or `models:/NAME/VERSION`, or one `file` of it, into `folder`.

    Raises ConfigError for a URI of another form, ArtifactError for a model or a file that is not there or does not come.
    """
    found = version(uri)
    where = f"{found.uri}/{file}".rstrip("/")
    if file and not has(found, file):
        raise ArtifactError(f"{where}: no such file")
    with _mlflow(), _patiently():
        _check_download(found.uri, file)
        return Path(_artifacts().download_artifacts(artifact_uri=where, dst_path=str(folder)))


def _check_download(uri: str, file: str) -> None:
    """Raises ArtifactError where files come from MLflow's store directly, and its address does not answer."""
    from requests import HTTPError

    if store := _direct_store(uri, DIRECT_DOWNLOAD):
        name = file or next((one.path for one in store.list_artifacts() if not one.is_dir), "MLmodel")
        with contextlib.suppress(HTTPError):
            _check_answer(store._get_presigned_download_url(name).url, DIRECT_DOWNLOAD)


def _direct_store(uri: str, variable: str) -> Any:
    """MLflow's artifacts at `uri`, where its server has them and the variable says that files do not pass through it."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    if os.environ[variable].lower() not in ("true", "1"):
        return None
    _artifacts()  # says to MLflow where its server is
    store = get_artifact_repository(uri)
    store = getattr(store, "repo", store)  # of models:/
    return store if isinstance(store, MlflowArtifactsRepository) else None


def _check_answer(url: str, variable: str) -> None:
    """Any answer will do, a refusal too."""
    import requests
    from mlflow.environment_variables import MLFLOW_S3_IGNORE_TLS

    options = {"timeout": ANSWER_SECONDS, "stream": True, "allow_redirects": False}
    try:
        requests.get(url, headers={"Range": "bytes=0-0"}, verify=not MLFLOW_S3_IGNORE_TLS.get(), **options).close()
    except requests.RequestException as error:
        where = urlsplit(url)
        host = f"{where.hostname}:{where.port}" if where.port else where.hostname
        raise ArtifactError(
            f"MLflow, {settings.shown(settings.tracking_uri())}: {host}, the address of its store, does not answer here "
            f"within {ANSWER_SECONDS} s ({type(error).__name__}); {variable}=false sends files through MLflow"
        ) from None


def _artifacts() -> Any:
    import mlflow

    mlflow.set_tracking_uri(settings.tracking_uri())
    mlflow.set_registry_uri(settings.tracking_uri())
    return mlflow.artifacts
