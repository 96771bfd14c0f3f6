"""Files of rows that a command writes for its user, in the format that their name says: JSON lines, a JSON array, CSV,
TSV or Parquet, each also compressed with gzip or zstd."""

import csv
import gzip
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from xlrm.errors import DataError
from xlrm.store.files import whole
from xlrm.store.row_files import Form, form_of

if TYPE_CHECKING:
    import pyarrow

_ROWS = 1024
"""Rows of Parquet at a time."""


@dataclass
class Output:
    """A file to be written. It sees every row before the first is written: CSV begins with the names of all columns, and
    Parquet with their types."""

    path: Path
    form: Form = "jsonl"
    spreadsheet: bool = False
    """Whether people open CSV and TSV in a spreadsheet: it knows UTF-8 by a byte order mark, and an apostrophe before a
    text keeps it from being taken for a formula."""
    columns: dict[str, None] = field(default_factory=dict)
    _schemas: list["pyarrow.Schema"] = field(default_factory=list)
    _held: list[dict] = field(default_factory=list)

    @classmethod
    def named(cls, path: Path, spreadsheet: bool = False) -> "Output":
        """A file in the format that its name says; JSON lines for a name that says none."""
        return cls(path, form_of(path.name) or "jsonl", spreadsheet)

    def see(self, row: dict) -> None:
        """Takes note of a row that will be written."""
        if self.form in ("csv", "tsv", "parquet"):
            self.columns |= dict.fromkeys(row)
        if self.form == "parquet":
            self._held.append(row)
            if len(self._held) == _ROWS:
                self.learn()

    def write(self, rows: Iterable[dict]) -> int:
        """Writes the rows; the file is then complete or, after an error, absent. Returns their number."""
        with whole(self.path) as part, _packed(part, self.path.suffix) as file:
            return _WRITERS[self.form](file, rows, self)

    def schema(self) -> "pyarrow.Schema":
        import pyarrow

        return pyarrow.unify_schemas(self._schemas or [pyarrow.schema([])], promote_options="permissive")

    def learn(self) -> None:
        """Ends what `see` began. Raises DataError for a column of several types if the file is to be Parquet."""
        import pyarrow

        if not self._held:
            return
        try:
            named = [{name: row.get(name) for name in self.columns} for row in self._held]
            self._schemas = [*self._schemas, pyarrow.Table.from_pylist(named).schema]
            self._schemas = [self.schema()]
        except (pyarrow.ArrowException, OverflowError) as error:
            raise DataError(
                f"a column of Parquet has one type ({' '.join(str(error).split())[:150]})",
                where=self.path, hint="write .jsonl",
            ) from error  # fmt: skip
        self._held.clear()


@contextmanager
def _packed(path: Path, suffix: str) -> Iterator[IO[bytes]]:
    with path.open("wb") as file:
        if suffix.lower() == ".gz":
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                yield packed  # type: ignore[misc]
        elif suffix.lower() == ".zst":
            import pyarrow

            with pyarrow.CompressedOutputStream(file, "zstd") as packed:
                yield packed
        else:
            yield file


def _json_lines(file: IO[bytes], rows: Iterable[dict], _: Output) -> int:
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007
        file.write(_json(row) + b"\n")
    return count


def _json_array(file: IO[bytes], rows: Iterable[dict], _: Output) -> int:
    count = 0
    for count, row in enumerate(rows, 1):
        file.write((b",\n" if count > 1 else b"[\n") + _json(row))
    file.write(b"\n]\n" if count else b"[]\n")
    return count


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _cells(delimiter: str) -> Callable[[IO[bytes], Iterable[dict], Output], int]:
    def write(file: IO[bytes], rows: Iterable[dict], output: Output) -> int:
        text = io.StringIO(newline="")
        writer, count = csv.writer(text, delimiter=delimiter), 0  # its line ends, \r\n, make it quote a lone \r too
        text.write("\ufeff" if output.spreadsheet else "")
        writer.writerow(output.columns)
        for count, row in enumerate(rows, 1):  # noqa: B007
            cells = [_cell(row.get(name)) for name in output.columns]
            writer.writerow(map(_no_formula, cells) if output.spreadsheet else cells)
            file.write(text.getvalue().encode())
            text.seek(0)
            text.truncate()
        return count

    return write


def _no_formula(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _cell(value: Any) -> Any:
    """Text as it is, an empty cell for None, and JSON for everything else."""
    return value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False, allow_nan=False)


def _parquet(file: IO[bytes], rows: Iterable[dict], output: Output) -> int:
    import pyarrow
    import pyarrow.parquet

    schema, count, rows = output.schema(), 0, iter(rows)
    with pyarrow.parquet.ParquetWriter(pyarrow.PythonFile(file, "w"), schema, compression="zstd") as writer:
        while batch := list(itertools.islice(rows, _ROWS)):
            count += len(batch)
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
    return count


_WRITERS: dict[Form, Callable[[IO[bytes], Iterable[dict], Output], int]] = {
    "jsonl": _json_lines,
    "json": _json_array,
    "csv": _cells(","),
    "tsv": _cells("\t"),
    "parquet": _parquet,
}
