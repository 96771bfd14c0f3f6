"""Sections of an experiment: one for each stage with its settings, and `policy`, which has the fields of `base`."""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pydantic import BaseModel, Field, ValidationError

import xlrm.stages
from xlrm.errors import ConfigError, wrong_before_missing
from xlrm.store.fields import sentences
from xlrm.store.jsonl import not_finite

STAGES = tuple(sorted(module.name for module in pkgutil.iter_modules(xlrm.stages.__path__)))
POLICY = "policy"
"""Section of the model to align; without it, the base model is aligned."""
SECTIONS = (*STAGES, POLICY)
CROSS_LINGUAL, RETRAIN = "cross-lingual-transfer", "retrain"


def stage_module(name: str) -> ModuleType:
    if name not in STAGES:
        raise ConfigError("no such stage", where="stage", value=name, hint=f"there are {', '.join(STAGES)}")
    return importlib.import_module(f"xlrm.stages.{name}")


def stage_config(name: str, values: dict[str, Any], where: str = "") -> BaseModel:
    """Validates the config of a stage. Raises ConfigError, one line that names field, value and what is allowed."""
    try:
        config = config_class(name)(**values)
    except ValidationError as error:
        _raise(name, error, where)
        raise  # for the type alone: `_raise` leaves out no error here
    _check_finite(name, config.model_dump(), where)
    return config


def check_section(name: str, values: dict[str, Any], where: str) -> None:
    """Validates a section of an experiment. Fields may be missing, because the pipeline adds some, such as the
    language."""
    try:
        config_class(name)(**values)
    except ValidationError as error:
        _raise(name, error, where, ignore="missing")
    _check_finite(name, values, where)


def stage_of(section: str) -> str:
    return "base" if section == POLICY else section


def config_class(section: str) -> type[BaseModel]:
    return stage_module(stage_of(section)).Config


_RENAMED = {
    "curate.max_rejects": "max_reject_share", "external.dtype": "precision", "register.shared": "min_common_share",
    "represent.token_sets.share": "token_sets.min_share",
}  # fmt: skip
"""Former name of a field -> its name."""


def _raise(name: str, error: ValidationError, where: str, ignore: str = "") -> None:
    for first in wrong_before_missing(error.errors(include_url=False)):
        if first["type"] == ignore:
            continue
        field = ".".join([name, *(str(part) for part in first["loc"])])
        allowed = ", ".join(config_class(name).model_fields)
        hint = f"fields of {name}: {allowed}" if first["type"] == "extra_forbidden" else _example(name, first)
        if new := _RENAMED.get(field):
            hint = f"it is now {name}.{new}"
        raise ConfigError.invalid(first, f"{where}{name}.", hint) from error


def _example(name: str, details: Mapping[str, Any]) -> str:
    """What a missing field means, and a value; nothing for another error."""
    field = config_class(name).model_fields.get(str(details["loc"][0])) if details["loc"] else None
    if field is None or details["type"] != "missing":
        return ""
    label = details["loc"][0]
    shown = f"; for example {name}.{label}={field.examples[0]}" if field.examples else ""
    return sentences(config_class(name)).get(str(label), "").rstrip(".") + shown


def _check_finite(name: str, values: dict[str, Any], where: str) -> None:
    for field, value in not_finite(values):
        raise ConfigError("a finite number is required", where=f"{where}{name}.{field}", value=value)


class Experiment(BaseModel, frozen=True, extra="forbid"):
    name: str
    """Name of the MLflow experiment."""
    source: str = "en"
    """Language the preference data is written in."""
    targets: tuple[str, ...] = Field(("es", "it", "ko", "zh"), min_length=1)
    """Languages it is translated into; each gets a reward model and an aligned policy of its own."""
    stages: dict[str, dict[str, Any]] = {}
    """Section -> settings that differ from its stage's defaults."""

    @property
    def languages(self) -> tuple[str, ...]:
        return (self.source, *self.targets)

    @property
    def prefix(self) -> str:
        """Beginning of the names that its reward models are registered under: its own name if no other is given."""
        return self.stages.get("register", {}).get("prefix", re.sub(r"[^\w-]+", "-", self.name))

    def setting(self, section: str, field: str) -> Any:
        """The value in the section, else the default of its stage."""
        return self.stages.get(section, {}).get(field, config_class(section).model_fields[field].default)

    def as_file(self) -> dict[str, Any]:
        """The mapping that `build` takes."""
        return {"name": self.name, "source": self.source, "targets": list(self.targets), **self.stages}

    def config(self, section: str, **given: Any) -> Any:
        """Config of a section as a pipeline fills it in. `given`: values to use instead, such as another language.
        Raises ConfigError."""
        values = self.stages.get(section)
        if values is None:
            values = self.stages.get("base", {}) if section == POLICY else {}
        first = self.source if section in ("curate", "reward", "evaluate") else self.targets[0]
        pipeline = {
            "language": first, "languages": self.languages, "targets": self.targets, "labeler": self.source,
            "labelers": (self.source, self.targets[0]), "prefix": self.prefix,
        } | given  # fmt: skip
        known = config_class(section).model_fields
        return stage_config(section, values | {name: value for name, value in pipeline.items() if name in known})
