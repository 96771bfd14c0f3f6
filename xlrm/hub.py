"""Sets of the Hugging Face Hub, or folders laid out like one: their records, with the commit these are of."""

import re
from collections.abc import Iterable
from pathlib import Path

from xlrm import progress
from xlrm.errors import ArtifactError

COMMIT = re.compile(r"[0-9a-f]{40}")


def records(
    repository: str,
    revision: str = "main",
    split: str = "train",
    config: str | None = None,
    folder: str | None = None,
    gated: bool = False,
) -> tuple[Iterable[dict], str | None]:
    """Records of one table, and the commit they are of (none for a folder of this machine).

    Raises ArtifactError, with what to do about it, for a set that cannot be fetched.
    """
    import datasets
    import httpx

    if progress.bars_hidden():
        datasets.disable_progress_bars()
    try:
        builder = datasets.load_dataset_builder(repository, config, data_dir=folder, revision=revision)
        builder.download_and_prepare()
        found = builder.as_dataset(split=split)
    except (httpx.HTTPError, datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtifactError(
            f"cannot fetch {repository!r} at {revision!r}: {said.rstrip('.')}; {_advice(error, repository, gated)}"
        ) from error
    commit = str(builder.hash)
    return found, commit if COMMIT.fullmatch(commit) and not Path(repository).is_dir() else None


def _advice(error: Exception, repository: str, gated: bool) -> str:
    import httpx
    from huggingface_hub import constants

    said = []
    if constants.HF_HUB_OFFLINE:
        said.append("HF_HUB_OFFLINE is set and the set is not in the cache: unset it, or name a folder with a copy")
    elif isinstance(error, ConnectionError | httpx.TransportError):
        said.append("check the network and HF_ENDPOINT, or name a folder with a copy")
    elif not gated:
        said.append(
            "check the id, the table, the split and the revision; a set that is private or gated needs HF_TOKEN"
        )
    if gated:
        said.append(f"accept its licence at https://huggingface.co/datasets/{repository} and set HF_TOKEN")
    return "; ".join(said)
