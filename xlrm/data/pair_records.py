"""Preference records in common formats, as rows with prompt, chosen and rejected in text.

A record's texts are strings or lists of messages. Its prompt is a field of its own, or the common beginning of the
messages of chosen and rejected. It is one user turn without a system prompt, so that it can be asked in the same form
in all languages.
"""

from collections.abc import Iterable
from pathlib import Path

from xlrm.data import conversations
from xlrm.data.corpus_schema import JUDGMENT, is_judgment
from xlrm.errors import DataError
from xlrm.store.jsonl import check_number
from xlrm.store.row_files import PLAIN, Reading, RowFile

Row = dict


def read_pairs(path: Path | str, reading: Reading = PLAIN) -> tuple[list[Row], list[Row]]:
    """The pairs and single judgments of a file, and its rejects with line (row) and reason. Raises DataError for a file
    that cannot be read."""
    return sort_out(RowFile(str(path), reading).records())


def sort_out(records: Iterable[tuple[int, Row | DataError]]) -> tuple[list[Row], list[Row]]:
    """Pairs, single judgments and rejects of numbered records; a record may be the error of one that cannot be read."""
    rows, rejects = [], []
    for number, record in records:
        try:
            if isinstance(record, DataError):
                raise record
            rows.append(judgment_of(record) if is_judgment(record) else pair_of(record))
        except DataError as error:
            rejects.append({"line": number, "reason": str(error)})
    return rows, rejects


def judgment_of(record: Row) -> Row:
    """The single judgment in a record: prompt, response, and a label from 0 (bad) to 1 (good), with the record's own id,
    subset and section. Raises DataError with the reason if it cannot be used."""
    label = record.get("label")
    if not isinstance(label, int | float) or not 0 <= label <= 1:
        raise DataError("a single judgment has 0, 1, true, false or a number between", where="label", value=label)
    (response, before) = _response(record, "response")
    row = {"prompt": _prompt(record.get("prompt") or before), "response": response, "label": float(label)}
    _check_texts(row, JUDGMENT)
    return row | _kept(record, ("id", "subset", "section"))


def pair_of(record: Row) -> Row:
    """The pair in a record, with the record's own id, subset, section and margin (a finite number). Raises DataError with
    the reason if it cannot be used."""
    (chosen, before), (rejected, other) = (_response(record, side) for side in ("chosen", "rejected"))
    if record.get("prompt") is not None:
        before = record["prompt"]
    elif before != other:
        raise DataError("the messages before chosen differ from those before rejected", where="chosen, rejected")
    pair = {"prompt": _prompt(before), "chosen": chosen, "rejected": rejected}
    _check_texts(pair, tuple(pair))
    check_number("margin", record.get("margin"))
    return pair | _kept(record, ("id", "subset", "section", "margin"))


def _check_texts(row: Row, names: tuple[str, ...]) -> None:
    for name in names:
        if not conversations.is_whole(row[name]):
            raise DataError(f"contains {conversations.HALF_CHARACTER}", where=name)


def _kept(record: Row, names: tuple[str, ...]) -> Row:
    return {name: record[name] for name in names if record.get(name) not in (None, "")}


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
