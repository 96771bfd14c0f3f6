"""Files of rows that a user names: JSON lines, a JSON array, CSV, TSV or Parquet, each also compressed with gzip or
zstd; errors name file, line (row of an array or of Parquet) and field."""

import codecs
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from xlrm.errors import DataError
from xlrm.store import parquet_rows, text_rows
from xlrm.store.json_values import FINITE, not_finite
from xlrm.store.local_copies import STDIN, decompressed, local_copy, opened, readable
from xlrm.store.text_rows import Numbered, Text

Form = Literal["jsonl", "json", "csv", "tsv", "parquet"]
FORMS: tuple[Form, ...] = ("jsonl", "json", "csv", "tsv", "parquet")
_SHOWN = 20
"""Columns that an error lists, at most."""
PACKED = ("", ".gz", ".zst")
ENDINGS = {f".{form}{packed}": form for form in FORMS for packed in PACKED}
ALLOWED = "a .jsonl, .json, .csv, .tsv or .parquet file, also with .gz or .zst"


@dataclass(frozen=True)
class Reading:
    """How files are read that say it nowhere themselves."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Name of a field -> name of the column that has it in the file."""
    encoding: str | None = None
    """Encoding of text that is not UTF-8 and has no byte order mark."""
    everywhere: bool = True
    """Whether every file must have all of `columns`; otherwise a file without one is read as if it were not named."""


PLAIN = Reading()


def form_of(name: str) -> Form | None:
    """The format that a file's name says; None for any other name."""
    return ENDINGS.get(ending_of(name).lower())


def ending_of(name: str) -> str:
    """The ending of a file of rows, as it is written in its name; empty for any other name."""
    return next((name[-len(ending) :] for ending in ENDINGS if name.lower().endswith(ending)), "")


@dataclass(frozen=True)
class RowFile:
    """A file of rows, and how it is read."""

    name: str
    """A path, `-` for standard input, or `s3://bucket/key`, as the user wrote it."""
    reading: Reading = PLAIN

    @cached_property
    def path(self) -> Path:
        """The file on this machine."""
        return local_copy(self.name)

    def rows(self) -> Iterator[dict]:
        return (row for _, row in self.numbered())

    def numbered(self) -> Iterator[tuple[int, dict]]:
        """Each row with its number. Raises DataError for a row that cannot be read, and for a number that is not
        finite."""
        for number, row in self.records():
            if isinstance(row, DataError):
                raise row.within(f"{self.name}:{number}: ")
            for place, value in not_finite(row) if self.form == "parquet" else ():
                raise DataError(FINITE, where=f"{self.name}:{number}: {place}", value=value)
            yield number, row

    def records(self) -> Iterator[Numbered]:
        """Each row with its number, and the error in place of a row that cannot be read. Raises DataError where the rest
        of the file cannot be read either."""
        return renamed(self.name, self._read, self.reading)

    @cached_property
    def form(self) -> Form:
        form = _form_of_content(self.path) if self.name == STDIN else form_of(self.name)
        if form is None:
            raise DataError(f"a file of rows is {ALLOWED}", where=self.name)
        return form

    def _read(self) -> Iterator[Numbered]:
        path, form = self.path, self.form
        try:
            with readable(self.name):
                yield from _parquet(path) if form == "parquet" else self._text(_READERS[form])
        except DataError as error:
            if not error.where.startswith(self.name):
                error.within(f"{self.name}:")
            raise

    def _text(self, read: Callable[[Text], Iterator[Numbered]]) -> Iterator[Numbered]:
        if self.form == "json":
            with opened(self.path) as content:
                read = text_rows.json_array if text_rows.is_array(Text(content, self.reading.encoding)) else read
        with opened(self.path) as content:
            yield from read(Text(content, self.reading.encoding, "" if self.form in ("csv", "tsv") else None))


def renamed(name: str, read: Callable[[], Iterable[Numbered]], reading: Reading) -> Iterator[Numbered]:
    """The rows of a table with the columns that `reading` names under the names of fields; a field that another column
    replaces is left out. Raises DataError for a column that no row of the table has."""
    columns = columns_of(name, read, reading)
    for number, row in read():
        yield number, row if isinstance(row, DataError) else with_columns(row, columns)


def other_names(row: Mapping[str, object]) -> str:
    """What to do about a row whose fields may have other names, as the end of an error's line."""
    names = [*itertools.islice(row, _SHOWN), *["..."] * (len(row) > _SHOWN)]
    return f"there are {', '.join(names)}; name other columns by --columns chosen=COLUMN,... or in curate.columns"


def with_columns(row: dict, columns: Mapping[str, str]) -> dict:
    """The row with columns under the names of fields."""
    if not columns:
        return row
    kept = {field: value for field, value in row.items() if field not in columns}
    return kept | {field: row[column] for field, column in columns.items() if column in row}


def columns_of(name: str, read: Callable[[], Iterable[Numbered]], reading: Reading) -> dict[str, str]:
    """The columns of `reading` that the table has. Raises DataError as `renamed` does."""
    if not reading.columns:
        return {}
    wanted, there = dict(reading.columns), dict[str, None]()
    for _, row in read():
        there |= {} if isinstance(row, DataError) else dict.fromkeys(row)
        if there.keys() >= set(wanted.values()):
            return wanted
    for column in wanted.values() if reading.everywhere and there else ():
        if column not in there:
            raise DataError("no such column", where=name, value=column, hint=f"there are {', '.join(there)}")
    return {field: column for field, column in wanted.items() if column in there}


def _parquet(path: Path) -> Iterator[Numbered]:
    with decompressed(path) as plain:
        yield from parquet_rows.read(plain)


def _form_of_content(path: Path) -> Form:
    """Format of a file without a name: Parquet by its mark, JSON by its first character, otherwise TSV if there is a tab
    in the first line, or CSV."""
    with readable(STDIN), opened(path) as content:
        start = content.read(1 << 16)
    if start.startswith(b"PAR1"):
        return "parquet"
    text = start.decode("utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "latin-1", "replace")
    first = text.removeprefix(codecs.BOM_UTF8.decode("latin-1")).lstrip()
    if first[:1] in ("{", "[", ""):
        return "json"
    return "tsv" if "\t" in first.splitlines()[0] else "csv"


_READERS: dict[Form, Callable[[Text], Iterator[Numbered]]] = {
    "jsonl": text_rows.json_lines,
    "json": text_rows.json_lines,
    "csv": lambda text: text_rows.cells(text, ","),
    "tsv": lambda text: text_rows.cells(text, "\t"),
}
