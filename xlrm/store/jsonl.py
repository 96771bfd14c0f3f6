"""Rows on disk: JSONL written and read, Parquet read, with errors that name file, line and field. No row has a number
that is not finite: JSON has none, and a model that is trained on one gives nothing else."""

import contextlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from xlrm.errors import DataError

LARGEST = 3.4e38
"""Numbers that models compute with are float32; a larger one becomes infinite there."""
_FINITE = "a finite number is required"
_MARK = "surrogateescape"
"""Reads bytes that are not UTF-8 as characters that cannot be encoded, so that the line that has them can be named."""


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
                raise DataError(
                    "missing or empty", where=f"{path}:{number}: {field}", hint=f"a row needs {', '.join(required)}"
                )
        for field in numbers:
            check_number(f"{path}:{number}: {field}", row.get(field))
    return rows


def check_number(place: str, value: object) -> None:
    """Raises DataError for a value that is neither a finite number nor None."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST):
        return
    raise DataError(f"a finite number of at most {LARGEST:g} is allowed", where=place, value=value)


def not_finite(value: Any, field: str = "") -> Iterator[tuple[str, float]]:
    """(field, value) of each number in a value of JSON or YAML that is not finite; a field within another is `outer.inner`."""
    if isinstance(value, float) and not math.isfinite(value):
        yield field, value
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    ):
        yield from not_finite(item, f"{field}.{key}" if field else str(key))


def each_row(path: Path) -> Iterator[dict]:
    """Iterator over the rows that `read_rows` returns."""
    if not path.is_file():
        raise DataError("no such file", where=path)
    if path.suffix == ".parquet":
        for number, row in enumerate(parquet_rows(path), 1):
            for field, value in not_finite(row):
                raise DataError(_FINITE, where=f"{path}:{number}: {field}", value=value)
            yield row
    elif path.suffix in (".jsonl", ".json"):
        with _readable(path), path.open(encoding="utf-8", errors=_MARK) as file:
            yield from (_parse(path, number, line) for number, line in enumerate(file, 1) if line.strip())
    else:
        raise DataError("a file of rows ends in .jsonl or .parquet", where=path)


def parquet_rows(path: Path) -> Iterator[dict]:
    """Iterator over the rows of a .parquet file, whatever numbers they have. Raises DataError for another file."""
    import pyarrow.parquet

    with _readable(path, (OSError, pyarrow.lib.ArrowException)):
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1024):
            yield from batch.to_pylist()


@contextlib.contextmanager
def _readable(path: Path, kinds: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Raises DataError for a file that cannot be read."""
    try:
        yield
    except kinds as error:
        raise DataError(f"cannot be read: {' '.join(str(error).split())[:200]}", where=path) from error


def count_lines(path: Path) -> int:
    """Number of rows of a .jsonl file that this project wrote, one per line."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def stream(path: Path, start: int = 0, stop: int | None = None) -> Iterator[dict]:
    """Iterator over the rows `start` to `stop` of a .jsonl file. Raises DataError for an unreadable row."""
    with _readable(path), path.open(encoding="utf-8", errors=_MARK) as file:
        for number, line in enumerate(itertools.islice(file, start, stop), start + 1):
            yield _parse(path, number, line)


def _parse(path: Path, number: int, line: str) -> dict:
    try:
        return parse_line(line)
    except DataError as error:
        error.within(f"{path}:{number}: ")
        raise


def parse_line(line: str) -> dict:
    """The JSON object of a line, or of a whole text. Raises DataError for any other, and for a number that is not
    finite: NaN, Infinity, or one such as 1e999."""
    try:
        line.encode()  # a byte that is not UTF-8 was read as half of a surrogate pair
        row = _DECODER.decode(line)
    except _NotFinite as error:
        field, value = next(not_finite(json.loads(line)), ("", str(error)))
        raise DataError(_FINITE, where=field, value=value) from error
    except UnicodeEncodeError as error:
        raise DataError(f"not UTF-8: the byte at character {error.start + 1}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError("a row is a JSON object", value=row)
    return row


class _NotFinite(Exception):
    pass


def _finite(text: str) -> float:
    if math.isfinite(value := float(text)):
        return value
    raise _NotFinite(text)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
