"""Rows on disk: JSONL written and read, Parquet read, with errors that name file, line and field. No row has a number
that is not finite: JSON has none, and a model that is trained on one gives nothing else."""

import itertools
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from xlrm.errors import DataError

LARGEST = 3.4e38
"""Numbers that models compute with are float32; a larger one becomes infinite there."""


def write_jsonl(path: Path, rows: Iterable[dict]) -> int:
    """Writes rows under a temporary name first, so that `path` is complete or absent. Returns the number of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    temporary.replace(path)
    return count


def read_rows(path: Path, required: tuple[str, ...] = (), numbers: tuple[str, ...] = ()) -> list[dict]:
    """Rows of a .jsonl or .parquet file. `numbers`: fields that are a number, null or absent. Raises DataError for a
    file or a row that cannot be read."""
    rows = list(each_row(path))
    for number, row in enumerate(rows, 1):
        for field in required:
            if not row.get(field):
                raise DataError(f"{path}:{number}: no '{field}'; a row needs {', '.join(required)}")
        for field in numbers:
            if problem := not_a_number(field, row.get(field)):
                raise DataError(f"{path}:{number}: {problem}")
    return rows


def not_a_number(field: str, value: object) -> str | None:
    """What is wrong with a field that is to be a number or null; None for nothing."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST):
        return None
    return f"'{field}' is {repr(value)[:60]}; a finite number is allowed, of at most {LARGEST:g}"


def not_finite(value: Any, field: str = "") -> Iterator[tuple[str, float]]:
    """(field, value) of each number in a JSON value that is not finite; a field within another is `outer.inner`."""
    if isinstance(value, float) and not math.isfinite(value):
        yield field, value
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from not_finite(item, f"{field}.{key}" if field else str(key))


def each_row(path: Path) -> Iterator[dict]:
    """Iterator over the rows that `read_rows` returns."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix == ".parquet":
        for number, row in enumerate(parquet_rows(path), 1):
            for field, value in not_finite(row):
                raise DataError(f"{path}:{number}: {_problem(field, value)}")
            yield row
    elif path.suffix in (".jsonl", ".json"):
        with path.open(encoding="utf-8") as file:
            yield from (_parse(path, number, line) for number, line in enumerate(file, 1) if line.strip())
    else:
        raise DataError(f"{path}: files of rows end in .jsonl or .parquet, not {path.suffix or 'nothing'!r}")


def parquet_rows(path: Path) -> Iterator[dict]:
    """Iterator over the rows of a .parquet file, whatever numbers they have."""
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1024):
        yield from batch.to_pylist()


def count_lines(path: Path) -> int:
    """Number of rows of a .jsonl file that this project wrote, one per line."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def stream(path: Path, start: int = 0, stop: int | None = None) -> Iterator[dict]:
    """Iterator over the rows `start` to `stop` of a .jsonl file. Raises DataError for an unreadable row."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(itertools.islice(file, start, stop), start + 1):
            yield _parse(path, number, line)


def _parse(path: Path, number: int, line: str) -> dict:
    try:
        return parse_line(line)
    except DataError as error:
        raise DataError(f"{path}:{number}: {error}") from error


def parse_line(line: str) -> dict:
    """The JSON object of a line, or of a whole text. Raises DataError for any other, and for a number that is not
    finite: NaN, Infinity, or one such as 1e999."""
    try:
        row = _DECODER.decode(line)
    except _NotFinite as error:
        field, value = next(not_finite(json.loads(line)), ("a field", str(error)))
        raise DataError(_problem(field, value)) from error
    except ValueError as error:
        raise DataError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"a row is a JSON object, not {type(row).__name__}")
    return row


class _NotFinite(Exception):
    pass


def _finite(text: str) -> float:
    if math.isfinite(value := float(text)):
        return value
    raise _NotFinite(text)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def _problem(field: str, value: object) -> str:
    return f"'{field}' is {value}; a finite number is allowed"
