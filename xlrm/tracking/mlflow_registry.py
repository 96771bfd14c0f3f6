"""MLflow's registry of reward models: versions, their aliases, tags and files."""

import contextlib
import hashlib
import json
import posixpath
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xlrm.errors import ArtifactError, ConfigError
from xlrm.processes import locks
from xlrm.store import addresses, objects
from xlrm.store.objects import FileEntry
from xlrm.tracking import direct_store
from xlrm.tracking.mlflow_client import connected, nothing_yet, patiently
from xlrm.tracking.mlflow_runs import Run

FILES = "files.json"
"""File of a version with path, size and sha256 of its files: the only means to detect bytes that changed between store
and reader."""


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
    """All versions of all registered models, or of one: sorted by name, newest first."""
    result: list[Version] = []
    if nothing_yet():
        return result
    with connected() as client:
        for model in client.search_registered_models(f"name = '{name}'" if name else None, max_results=1000):
            by_version: dict[str, list[str]] = {}
            for alias, number in model.aliases.items():
                by_version.setdefault(str(number), []).append(alias)
            versions = client.search_model_versions(f"name = '{model.name}'")
            for record in sorted(versions, key=lambda record: -int(record.version)):
                aliases = tuple(sorted(by_version.get(str(record.version), ())))
                result.append(Version(model.name, str(record.version), aliases, dict(record.tags)))
    return result


def version(uri: str) -> Version:
    """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` names now.

    Raises ConfigError for a URI of another form, ArtifactError for a version that does not exist.
    """
    rest = uri.removeprefix("models:/")
    name, separator, which = rest.rpartition("@") if "@" in rest else rest.rpartition("/")
    if not (uri.startswith("models:/") and name and which):
        raise ConfigError("a registered model is written models:/NAME@ALIAS or models:/NAME/VERSION", value=uri)
    if nothing_yet():
        raise _no_such_model(uri)
    with connected() as client:
        from mlflow.exceptions import MlflowException

        get = client.get_model_version_by_alias if separator == "@" else client.get_model_version
        try:
            record = get(name, which)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise _no_such_model(uri) from None
            raise
    return Version(name, str(record.version), tuple(sorted(record.aliases)), dict(record.tags))


def _no_such_model(uri: str) -> ArtifactError:
    names = ", ".join(f"models:/{m.name}@{a}" for m in models() for a in m.aliases) or "none"
    where = addresses.shown(addresses.tracking_uri())
    return ArtifactError(f"no such registered model in {where}", where=uri, hint=f"there are {names}")


def add_version(name: str, folders: list[Path], tags: dict[str, str], description: str, run: Run) -> str:
    """Registers the files of `folders` as a new version of `name` and returns its number; a file in a later folder
    replaces one of the same name. The version appears only when all its files are stored.

    A logged model of plain files needs no temporary copy, and downloads as the same Hugging Face folder.
    """
    with connected() as client, patiently():
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

    with contextlib.suppress(MlflowException):  # exists already; any other problem shows up with the version
        client.create_registered_model(name)


def add_files(version: Version, folder: Path) -> None:
    """Stores further files with a version, replacing those of the same names."""
    with connected() as client, patiently():
        _send(client, client.get_logged_model(version.tags[_MODEL_ID]), folder)


def _send(client: Any, model: Any, folder: Path) -> None:
    from mlflow.environment_variables import MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE as LARGE

    if any(path.stat().st_size >= LARGE.get() for path in folder.rglob("*") if path.is_file()):
        direct_store.check_upload(model.artifact_location)
    client.log_model_artifacts(model.model_id, str(folder))


def tag(name: str, number: str, tags: dict[str, str]) -> None:
    with connected() as client:
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value)


def set_alias(name: str, number: str, alias: str) -> None:
    with connected() as client:
        client.set_registered_model_alias(name, alias, number)


def drop_alias(name: str, alias: str) -> None:
    with connected() as client:
        client.delete_registered_model_alias(name, alias)


def cached(uri: str) -> Path:
    """Local folder of a registered model, downloaded once for each version. A version with the same number but other
    files, as in a registry that was set up again, has another folder."""
    model = version(uri)
    address = hashlib.sha256(addresses.tracking_uri().encode()).hexdigest()[:8]
    files = model.tags.get("digest", "unknown")[:16]
    folder = addresses.home() / "cache" / "models" / address / model.name / files / model.number
    if _has_files(folder):
        return folder
    with locks.alone(folder.with_suffix(".lock"), f"fetching {model.uri}"):
        for left in folder.parent.glob(f"{folder.name}.*part"):  # by a process that was killed
            shutil.rmtree(left)
        if not _has_files(folder):
            shutil.rmtree(folder, ignore_errors=True)
            download(model.uri, folder.with_suffix(".part")).rename(folder)
    return folder


def has(version: Version, file: str) -> bool:
    """Whether a version has a file with the path `file`."""
    with connected():
        listed = direct_store.artifacts().list_artifacts(
            artifact_uri=f"{version.uri}/{posixpath.dirname(file)}".rstrip("/")
        )
    return file in [entry.path for entry in listed]


def download(uri: str, folder: Path, file: str = "") -> Path:
    """Downloads `models:/NAME@ALIAS` or `models:/NAME/VERSION`, or one `file` of it, into `folder`.

    Raises ConfigError for a URI of another form, ArtifactError for a model or file that does not exist, cannot be
    downloaded, or differs from what was registered.
    """
    model = version(uri)
    where = f"{model.uri}/{file}".rstrip("/")
    if file and not has(model, file):
        raise ArtifactError("no such file", where=where)
    with connected(), patiently():
        direct_store.check_download(model.uri, file)
        local = Path(direct_store.artifacts().download_artifacts(artifact_uri=where, dst_path=str(folder)))
    if not (local.is_file() or _has_files(local)):
        raise ArtifactError(
            f"MLflow has this version but none of its files, which should be at {_source(model)}", where=where
        )
    _check_files(model, local, file)
    return local


def _check_files(version: Version, local: Path, file: str) -> None:
    """Raises ArtifactError for files that differ from what was registered, if that is known. `local`: the folder of the
    version, or its one `file`."""
    if not file and (local / FILES).is_file():
        objects.verify_directory(local, _files(local / FILES), version.uri)
    elif file and file != FILES and has(version, FILES):
        with TemporaryDirectory() as folder:
            kept = [entry for entry in _files(download(version.uri, Path(folder), FILES)) if entry.path == file]
        if kept and objects.sha256_of(local) != kept[0].sha256:
            raise ArtifactError(
                f"corrupted: its sha256 differs from {FILES}", where=f"{version.uri}/{file}", hint="register it again"
            )


def _files(path: Path) -> list[FileEntry]:
    try:
        return [FileEntry(**fields) for fields in json.loads(path.read_bytes())]
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"not a list of files: {' '.join(str(error).split())[:200]}", where=path) from error


def _has_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))


def _source(version: Version) -> str:
    with connected() as client:
        return addresses.shown(client.get_model_version_download_uri(version.name, version.number))
