"""Copies in the store for a node that loses its disk: the node's own part of each checkpoint, and folders that are the
same on all nodes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlrm.errors import ArtifactError
from xlrm.store import artifacts, objects
from xlrm.store.objects import FileEntry

WHOLE = "whole.json"
"""File that marks a checkpoint on disk as complete (see `checkpoints`); in the store the record does so."""
_RECORD = "kept.json"


def mark(checkpoint: Path, part: dict[str, int]) -> None:
    """Marks a checkpoint as complete for the `part` of the training's processes; all of its files must be there."""
    (checkpoint / WHOLE).write_text(json.dumps(part | {"bytes": _bytes(checkpoint)}, allow_nan=False))


def marked(checkpoint: Path) -> dict[str, int] | None:
    """Part that the checkpoint is complete for; None if it is incomplete, as after a file was truncated."""
    try:
        part = json.loads((checkpoint / WHOLE).read_text())
    except (OSError, ValueError):  # missing, or writing it was interrupted
        return None
    return part if part.pop("bytes", None) == _bytes(checkpoint) else None


def _bytes(checkpoint: Path) -> int:
    return sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file() and path.name != WHOLE)


def send_folder(local: Path, uri: str, **facts: Any) -> None:
    """Uploads all files except `WHOLE`, then the record with these facts. Raises ArtifactError if the store fails."""
    _, every = artifacts.digest_directory(local)
    files = [file for file in every if file.path != WHOLE]
    objects.upload_directory(local, files, uri)
    record = facts | {"files": [file.model_dump() for file in files]}
    objects.write(objects.join(uri, _RECORD), json.dumps(record, allow_nan=False).encode())


def fetch_folder(uri: str, local: Path) -> bool:
    """Downloads the folder to `local`; False if it is not in the store. Raises ArtifactError if the store does not
    answer or a file has other bytes than were sent."""
    files = _record(uri).get("files")
    if files is None:
        return False
    objects.download_directory(uri, [FileEntry(**file) for file in files], local)
    return True


def _record(uri: str) -> dict:
    try:
        return json.loads(objects.read_bytes(objects.join(uri, _RECORD)) or b"{}")
    except ValueError:
        return {}


@dataclass(frozen=True)
class Kept:
    """A node's checkpoints in the store, {uri}/checkpoint-STEP/..., each with a record of its files, written last."""

    uri: str
    part: dict[str, int]
    """`processes`, the number of processes of the training, and `first`, the index of this node's first one."""
    copies: int
    """Number of newest checkpoints to keep. With several nodes it is two: if a node is lost before it has sent its part
    of the newest, all resume from the one before."""

    @classmethod
    def of_node(cls, unfinished: str, part: dict[str, int], nodes: int) -> "Kept":
        return cls(objects.join(unfinished, "checkpoints", f"from-process-{part['first']}"), part, min(2, nodes))

    def steps(self) -> set[int]:
        """Steps of the complete checkpoints of this part. Raises ArtifactError if the store does not answer."""
        return {step for step in self._found() if _record(self._folder(step)).get("part") == self.part}

    def send(self, checkpoint: Path) -> None:
        """Uploads a complete checkpoint and removes old ones. Raises ArtifactError if the store does not answer."""
        step = int(checkpoint.name.split("-")[1])
        send_folder(checkpoint, self._folder(step), part=self.part)
        older = sorted(self._found() - {step})
        for old in older[: len(older) + 1 - self.copies]:
            objects.remove_directory(self._folder(old), first=[_RECORD])  # so that a half-removed one is incomplete

    def fetch(self, step: int, folder: Path) -> None:
        """Downloads to `folder`/checkpoint-STEP and marks it as complete. Raises ArtifactError if it is missing."""
        local = folder / f"checkpoint-{step}"
        if not fetch_folder(self._folder(step), local):
            raise ArtifactError("missing or incomplete", where=self._folder(step))
        mark(local, self.part)

    def _found(self) -> set[int]:
        """Steps of all checkpoints, complete or not."""
        names = {uri.removeprefix(f"{self.uri}/").split("/")[0] for uri in objects.list_uris(self.uri)}
        return {int(name.removeprefix("checkpoint-")) for name in names}

    def _folder(self, step: int) -> str:
        return objects.join(self.uri, f"checkpoint-{step}")
