"""Preference records in common formats, as rows with prompt, chosen and rejected in the form of `conversations`.

The prompt of a record is a field of its own, or the common beginning of the messages of chosen and rejected. If it is
both, the field must be among the messages of that beginning.
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from xlrm.data import conversations
from xlrm.errors import DataError
from xlrm.store.jsonl import check_number, parquet_rows, parse_line

Row = dict
Messages = list[conversations.Message]
SIDES = ("chosen", "rejected")
_AFTER = (conversations.ANSWERER, "tool")
"""Roles of the first message in which the sides may differ."""


def read_pairs(path: Path) -> tuple[list[Row], list[Row]]:
    """The pairs of a .jsonl or .parquet file, and its rejects with line (row) and reason. Raises DataError for a file
    that cannot be read."""
    return sort_out(_lines(path))


def sort_out(records: Iterable[tuple[int, Row | str]]) -> tuple[list[Row], list[Row]]:
    """Pairs and rejects of numbered records; a record may still be a line of JSON."""
    rows, rejects = [], []
    for number, record in records:
        try:
            rows.append(pair_of(parse_line(record) if isinstance(record, str) else record))
        except DataError as error:
            rejects.append({"line": number, "reason": str(error)})
    return rows, rejects


def pair_of(record: Row) -> Row:
    """The pair in a record, with the record's own id, subset, section and margin (a finite number). Raises DataError with
    the reason if it cannot be used."""
    pair = turns_of(record)
    margin = record.get("margin")
    check_number("margin", margin)
    return pair | {key: record[key] for key in ("id", "subset", "section", "margin") if record.get(key) is not None}


def turns_of(record: Row) -> Row:
    """Prompt, chosen and rejected of a record, whose sides are texts, messages of the response alone, or whole
    conversations. Raises DataError with the reason if they cannot be read."""
    conversations.check_fields(record)
    given = record.get("prompt")
    prompt = None if given in (None, [], {}) else conversations.messages(given, "prompt")
    (chosen, first), (rejected, second) = (_side(record, side, prompt) for side in SIDES)
    if not (first or second):
        before = prompt or []
    elif given == "":
        raise DataError("empty, although chosen or rejected have a prompt", where="prompt")
    else:
        chosen, rejected = (
            [*(prompt or []) * (not own), *turns] for turns, own in ((chosen, first), (rejected, second))
        )
        before = _beginning(chosen, rejected)
        if prompt and not _has_run(before, prompt):
            raise DataError("not among the messages before chosen and rejected", where="prompt", value=given)
        chosen, rejected = chosen[len(before) :], rejected[len(before) :]
    sides = {side: conversations.response(turns, side) for side, turns in zip(SIDES, (chosen, rejected), strict=True)}
    return {"prompt": conversations.prompt(before), **sides}


def item_of(record: Row) -> Row:
    """Prompt, chosen and rejected of a record of a benchmark: those of a pair, or in a best of n, where chosen or rejected
    is a list of texts or of lists of messages, lists of responses. Raises DataError with the reason."""
    if not any(_are_responses(record.get(side)) for side in SIDES):
        return turns_of(record)
    conversations.check_fields(record)
    sides = {side: _responses(record.get(side), side) for side in SIDES}
    return {"prompt": conversations.prompt(record.get("prompt")), **sides}


def _are_responses(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str | list) for each in value)


def _responses(value: Any, side: str) -> list[conversations.Turns]:
    values = value if _are_responses(value) else [value]
    return [conversations.response(each, side) for each in values]


def _side(record: Row, side: str, prompt: Messages | None) -> tuple[Messages, bool]:
    """A side's messages, and whether they have the prompt before them: they begin with it, or not with the assistant."""
    value = record.get(side)
    if value is None:
        raise DataError("missing; a pair needs chosen and rejected", where=side)
    turns = conversations.as_messages(conversations.response(value, side), conversations.ANSWERER)
    if isinstance(value, str) and prompt is None:
        raise DataError(f"missing, and {side} has no messages to take it from", where="prompt")
    if len(turns) == 1 and prompt is None:
        raise DataError(f"missing, and {side} is one message", where="prompt")
    own = prompt is None or turns[0]["role"] != conversations.ANSWERER or turns[: len(prompt)] == prompt
    return turns, own


def _beginning(chosen: Messages, rejected: Messages) -> Messages:
    """The longest common beginning after which the assistant speaks. Raises DataError where somebody else says something
    different first."""
    both = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(chosen[:-1], rejected[:-1], strict=False)))
    count = len(both)
    if any(turns[count]["role"] not in _AFTER for turns in (chosen, rejected)):
        count = 0
    while count and any(turns[count]["role"] != conversations.ANSWERER for turns in (chosen, rejected)):
        count -= 1
    if not count:
        raise DataError("the messages before chosen differ from those before rejected", where="chosen, rejected")
    return chosen[:count]


def _has_run(turns: Messages, wanted: Messages) -> bool:
    """Whether the wanted messages follow one another in `turns`, but for white space around them."""
    stripped, looked_for = ([each | {"content": each["content"].strip()} for each in side] for side in (turns, wanted))
    return any(stripped[i : i + len(wanted)] == looked_for for i in range(len(turns)))


def _lines(path: Path) -> Iterator[tuple[int, Row | str]]:
    if not path.is_file():
        raise DataError("no such file", where=path)
    if path.suffix == ".parquet":
        yield from enumerate(parquet_rows(path), 1)
        return
    with path.open(encoding="utf-8") as file:
        yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
