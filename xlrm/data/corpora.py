"""Corpora on disk: files of rows in one language, whole or in shards, read row by row in place."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from xlrm.errors import DataError
from xlrm.languages import LANGUAGES, Language
from xlrm.store.jsonl import parse_line

DESCRIPTION = "corpus.json"
"""File beside a corpus's files: its language, and how it was made."""
REPAIRS = ("tried", "mended", "untranslated")


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
                try:
                    yield offset, parse_line(line.decode("utf-8"))
                except DataError as error:
                    error.within(f"{path}:{number}: ")
                    raise
                except UnicodeDecodeError as error:
                    raise DataError(f"not UTF-8 ({error})", where=f"{path}:{number}") from error
            offset += len(line)


@dataclass
class Corpus:
    language: Language
    folders: list[Path]
    """The corpus's folder, or its shards in order."""
    translator: dict[str, Any] | None = None
    """The translator, from corpus.json."""
    repairs: dict[str, int] | None = None
    """Counts of rows that the translation's own checks rejected: tried again, repaired, left untranslated."""
    made: tuple[str, ...] | None = None
    """Names of its files without their ending, if corpus.json lists them; None for all."""
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
    """A whole corpus. Raises DataError as `read_translations` does."""
    return _corpus([(folder, _description(folder))])


def read_translations(folders: list[Path]) -> list[Corpus]:
    """One corpus per language, with shards joined. Raises DataError for a language or shard that is missing or
    duplicated."""
    parts: dict[str, list[tuple[Path, dict]]] = {}
    for folder in folders:
        description = _description(folder)
        parts.setdefault(description["language"], []).append((folder, description))
    return [_corpus(_ordered(code, shards)) for code, shards in parts.items()]


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise DataError('no such file; it names the language of the corpus, as {"language": "es"}', where=path)
    description = json.loads(path.read_text(encoding="utf-8"))
    if description.get("language") not in LANGUAGES:
        raise DataError(
            "no such language",
            where=f"{path}: language", value=description.get("language"), hint=f"there are {', '.join(LANGUAGES)}",
        )  # fmt: skip
    return description


def _ordered(code: str, parts: list[tuple[Path, dict]]) -> list[tuple[Path, dict]]:
    """Shards in their order. Raises DataError if one is missing or duplicated."""
    shards = [description.get("shard", [1, 1]) for _, description in parts]
    if any(not _is_shard(shard) for shard in shards) or len({count for _, count in shards}) > 1:
        raise DataError(
            "shards are [number, count] with the same count", where=f"corpus {code}: shard", value=_list(shards)
        )
    count, numbers = int(shards[0][1]), [int(number) for number, _ in shards]
    for number in range(1, count + 1):
        if numbers.count(number) != 1:
            state = "missing" if number not in numbers else "duplicated"
            raise DataError(state, where=f"corpus {code}: shard {number} of {count}", value=_list(shards))
    return [part for _, part in sorted(zip(numbers, parts, strict=True), key=lambda pair: pair[0])]


def _is_shard(shard: Any) -> bool:
    """Whether the value describes a shard; numbers may be floats, because KFP makes every number one."""
    return isinstance(shard, list) and len(shard) == 2 and all(x == int(x) for x in shard) and 1 <= shard[0] <= shard[1]


def _list(shards: list) -> str:
    return ", ".join(map(str, shards))


def _corpus(parts: list[tuple[Path, dict]]) -> Corpus:
    description = parts[0][1]
    repairs = [entry["repairs"] for _, entry in parts if entry.get("repairs")]
    total = {key: sum(counts.get(key, 0) for counts in repairs) for key in REPAIRS} if repairs else None
    return Corpus(
        LANGUAGES[description["language"]],
        [folder for folder, _ in parts],
        description.get("translator"),
        total,
        _made(description),
    )


def _made(said: dict[str, Any]) -> tuple[str, ...] | None:
    return tuple(said["files"]) if "files" in said else None
