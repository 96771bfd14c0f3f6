"""Rewards of a run under way, in a file and on the store, from which a killed run goes on."""

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
    """Rewards in the order in which they are computed, as doubles in a file that a killed run leaves, and on the store, where it
    has an address there: a run on another machine goes on from that, and loses what came in `memory.SECONDS_BETWEEN_FILES`."""

    path: Path
    uri: str | None = None
    _sent: float = 0.0

    @classmethod
    def beside(cls, output: Path, name: str) -> "Journal":
        """Of a stage with this output folder."""
        return cls(output.parent / f"{name}.journal", objects.join(unfinished.address(output), f"{name}.journal"))

    @classmethod
    def of_file(cls, output: Path, inputs: Iterable[Path], max_length: int) -> "Journal":
        """Beside a file of rewards, on this machine alone. Its name follows from what they depend on, a model's folder and
        files of conversations: a journal of others is not gone on with."""
        files = [
            file for path in inputs for file in ([path] if path.is_file() else sorted(path.iterdir())) if file.is_file()
        ]
        said = [*(f"{file.name} {objects.sha256_of(file)}" for file in files), str(max_length)]
        digest = hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
        return cls(output.with_name(f".{output.name}.{digest}"))

    def read(self, window: int) -> list[float]:
        """What is there, in whole windows of so many; what is behind them is cut off."""
        if self.uri and not self.path.exists() and (kept := objects.read_bytes(self.uri)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(kept)
        found = array("d")
        if self.path.exists():
            whole = self.path.stat().st_size // found.itemsize // window * window
            os.truncate(self.path, whole * found.itemsize)
            found.frombytes(self.path.read_bytes())
        self._sent = time.monotonic()
        return found.tolist()

    def append(self, found: list[float]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(array("d", found).tobytes())
            os.fsync(file.fileno())
        if self.uri and time.monotonic() - self._sent >= answers.SECONDS_BETWEEN_FILES:
            self._send(self.uri)

    def _send(self, uri: str) -> None:
        """A store that does not answer stops nobody: the next time sends all there is."""
        self._sent = time.monotonic()
        try:
            objects.write(uri, self.path.read_bytes())
        except ArtifactError as error:
            progress.say(f"rewards so far are on this machine alone: {error}")
