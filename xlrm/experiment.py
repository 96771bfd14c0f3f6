"""An experiment: one YAML file, one section per stage.

Defaults (in each stage's Config) < the file < `stage.field=value` on the command line. Environment variables hold
addresses and secrets, never settings.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

import xlrm.stages
from xlrm.errors import ConfigError
from xlrm.languages import LANGUAGES

STAGES = tuple(sorted(module.name for module in pkgutil.iter_modules(xlrm.stages.__path__)))


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
        stage_module(name).Config(**values)
    except ValidationError as error:
        _raise(name, error, where, ignore="missing")


def _raise(name: str, error: ValidationError, where: str, ignore: str = "") -> None:
    for first in error.errors(include_url=False):
        if first["type"] == ignore:
            continue
        field = ".".join([name, *(str(part) for part in first["loc"])])
        allowed = ", ".join(stage_module(name).Config.model_fields)
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
    """Settings of each stage that differ from its defaults."""

    @property
    def languages(self) -> tuple[str, ...]:
        return (self.source, *self.targets)


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
    for override in overrides:
        _override(raw, override)
    top = {key: raw.pop(key) for key in ("name", "source", "targets") if key in raw}
    sections = {stage: _section(stage, values, path) for stage, values in raw.items()}
    try:
        experiment = Experiment(**({"name": path.stem} | top), stages=sections)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
        ) from error
    _check(experiment, path)
    return experiment


def parse_value(name: str, text: str) -> Any:
    """The value that `text` is in YAML. Raises ConfigError."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {text!r} is not a value YAML can read") from error


def _override(raw: dict, override: str) -> None:
    name, equals, value = override.partition("=")
    *path, field = name.split(".")
    if not equals or not all((*path, field)):
        raise ConfigError(f"{override!r}: an override is written stage.field=value")
    held = raw
    for part in path:
        if held.get(part) is None:
            held[part] = {}
        held = held[part]
        if not isinstance(held, dict):
            raise ConfigError(f"{override!r}: {part} is {held!r}, which has no fields")
    held[field] = parse_value(name, value)


def _section(stage: str, values: Any, path: Path) -> dict[str, Any]:
    if stage not in STAGES:
        known = ", ".join(("name", "source", "targets", *STAGES))
        raise ConfigError(f"{path}: no stage or setting '{stage}'; there are {known}")
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path}: {stage}: a section is a mapping of fields, got {values!r}")
    return values or {}


def _check(experiment: Experiment, path: Path) -> None:
    for field, languages in (("source", (experiment.source,)), ("targets", experiment.targets)):
        for language in languages:
            if language not in LANGUAGES:
                raise ConfigError(f"{path}: {field}: no language {language!r}; there are {', '.join(LANGUAGES)}")
    if len(set(experiment.languages)) != len(experiment.languages):
        raise ConfigError(f"{path}: targets: {experiment.languages} name a language twice")
    for stage, values in experiment.stages.items():
        check_section(stage, values, f"{path}: ")
