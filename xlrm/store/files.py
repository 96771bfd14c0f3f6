"""What identifies a file of a directory or of a store."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, field_validator


class FileEntry(BaseModel):
    """One file of a directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Relative to the directory, with `/` between its parts; never leads out of the directory."""
    size: int = Field(ge=0)
    """In bytes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or path != "/".join(parts) or path.startswith("/"):
            raise ValueError(f"{path!r} is not a plain relative path")
        path.encode()  # raises a ValueError for a name that cannot be encoded
        return path


@dataclass(frozen=True)
class Stored:
    """A file of a store."""

    uri: str
    size: int
    """In bytes."""
    changed: float
    """When it was written, in seconds since 1970."""
    etag: str = ""
    """What the server identifies its content by; empty on a disk."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Context with a temporary name beside `path`, where it is moved at the end, so that `path` is complete or absent;
    after an error nothing is left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
