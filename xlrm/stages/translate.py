"""Translates a corpus, or a shard of it, into one language, and translates again what came out wrong."""

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from xlrm import progress
from xlrm.data import corpora
from xlrm.errors import ConfigError, GateError
from xlrm.languages import LANGUAGES, Language
from xlrm.store import jsonl
from xlrm.store.answers import Memory
from xlrm.translation import effort, translators
from xlrm.translation.documents import DocumentTranslator
from xlrm.translation.effort import FILES, TEXTS, Estimate, File
from xlrm.validation.limits import Limits

if TYPE_CHECKING:
    from xlrm.validation.frame import Plan

ROWS_AT_ONCE = 1000


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
    source, target = corpora.read(corpus).language, _language(config.language)
    translator = translators.load(config, source, target)
    memory = Memory(translators.MEMORY, translator.identity)
    files = effort.parts(corpus, config.shard, config.files)
    work = effort.survey(files, source, config.longest_segment, config.segmented, {target.code: memory})
    estimate = effort.estimate(work, source, target, translators.parameters(config, source, target))
    label = f"translate[{target.code}]"
    progress.say(f"{label}: {estimate}")
    counter = progress.Counter(label, estimate.segments - estimate.known, "segments")
    documents = DocumentTranslator(translator, memory, source, target, config, counter)
    desk = Desk(config, documents)
    with contextlib.closing(documents):
        for path, start, stop in files:
            jsonl.write_jsonl(output / path.name, desk.translate(path.name, jsonl.stream(path, start, stop)))
    return _finish(desk, translator, estimate, output)


@dataclass
class Desk:
    """Where rows are translated, looked through, and translated again."""

    config: Config
    documents: DocumentTranslator
    texts: int = 0
    failed: int = 0
    """Texts whose first translation failed."""
    mended: int = 0
    untranslated: list[dict[str, str]] = field(default_factory=list)
    """Texts that never came back whole: they are left blank, and `validate` drops their rows in this language,
    or in all languages where it has `parity`."""

    def translate(self, name: str, source_rows: Iterator[dict]) -> Iterator[dict]:
        while chunk := list(itertools.islice(source_rows, ROWS_AT_ONCE)):
            known = self.documents.translate({row[column] for row, column in _places(chunk)})
            self.texts += len(known)
            if self.config.repairs and self.documents.translator.attempts > 1:
                self._repair(chunk, known)
            for row, column in _places(chunk):
                if known[row[column]] is None:
                    self.untranslated.append({"file": name, "id": row["id"], "column": column})
            yield from _translated(chunk, known)

    def _repair(self, chunk: list[dict], known: dict[str, str | None]) -> None:
        """Puts into `known` what is better than what is there, for texts that fail."""
        plan = self._plan(chunk, known)
        failing = first = _failing(plan, chunk, known)
        self.failed += len(first)
        self._check_share(first)
        for attempt in range(1, self.config.repairs + 1):
            failing = self._replace(plan, chunk, known, failing, set(failing), attempt=attempt)
        lost = {text for text in failing if known[text] is None}
        failing = self._replace(plan, chunk, known, failing, lost, markers=False)
        self.mended += len(first) - len(failing)

    def _plan(self, chunk: list[dict], known: dict[str, str | None]) -> "Plan":
        """What this chunk is held to: bands of length are fitted from the first translations, and stay for the later."""
        from xlrm.validation.frame import Plan, bands

        columns = ("id", *(column for column in TEXTS if column in chunk[0]))
        held = (columns, self.documents.target, self.documents.source, self.config.limits)
        return Plan(*held, bands(*held, zip(_translated(chunk, known), chunk, strict=True)))

    def _replace(
        self, plan: "Plan", chunk: list[dict], known: dict[str, str | None], failing: dict[str, str], wanted: set[str], **how
    ) -> dict[str, str]:  # fmt: skip
        """Translates the `wanted` of the failing texts otherwise; keeps what fails no more. Returns the texts left."""
        if not wanted:
            return failing
        affected = [row for row in chunk if any(row[column] in wanted for _, column in _places([row]))]
        tried = known | self.documents.translate(wanted, **how)
        still = _failing(plan, affected, tried)
        for text in wanted:
            if text not in still or (known[text] is None and tried[text] is not None):
                known[text] = tried[text]
        return {text: reason for text, reason in failing.items() if text not in wanted or text in still}

    def _check_share(self, failing: dict[str, str]) -> None:
        if self.failed > self.config.max_repair_share * self.texts:
            reasons = ", ".join(f"{name} {count}" for name, count in Counter(failing.values()).most_common(3))
            raise GateError(
                f"translate[{self.documents.target.code}]: {self.failed} of the first {self.texts} texts fail, more than "
                f"translate.max_repair_share={self.config.max_repair_share}: {reasons}; look at the translator first"
            )


def _failing(plan: "Plan", chunk: list[dict], known: dict[str, str | None]) -> dict[str, str]:
    """Source text -> the first expectation its translation fails."""
    from xlrm.validation.suite import check

    failing: dict[str, str] = {}
    for outcome in check(plan, list(_translated(chunk, known)), chunk):
        if outcome.expectation.column in TEXTS:
            for row in outcome.failed:
                failing.setdefault(chunk[row][outcome.expectation.column], outcome.expectation.name)
    return failing


def _places(chunk: list[dict]) -> Iterator[tuple[dict, str]]:
    return ((row, column) for row in chunk for column in TEXTS if column in row)


def _translated(chunk: list[dict], known: dict[str, str | None]) -> Iterator[dict]:
    for row in chunk:
        yield row | {column: known[row[column]] or "" for _, column in _places([row])}


def _finish(desk: Desk, translator: translators.Translator, estimate: Estimate, output: Path) -> dict[str, float]:
    config, documents = desk.config, desk.documents
    repairs = {"tried": desk.failed, "mended": desk.mended, "untranslated": len(desk.untranslated)}
    number, _, of = config.shard.partition("/")
    card = {
        "language": config.language, "shard": [int(number), int(of)], "translator": translator.identity, "repairs": repairs,
        "files": list(config.files),
    }  # fmt: skip
    (output / "corpus.json").write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
    if desk.untranslated:
        jsonl.write_jsonl(output / "untranslated.jsonl", desk.untranslated)
    return {
        "texts": estimate.texts, "segments": estimate.segments, "segments_made": documents.made, "segments_known": estimate.known,
        "repairs_tried": desk.failed, "repairs_mended": desk.mended, "untranslated": len(desk.untranslated),
    }  # fmt: skip


def _language(code: str) -> Language:
    if code not in LANGUAGES:
        raise ConfigError(f"translate.language: no language {code!r}; there are {', '.join(LANGUAGES)}")
    return LANGUAGES[code]
