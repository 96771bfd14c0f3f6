"""Reads an experiment: one YAML file with one section for each stage.

Later values win: the defaults in each stage's Config, the file, `stage.field=value` on the command line. Environment
variables hold addresses and secrets, never settings.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from xlrm.errors import ConfigError
from xlrm.evaluation.benchmarks import HELDOUT
from xlrm.languages import OWN, unknown
from xlrm.run import readiness
from xlrm.run.sections import (
    CROSS_LINGUAL,
    OF_A_CORPUS,
    POLICY,
    REUSE,
    SECTIONS,
    STAGES,
    Experiment,
    check_section,
    stage_config,
    stage_module,
    stage_of,
)

__all__ = [
    "POLICY", "STAGES", "Experiment", "build", "load", "override", "parse", "parse_value", "stage_config", "stage_module",
    "stage_of", "write",
]  # fmt: skip


_TOP = ("name", "pipeline", "source", "targets", "languages", "corpora")
"""Settings of a file that are not sections of a stage."""


def load(path: Path, overrides: tuple[str, ...] = (), pipeline: str | None = None) -> Experiment:
    """Reads an experiment from a file, for a pipeline: by default the file's own. Raises ConfigError for a wrong file, section,
    field or value, and for settings that cannot work (`xlrm.run.readiness`), before anything is written."""
    if not path.is_file():
        raise ConfigError("no such experiment file", where=path, hint="configs/ has the shipped ones")
    raw = parse(path.read_bytes(), str(path))
    return build({"name": path.stem} | raw, dict(map(assignment, overrides)), str(path), pipeline)


_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""Errors of PyYAML for a text that it cannot read; ValueError for 2026-13-01, RecursionError for 500 brackets."""


def parse(text: str | bytes, where: str) -> dict[str, Any]:
    """Parses the text of an experiment's file (bytes: UTF-8, or UTF-16 with its mark) into a mapping. Raises ConfigError,
    one line that begins with `where`."""
    try:
        raw = yaml.safe_load(text)
    except _NOT_YAML as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}", where=where) from error
    if not isinstance(raw, dict | None):
        raise ConfigError(f"an experiment is a mapping of sections, not {type(raw).__name__}", where=where)
    return raw or {}


def write(experiment: Experiment) -> str:
    """The experiment as one line of YAML that `parse` reads, for a parameter of a pipeline or to paste into a form."""
    return yaml.safe_dump(
        experiment.as_file(), allow_unicode=True, sort_keys=False, default_flow_style=True, width=float("inf")
    ).rstrip("\n")


def build(
    raw: dict[str, Any], overrides: Mapping[str, Any], where: str, pipeline: str | None = None
) -> Experiment:  # fmt: skip
    """Validates the mapping of an experiment's file, after setting `overrides` (`stage.field` -> value) in it, for a pipeline:
    by default the file's own, or else cross-lingual-transfer.

    Raises ConfigError, one line that begins with `where`.
    """
    raw = deepcopy(raw)
    for name, value in overrides.items():
        override(raw, name, value)
    top = {key: raw.pop(key) for key in _TOP if key in raw}
    top = {key: value for key, value in top.items() if value is not None or key not in ("languages", "corpora")}
    sections = {stage: _section(stage, values, where) for stage, values in raw.items()}
    own = top.get("pipeline") or ""
    pipeline = pipeline or own or CROSS_LINGUAL
    if own and own != pipeline:
        raise ConfigError(f"an experiment for it is not one for {pipeline}", where=f"{where}: pipeline", value=own)
    top |= {"pipeline": pipeline if own or pipeline == REUSE else ""}
    try:
        experiment = Experiment(**top, stages=sections)
    except ValidationError as error:
        raise ConfigError.invalid(error.errors(include_url=False)[0], f"{where}: ") from error
    _check(experiment, where)
    readiness.check(experiment, pipeline, where)
    return experiment


def parse_value(name: str, text: str) -> Any:
    """Reads `text` as a YAML value. Raises ConfigError if it is not YAML."""
    try:
        return yaml.safe_load(text)
    except _NOT_YAML as error:
        raise ConfigError("not a value in YAML", where=name, value=text) from error


def assignment(override: str) -> tuple[str, Any]:
    """Name and value of `stage.field=value`. Raises ConfigError for anything else."""
    name, equals, value = override.partition("=")
    if not equals or not all(name.split(".")):
        raise ConfigError("an override is written stage.field=value", value=override)
    return name, parse_value(name, value)


def override(raw: dict, name: str, value: Any) -> None:
    """Sets the field of this dotted name in nested mappings; null leaves a whole section out. Raises ConfigError if there is a
    value on the way."""
    *path, field = name.split(".")
    if name in SECTIONS and value is None:
        raw.pop(name, None)
        return
    held = raw
    for part in path:
        if held.get(part) is None:
            held[part] = {}
        held = held[part]
        if not isinstance(held, dict):
            raise ConfigError(f"{part} is {held!r}, which has no fields", where=name, value=value)
    held[field] = value


def _section(stage: str, values: Any, where: str) -> dict[str, Any]:
    if stage not in SECTIONS:
        known = ", ".join((*_TOP, *SECTIONS))
        raise ConfigError("no such section or setting", where=where, value=stage, hint=f"there are {known}")
    if values is not None and not isinstance(values, dict):
        raise ConfigError("a section is a mapping of fields", where=f"{where}: {stage}", value=values)
    return values or {}


def _check(experiment: Experiment, where: str) -> None:
    known = OWN.keys() | experiment.more_languages.keys()
    for field, languages in (("source", (experiment.source,)), ("targets", experiment.targets)):
        for language in languages:
            if language not in known:
                raise unknown(language, f"{where}: {field}")
    if len(set(experiment.languages)) != len(experiment.languages):
        raise ConfigError("a language is duplicated", where=f"{where}: targets", value=experiment.languages)
    for stage, values in experiment.stages.items():
        check_section(stage, values, f"{where}: ")
    for language, values in experiment.corpora.items():
        _check_corpus(experiment, language, values, f"{where}: corpora.{language}")


def _check_corpus(experiment: Experiment, language: str, values: dict[str, Any], where: str) -> None:
    if language not in experiment.targets:
        own = "the section `curate` is the source's corpus; " if language == experiment.source else ""
        raise ConfigError(
            f"{own}a language of targets is required", where=where, hint=f"there are {', '.join(experiment.targets) or 'none'}"
        )  # fmt: skip
    if "language" in values:
        raise ConfigError("not allowed; the entry is named by it", where=f"{where}.language", value=values["language"])
    if values.get("benchmark") == HELDOUT and not (
        values.get("preferences") and experiment.setting("curate", "benchmark") == HELDOUT
    ):
        raise ConfigError(
            "needs preferences of this language, and curate.benchmark=heldout, whose pairs are held out here too",
            where=f"{where}.benchmark", value=HELDOUT, hint="name a file or a dataset",
        )  # fmt: skip
    if not any(values.get(field) for field in OF_A_CORPUS):
        raise ConfigError(f"one or more of {', '.join(OF_A_CORPUS)} are required", where=where)
    try:
        check_section("curate", experiment.corpus(language), "")
    except ConfigError as error:
        error.where = error.where.removeprefix("curate.")
        raise error.within(f"{where}.") from error
