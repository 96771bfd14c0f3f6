"""What a field of a stage's config says of itself in `Annotated[...]`, beside its type: whether it counts for the result, and
what of the Hub it names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


class NotCounted:
    """Of a field that cannot change a result: speed, patience, what an estimate assumes or may cost."""


@dataclass(frozen=True)
class CountedIf:
    """Of a field that changes a result only where `condition` is true of the config."""

    condition: Callable[[Any], bool]


class Sets:
    """Of a field that names datasets, each as NAME[=OWNER/NAME][@REVISION] or a file: one of the Hub is at a commit."""


@dataclass(frozen=True)
class RevisionOf:
    """Of a field that is the revision of a model of the Hub."""

    model: str
    """The field that names it."""
    made_here: tuple[str, ...] = ()
    """Names of models that are not of the Hub."""


def counted(config: BaseModel) -> dict[str, Any]:
    """The config as JSON, without the fields that do not count."""
    found = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        if not all(_counts(one, config) for one in field.metadata):
            del found[name]
        elif isinstance(value := getattr(config, name), BaseModel):
            found[name] = counted(value)
    return found


def _counts(said: Any, config: BaseModel) -> bool:
    if isinstance(said, CountedIf):
        return said.condition(config)
    return said is not NotCounted


def marked(config: type[BaseModel], kind: type) -> dict[str, Any]:
    """Fields that are annotated with `kind`: their names, and what the annotation says."""
    return {
        name: said
        for name, field in config.model_fields.items()
        for said in field.metadata
        if said is kind or isinstance(said, kind)
    }
