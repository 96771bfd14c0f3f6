"""Preference records in common formats, as rows with prompt, chosen and rejected in the form of `conversations`.

The prompt of a record is a field of its own, or the common beginning of the messages of chosen and rejected. If it is
both, the field must be among the messages of that beginning.
"""

import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xlrm.data import conversations
from xlrm.data.corpus_schema import is_judgment
from xlrm.errors import DataError
from xlrm.store.json_values import check_number
from xlrm.store.row_files import PLAIN, Reading, RowFile

Row = dict
_TRANSCRIPT = re.compile(r"\s*(Human|User): .*\n\s*Assistant:", re.DOTALL)
"""Beginning of a text that is a conversation, as in Anthropic's HH: read as one message, its answer would be part of the
question."""
Messages = list[conversations.Message]
SIDES = ("chosen", "rejected")
SPLITS = ("train", "validation")
"""Values of the field `split`."""
_AFTER = (conversations.ANSWERER, "tool")
"""Roles of the first message in which the sides may differ."""


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
            check_split(record.get("split"))
            rows.append(judgment_of(record) if is_judgment(record) else pair_of(record))
        except DataError as error:
            rejects.append({"line": number, "reason": str(error)})
    return rows, rejects


def check_split(value: object) -> None:
    """Raises DataError for a split that is neither train nor validation, nor absent."""
    if value not in (None, "", *SPLITS):
        raise DataError(f"{' or '.join(SPLITS)} is allowed", where="split", value=value)


def judgment_of(record: Row) -> Row:
    """The single judgment in a record: prompt, response, and a label from 0 (bad) to 1 (good), with the record's own id,
    subset, section and split. Raises DataError with the reason if it cannot be used."""
    label = record.get("label")
    if not isinstance(label, int | float) or not 0 <= label <= 1:
        raise DataError("a single judgment has 0, 1, true, false or a number between", where="label", value=label)
    _check_texts(record)
    if record.get("prompt"):
        prompt, response = record["prompt"], record.get("response")
    else:
        turns = conversations.messages(record.get("response"), "response")
        prompt, response = turns[:-1], turns[-1:]
    if not prompt:
        raise DataError("missing, and response has no messages to take it from", where="prompt")
    row = {"prompt": conversations.prompt(prompt), "response": conversations.response(response), "label": float(label)}
    return row | _kept(record, ("id", "subset", "section", "split"))


def pairs_of_judgments(rows: Iterable[Row]) -> list[Row]:
    """Every two single judgments on the same prompt, in the same subset, with different labels as a pair, whose chosen
    response has the higher label (paper B, appendix C, of Seahorse: all pairs of summaries of a document). Its id is made of
    both ids. Raises DataError for judgments of which no two make a pair."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(
            json.dumps([row["prompt"], row.get("subset")], ensure_ascii=False, allow_nan=False), []
        ).append(row)
    pairs = []
    for two in (two for group in groups.values() for two in itertools.combinations(group, 2)):
        worse, better = sorted(two, key=lambda row: row["label"])
        if worse["label"] != better["label"]:
            texts = {"prompt": better["prompt"], "chosen": better["response"], "rejected": worse["response"]}
            pairs.append({"id": f"{better['id']}>{worse['id']}", **texts, **_kept(better, ("subset", "section"))})
    if not pairs:
        raise DataError("no two judgments have the same prompt and different labels, so there is no pair to judge")
    return pairs


def pair_of(record: Row) -> Row:
    """The pair in a record, with the record's own id, subset, section, split and margin (a finite number). Raises DataError with
    the reason if it cannot be used."""
    pair = turns_of(record)
    check_number("margin", record.get("margin"))
    return pair | _kept(record, ("id", "subset", "section", "split", "margin"))


def _kept(record: Row, names: tuple[str, ...]) -> Row:
    return {name: record[name] for name in names if record.get(name) not in (None, "")}


def _check_texts(record: Row) -> None:
    """Raises DataError for a conversation outside the messages of a record (`conversations.check_fields`, `_TRANSCRIPT`)."""
    conversations.check_fields(record)
    for name in ("prompt", *SIDES, "response"):
        if isinstance(text := record.get(name), str) and _TRANSCRIPT.match(text):
            raise DataError("a text that is several turns", where=name, value=text, hint="make it a list of messages")


def _missing(record: Row, name: str, message: str) -> DataError:
    given = ", ".join(sorted(key for key, value in record.items() if value is not None))
    return DataError(message, where=name, hint=f"the row has {given}; other names are given as columns")


def turns_of(record: Row) -> Row:
    """Prompt, chosen and rejected of a record, whose sides are texts, messages of the response alone, or whole
    conversations. Raises DataError with the reason if they cannot be read."""
    _check_texts(record)
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
    _check_texts(record)
    sides = {side: _responses(record.get(side), side) for side in SIDES}
    return {"prompt": conversations.prompt(record.get("prompt")), **sides}


def _are_responses(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], str | list)


def _responses(value: Any, side: str) -> list[conversations.Turns]:
    values = value if _are_responses(value) else [value]
    return [conversations.response(each, side) for each in values]


def _side(record: Row, side: str, prompt: Messages | None) -> tuple[Messages, bool]:
    """A side's messages, and whether they have the prompt before them: they begin with it, or not with the assistant."""
    value = record.get(side)
    if value is None:
        raise _missing(record, side, "missing; a pair needs chosen and rejected")
    turns = conversations.as_messages(conversations.response(value, side), conversations.ANSWERER)
    if isinstance(value, str) and prompt is None:
        raise _missing(record, "prompt", f"missing, and {side} has no messages to take it from")
    if len(turns) == 1 and prompt is None:
        raise _missing(record, "prompt", f"missing, and {side} is one message")
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
