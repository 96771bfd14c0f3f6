"""Rows of Parquet files, whose values become those that JSON has."""

import datetime
import decimal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.errors import DataError
from xlrm.store.json_values import LONGEST
from xlrm.store.text_rows import Numbered

if TYPE_CHECKING:
    import pyarrow

_ROWS = 1024
"""Rows at a time."""


def read(path: Path) -> Iterator[Numbered]:
    """Each row with its number. Decimals become numbers, dates and times ISO 8601 text, bytes the text that they are in
    UTF-8, and maps objects. Raises DataError for another file and for a row that is too large."""
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if twice := [name for name in names if names.count(name) > 1]:
            raise DataError("duplicated column", value=twice[0])
        plain = all(map(_is_plain, file.schema_arrow.types))
        number = 0
        for batch in file.iter_batches(_ROWS):
            for row in _rows(batch, number, plain):
                number += 1
                yield number, row
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise DataError(f"not Parquet that can be read ({' '.join(str(error).split())[:200]})") from error


def _rows(batch: "pyarrow.RecordBatch", before: int, plain: bool) -> Iterator[dict | DataError]:
    if batch.nbytes > LONGEST:
        for i in range(batch.num_rows):
            if batch.slice(i, 1).nbytes > LONGEST:
                raise DataError(f"a row has at most {LONGEST:,} bytes", where=str(before + i + 1))
    try:
        rows = batch.to_pylist(maps_as_pydicts="strict")
    except (ValueError, OverflowError, KeyError):  # one of the rows; which one, and of what column?
        yield from (_row(batch.slice(i, 1)) for i in range(batch.num_rows))
        return
    yield from rows if plain else map(_converted, rows)


def _row(batch: "pyarrow.RecordBatch") -> dict | DataError:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column.to_pylist(maps_as_pydicts="strict")[0]
        except (ValueError, OverflowError, KeyError) as error:
            return DataError(f"cannot be read: {' '.join(str(error).split())[:100]}", where=name)
    return _converted(row)


def _is_plain(kind: "pyarrow.DataType") -> bool:
    """Whether all values of a type are ones that JSON has."""
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind):
        return _is_plain(kind.value_type)
    if types.is_struct(kind):
        return all(_is_plain(kind.field(i).type) for i in range(kind.num_fields))
    return any(
        check(kind)
        for check in (types.is_string, types.is_large_string, types.is_integer, types.is_boolean, types.is_floating)
    )


def _converted(row: dict) -> dict | DataError:
    converted = {}
    for name, value in row.items():
        try:
            converted[name] = _json(value)
        except (ValueError, TypeError) as error:
            return DataError(f"a value that JSON has is required ({error})", where=name)
    return converted


def _json(value: Any) -> Any:
    match value:
        case None | str() | bool() | int() | float():
            return value
        case dict():
            return {str(_json(key)): _json(inner) for key, inner in value.items()}
        case list():
            return [_json(inner) for inner in value]
        case decimal.Decimal():
            return float(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case bytes():
            return value.decode()
    raise TypeError(type(value).__name__)
