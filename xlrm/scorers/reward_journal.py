"""Rewards of an unfinished run, in a file and on the store, with which a killed run continues."""

import hashlib
import os
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.store import answers, objects, unfinished


@dataclass
class Journal:
    """Rewards in input order, as doubles in a file. If `uri` is set, the file is also copied to the store, so that
    another machine can continue, without the rewards of the last `answers.SECONDS_BETWEEN_FILES` seconds."""

    path: Path
    uri: str | None = None
    _sent: float = 0.0

    @classmethod
    def beside(cls, output: Path, name: str) -> "Journal":
        """Journal of a stage with this output folder, beside it and on the store."""
        return cls(output.parent / f"{name}.journal", objects.join(unfinished.address(output), f"{name}.journal"))

    @classmethod
    def of_file(cls, output: Path, inputs: Iterable[Path], max_length: int) -> "Journal":
        """Journal beside a file of rewards, only on this machine. Its name has a digest of what the rewards depend on:
        `inputs` (a model's folder and files of conversations) and `max_length`."""
        files = [
            file for path in inputs for file in ([path] if path.is_file() else sorted(path.iterdir())) if file.is_file()
        ]
        lines = [*(f"{file.name} {objects.sha256_of(file)}" for file in files), str(max_length)]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
        return cls(output.with_name(f".{output.name}.{digest}"))

    def read(self, window: int) -> list[float]:
        """Saved rewards, in whole windows of `window`; cuts off the rest of the file. Copies a missing file from the
        store."""
        if self.uri and not self.path.exists() and (kept := objects.read_bytes(self.uri)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(kept)
        rewards = array("d")
        if self.path.exists():
            whole = self.path.stat().st_size // rewards.itemsize // window * window
            os.truncate(self.path, whole * rewards.itemsize)
            rewards.frombytes(self.path.read_bytes())
        self._sent = time.monotonic()
        return rewards.tolist()

    def append(self, rewards: list[float]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(array("d", rewards).tobytes())
            os.fsync(file.fileno())
        if self.uri and time.monotonic() - self._sent >= answers.SECONDS_BETWEEN_FILES:
            self._send(self.uri)

    def _send(self, uri: str) -> None:
        """Copies the file to the store; if that fails, only logs it, as the next call sends the whole file again."""
        self._sent = time.monotonic()
        try:
            objects.write(uri, self.path.read_bytes())
        except ArtifactError as error:
            progress.say(f"the rewards so far are only on this machine, not in the store: {error}")
