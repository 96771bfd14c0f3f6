"""Files and folders of this machine that an experiment names, in the store, where the pods of a cluster can read them.

They are kept as inputs/SHA256/NAME, so an entry, and with it the keys of artifacts, depends on content and name, and not on
where the file is on this machine; and nothing is sent twice.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlrm import progress
from xlrm.data import catalog
from xlrm.errors import ConfigError
from xlrm.run.experiment import Experiment
from xlrm.run.housekeeping import INPUTS, shown_size
from xlrm.run.sections import POLICY, config_class, stage_of
from xlrm.store import addresses, artifacts, fields, hub, objects
from xlrm.store.files import FileEntry
from xlrm.tracking import named_models

_LANGUAGE = "{language}"
_PATH = re.compile(r"(/|\./|\.\./|~/)\S+")
"""A path, of this machine or of a pod, wherever it is written."""
_PREFIX = re.compile(r"hub:|[^=/]*=")
"""What comes before a path in an entry: hub:FOLDER and NAME=FOLDER."""
_DATA, _MODEL = "a file of rows", "a base model"
Kind = str | fields.NamesFile
"""What a field names: one of these, files by the mark on the field, or something else (empty)."""


@dataclass(frozen=True)
class Upload:
    """What one entry of an experiment names."""

    field: str
    entry: str
    folder: Path
    files: tuple[FileEntry, ...]
    """Files of `folder`, in order of their paths."""
    uri: str
    """Folder in the store that gets them."""
    named: str
    """The entry that names it there."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)

    def send(self) -> None:
        objects.upload_directory(self.folder, self.files, self.uri)


def resolve(asked: Experiment) -> tuple[Experiment, list[Upload]]:
    """The experiment with entries of the store in place of files and folders of this machine, and what has to be uploaded
    for that. Raises ConfigError for what is not there, cannot be uploaded, or has no store that a cluster can read."""
    uploads: dict[tuple[str, str], Upload] = {}

    def moved(field: str, entry: str, kind: Kind) -> str:
        if kind and (upload := _upload(field, entry, kind)):
            uploads[field, entry] = upload
            return upload.named
        path = _PREFIX.sub("", entry)
        if isinstance(kind, fields.NamesFile) and (file := kind.file(entry)) is not None:
            _check_elsewhere(field, entry, file)
        elif (
            _PATH.fullmatch(path) or (kind == _DATA and catalog.is_file(path)) or ("/" in path and os.path.isdir(path))
        ):
            _check_elsewhere(field, entry, path)
        return entry

    stages = {name: _moved(section, name, name, moved) for name, section in asked.stages.items()}
    corpora = {code: _moved(section, f"corpora.{code}", "curate", moved) for code, section in asked.corpora.items()}
    for code, language in asked.more_languages.items():
        moved(f"languages.{code}.translator", language.translator or "", "")
    return asked.model_copy(update={"stages": stages, "corpora": corpora}), list(uploads.values())


def say(uploads: list[Upload], done: bool) -> None:
    """Logs what was uploaded, or would be."""
    for upload in uploads:
        sent = "uploaded to" if done else "would be uploaded to"
        size = shown_size(upload.size)
        progress.say(f"{upload.field}: {upload.entry} ({len(upload.files)} file(s), {size}) {sent} {upload.uri}")


def _moved(section: dict[str, Any], where: str, name: str, moved: Callable[[str, str, Kind], str]) -> dict[str, Any]:
    """The section with each text of its values replaced by `moved(field, text, kind)`."""
    kinds = dict.fromkeys(fields.marked(config_class(name), fields.Sets), _DATA)
    kinds |= fields.marked(config_class(name), fields.NamesFile)

    def value(field: str, given: Any, kind: Kind) -> Any:
        if isinstance(given, str):
            return moved(f"{where}.{field}", given, kind)
        if isinstance(given, dict):
            return {key: value(f"{field}.{key}", inner, "") for key, inner in given.items()}
        return [value(field, inner, kind) for inner in given] if isinstance(given, list | tuple) else given

    def kind(field: str) -> Kind:
        model = stage_of(name) == stage_of(POLICY) and field == "model"
        return _MODEL if model else kinds.get(field, "")

    return {field: value(field, given, kind(field)) for field, given in section.items()}


def _upload(field: str, entry: str, kind: Kind) -> Upload | None:
    """What to upload for an entry; None if it names nothing of this machine that can be uploaded."""
    if "://" in entry:
        return None
    if isinstance(kind, fields.NamesFile):
        file = kind.file(entry)
        return _of_files(field, entry, file, kind.prefix) if file else None
    if kind == _MODEL:
        if not named_models.is_folder(entry) or not os.path.isdir(path := Path(entry).expanduser()):
            return None
        named_models.folder(entry)  # raises for one that is no model
        names = [file.relative_to(path).as_posix() for file in hub.files_beside(path)]
        listed = tuple(_file(path, name) for name in names if hub.is_of_a_model(name))
        return _of(field, entry, path, listed, path.absolute().name, inside=True)
    if not catalog.is_file(entry):
        if folder := next(iter(catalog.local_files(entry)), None):
            raise ConfigError(
                "a folder of this machine, which a cluster cannot read", where=field, value=entry,
                hint=f"name files of rows, such as {folder.name} if it is one, which are uploaded; or put it on the Hub",
            )  # fmt: skip
        return None
    return _of_files(field, entry, entry)


def _of_files(field: str, entry: str, file: str, prefix: str = "") -> Upload | None:
    """A file of this machine, or one for each language; None if there is none."""
    path = Path(file).expanduser()
    if _LANGUAGE in str(path.parent):
        message = f"a folder for each language cannot be uploaded; {_LANGUAGE} in the file's own name can"
        raise ConfigError(message, where=field, value=entry)
    paths = sorted(path.parent.glob(path.name.replace(_LANGUAGE, "*"))) if _LANGUAGE in path.name else [path]
    listed = tuple(_file(path.parent, file.name) for file in paths if file.is_file())
    return _of(field, entry, path.parent, listed, path.name, prefix=prefix) if listed else None


def _of(
    field: str,
    entry: str,
    folder: Path,
    files: tuple[FileEntry, ...],
    name: str,
    inside: bool = False,
    prefix: str = "",
) -> Upload:
    store = addresses.store()
    if not store.startswith("s3://"):
        raise ConfigError(
            "on this machine, where a cluster cannot read it", where=field, value=entry,
            hint="set XLRM_STORE to the cluster's store, s3://bucket/prefix, and it is uploaded there; or name a place in S3",
        )  # fmt: skip
    digest = files[0].sha256 if len(files) == 1 and not inside else artifacts.digest_files(files)
    uri = objects.join(store, INPUTS, digest, *([name] if inside else []))
    return Upload(field, entry, folder, files, uri, prefix + (uri if inside else objects.join(uri, name)))


def _file(folder: Path, name: str) -> FileEntry:
    path = folder / name
    try:
        return FileEntry(path=name, size=path.stat().st_size, sha256=objects.sha256_of(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from error


def _check_elsewhere(field: str, entry: str, path: str) -> None:
    """Raises ConfigError for a path that only this machine has, or nobody."""
    if "://" in path:
        return
    if os.path.exists(os.path.expanduser(path)):
        raise ConfigError(
            "on this machine, where a cluster cannot read it", where=field, value=entry,
            hint="name a model or dataset of the Hub or of a bucket (s3://), or a registered model",
        )  # fmt: skip
    if not path.startswith("/"):
        raise ConfigError("no such file or folder", where=field, value=entry)
    progress.say(f"{field}: {entry} is not on this machine; it must be in the pods")
