"""MLflow's registry of reward models: versions, their aliases, tags and files."""

import contextlib
import hashlib
import posixpath
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError
from xlrm.processes import locks
from xlrm.store import addresses, objects
from xlrm.store.artifacts import FileEntry
from xlrm.tracking import direct_store, version_files
from xlrm.tracking.mlflow_client import connected, nothing_yet, patiently
from xlrm.tracking.mlflow_runs import Run
from xlrm.tracking.version_files import FILES

_MODEL = "config.json"
"""A file that every model has."""


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
    replaces one of the same name. The version appears only when all its files are stored, and have been read back and
    compared with their list (`xlrm.tracking.version_files`). Raises ArtifactError for a file that differs.

    A logged model of plain files needs no temporary copy, and downloads as the same Hugging Face folder.
    """
    with connected() as client, patiently():
        from mlflow.entities import LoggedModelStatus

        _name_there(client, name)
        experiment = client.get_run(run.id).info.experiment_id
        model = client.create_logged_model(experiment, name=name, source_run_id=run.id, tags=tags)
        files = {version_files.TAG: _send(client, model, folders, {})}
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        made = client.create_model_version(
            name, model.artifact_location, run_id=run.id, tags=tags | files | {_MODEL_ID: model.model_id},
            model_id=model.model_id, description=description[:5000],
        )  # fmt: skip
    return str(made.version)


def _name_there(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # exists already; any other problem shows up with the version
        client.create_registered_model(name)


def add_files(registered: Version, folder: Path) -> None:
    """Stores further files with a version, replacing those of the same names, as `add_version` does."""
    with connected() as client, patiently():
        current = version(registered.uri)
        model = client.get_logged_model(current.tags[_MODEL_ID])
        if not (known := _entries(current)):  # registered before files were listed
            client.log_model_artifacts(model.model_id, str(folder))
            return
        digest = _send(client, model, [folder], known)
        client.set_model_version_tag(current.name, current.number, version_files.TAG, digest)


def _send(client: Any, model: Any, folders: list[Path], known: dict[str, FileEntry]) -> str:
    """Uploads the files of `folders`, and then the list of these and of those that are `known`, and checks what it
    uploaded in the store. Returns the list's digest."""
    from mlflow.environment_variables import MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE as LARGE

    sent = version_files.listed(folders)
    if any(entry.size >= LARGE.get() for entry in sent.values()):
        direct_store.check_upload(model.artifact_location)
    for folder in folders:
        client.log_model_artifacts(model.model_id, str(folder))
    with TemporaryDirectory() as temporary:
        digest = version_files.write(Path(temporary), (known | sent).values())
        client.log_model_artifacts(model.model_id, temporary)
        sent |= version_files.listed([Path(temporary)])
    _check_stored(model.artifact_location, sent)
    return digest


def _check_stored(location: str, sent: dict[str, FileEntry]) -> None:
    """Raises ArtifactError if a file that was uploaded to `location` differs from its entry: a server may have cut it
    off, or a disk changed it. Files of a remote store are downloaded one at a time."""
    where, remedy = addresses.shown(location), "it was not stored as it was sent; run the stage again"
    if location.startswith("file://"):
        if (folder := objects.local_path(location)) is not None:
            objects.verify_directory(folder, sent.values(), where, remedy)
        return
    direct_store.check_download(location, FILES)
    for path, entry in sent.items():
        with TemporaryDirectory() as temporary:
            local = Path(direct_store.artifacts().download_artifacts(f"{location}/{path}", dst_path=temporary))
            version_files.check_file(local, path, {path: entry}, where)


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
    """Local folder of a registered model, downloaded once for each version and checked at every call; one that has
    changed is downloaded again. A version with the same number but other files, as in a registry that was set up again,
    has another folder."""
    model = version(uri)
    address = hashlib.sha256(addresses.tracking_uri().encode()).hexdigest()[:8]
    files = model.tags.get("digest", "unknown")[:16]
    folder = addresses.home() / "cache" / "models" / address / model.name / files / model.number
    with locks.alone(folder.with_suffix(".lock"), f"fetching {model.uri}"):
        for left in folder.parent.glob(f"{folder.name}.*part"):  # by a process that was killed
            shutil.rmtree(left)
        if not _is_whole(model, folder):
            shutil.rmtree(folder, ignore_errors=True)
            download(model.uri, folder.with_suffix(".part")).rename(folder)
    return folder


def _is_whole(model: Version, folder: Path) -> bool:
    """Whether a folder has the files of a version, unchanged."""
    if not _has_files(folder):
        return False
    try:
        version_files.check_folder(folder, model.uri, model.tags.get(version_files.TAG))
    except ArtifactError as error:
        progress.say(f"{folder}: fetched again: {error}")
        return False
    return True


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
    if file:
        _check_file(model, local, file)
        return local
    if not _has_files(local):
        raise ArtifactError(
            f"MLflow has this version but none of its files, which should be at {_source(model)}", where=where
        )
    version_files.check_folder(local, model.uri, model.tags.get(version_files.TAG))
    if not (local / _MODEL).is_file():
        raise ArtifactError(f"no model: there is no {_MODEL} at {_source(model)}", where=where)
    return local


def _check_file(model: Version, local: Path, file: str) -> None:
    """Raises ArtifactError if a version's `file`, downloaded to `local`, differs from what was registered."""
    if file == FILES:
        version_files.read(local, model.uri, model.tags.get(version_files.TAG))
    elif entries := _entries(model):
        version_files.check_file(local, file, entries, model.uri)


def _entries(model: Version) -> dict[str, FileEntry]:
    """Path -> entry of a version's files; empty for one that was registered without a list. Raises ArtifactError."""
    digest = model.tags.get(version_files.TAG)
    if not digest and not has(model, FILES):
        version_files.say_unchecked(model.uri)
        return {}
    with TemporaryDirectory() as folder:
        return version_files.read(download(model.uri, Path(folder), FILES), model.uri, digest)


def _has_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))


def _source(version: Version) -> str:
    with connected() as client:
        return addresses.shown(client.get_model_version_download_uri(version.name, version.number))
