"""Estimating the translation of a corpus into several languages with the translator of an experiment."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from xlrm.data import corpora
from xlrm.data.corpus_schema import Name
from xlrm.errors import ConfigError, wrong_before_missing
from xlrm.languages import find
from xlrm.store.answers import Memory
from xlrm.store.json_file import JsonFile
from xlrm.translation import effort, translators
from xlrm.translation.effort import FILES, Estimate


class Part(BaseModel):
    """A shard of a language, as the fields of the stage translate."""

    model_config = ConfigDict(frozen=True)

    language: str
    shard: str


class Plan(JsonFile):
    """plan.json of the stage plan: the estimated work and its shards."""

    FILE: ClassVar[str] = "plan.json"
    WRITTEN_BY: ClassVar[str] = "the stage plan writes it"
    INDENT: ClassVar[int | None] = 1

    languages: dict[str, Estimate]
    """Target language -> estimate."""
    parts: list[Part]
    assumptions: dict[str, Any]
    """Rates that the estimates assume."""


def of_translator(section: dict[str, Any]) -> dict[str, Any]:
    """The fields of an experiment's section `translate` that are settings of the translator."""
    return {key: value for key, value in section.items() if key in translators.Settings.model_fields}


def estimates(
    corpus: Path, targets: Iterable[str], section: dict[str, Any], files: Mapping[str, tuple[Name, ...]] | None = None,
    with_memory: bool = False,
) -> dict[str, Estimate]:  # fmt: skip
    """Estimates by target language, for the translator of an experiment's section `translate`. `files`: language ->
    tables to translate, all for others; `with_memory` excludes segments in the translation memory. Raises ConfigError
    for invalid settings or languages, DataError for a corpus that cannot be read."""
    source, settings = corpora.read(corpus).language, _settings(of_translator(section))
    languages = {code: find(code, "plan.targets") for code in targets}
    own = {code: translators.into(settings, target) for code, target in languages.items()}
    memories = {}
    if with_memory:
        loaded = {code: translators.load(own[code], source, target) for code, target in languages.items()}
        memories = {code: Memory(translators.MEMORY, translator.identity) for code, translator in loaded.items()}
    alike: dict[tuple[tuple[Name, ...], bool], list[str]] = {}
    for code in languages:
        alike.setdefault(((files or {}).get(code, FILES), own[code].segmented), []).append(code)
    jobs = {}
    for (names, _), codes in alike.items():
        known = {code: memory for code, memory in memories.items() if code in codes}
        work = effort.survey(effort.parts(corpus, files=names), source, own[codes[0]], known)
        for code in codes:
            size = translators.parameters(own[code], source, languages[code])
            jobs[code] = effort.estimate(work, source, languages[code], size)
    return {code: jobs[code] for code in languages}


def _settings(section: dict[str, Any]) -> translators.Settings:
    try:
        return translators.Settings(**section)
    except ValidationError as error:
        raise ConfigError.invalid(wrong_before_missing(error.errors(include_url=False))[0], "translate.") from error
