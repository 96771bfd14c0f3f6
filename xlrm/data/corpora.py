"""Corpora on disk: files of rows in one language, whole or in shards, read row by row in place."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from xlrm.data.corpus_schema import TABLES, Description, Repairs
from xlrm.errors import DataError, within
from xlrm.languages import Language, find
from xlrm.store.json_values import parse_line


class RowsOnDisk:
    """Rows of a JSONL file, or of several files one after the other; only ids are held in memory."""

    def __init__(self, paths: list[Path]):
        """Reads all files once. Raises DataError for a missing file or a line that is not a row."""
        self.paths = paths
        self.ids: list[str] = []
        """Ids in order; empty for a row without an id that is a string."""
        self._places: list[tuple[int, int]] = []
        for part, path in enumerate(paths):
            for offset, row in _rows(path):
                self._places.append((part, offset))
                self.ids.append(row["id"] if isinstance(row.get("id"), str) else "")

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def first(self) -> dict[str, int]:
        """Id -> index of the first row with it."""
        return {row_id: place for place, row_id in reversed(list(enumerate(self.ids)))}

    def at(self, places: Iterable[int | None]) -> Iterator[dict | None]:
        """The rows at these indices; None for None."""
        files: dict[int, BinaryIO] = {}
        try:
            for place in places:
                if place is None:
                    yield None
                    continue
                part, offset = self._places[place]
                if part not in files:
                    files[part] = self.paths[part].open("rb")
                files[part].seek(offset)
                yield json.loads(files[part].readline())
        finally:
            for file in files.values():
                file.close()


def _rows(path: Path) -> Iterator[tuple[int, dict]]:
    """(offset of its first byte, row) for each row."""
    if not path.is_file():
        raise DataError("no such file", where=path)
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                with within(f"{path}:{number}: "):
                    yield offset, parse_line(line.decode("utf-8", "surrogateescape"))
            offset += len(line)


@dataclass
class Corpus:
    language: Language
    folders: list[Path]
    """The corpus's folder, or its shards in order."""
    translator: dict[str, Any] | None = None
    """The translator, from corpus.json."""
    repairs: Repairs | None = None
    """Sums over the shards."""
    made: tuple[str, ...] | None = None
    """Names of its files without their ending, if it does not have all; None for all."""
    translated: bool = False
    """Whether it was translated here; other corpora are the source and the languages' own data."""
    files: dict[str, RowsOnDisk] = field(default_factory=dict)
    """File name -> rows, for the files read so far."""

    def has(self, name: str) -> bool:
        """Whether the corpus should contain the file: a translation may cover only some of the source's files."""
        return self.made is None or name.removesuffix(".jsonl") in self.made

    def rows(self, name: str) -> RowsOnDisk:
        if name not in self.files:
            self.files[name] = RowsOnDisk([folder / name for folder in self.folders])
        return self.files[name]


def read(folder: Path) -> Corpus:
    """A whole corpus. Raises DataError as `read_translations` does, and ConfigError for an unknown language."""
    return _corpus([(folder, Description.read(folder))])


def read_own(folder: Path) -> Corpus:
    """A language's own corpus, which has some of the tables. Raises as `read` does."""
    corpus = read(folder)
    corpus.made = tuple(name for name, table in TABLES.items() if (folder / table.file).is_file())
    return corpus


def read_translations(folders: list[Path]) -> list[Corpus]:
    """One corpus per language, with shards joined. Raises DataError for a language or shard that is missing or
    duplicated."""
    parts: dict[str, list[tuple[Path, Description]]] = {}
    for folder in folders:
        description = Description.read(folder)
        parts.setdefault(description.language, []).append((folder, description))
    return [replace(_corpus(_ordered(code, shards)), translated=True) for code, shards in parts.items()]


def _ordered(code: str, parts: list[tuple[Path, Description]]) -> list[tuple[Path, Description]]:
    """Shards in their order. Raises DataError if one is missing or duplicated."""
    shards = [description.shard for _, description in parts]
    numbers, counts = [number for number, _ in shards], {count for _, count in shards}
    listed, where = ", ".join(str(list(shard)) for shard in shards), f"corpus {code}: shard"
    if len(counts) > 1 or any(not 1 <= number <= count for number, count in shards):
        raise DataError("shards are [number, count] with the same count", where=where, value=listed)
    (count,) = counts
    for number in range(1, count + 1):
        if numbers.count(number) != 1:
            state = "missing" if number not in numbers else "duplicated"
            raise DataError(state, where=f"{where} {number} of {count}", value=listed)
    return sorted(parts, key=lambda part: part[1].shard)


def _corpus(parts: list[tuple[Path, Description]]) -> Corpus:
    description = parts[0][1]
    repairs = [shard.repairs for _, shard in parts if shard.repairs]
    return Corpus(
        find(description.language, f"{parts[0][0] / Description.FILE}: language"),
        [folder for folder, _ in parts],
        description.translator,
        sum(repairs[1:], repairs[0]) if repairs else None,
        description.files,
    )
