"""Models by name. Only this module knows the forms of a name, which are the same in every stage and command:

| form | what it names |
|---|---|
| /models/llama, ./llama | a folder of this machine |
| models:/NAME@ALIAS, models:/NAME/VERSION | a registered model |
| file:///store/reward/KEY, s3://bucket/store/reward/KEY | an artifact |
| s3://bucket/prefix | the files of a model in a bucket |
| OWNER/NAME, OWNER/NAME@REVISION | a model of the Hugging Face Hub |

What a name stands for may change. `version` identifies what it stands for now, for the keys of artifacts.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xlrm.errors import ArtifactError, ConfigError
from xlrm.processes import locks
from xlrm.store import addresses, artifacts, hub, objects, weight_files
from xlrm.store.objects import Stored

ALLOWED = (
    "a folder, models:/NAME@ALIAS, models:/NAME/VERSION, the URI of an artifact, s3://bucket/prefix and "
    "OWNER/NAME[@REVISION] of the Hub are allowed"
)
CONFIG = "config.json"
REGISTERED = "models:/"
_STORED = re.compile(r"file:///|s3://[\w.-]")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


@dataclass(frozen=True)
class _Folder:
    path: Path

    def version(self, subfolder: str | None = None) -> str:
        with _readable(self.path):
            return hub.folder_digest(self.fetch(subfolder))

    def fetch(self, subfolder: str | None = None) -> Path:
        if not os.path.isdir(self.path):
            message = "a file, not a folder" if os.path.isfile(self.path) else "no such folder"
            raise ArtifactError(message, where=self.path, hint=ALLOWED)
        return _inner(self.path, subfolder)

    def file(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


@dataclass(frozen=True)
class _Registered:
    uri: str

    def version(self, subfolder: str | None = None) -> str:
        """Digest of the version's files if this project registered it, else of registry, name and number."""
        from xlrm.tracking import mlflow_registry

        model = mlflow_registry.version(self.uri)
        named = f"{addresses.shown(addresses.tracking_uri())} {model.uri}"
        return model.tags.get("digest") or hashlib.sha256(named.encode()).hexdigest()

    def fetch(self, subfolder: str | None = None) -> Path:
        from xlrm.tracking import mlflow_registry

        return _inner(mlflow_registry.cached(self.uri), subfolder)

    def file(self, name: str) -> bytes:
        from xlrm.tracking import mlflow_registry

        with TemporaryDirectory() as folder:
            return mlflow_registry.download(self.uri, Path(folder), name).read_bytes()


@dataclass(frozen=True)
class _Stored:
    """An artifact, or files of a model at a URI that is none."""

    uri: str

    def version(self, subfolder: str | None = None) -> str:
        if record := artifacts.find(self.uri):
            return record.digest
        if folder := self._folder():
            return folder.version(subfolder)
        return _listed(self.uri, self._files())

    def fetch(self, subfolder: str | None = None) -> Path:
        cache = addresses.home() / "cache"
        if artifacts.find(self.uri):
            return _inner(artifacts.fetch(self.uri, cache), subfolder)
        if folder := self._folder():
            return folder.fetch(subfolder)
        return _inner(self._downloaded(cache), subfolder)

    def file(self, name: str) -> bytes:
        if artifacts.find(self.uri) or objects.local_path(self.uri):
            return (self.fetch() / name).read_bytes()
        data = objects.read_bytes(objects.join(self.uri, name))
        if data is None:
            raise ArtifactError(f"no {name}", where=self.uri, hint=ALLOWED)
        return data

    def _folder(self) -> _Folder | None:
        path = objects.local_path(self.uri)
        if path and not path.is_dir():
            raise ArtifactError("neither an artifact nor a folder", where=self.uri, hint=ALLOWED)
        return _Folder(path) if path else None

    def _files(self) -> list[Stored]:
        names = [(file, _below(self.uri, file)) for file in objects.list_files(self.uri)]
        if not (files := [file for file, name in names if hub.is_of_a_model(name)]):
            raise ArtifactError("neither an artifact nor files of a model", where=self.uri, hint=ALLOWED)
        return files

    def _downloaded(self, cache: Path) -> Path:
        files = self._files()
        version = _listed(self.uri, files)
        with locks.alone(cache / f"{version}.lock", f"fetching {self.uri}"):
            objects.download_unlisted(self.uri, files, cache / version)
        if _listed(self.uri, self._files()) != version:
            raise ArtifactError("changed while it was downloaded", where=self.uri, hint="run it again")
        return cache / version


@dataclass(frozen=True)
class _OnHub:
    repository: str
    revision: str | None

    @property
    def entry(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else self.repository

    def version(self, subfolder: str | None = None) -> str:
        return hub.model_commit(self.repository, self.revision)

    def fetch(self, subfolder: str | None = None) -> Path:
        return hub.whole_model(self.repository, self.revision, subfolder)

    def file(self, name: str) -> bytes:
        return (hub.model_folder(self.entry, [name]) / name).read_bytes()


def folder(name: str, revision: str | None = None, subfolder: str | None = None) -> Path:
    """A folder of this machine with the model's files, downloaded if necessary. `revision`: of a Hub model without one
    in its name; `subfolder`: where a repository with several models has this one.

    Raises ConfigError, with the name as value, for a name of another form; ArtifactError, with the name as its place,
    for what is unavailable and for what is no model.
    """
    path = _find(name, revision).fetch(subfolder)
    check(path, name)
    return path


def copy(name: str, revision: str | None, output: Path) -> None:
    """Copies the model's files, without others in its folder, into `output`. Raises the errors of `folder`."""
    model = _find(name, revision)
    if isinstance(model, _OnHub):
        hub.download_model(model.repository, model.revision, output)
    else:
        source = model.fetch()
        with _readable(source):
            for path in hub.files_beside(source):
                relative = path.relative_to(source)
                if hub.is_of_a_model(relative.as_posix()):
                    (output / relative).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, output / relative)
    check(output, name)


def version(name: str, revision: str | None = None, subfolder: str | None = None) -> str:
    """Identifies the model that the name stands for now: a digest of its files, or the commit on the Hub. Downloads no
    weights. Raises ConfigError for a name of another form, and ArtifactError for one that names nothing."""
    return _find(name, revision).version(subfolder)


def pinned(name: str, revision: str | None = None) -> tuple[str, str | None]:
    """Name and revision that will always stand for what they stand for now. A folder and a URI stay as they are. Raises
    ArtifactError for a name that names nothing."""
    model = _find(name, revision)
    if isinstance(model, _OnHub):
        return model.repository, model.version()
    if isinstance(model, _Registered):
        from xlrm.tracking import mlflow_registry

        return mlflow_registry.version(model.uri).uri, revision
    return name, revision


def config(name: str, revision: str | None = None, subfolder: str | None = None) -> dict[str, Any]:
    """The model's config.json, read without its weights. Raises ConfigError, ArtifactError, OSError and ValueError."""
    file = f"{subfolder}/{CONFIG}" if subfolder else CONFIG
    return json.loads(_find(name, revision).file(file).decode("utf-8"))


def check_form(name: str) -> None:
    """Raises ConfigError, with the name as value, for a name of a form that is not allowed."""
    _find(name, None)


def is_folder(name: str) -> bool:
    """Whether the name is a folder's, which may be missing on this machine."""
    return name.startswith(("/", ".", "~")) or os.path.isdir(name)


def is_on_hub(name: str) -> bool:
    return not is_folder(name) and bool(_HUB_ID.fullmatch(split(name)[0]))


def is_artifact(name: str) -> bool:
    """Whether the name is the URI of an artifact. Raises ArtifactError if the store does not answer."""
    return bool(_STORED.match(name)) and artifacts.find(name) is not None


def split(name: str) -> tuple[str, str | None]:
    """The name without a revision of the Hub, and the revision. A name that ends in @ has none, and no allowed form."""
    if name.startswith(REGISTERED) or "://" in name or os.path.exists(name):
        return name, None
    place, _, revision = name.partition("@")
    return (place, revision) if revision else (name, None)


def check(path: Path, name: str) -> None:
    """Raises ArtifactError, with the name as its place, for a folder that lacks what every model has: config.json, and all
    its weights in safetensors, whole by the headers of their files."""
    if not (path / CONFIG).is_file():
        raise ArtifactError(f"not a model: no {CONFIG}", where=name, hint=ALLOWED)
    if not ((path / _WEIGHTS).is_file() or (path / _INDEX).is_file()):
        pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
        other = f", only {pickles[0]}, which is not loaded" if pickles else ""
        raise ArtifactError(
            f"not a model: no weights in safetensors{other}", where=name,
            hint=f"save_pretrained of transformers writes them: {_WEIGHTS}, or several files and {_INDEX}",
        )  # fmt: skip
    files = [path / file for file in _shards(path, name) or [_WEIGHTS]]
    if missing := [file.name for file in files if not file.is_file()]:
        raise ArtifactError(
            f"incomplete: {missing[0]} of {len(missing)} missing files of weights", where=name, hint="copy it again"
        )
    for file in files:
        if fault := weight_files.fault(file):
            raise ArtifactError(f"cannot be loaded: {file.name}: {fault}", where=name, hint="copy it again")


def _shards(path: Path, name: str) -> list[str]:
    """Files that the index of several files of weights names. Raises ArtifactError for an index that is none."""
    index = path / _INDEX
    if not index.is_file():
        return []
    try:
        files = list(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        files = []
    if not files or not all(isinstance(file, str) for file in files):
        raise ArtifactError(f"{_INDEX} does not say which files have the weights", where=name, hint="copy it again")
    return sorted(set(files))


def _find(name: str, revision: str | None) -> _Folder | _Registered | _Stored | _OnHub:
    if is_folder(name):
        return _Folder(Path(os.path.expanduser(name)))
    if name.startswith(REGISTERED):
        return _Registered(name)
    if _STORED.match(name):
        return _Stored(name)
    repository, own = split(name)
    if not _HUB_ID.fullmatch(repository):
        raise ConfigError("not the name of a model", value=name, hint=ALLOWED)
    return _OnHub(repository, own or revision)


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Raises ArtifactError for a file that this user may not read, as others leave them: weights are written for their
    owner alone."""
    try:
        yield
    except PermissionError as error:
        raise ArtifactError(
            "not permitted to this user", where=error.filename or folder, hint="check its owner and mode"
        ) from error


def _inner(path: Path, subfolder: str | None) -> Path:
    """The subfolder, or `path` itself if that is a copy of the subfolder alone."""
    inner = path / (subfolder or "")
    return inner if inner.is_dir() else path


def _listed(uri: str, files: Iterable[Stored]) -> str:
    listing = [(_below(uri, file), file.size, file.etag) for file in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _below(uri: str, file: Stored) -> str:
    return file.uri.removeprefix(uri.rstrip("/")).lstrip("/")
