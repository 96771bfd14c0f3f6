"""Rows in files: those of this project, which are JSON lines, and those of users, in any format of `row_files`."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from xlrm.errors import DataError, within
from xlrm.store.files import whole
from xlrm.store.json_values import check_number, not_finite, parse_line
from xlrm.store.local_copies import readable
from xlrm.store.row_files import PLAIN, Reading, RowFile

__all__ = ["check_number", "count_lines", "each_row", "not_finite", "parse_line", "read_rows", "stream", "write_jsonl"]


def write_jsonl(path: Path, rows: Iterable[dict]) -> int:
    """Writes rows under a temporary name first, so that `path` is complete or absent. Returns the number of rows."""
    count = 0
    with whole(path) as part, part.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def read_rows(
    path: Path | str,
    required: tuple[str, ...] = (),
    numbers: tuple[str, ...] = (),
    reading: Reading = PLAIN,
    convert: Callable[[dict], dict] | None = None,
) -> list[dict]:
    """Rows of a file, each as `convert` returns it. `numbers`: fields that are a number, null or absent. Raises DataError
    for a file or a row that cannot be read, or that `convert` refuses."""
    rows = []
    for number, row in RowFile(str(path), reading).numbered():
        for field in required:
            if not row.get(field):
                raise DataError(
                    "missing or empty", where=f"{path}:{number}: {field}",
                    hint=f"a row needs {', '.join(required)}, and this one has {', '.join(sorted(row))}",
                )  # fmt: skip
        for field in numbers:
            check_number(f"{path}:{number}: {field}", row.get(field))
        with within(f"{path}:{number}: "):
            rows.append(convert(row) if convert else row)
    return rows


def each_row(path: Path | str, reading: Reading = PLAIN) -> Iterator[dict]:
    """Iterator over the rows that `read_rows` returns."""
    return RowFile(str(path), reading).rows()


def count_lines(path: Path) -> int:
    """Number of rows of a .jsonl file that this project wrote, one per line."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def stream(path: Path, start: int = 0, stop: int | None = None) -> Iterator[dict]:
    """Iterator over the rows `start` to `stop` of a .jsonl file that this project wrote. Raises DataError for an
    unreadable row."""
    with readable(str(path)), path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(itertools.islice(file, start, stop), start + 1):
            with within(f"{path}:{number}: "):
                yield parse_line(line)
