"""Preference records in common formats, as rows with prompt, chosen and rejected in text.

A record's texts are strings or lists of messages. Its prompt is a field of its own, or the common beginning of the
messages of chosen and rejected. It is one user turn without a system prompt, so that it can be asked in the same form
in all languages.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from xlrm.data import conversations
from xlrm.errors import DataError
from xlrm.store.jsonl import check_number, parquet_rows, parse_line

Row = dict


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
    (chosen, before), (rejected, other) = (_response(record, side) for side in ("chosen", "rejected"))
    if record.get("prompt") is not None:
        before = record["prompt"]
    elif before != other:
        raise DataError("the messages before chosen differ from those before rejected", where="chosen, rejected")
    pair = {"prompt": _prompt(before), "chosen": chosen, "rejected": rejected}
    for key, text in pair.items():
        if not conversations.is_whole(text):
            raise DataError(f"contains {conversations.HALF_CHARACTER}", where=key)
    margin = record.get("margin")
    check_number("margin", margin)
    return pair | {key: record[key] for key in ("id", "subset", "section", "margin") if record.get(key) is not None}


def _response(record: Row, side: str) -> tuple[str, object]:
    """A side's last text, and the messages before it."""
    if side not in record:
        raise DataError("missing; a pair needs chosen and rejected", where=side)
    value = record[side]
    if isinstance(value, str):
        return value, None
    messages = _messages(value, side)
    if messages[-1]["role"] != conversations.ANSWERER:
        raise DataError(
            f"the last message must have role {conversations.ANSWERER!r}", where=side, value=messages[-1]["role"]
        )
    return messages[-1]["content"], messages[:-1]


def _prompt(value: object) -> str:
    if isinstance(value, str):
        return value
    if not value:
        raise DataError("missing, and chosen has no messages to take it from", where="prompt")
    messages = _messages(value, "prompt")
    if [message["role"] for message in messages] != ["user"]:
        roles = ", ".join(message["role"] for message in messages)
        raise DataError("a prompt of one message with role 'user' is allowed", where="prompt", value=roles)
    return messages[0]["content"]


def _messages(value: object, name: str) -> list[conversations.Message]:
    try:
        return conversations.messages(value)
    except DataError as error:
        raise DataError("a text or messages with role and content are allowed", where=name, value=value) from error


def _lines(path: Path) -> Iterator[tuple[int, Row | str]]:
    if not path.is_file():
        raise DataError("no such file", where=path)
    if path.suffix == ".parquet":
        yield from enumerate(parquet_rows(path), 1)
        return
    with path.open(encoding="utf-8") as file:
        yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
