"""Files of a published archive: a folder with its content, a .zip file, or the address of one on the web."""

import hashlib
import shutil
import zipfile
from pathlib import Path

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.store import addresses

TIMEOUT_SECONDS = 60
"""Time limit for a part of a download."""


def unpacked(source: str) -> Path:
    """A folder of this machine with the files of an archive; one that is downloaded stays in the cache. Raises ArtifactError for
    what is neither a folder nor an archive that can be read."""
    if Path(source).is_dir():
        return Path(source)
    folder = addresses.home() / "cache" / "archives" / hashlib.sha256(source.encode()).hexdigest()[:16]
    if folder.is_dir() and source.startswith("https://"):
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    archive = Path(source) if not source.startswith("https://") else _downloaded(source, part.with_suffix(".zip"))
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(part)
    except (OSError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"cannot be read: {type(error).__name__}", where=source, hint="name a folder or a .zip file"
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def _downloaded(address: str, path: Path) -> Path:
    import httpx

    progress.say(f"downloading {address}")
    try:
        with httpx.stream("GET", address, timeout=TIMEOUT_SECONDS, follow_redirects=True) as response:
            response.raise_for_status()
            with path.open("wb") as file:
                for block in response.iter_bytes():
                    file.write(block)
    except (httpx.HTTPError, OSError) as error:
        raise ArtifactError(
            f"cannot be downloaded: {type(error).__name__}", where=address,
            hint="check the network, or take the set from a folder or .zip file with a copy, as NAME=FOLDER",
        ) from error  # fmt: skip
    return path
