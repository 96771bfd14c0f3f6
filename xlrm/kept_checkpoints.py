"""A training's checkpoints on the store, of each node its own part: what a node goes on from whose disk is lost."""

import json
from dataclasses import dataclass
from pathlib import Path

from xlrm import artifacts, storage
from xlrm.storage import FileEntry

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
        return cls(storage.join(unfinished, "checkpoints", f"from-process-{part['first']}"), part, min(2, nodes))

    def steps(self) -> set[int]:
        """Of the whole checkpoints of this part. Raises ArtifactError."""
        return {step for step in self._found() if self._record(step).get("part") == self.part}

    def send(self, checkpoint: Path) -> None:
        """Sends a whole checkpoint, and removes older ones. Raises ArtifactError."""
        step = int(checkpoint.name.split("-")[1])
        _, every = artifacts.digest_directory(checkpoint)
        files = [one for one in every if one.path != WHOLE]
        storage.upload_directory(checkpoint, files, self._folder(step))
        record = {"part": self.part, "files": [one.model_dump() for one in files]}
        storage.write(storage.join(self._folder(step), _RECORD), json.dumps(record).encode())
        older = sorted(self._found() - {step})
        for old in older[: len(older) + 1 - self.copies]:
            storage.remove_directory(self._folder(old), first=[_RECORD])  # what is half removed is not whole

    def fetch(self, step: int, folder: Path) -> None:
        """Into `folder`/checkpoint-STEP, which is marked as whole at last. Raises ArtifactError."""
        local = folder / f"checkpoint-{step}"
        files = [FileEntry(**one) for one in self._record(step)["files"]]
        storage.download_directory(self._folder(step), files, local)
        mark(local, self.part)

    def _found(self) -> set[int]:
        """Steps of all, whole or not."""
        names = {uri.removeprefix(f"{self.uri}/").split("/")[0] for uri in storage.list_uris(self.uri)}
        return {int(name.removeprefix("checkpoint-")) for name in names}

    def _record(self, step: int) -> dict:
        try:
            return json.loads(storage.read_bytes(storage.join(self._folder(step), _RECORD)) or b"{}")
        except ValueError:
            return {}

    def _folder(self, step: int) -> str:
        return storage.join(self.uri, f"checkpoint-{step}")
