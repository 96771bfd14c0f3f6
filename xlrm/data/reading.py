"""How a user's files are read: fields that have other names there, and encodings, as configs and commands give them."""

import codecs
from collections.abc import Iterable, Mapping

from xlrm.errors import ConfigError
from xlrm.store.row_files import Reading

FIELDS = (
    "id", "prompt", "chosen", "rejected", "response", "label", "margin", "messages", "subset", "section", "split", "weight",
    "text",
)  # fmt: skip
"""Fields of the rows of users' files."""


def check_columns(columns: Mapping[str, str]) -> None:
    """Raises ValueError for another field than those of rows, and for a column without a name."""
    for field, column in columns.items():
        if field not in FIELDS:
            raise ValueError(f"{field!r} is no field of a row; there are {', '.join(FIELDS)}")
        if not column:
            raise ValueError(f"the name of the column for {field} is empty")


def check_encoding(encoding: str) -> None:
    """Raises ValueError for a name that is not that of an encoding of text."""
    try:
        known = codecs.lookup(encoding)._is_text_encoding
    except (LookupError, ValueError):
        known = False
    if not known:
        raise ValueError("no such encoding; such as latin-1, cp1252 or shift_jis is allowed")


def of_options(columns: Iterable[str], encoding: str | None) -> Reading:
    """The reading that `--columns NAME=COLUMN,...` and `--encoding` ask for. Raises ConfigError."""
    named: dict[str, str] = {}
    for part in (part for option in columns for part in option.split(",")):
        field, equals, column = part.partition("=")
        if not equals or field in named:
            raise ConfigError("NAME=COLUMN,... is required, each name once", where="--columns", value=part)
        named[field] = column
    try:
        check_columns(named)
    except ValueError as error:
        raise ConfigError(str(error), where="--columns", value=",".join(columns)) from error
    try:
        check_encoding(encoding or "utf-8")
    except ValueError as error:
        raise ConfigError(str(error), where="--encoding", value=encoding) from error
    return Reading(named, encoding)
