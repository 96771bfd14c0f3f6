"""Rows of a corpus as single texts: which texts of a row are translated, and rows with one text in each column."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xlrm.data import conversations
from xlrm.data.corpus_schema import TEXTS

Row = dict[str, Any]


def texts(row: Row) -> list[str]:
    """All texts of a row that are translated."""
    return [text for _, value in _columns(row) for text in conversations.texts(value)]


def with_texts(row: Row, other: Callable[[str], str]) -> Row:
    """The row with `other` of each text."""
    return row | {column: conversations.with_texts(value, other) for column, value in _columns(row)}


def columns(row: Row) -> Iterator[tuple[str, str]]:
    """Column and text of each text of a row."""
    return ((column, text) for column, value in _columns(row) for text in conversations.texts(value))


def _columns(row: Row) -> list[tuple[str, conversations.Turns]]:
    return [
        (name, row[name])
        for name in TEXTS
        if isinstance(row.get(name), str) or conversations.is_messages(row.get(name))
    ]


@dataclass(frozen=True)
class Part:
    """One text of each column of a row that may have messages: the first of each, the second, and so on."""

    row: int
    """Index of the row."""
    texts: dict[str, str | None]
    """Column -> text; None for a column without so many. Missing or not text in the row: blank."""
    sources: dict[str, str | None] | None
    """The same of the source row; None if there is none."""
    whole: tuple[Row, Row | None] | None
    """The row and its source; only in the first part of a row."""


def parts(rows: list[Row], sources: list[Row | None], names: tuple[str, ...]) -> list[Part]:
    """The parts of all rows, for these columns. `sources`: the source rows, or none for any row."""
    others: list[Row | None] = list(sources) or [None] * len(rows)
    return [part for place, both in enumerate(zip(rows, others, strict=True)) for part in _parts(place, *both, names)]


def _parts(place: int, row: Row, source: Row | None, names: tuple[str, ...]) -> Iterator[Part]:
    own, other = ({name: _texts(it.get(name)) for name in names} if it is not None else None for it in (row, source))
    assert own is not None
    for number in range(max(1, *map(len, own.values())) if own else 1):
        mine, its = (
            {name: _at(side[name], number) for name in names} if side is not None else None for side in (own, other)
        )
        assert mine is not None
        yield Part(place, mine, its, None if number else (row, source))


def _texts(value: Any) -> list[str]:
    return conversations.texts(value) if isinstance(value, str) or conversations.is_messages(value) else [""]


def _at(texts: list[str], number: int) -> str | None:
    return texts[number] if number < len(texts) else None
