"""Translates a corpus, or one shard of it, into one language, and translates again the texts that fail a check."""

import contextlib
from functools import partial
from pathlib import Path

from pydantic import Field

from xlrm import progress
from xlrm.data import corpora, corpus_schema
from xlrm.data.corpus_schema import Description, Name, Repairs
from xlrm.languages import LANGUAGES, InLanguages, find
from xlrm.store import jsonl, shards
from xlrm.store.answers import Memory
from xlrm.store.shards import Shard
from xlrm.translation import chains, effort, translators
from xlrm.translation.documents import DocumentTranslator
from xlrm.translation.effort import FILES, Estimate
from xlrm.translation.repair import RepairLoop
from xlrm.validation import translation_check
from xlrm.validation.limits import Limits


class Config(translators.Settings, InLanguages):
    language: str
    """Language to translate into."""
    shard: Shard = "1/1"
    """Part of each file to translate, as NUMBER/OF: 2/4 is the second of four."""
    repairs: int = Field(2, ge=0, le=2)
    """Maximum number of times a text that fails a check is translated again, with beam search or another seed."""
    max_repair_share: float = Field(0.3, ge=0, le=1)
    """Maximum share of first translations that may fail a check; above it the translator is unfit: the stage fails."""
    files: tuple[Name, ...] = FILES
    """Files of the corpus to translate; a model trained in one language needs only the benchmark in the others."""
    limits: Limits = Limits()
    """Thresholds of the checks on translations. Pipelines fill in the experiment's `validate.limits`."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpus": (Description.FILE, *corpus_schema.files(config.files))}


def fingerprint(config: Config) -> str:
    """Version of the translator, since a folder or the newest commit on the Hub may change."""
    return translators.revision(config, LANGUAGES[config.language]) if config.language in LANGUAGES else ""


def run(config: Config, *, corpus: Path, output: Path) -> dict[str, float]:
    """`corpus` may be a translation. Raises ConfigError or ArtifactError for an unavailable translator, DataError for a text that
    it cannot translate, and GateError if more than `max_repair_share` of the first translations fail."""
    source, target = corpora.read(corpus).language, find(config.language, "translate.language")
    part, config = config.shard, config.model_copy(update=chains.fitted(corpus, target, config.files, config.shard))
    translator = translators.load(config, source, target)
    memory = Memory(translators.MEMORY, translator.identity)
    files = effort.parts(corpus, part, config.files)
    work = effort.survey(files, source, config, {target.code: memory})
    estimate = effort.estimate(work, source, target, translators.parameters(config, source, target))
    progress.say(f"translate[{target.code}]: {estimate}")
    counter = progress.Counter(f"translate[{target.code}]", estimate.segments - estimate.known, "segments")
    documents = DocumentTranslator(translator, memory, source, target, config, counter)
    fit = partial(translation_check.fit, target, source, config.limits)
    loop = RepairLoop(documents, fit, config.repairs, config.max_repair_share)
    with contextlib.closing(documents):
        for path, start, stop in files:
            jsonl.write_jsonl(output / path.name, loop.translate(path.name, jsonl.stream(path, start, stop)))
    return _finish(config, loop, estimate, output)


def _finish(config: Config, loop: RepairLoop, estimate: Estimate, output: Path) -> dict[str, float]:
    """Writes corpus.json and, if a text was left untranslated, untranslated.jsonl; returns the metrics."""
    documents, untranslated = loop.documents, len(loop.untranslated)
    Description(
        language=config.language, shard=shards.numbers(config.shard), translator=documents.translator.identity,
        repairs=Repairs(tried=loop.failed, mended=loop.mended, untranslated=untranslated), files=config.files,
    ).write(output)  # fmt: skip
    if loop.untranslated:
        jsonl.write_jsonl(output / "untranslated.jsonl", loop.untranslated)
    return {
        "texts": estimate.texts, "segments": estimate.segments, "segments_made": documents.made,
        "segments_known": estimate.known, "repairs_tried": loop.failed, "repairs_mended": loop.mended,
        "untranslated": untranslated,
    }  # fmt: skip
