"""What a training keeps on the store, for a node whose disk is lost: checkpoints, of each node its own part, and folders that are
the same on all nodes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlrm.errors import ArtifactError
from xlrm.store import artifacts, objects
from xlrm.store.objects import FileEntry

WHOLE = "whole.json"
"""In a checkpoint's folder on disk: marks it as whole, see `checkpoints`. On the store the record does."""
_RECORD = "kept.json"


def mark(checkpoint: Path, part: dict[str, int]) -> None:
    """As whole for the `part` of a training's processes, all files of which are there."""
    (checkpoint / WHOLE).write_text(json.dumps(part | {"bytes": _bytes(checkpoint)}))


def marked(checkpoint: Path) -> dict[str, int] | None:
    """The part it is whole for; None where it is not, as where a file was cut off since."""
    try:
        part = json.loads((checkpoint / WHOLE).read_text())
    except (OSError, ValueError):  # its writing was cut off
        return None
    return part if part.pop("bytes", None) == _bytes(checkpoint) else None


def _bytes(checkpoint: Path) -> int:
    return sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file() and path.name != WHOLE)


def send_folder(local: Path, uri: str, **facts: Any) -> None:
    """All files but `WHOLE`, and then the record, with these facts. Raises ArtifactError."""
    _, every = artifacts.digest_directory(local)
    files = [one for one in every if one.path != WHOLE]
    objects.upload_directory(local, files, uri)
    record = facts | {"files": [one.model_dump() for one in files]}
    objects.write(objects.join(uri, _RECORD), json.dumps(record).encode())


def fetch_folder(uri: str, local: Path) -> bool:
    """Whether it is there; `local` is then whole. Raises ArtifactError for a store that does not answer, and for other bytes."""
    files = _record(uri).get("files")
    if files is None:
        return False
    objects.download_directory(uri, [FileEntry(**one) for one in files], local)
    return True


def _record(uri: str) -> dict:
    try:
        return json.loads(objects.read_bytes(objects.join(uri, _RECORD)) or b"{}")
    except ValueError:
        return {}


@dataclass(frozen=True)
class Kept:
    """{uri}/checkpoint-STEP/... and in it, written last, a record: the files, and which processes they are of."""

    uri: str
    part: dict[str, int]
    """Of the training's processes: how many there are, and the first of this node."""
    copies: int
    """How many of the newest stay. Of several nodes one may be lost before its part of the newest is sent: then all go on from
    the one before."""

    @classmethod
    def of_node(cls, unfinished: str, part: dict[str, int], nodes: int) -> "Kept":
        return cls(objects.join(unfinished, "checkpoints", f"from-process-{part['first']}"), part, min(2, nodes))

    def steps(self) -> set[int]:
        """Of the whole checkpoints of this part. Raises ArtifactError."""
        return {step for step in self._found() if _record(self._folder(step)).get("part") == self.part}

    def send(self, checkpoint: Path) -> None:
        """Sends a whole checkpoint, and removes older ones. Raises ArtifactError."""
        step = int(checkpoint.name.split("-")[1])
        send_folder(checkpoint, self._folder(step), part=self.part)
        older = sorted(self._found() - {step})
        for old in older[: len(older) + 1 - self.copies]:
            objects.remove_directory(self._folder(old), first=[_RECORD])  # what is half removed is not whole

    def fetch(self, step: int, folder: Path) -> None:
        """Into `folder`/checkpoint-STEP, which is marked as whole at last. Raises ArtifactError."""
        local = folder / f"checkpoint-{step}"
        if not fetch_folder(self._folder(step), local):
            raise ArtifactError(f"{self._folder(step)}: no longer there, or not whole")
        mark(local, self.part)

    def _found(self) -> set[int]:
        """Steps of all, whole or not."""
        names = {uri.removeprefix(f"{self.uri}/").split("/")[0] for uri in objects.list_uris(self.uri)}
        return {int(name.removeprefix("checkpoint-")) for name in names}

    def _folder(self, step: int) -> str:
        return objects.join(self.uri, f"checkpoint-{step}")
