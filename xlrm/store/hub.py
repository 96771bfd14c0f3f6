"""Datasets and models of the Hugging Face Hub, or of folders with the same layout: records and files, with their
commit."""

import hashlib
import posixpath
import re
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError
from xlrm.store.objects import sha256_of

COMMIT = re.compile(r"[0-9a-f]{40}")
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""Patterns of a model's files that this project reads."""
_TEMPLATES = "additional_chat_templates"
"""Folder of a tokenizer with several chat templates."""
TIMEOUT_SECONDS = 60
"""Time limit when asking the Hub for the commit of a revision."""


def records(
    repository: str,
    revision: str = "main",
    split: str = "train",
    config: str | None = None,
    folder: str | None = None,
    gated: bool = False,
) -> tuple[Sequence[dict], str | None]:
    """Records of one table, and their commit (none for a folder of this machine). Raises ArtifactError, with what to
    do, for a dataset that cannot be fetched."""
    import datasets
    import httpx

    if progress.bars_hidden():
        datasets.disable_progress_bars()
    try:
        builder = datasets.load_dataset_builder(repository, config, data_dir=folder, revision=revision)
        commit = builder.hash if COMMIT.fullmatch(builder.hash or "") else None
        if commit and COMMIT.fullmatch(revision) and commit != revision:
            raise ConnectionError(f"the cache holds commit {commit}")  # the library uses its cache without the Hub
        builder.download_and_prepare()
        table = builder.as_dataset(split=split)
    except (httpx.HTTPError, datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtifactError(
            f"cannot be downloaded: {message.rstrip('.')}",
            where=f"{repository} at {revision}",
            hint=_advice(error, repository, gated),
        ) from error  # fmt: skip
    return table, commit


def model_commit(name: str, revision: str | None) -> str:
    """The commit of a model's revision, or of its newest revision. Raises ArtifactError."""
    return _commit(name, revision, "model")


def dataset_commit(name: str, revision: str | None) -> str:
    """The commit of a dataset's revision. Raises ArtifactError."""
    return _commit(name, revision, "dataset")


def _commit(name: str, revision: str | None, kind: str) -> str:
    if revision and COMMIT.fullmatch(revision):
        return revision
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        commit = HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=TIMEOUT_SECONDS).sha
    except (httpx.HTTPError, HFValidationError, OSError) as error:
        silent = isinstance(error, httpx.TransportError | OfflineModeIsEnabled)
        raise ArtifactError(
            f"{'the Hub cannot be asked' if silent else 'not on the Hub'}: {type(error).__name__}",
            where=_at(name, revision),
            hint="check the network, HF_ENDPOINT and HF_HUB_OFFLINE, or give a commit as its revision"
            if silent
            else "check the id or the folder, and the revision; one that is private or gated needs HF_TOKEN",
        ) from error
    if commit is None:
        raise ArtifactError("the Hub names no commit", where=name, hint="give one as its revision")
    return commit


def _at(repository: str, revision: str | None) -> str:
    """Name of a repository at a revision, if one was given."""
    return f"{repository}@{revision}" if revision and revision != "main" else repository


def model_version(name: str, revision: str | None) -> str:
    """Identifies a version of a model: the commit of a revision on the Hub, or a digest of a folder's files. Raises
    ArtifactError."""
    if (folder := Path(name)).is_dir():
        return folder_digest(folder)
    return model_commit(name, revision)


def folder_digest(folder: Path) -> str:
    """sha256 over the names and sha256s of the files in a model's folder."""
    files = ((file.relative_to(folder).as_posix(), sha256_of(file)) for file in files_beside(folder))
    return hashlib.sha256("".join(f"{path} {digest}\n" for path, digest in files).encode()).hexdigest()


def files_beside(folder: Path) -> list[Path]:
    """Files in a model's folder and in its folder of further chat templates, sorted. Other subfolders are not read."""
    return sorted(path for path in [*folder.iterdir(), *folder.glob(f"{_TEMPLATES}/*.jinja")] if path.is_file())


def is_of_a_model(path: str) -> bool:
    """Whether a path, relative to a model's folder, is that of a file that this project reads: weights, configuration
    and tokenizer."""
    return any(fnmatch(path, pattern) for pattern in MODEL_FILES) and posixpath.dirname(path) in ("", _TEMPLATES)


def model_folder(name: str, patterns: Sequence[str]) -> Path:
    """A folder with the files of a model that match: a folder of this machine, or a copy of OWNER/NAME[@REVISION]
    from the Hub. Raises ArtifactError, with what to do, for a model that cannot be fetched."""
    if Path(name).is_dir():
        return Path(name)
    repository, _, revision = name.partition("@")
    return _snapshot(repository, revision or None, patterns)


def download_model(repository: str, revision: str | None, output: Path) -> None:
    """Downloads a model's files into the folder `output`, past the client's cache. Raises ArtifactError as
    `model_folder` does."""
    _snapshot(repository, revision, MODEL_FILES, local_dir=output)
    shutil.rmtree(output / ".cache", ignore_errors=True)  # timestamps, and partial downloads of a killed run


def dataset_file(repository: str, name: str) -> Path:
    """A file of a dataset, in the client's cache. Raises ArtifactError as `model_folder` does."""
    return _snapshot(repository, None, [name], kind="dataset") / name


def _snapshot(
    repository: str, revision: str | None, patterns: Sequence[str], local_dir: Path | None = None, kind: str = "model"
) -> Path:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=list(patterns), local_dir=local_dir, repo_type=kind
            )
        )
    except (httpx.HTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ArtifactError(
            f"cannot be downloaded: {type(error).__name__}",
            where=_at(repository, revision),
            hint="check the id or the folder, and the network; a gated model needs its licence accepted and HF_TOKEN",
        ) from error


def whole_model(name: str, revision: str | None = None, subfolder: str | None = None) -> Path:
    """A folder of this machine with a model's safetensors, configs and tokenizer. `subfolder` is their place in the
    repository; a copy of that folder alone is accepted too. Raises ArtifactError as `model_folder` does."""
    if Path(name).is_dir():
        inner = Path(name, subfolder or "")
        return inner if inner.is_dir() else Path(name)
    at = f"{subfolder}/" if subfolder else ""
    wanted = [at + ending for ending in MODEL_FILES]
    return Path(model_folder(f"{name}@{revision}" if revision else name, wanted), subfolder or "")


def _advice(error: Exception, repository: str, gated: bool) -> str:
    import httpx
    from huggingface_hub import constants

    if Path(repository).is_dir():
        return "a folder holds what the repository does, its README.md too"
    licence = f"accept its licence at https://huggingface.co/datasets/{repository} and set HF_TOKEN"
    copy = "or take the set from a folder with a copy, as NAME=FOLDER"
    if constants.HF_HUB_OFFLINE:
        advice = f"HF_HUB_OFFLINE is set and the set is not in the cache: unset it, {copy}"
    elif isinstance(error, ConnectionError | httpx.TransportError):
        advice = f"check the network and HF_ENDPOINT, {copy}"
    elif "gated" in str(error):
        return licence
    elif isinstance(error, RuntimeError):  # a repository with a program, which this library does not run
        return "take the set from a folder with its tables, as NAME=FOLDER (docs/data.md)"
    else:
        advice = "check the id, the table, the split and the revision; a set that is private needs HF_TOKEN"
    return f"{advice}; {licence}" if gated else advice


# NAME[=REPOSITORY][@REVISION]: a row of SOURCES, optionally from another repository or at another revision.
_ENTRY = re.compile(r"(?P<name>[^=@]+)(?:=(?P<repository>[^@]+))?(?:@(?P<revision>.+))?")


def parse_entry(entry: str) -> tuple[str, str | None, str | None]:
    """Name, repository and revision of NAME[=REPOSITORY][@REVISION]. Raises ConfigError for anything else."""
    if not (match := _ENTRY.fullmatch(entry)):
        raise ConfigError("a dataset of the Hub is written NAME[=OWNER/NAME][@REVISION]", value=entry)
    return match["name"], match["repository"], match["revision"]
