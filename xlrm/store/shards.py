"""Shards: equal parts of a sequence of rows, in order, written NUMBER/OF."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator

Row = TypeVar("Row")


def numbers(shard: str) -> tuple[int, int]:
    """Number of the shard, from 1, and number of shards. Raises ValueError for a text that is no shard."""
    number, _, of = shard.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ValueError("a shard is written NUMBER/OF, as 2/4")
    return int(number), int(of)


def bounds(count: int, shard: str) -> tuple[int, int]:
    """Index of the first of `count` rows in the shard, and the index after the last."""
    number, of = numbers(shard)
    return count * (number - 1) // of, count * number // of


def rows_of(rows: Sequence[Row], shard: str) -> Sequence[Row]:
    return rows[slice(*bounds(len(rows), shard))]


def _checked(shard: str) -> str:
    numbers(shard)
    return shard


Shard = Annotated[str, AfterValidator(_checked)]
"""Field of a config."""
