"""Translates a corpus, or a shard of it, into one language, and translates again what came out wrong."""

import contextlib
import json
from functools import partial
from pathlib import Path

from pydantic import Field, field_validator

from xlrm import progress
from xlrm.data import corpora
from xlrm.languages import LANGUAGES
from xlrm.store import jsonl
from xlrm.store.answers import Memory
from xlrm.translation import effort, translators
from xlrm.translation.documents import DocumentTranslator
from xlrm.translation.effort import FILES, Estimate, File
from xlrm.translation.repair import RepairLoop
from xlrm.validation import translation_check
from xlrm.validation.limits import Limits


class Config(translators.Settings):
    language: str
    """Language to translate into."""
    shard: str = "1/1"
    """Which part of each file, of how many: 2/4 is the second of four."""
    repairs: int = Field(2, ge=0, le=2)
    """Times a text that fails its expectations is translated again, with beams or another seed."""
    max_repair_share: float = Field(0.3, ge=0, le=1)
    """Share of the texts that may fail at first; beyond it the translator itself is at fault, and the stage stops."""
    files: tuple[File, ...] = FILES
    """Of the corpus, those that are translated: a model that is trained in one language needs the benchmark alone in others."""
    limits: Limits = Limits()
    """What a translation is held to, the same as in `validate`."""

    @field_validator("shard")
    @classmethod
    def _part_of_whole(cls, shard: str) -> str:
        number, _, of = shard.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise ValueError("a shard is written NUMBER/OF, as 2/4")
        return shard


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpus": (corpora.DESCRIPTION, *effort.names(config.files))}


def fingerprint(config: Config) -> str:
    """What a translator's name does not say: a folder and the Hub's newest may change."""
    return translators.revision(config, LANGUAGES[config.language]) if config.language in LANGUAGES else ""


def run(config: Config, *, corpus: Path, output: Path) -> dict[str, float]:
    """Raises ConfigError or ArtifactError for a translator that cannot be had, DataError for a text it cannot translate,
    GateError where most of what it says is wrong."""
    source, target = corpora.read(corpus).language, translators.language(config.language, "translate.language")
    translator = translators.load(config, source, target)
    memory = Memory(translators.MEMORY, translator.identity)
    files = effort.parts(corpus, config.shard, config.files)
    work = effort.survey(files, source, config.longest_segment, config.segmented, {target.code: memory})
    estimate = effort.estimate(work, source, target, translators.parameters(config, source, target))
    label = f"translate[{target.code}]"
    progress.say(f"{label}: {estimate}")
    counter = progress.Counter(label, estimate.segments - estimate.known, "segments")
    documents = DocumentTranslator(translator, memory, source, target, config, counter)
    fit = partial(translation_check.fit, target, source, config.limits)
    loop = RepairLoop(documents, fit, config.repairs, config.max_repair_share)
    with contextlib.closing(documents):
        for path, start, stop in files:
            jsonl.write_jsonl(output / path.name, loop.translate(path.name, jsonl.stream(path, start, stop)))
    return _finish(config, loop, estimate, output)


def _finish(config: Config, loop: RepairLoop, estimate: Estimate, output: Path) -> dict[str, float]:
    """Writes corpus.json and what was left untranslated; returns the metrics."""
    documents, untranslated = loop.documents, len(loop.untranslated)
    number, _, of = config.shard.partition("/")
    card = {
        "language": config.language, "shard": [int(number), int(of)], "translator": documents.translator.identity,
        "repairs": {"tried": loop.failed, "mended": loop.mended, "untranslated": untranslated}, "files": list(config.files),
    }  # fmt: skip
    (output / "corpus.json").write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
    if loop.untranslated:
        jsonl.write_jsonl(output / "untranslated.jsonl", loop.untranslated)
    return {
        "texts": estimate.texts, "segments": estimate.segments, "segments_made": documents.made,
        "segments_known": estimate.known, "repairs_tried": loop.failed, "repairs_mended": loop.mended,
        "untranslated": untranslated,
    }  # fmt: skip
