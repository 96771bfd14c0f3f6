"""Responses that were written elsewhere: read from a file of the user, or written by the phrasebook."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from xlrm.data import catalog
from xlrm.data.phrasebook import writer
from xlrm.errors import DataError, within
from xlrm.store import row_files
from xlrm.store.fields import NamesFile
from xlrm.store.row_files import RowFile

PHRASEBOOK = "phrasebook"
LANGUAGE = "{language}"
_PROMPTS, _RESPONSES = ("prompt", "instruction"), ("responses", "response", "output")


@dataclass(frozen=True)
class Given:
    text: str
    finished: bool
    """Whether its writer ended it, rather than being cut."""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    given: Annotated[str | None, NamesFile(words=(PHRASEBOOK,))] = None
    """File of responses written elsewhere, with {language} in its name where each language has its own; or phrasebook,
    which answers its own prompts. Null: the policies write them (docs/alignment.md)."""
    right_share: float = Field(0.5, ge=0, le=1)
    """Share of right answers among those that the phrasebook gives (`given`); the others are wrong."""

    @field_validator("given")
    @classmethod
    def _known(cls, entry: str | None) -> str | None:
        if entry not in (None, PHRASEBOOK) and not catalog.is_file(entry or ""):
            raise ValueError(f"{PHRASEBOOK} or {row_files.ALLOWED} is allowed")
        return entry


def file_of(entry: str, language: str) -> str:
    return entry.replace(LANGUAGE, language)


def respond(settings: Settings, rows: Sequence[dict], language: str, count: int, seed: int) -> list[list[Given]]:
    """`count` responses to each prompt of `rows`. A row of a file has the id or the prompt (also as `instruction`), and
    `responses`, a list, or `response` (also as `output`), a text; `finished` says which of them are whole, all if it is
    missing. Raises DataError for a file that cannot be read, and for a prompt with fewer responses."""
    entry = settings.given or PHRASEBOOK
    if entry == PHRASEBOOK:
        return [
            [Given(writer.answer(row["prompt"], language, settings.right_share, seed, n), True) for n in range(count)]
            for row in rows
        ]
    name = file_of(entry, language)
    written: dict[str, list[Given]] = {}
    for number, row in RowFile(name).numbered():
        with within(f"{name}:{number}: "):
            for key in _keys(row):
                written.setdefault(key, []).extend(_responses(row))
    taken = []
    for row in rows:
        responses = next((written[key] for key in _keys(row) if key in written), [])
        if len(responses) < count:
            raise DataError(
                f"{count} responses to each prompt are required, and there are {len(responses)} to {row['id']}", where=name,
                value=row["prompt"],
            )  # fmt: skip
        taken.append(responses[:count])
    return taken


def _keys(row: dict) -> list[str]:
    """What a row is found by: its prompt, else its id, since files may number their rows in other ways."""
    prompt = next((row[name] for name in _PROMPTS if row.get(name)), None)
    keys = [] if prompt is None else [f"prompt {json.dumps(prompt, sort_keys=True, allow_nan=False)}"]
    if row.get("id") not in (None, ""):
        keys.append(f"id {row['id']}")
    if not keys:
        raise DataError("required, or an id", where="prompt", hint=row_files.other_names(row))
    return keys


def _responses(row: dict) -> list[Given]:
    name = next((name for name in _RESPONSES if name in row), _RESPONSES[0])
    several = row.get(name) if name == _RESPONSES[0] else [row[name]]
    if not (isinstance(several, list) and several and all(isinstance(text, str) for text in several)):
        raise DataError("a text, or in `responses` a list of texts, is required", where=name, value=row.get(name))
    ended = row.get("finished", [True] * len(several))
    ended = ended if isinstance(ended, list) else [ended]
    if len(ended) != len(several) or not all(isinstance(each, bool) for each in ended):
        raise DataError("true or false for each response is required", where="finished", value=row["finished"])
    return [Given(text.strip(), whole) for text, whole in zip(several, ended, strict=True)]
