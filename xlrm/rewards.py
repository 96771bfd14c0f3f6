"""Rewards of every response of a benchmark, as Parquet, one row a response; and those of a run under way."""

import hashlib
import json
import os
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xlrm import memory, progress, storage, unfinished
from xlrm.credit import Rewards
from xlrm.errors import ArtifactError, DataError

FILE = "rewards.parquet"
CORPUS = "corpus"
"""Name of the benchmark that is part of the corpus, translated with it."""
_COLUMNS = ("benchmark", "language", "id", "text", "subset", "section", "side", "response", "reward")
_SIDES = ("chosen", "rejected")


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
        return cls(output.parent / f"{name}.journal", storage.join(unfinished.address(output), f"{name}.journal"))

    @classmethod
    def of_file(cls, output: Path, inputs: Iterable[Path], max_length: int) -> "Journal":
        """Beside a file of rewards, on this machine alone. Its name follows from what they depend on, a model's folder and
        files of conversations: a journal of others is not gone on with."""
        files = [
            file for path in inputs for file in ([path] if path.is_file() else sorted(path.iterdir())) if file.is_file()
        ]
        said = [*(f"{file.name} {storage.sha256_of(file)}" for file in files), str(max_length)]
        digest = hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
        return cls(output.with_name(f".{output.name}.{digest}"))

    def read(self, window: int) -> list[float]:
        """What is there, in whole windows of so many; what is behind them is cut off."""
        if self.uri and not self.path.exists() and (kept := storage.read_bytes(self.uri)):
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
        if self.uri and time.monotonic() - self._sent >= memory.SECONDS_BETWEEN_FILES:
            self._send(self.uri)

    def _send(self, uri: str) -> None:
        """A store that does not answer stops nobody: the next time sends all there is."""
        self._sent = time.monotonic()
        try:
            storage.write(uri, self.path.read_bytes())
        except ArtifactError as error:
            progress.say(f"rewards so far are on this machine alone: {error}")


def records(benchmark: str, language: str, rows: Iterable[dict], rewards: Iterable[Rewards]) -> Iterator[dict]:
    """One for each response: `side` is chosen or rejected, `response` its number among the item's of that side, `text` a
    digest of the item's texts, by which two evaluations know whether they asked the same."""
    for row, both in zip(rows, rewards, strict=True):
        labels = {
            "benchmark": benchmark,
            "language": language,
            "text": _digest(row),
            **{key: row[key] for key in ("id", "subset", "section")},
        }
        for side, values in zip(_SIDES, both, strict=True):
            yield from (labels | {"side": side, "response": i, "reward": value} for i, value in enumerate(values))


def _digest(row: dict) -> str:
    texts = [row.get(key) for key in ("prompt", "chosen", "rejected")]
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]


def write(path: Path, found: list[dict]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [one[name] for one in found] for name in _COLUMNS}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")


def benchmarks(path: Path) -> list[str]:
    """Those the file has rewards of."""
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path, columns=["benchmark"])["benchmark"].unique().to_pylist()


def read(path: Path, benchmark: str = CORPUS) -> dict[str, list[dict]]:
    """Language -> items of one benchmark, in the order they were written: id, text, subset, section, and the rewards of the
    chosen and of the rejected responses, as lists. Raises DataError for a file that is not there or holds other columns."""
    import pyarrow.parquet

    if not path.is_file():
        raise DataError(f"{path}: no such file; evaluate writes the rewards of every response there")
    table = pyarrow.parquet.read_table(path)
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise DataError(f"{path}: no column {', '.join(missing)}; the columns are {', '.join(_COLUMNS)}")
    items: dict[tuple[str, str], dict] = {}
    for one in table.to_pylist():
        if one["benchmark"] == benchmark:
            item = items.setdefault((one["language"], one["id"]), _item(one))
            item[one["side"]].append(one["reward"])
    found: dict[str, list[dict]] = {}
    for (language, _), item in items.items():
        found.setdefault(language, []).append(item)
    return found


def _item(one: dict) -> dict:
    return {key: one[key] for key in ("id", "text", "subset", "section")} | {"chosen": [], "rejected": []}
