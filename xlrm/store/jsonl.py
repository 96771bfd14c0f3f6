"""Rows on disk: JSONL written and read, Parquet read, with errors that name file, line and field."""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from xlrm.errors import DataError


def write_jsonl(path: Path, rows: Iterable[dict]) -> int:
    """Writes rows under a temporary name first, so that `path` is complete or absent. Returns the number of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    temporary.replace(path)
    return count


def read_rows(path: Path, required: tuple[str, ...] = ()) -> list[dict]:
    """Rows of a .jsonl or .parquet file. Raises DataError for a file or a row that cannot be read."""
    rows = list(each_row(path))
    for number, row in enumerate(rows, 1):
        for field in required:
            if not row.get(field):
                raise DataError(
                    "missing or empty", where=f"{path}:{number}: {field}", hint=f"a row needs {', '.join(required)}"
                )
    return rows


def each_row(path: Path) -> Iterator[dict]:
    """Iterator over the rows that `read_rows` returns."""
    if not path.is_file():
        raise DataError("no such file", where=path)
    if path.suffix == ".parquet":
        import pyarrow.parquet

        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1024):
            yield from batch.to_pylist()
    elif path.suffix in (".jsonl", ".json"):
        with path.open(encoding="utf-8") as file:
            yield from (_parse(path, number, line) for number, line in enumerate(file, 1) if line.strip())
    else:
        raise DataError("a file of rows ends in .jsonl or .parquet", where=path)


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
        error.within(f"{path}:{number}: ")
        raise


def parse_line(line: str) -> dict:
    """The JSON object of a line. Raises DataError for any other line."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError("a row is a JSON object", value=row)
    return row
