"""The errors of xlrm:

XlrmError            every error that the user or the environment causes; shown as one line, and the CLI exits with 2
├── ConfigError      a wrong file, field or value of an experiment, or of a phrasebook language
├── DataError        a row of a dataset or benchmark, or a text, that cannot be used
├── ArtifactError    an artifact that is missing, unfinished or corrupted, or a store or MLflow server that does not answer
├── JobError         a job on other machines that failed for good, after its own restarts
└── GateError        results that were computed but are not good enough to continue with

The line is `where=value: message; hint`. Tests compare these fields, not the line.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, Self

_SHOWN = 200
"""Characters of a value in the line; the rest is cut off."""
_MEMBER = re.compile(r"str|int|float|bool|\w+\[.*\]")
"""A type in the place that pydantic gives for a field that may have values of several types."""


class XlrmError(Exception):
    def __init__(self, message: str, *, where: object = "", value: object = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        """What is wrong, or what is allowed there."""
        self.where = str(where)
        """File, line, field, option, variable or address, the widest first, as in `pairs.jsonl:41: margin`."""
        self.value = value
        """The value that was refused; None if there is none to show. Never a secret."""
        self.hint = hint
        """What is there to choose from, or what to do next."""

    def within(self, place: str, hint: str = "") -> Self:
        """This error, with a file or section before its place; `place` ends with the separator, as in `reward.` or
        `demo.yaml: `. A second hint goes after the first."""
        self.where = f"{place}{self.where}" if self.where else place.rstrip(":. ")
        self.hint = "; ".join(filter(None, (self.hint, hint)))
        return self

    @classmethod
    def invalid(cls, details: Mapping[str, Any], place: str = "", hint: str = "") -> Self:
        """The error of a field that pydantic refused, from an entry of `ValidationError.errors()`. `place` is as in
        `within`. A check of several fields names the one to change in the entry's context, as `field` and `value`."""
        context = {"value": details["input"] if details["loc"] else None} | details.get("ctx", {})
        message, value = details["msg"].removeprefix("Value error, "), context["value"]
        if details["loc"] and value is None:
            message += ", not null"
        parts = [str(part) for part in (*details["loc"], *filter(None, [context.get("field")]))]
        where = ".".join(part for part in parts if not _MEMBER.fullmatch(part))
        return cls(message, where=where, value=None if details["type"] == "missing" else value, hint=hint).within(place)

    def __str__(self) -> str:
        value = "" if self.value is None else _shown(self.value)
        subject = "=".join(filter(None, (self.where, value)))
        return (f"{subject}: " if subject else "") + self.message + (f"; {self.hint}" if self.hint else "")


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, PurePath) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


@contextmanager
def within(place: str) -> Iterator[None]:
    """Context whose errors get `place` before their own, as `XlrmError.within`."""
    try:
        yield
    except XlrmError as error:
        error.within(place)
        raise


class ConfigError(XlrmError):
    pass


def wrong_before_missing(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Entries of `ValidationError.errors()`, those of missing fields last: a misspelled field is a missing one, too."""
    return sorted(errors, key=lambda details: details["type"] == "missing")


class DataError(XlrmError):
    pass


class ArtifactError(XlrmError):
    pass


class JobError(XlrmError):
    pass


class GateError(XlrmError):
    kept: str = ""
    """URI of the folder with the refused results; empty if they were not kept."""

    @property
    def reason(self) -> str:
        """The line without the URI."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.reason}; see {self.kept}" if self.kept else self.reason
