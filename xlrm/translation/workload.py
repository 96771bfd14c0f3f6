"""Estimating the translation of a corpus into several languages with the translator of an experiment."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from xlrm.data import corpora
from xlrm.data.corpus_schema import Name
from xlrm.errors import ConfigError, wrong_before_missing
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
    corpus: Path, targets: Iterable[str], section: dict[str, Any], files: tuple[Name, ...] = FILES, with_memory: bool = False
) -> dict[str, Estimate]:  # fmt: skip
    """Estimates by target language, for the translator of an experiment's section `translate`; `with_memory` excludes
    segments in the translation memory. Raises ConfigError for invalid settings or languages, DataError for a corpus
    that cannot be read."""
    source = corpora.read(corpus).language
    settings = _settings(of_translator(section))
    languages = [translators.language(code, "plan.targets") for code in targets]
    memories = {}
    if with_memory:
        loaded = {target.code: translators.load(settings, source, target) for target in languages}
        memories = {code: Memory(translators.MEMORY, translator.identity) for code, translator in loaded.items()}
    parts = effort.parts(corpus, files=files)
    work = effort.survey(parts, source, settings.longest_segment, settings.segmented, memories)
    sizes = {target.code: translators.parameters(settings, source, target) for target in languages}
    return {target.code: effort.estimate(work, source, target, sizes[target.code]) for target in languages}


def _settings(section: dict[str, Any]) -> translators.Settings:
    try:
        return translators.Settings(**section)
    except ValidationError as error:
        raise ConfigError.invalid(wrong_before_missing(error.errors(include_url=False))[0], "translate.") from error
