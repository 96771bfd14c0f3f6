"""Annotations of fields of a stage's config, in `Annotated[...]`: whether a field counts for the result, and what it
names on the Hub; the error of fields that do not fit together; and the sentence under each field."""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, LiteralString

from pydantic import BaseModel
from pydantic_core import PydanticCustomError


class NotCounted:
    """Marks a field that cannot change a result: speed, patience, assumptions and limits of an estimate."""


@dataclass(frozen=True)
class CountedIf:
    """Marks a field that changes a result only if `condition` is true of the config."""

    condition: Callable[[Any], bool]


class Sets:
    """Marks a field that names datasets, each as NAME[=OWNER/NAME][@REVISION] or a file; Hub datasets can be pinned
    to a commit."""


@dataclass(frozen=True)
class NamesFile:
    """Marks a field, or a list, that may name files of this machine or s3://bucket/key. {language} in a file's name stands
    for the code of a language."""

    prefix: str = ""
    """What a file's name follows, as in human=FILE; other entries name no file."""
    words: tuple[str, ...] = ()
    """Entries that name no file."""

    def file(self, entry: str) -> str | None:
        """The file that an entry names; None if it names none."""
        named = entry.startswith(self.prefix) and entry not in self.words
        return entry.removeprefix(self.prefix) if named else None


@dataclass(frozen=True)
class RevisionOf:
    """Marks a field that is the revision of a model of the Hub."""

    model: str
    """Name of the field with the model's name."""
    made_here: tuple[str, ...] = ()
    """Names of models that are not on the Hub."""


def conflict(field: str, value: Any, message: LiteralString) -> PydanticCustomError:
    """The error that a validator of the whole config raises; it names the field whose value does not fit the others."""
    return PydanticCustomError("conflict", message, {"field": field, "value": value})


def counted(config: BaseModel) -> dict[str, Any]:
    """The config as JSON, without the fields that do not count."""
    values = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        if not all(_counts(mark, config) for mark in field.metadata):
            del values[name]
        elif isinstance(value := getattr(config, name), BaseModel):
            values[name] = counted(value)
    return values


def _counts(mark: Any, config: BaseModel) -> bool:
    if isinstance(mark, CountedIf):
        return mark.condition(config)
    return mark is not NotCounted


def marked(config: type[BaseModel], kind: type) -> dict[str, Any]:
    """Names of the fields that are annotated with `kind`, with the annotation."""
    return {
        name: mark
        for name, field in config.model_fields.items()
        for mark in field.metadata
        if mark is kind or isinstance(mark, kind)
    }


@cache
def sentences(config: type[BaseModel]) -> dict[str, str]:
    """Field -> the string under it, in the class or in one that it extends."""
    by_field: dict[str, str] = {}
    for cls in reversed(config.__mro__):
        if cls is BaseModel or not issubclass(cls, BaseModel):
            continue
        definition = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(definition, ast.ClassDef)
        for node, below in itertools.pairwise(definition.body):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                by_field[node.target.id] = " ".join(str(below.value.value).split())
    return by_field
