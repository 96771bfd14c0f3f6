"""An experiment: one YAML file, one section per stage.

Defaults (in each stage's Config) < the file < `stage.field=value` on the command line. Environment variables hold
addresses and secrets, never settings.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

import xlrm.stages
from xlrm.errors import ConfigError
from xlrm.languages import LANGUAGES

STAGES = tuple(sorted(module.name for module in pkgutil.iter_modules(xlrm.stages.__path__)))
POLICY = "policy"
"""The section that names the model to align, with the fields of `base`; without it that is the base model."""
SECTIONS = (*STAGES, POLICY)


def stage_module(name: str):
    if name not in STAGES:
        raise ConfigError(f"no stage '{name}'; there are {', '.join(STAGES)}")
    return importlib.import_module(f"xlrm.stages.{name}")


def stage_config(name: str, values: dict[str, Any], where: str = "") -> BaseModel:
    """The validated config of a stage. Raises ConfigError, one line that names field, value and what is allowed."""
    try:
        return stage_module(name).Config(**values)
    except ValidationError as error:
        _raise(name, error, where)


def check_section(name: str, values: dict[str, Any], where: str) -> None:
    """As `stage_config`, for an experiment's section: the pipeline adds the fields it leaves out, such as the language."""
    try:
        stage_module(stage_of(name)).Config(**values)
    except ValidationError as error:
        _raise(name, error, where, ignore="missing")


def stage_of(section: str) -> str:
    return "base" if section == POLICY else section


def _raise(name: str, error: ValidationError, where: str, ignore: str = "") -> None:
    for first in error.errors(include_url=False):
        if first["type"] == ignore:
            continue
        field = ".".join([name, *(str(part) for part in first["loc"])])
        allowed = ", ".join(stage_module(stage_of(name)).Config.model_fields)
        hint = f"; fields of {name}: {allowed}" if first["type"] == "extra_forbidden" else ""
        raise ConfigError(f"{where}{field}: {first['msg']}, got {first['input']!r}{hint}") from error


class Experiment(BaseModel, frozen=True, extra="forbid"):
    name: str
    """Name of the MLflow experiment, and the prefix of the registered reward models."""
    source: str = "en"
    """Language the preference data is written in."""
    targets: tuple[str, ...] = Field(("es", "it", "ko", "zh"), min_length=1)
    """Languages it is translated into; each gets a reward model and an aligned policy of its own."""
    stages: dict[str, dict[str, Any]] = {}
    """By section, the settings that differ from its stage's defaults."""

    @property
    def languages(self) -> tuple[str, ...]:
        return (self.source, *self.targets)

    def setting(self, section: str, field: str) -> Any:
        """The value in the section, else the default of its stage."""
        default = stage_module(stage_of(section)).Config.model_fields[field].default
        return self.stages.get(section, {}).get(field, default)

    def as_file(self) -> dict[str, Any]:
        """As `build` takes it."""
        return {"name": self.name, "source": self.source, "targets": list(self.targets), **self.stages}


def load(path: Path, overrides: tuple[str, ...] = ()) -> Experiment:
    """Raises ConfigError for a file, section, field or value that is not right; nothing has been written by then."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such experiment file; the shipped ones are in configs/")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    raw = {} if raw is None else raw
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: an experiment is a mapping of sections, not {type(raw).__name__}")
    return build({"name": path.stem} | raw, dict(map(_assignment, overrides)), str(path))


def build(raw: dict[str, Any], overrides: Mapping[str, Any], where: str) -> Experiment:
    """The experiment of a mapping as a file has it, with what `overrides` says (`stage.field` -> value) on top.

    Raises ConfigError, one line that begins with `where`.
    """
    raw = deepcopy(raw)
    for name, value in overrides.items():
        _override(raw, name, value)
    top = {key: raw.pop(key) for key in ("name", "source", "targets") if key in raw}
    sections = {stage: _section(stage, values, where) for stage, values in raw.items()}
    try:
        experiment = Experiment(**top, stages=sections)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(
            f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
        ) from error
    _check(experiment, where)
    return experiment


def parse_value(name: str, text: str) -> Any:
    """The value that `text` is in YAML. Raises ConfigError."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {text!r} is not a value YAML can read") from error


def _assignment(override: str) -> tuple[str, Any]:
    name, equals, value = override.partition("=")
    if not equals or not all(name.split(".")):
        raise ConfigError(f"{override!r}: an override is written stage.field=value")
    return name, parse_value(name, value)


def _override(raw: dict, name: str, value: Any) -> None:
    *path, field = name.split(".")
    held = raw
    for part in path:
        if held.get(part) is None:
            held[part] = {}
        held = held[part]
        if not isinstance(held, dict):
            raise ConfigError(f"{name}={value!r}: {part} is {held!r}, which has no fields")
    held[field] = value


def _section(stage: str, values: Any, where: str) -> dict[str, Any]:
    if stage not in SECTIONS:
        known = ", ".join(("name", "source", "targets", *SECTIONS))
        raise ConfigError(f"{where}: no stage or setting '{stage}'; there are {known}")
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{where}: {stage}: a section is a mapping of fields, got {values!r}")
    return values or {}


def _check(experiment: Experiment, where: str) -> None:
    for field, languages in (("source", (experiment.source,)), ("targets", experiment.targets)):
        for language in languages:
            if language not in LANGUAGES:
                raise ConfigError(f"{where}: {field}: no language {language!r}; there are {', '.join(LANGUAGES)}")
    if len(set(experiment.languages)) != len(experiment.languages):
        raise ConfigError(f"{where}: targets: {experiment.languages} name a language twice")
    for stage, values in experiment.stages.items():
        check_section(stage, values, f"{where}: ")
