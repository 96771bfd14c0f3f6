"""The JSON object of one line, and what is allowed in it: finite numbers, whole characters, each key once, and limits
of size and depth. JSON has no number that is not finite, and a model that is trained on one gives nothing else."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from xlrm.errors import DataError

LONGEST = 8 * 2**20
"""Characters of a row, and bytes of a row of Parquet: some two million tokens."""
DEEPEST = 64
"""Lists and objects within each other in a row."""
LARGEST = 3.4e38
"""Numbers that models compute with are float32; a larger one becomes infinite there."""
FINITE = "a finite number is required"
HALF_CHARACTER = "half of a surrogate pair, which is not a character"
"""JSON can encode it, but no tokenizer accepts it, and no file in UTF-8 can contain it."""
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
"""A string, whose brackets do not count, or a bracket."""
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_line(line: str) -> dict:
    """The JSON object of a line, or of a whole text. Raises DataError for any other, and for an object with a number that
    is not finite (NaN, Infinity, or one such as 1e999), a key twice, half of a character, or too deep."""
    check_depth(line)
    try:
        line.encode()  # a byte that is not UTF-8 was read as half of a surrogate pair
        row = DECODER.decode(line)
    except NotFinite as error:
        field, value = next(not_finite(json.loads(line)), ("", str(error)))
        raise DataError(FINITE, where=field, value=value) from error
    except UnicodeEncodeError as error:
        raise DataError(f"not UTF-8: the byte at character {error.start + 1}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})") from error
    return check(row, line)


def check(row: Any, text: str) -> dict:
    """The row that was read from a JSON text. Raises DataError unless it is an object of whole characters."""
    if not isinstance(row, dict):
        raise DataError("a row is a JSON object", value=row)
    if _ESCAPED_HALF.search(text):
        check_characters(row)
    return row


def check_depth(text: str) -> None:
    """Raises DataError for a JSON text with more than `DEEPEST` lists and objects within each other."""
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise DataError(f"at most {DEEPEST} lists and objects within each other are allowed")


def _depth(text: str) -> int:
    """Largest number of lists and objects within each other in a JSON text, which is not parsed for it: Python's parser
    goes no deeper than its own stack allows."""
    depth = deepest = 0
    for token in _BRACKETS.finditer(text):
        if (mark := token[0][0]) in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def check_characters(row: dict) -> None:
    """Raises DataError for a key or text with half of a surrogate pair."""
    for field, value in row.items():
        try:
            json.dumps({field: value}, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError as error:
            raise DataError(f"contains {HALF_CHARACTER}", where=ascii(field).strip("'")) from error


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


class NotFinite(Exception):
    """A number of a JSON text that is not finite."""


def _finite(text: str) -> float:
    if math.isfinite(value := float(text)):
        return value
    raise NotFinite(text)


def _each_once(pairs: list[tuple[str, Any]]) -> dict:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise DataError("duplicated key", where=next(name for name in names if names.count(name) > 1))
    return row


DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite, object_pairs_hook=_each_once)
