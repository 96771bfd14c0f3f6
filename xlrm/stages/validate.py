"""Checks a corpus and its translations row by row, and keeps the rows that passed in every language."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from xlrm import corpora
from xlrm.corpora import Corpus
from xlrm.errors import DataError, GateError
from xlrm.languages import Language
from xlrm.limits import Limits
from xlrm.rows import write_jsonl

if TYPE_CHECKING:
    from xlrm.expectations import Outcome, Plan

COLUMNS = {
    "preferences.jsonl": ("id", "prompt", "chosen", "rejected", "subset", "source"),
    "benchmark.jsonl": ("id", "prompt", "chosen", "rejected", "subset", "section"),
    "prompts.jsonl": ("id", "prompt", "split"),
    "parallel.jsonl": ("id", "text"),
}
OPTIONAL = ("prompts.jsonl", "parallel.jsonl")
CHUNK_ROWS = 10_000  # held in memory at a time, with their source's
FITTED_ROWS = 20_000  # of a file, that its bands of length are fitted from


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_reject_share: float = Field(0.05, ge=0, le=1)
    """Share of the source's rows that may be dropped; above it the stage fails."""
    limits: Limits = Limits()
    """Thresholds of the row checks; docs/validation.md says what each is from."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    files = (corpora.DESCRIPTION, *COLUMNS)
    return {"source": files, "translations": files}


@dataclass(frozen=True)
class Report:
    """What Great Expectations found in one file of one language."""

    language: Language
    file: str
    rows: int
    ids: list[str]
    """Of the rows checked, and after these of the source's rows that the file lacks."""
    outcomes: "list[Outcome]"

    @property
    def failed(self) -> set[int]:
        return {row for outcome in self.outcomes for row in outcome.failed}

    @property
    def failures(self) -> Counter[str]:
        """Rows that failed, by expectation."""
        pairs = {(outcome.expectation.name, row) for outcome in self.outcomes for row in outcome.failed}
        return Counter(name for name, _ in sorted(pairs))

    def rejects(self) -> Iterator[dict[str, str]]:
        for outcome in self.outcomes:
            for row, value in outcome.failed.items():
                yield {
                    "language": self.language.code, "file": self.file, "id": self.ids[row],
                    "expectation": outcome.expectation.name, "column": outcome.expectation.column, "value": value,
                }  # fmt: skip


def run(config: Config, *, source: Path, translations: list[Path], output: Path) -> dict[str, float]:
    """Writes what was rejected and why, then, if that is little enough, the rest under `output/{language}`.

    A row that fails in one language is dropped in all, so all hold the same ids in the source's order.
    Raises DataError for a corpus that cannot be read, GateError where too many rows or all of a file's are dropped.
    """
    found = _corpora(source, translations)
    reports = [report for name in found[0].files for report in _reports(config, found, name)]
    kept = _kept(found[0], reports)
    summary = _summary(config, found, reports, kept)
    write_jsonl(output / "rejects.jsonl", (reject for report in reports for reject in report.rejects()))
    (output / "summary.json").write_text(json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8")
    (output / "data_docs.html").write_text(data_docs(summary, reports), encoding="utf-8")
    if not summary["passed"]:
        raise GateError(_refusal(config, summary, reports, kept))
    for corpus in found:
        _write(corpus, kept, output / corpus.language.code)
    return _metrics(summary, found, reports)


def _corpora(source: Path, translations: list[Path]) -> list[Corpus]:
    found = [corpora.read(source), *corpora.read_translations(translations)]
    codes = [corpus.language.code for corpus in found]
    if len(set(codes)) != len(codes):
        raise DataError(f"validate: one corpus a language, got {', '.join(codes)}")
    for name in [name for name in COLUMNS if name not in OPTIONAL or (source / name).is_file()]:
        first, *_ = [corpus.rows(name) for corpus in found]  # all are read, so that a broken one is named at once
        if not len(first):
            raise DataError(f"{source / name}: no rows")
    return found


def _reports(config: Config, found: list[Corpus], name: str) -> Iterator[Report]:
    """One of each language for the file `name`."""
    from xlrm import expectations

    source = found[0]
    for corpus in found:
        translated, rows = corpus is not source, corpus.rows(name)
        plan = _plan(config, source, corpus, name)
        outcomes = expectations.check_ids(rows.ids, source.rows(name).ids if translated else None)
        outcomes += expectations.merged(_checked(plan, source, corpus, name))
        lacking = _lacking(source, corpus, name) if translated else []
        yield Report(corpus.language, name, len(rows), rows.ids + lacking, outcomes)


def _checked(plan: "Plan", source: Corpus, corpus: Corpus, name: str) -> Iterator[tuple[int, "list[Outcome]"]]:
    """The outcomes of each chunk, and the row it begins at."""
    from xlrm import expectations

    count = len(corpus.rows(name))
    for start in range(0, count or 1, CHUNK_ROWS):
        rows, sources = _side_by_side(source, corpus, name, range(start, min(start + CHUNK_ROWS, count)))
        yield start, expectations.check(plan, list(rows), list(sources))


def _plan(config: Config, source: Corpus, corpus: Corpus, name: str) -> "Plan":
    """What the file is held to; its bands of length are those of rows evenly taken from all of it."""
    from xlrm import expectations

    columns, language = COLUMNS[name], corpus.language
    if corpus is source:
        return expectations.Plan(columns, language, None, config.limits)
    rows = corpus.rows(name)
    places = range(0, len(rows), 1 + len(rows) // FITTED_ROWS)
    pairs = (pair for pair in zip(*_side_by_side(source, corpus, name, places), strict=True) if pair[1])
    bands = expectations.bands(columns, language, source.language, config.limits, pairs)
    return expectations.Plan(columns, language, source.language, config.limits, bands)


def _side_by_side(source: Corpus, corpus: Corpus, name: str, places: range) -> tuple[Iterator, Iterator]:
    """Some rows of a file; and the source's rows of the same ids, None where it has none."""
    rows, original = corpus.rows(name), source.rows(name)
    wanted = [original.first.get(rows.ids[place]) for place in places] if corpus is not source else []
    return rows.at(places), original.at(wanted)


def _lacking(source: Corpus, corpus: Corpus, name: str) -> list[str]:
    there = corpus.rows(name).first
    return [row_id for row_id in source.rows(name).first if row_id not in there]


def _kept(source: Corpus, reports: list[Report]) -> dict[str, list[str]]:
    """By file, the ids that nothing is wrong with anywhere, in the source's order."""
    kept = {}
    for name, rows in source.files.items():
        failed = {report.ids[row] for report in reports if report.file == name for row in report.failed}
        kept[name] = [row_id for row_id in rows.ids if row_id and row_id not in failed]
    return kept


def _summary(config: Config, found: list[Corpus], reports: list[Report], kept: dict[str, list[str]]) -> dict[str, Any]:
    rows_in = sum(len(rows) for rows in found[0].files.values())
    rows_out = sum(len(ids) for ids in kept.values())
    share = (rows_in - rows_out) / rows_in
    languages: dict[str, dict] = {}
    for report in reports:
        languages.setdefault(report.language.code, {})[report.file] = {
            "rows_in": report.rows, "rows_out": len(kept[report.file]), "failures": dict(report.failures),
        }  # fmt: skip
    translations = {
        corpus.language.code: {
            "name": corpus.language.name,
            "shards": len(corpus.folders), "translator": corpus.translator, "repairs": corpus.repairs,
        }
        for corpus in found[1:]
    }  # fmt: skip
    return {
        "passed": share <= config.max_reject_share and all(kept.values()),
        "rows_in": rows_in, "rows_out": rows_out, "reject_share": share,
        "thresholds": config.model_dump(mode="json"), "languages": languages, "translations": translations,
    }  # fmt: skip


def _metrics(summary: dict[str, Any], found: list[Corpus], reports: list[Report]) -> dict[str, float]:
    """Counts of rows; in all, by language, and by language and expectation."""
    failed = {f"failures/{corpus.language.code}": 0 for corpus in found}
    repaired = {f"repaired/{one.language.code}": one.repairs["mended"] for one in found if one.repairs}
    by_expectation: Counter[str] = Counter()
    for report in reports:
        code = report.language.code
        failed[f"failures/{code}"] += len(report.failed)
        counts = {outcome.expectation.name: 0 for outcome in report.outcomes} | report.failures
        for name, count in counts.items():
            by_expectation[f"failures/{code}/{name}"] += count
    return {key: summary[key] for key in ("rows_in", "rows_out", "reject_share")} | failed | repaired | by_expectation


def _refusal(config: Config, summary: dict[str, Any], reports: list[Report], kept: dict[str, list[str]]) -> str:
    counts: Counter[tuple[str, str]] = Counter()
    rows: Counter[str] = Counter()
    for report in reports:
        rows[report.language.name] += len(report.failed)
        counts.update({(name, report.language.name): count for name, count in report.failures.items()})
    first = ", ".join(f"{name} {count} in {language}" for (name, language), count in counts.most_common(3))
    empty = [name for name, ids in kept.items() if not ids]
    nothing = f"no row of {', '.join(empty)} passed in all languages; " if empty else ""
    language, failed = rows.most_common(1)[0]
    return (
        f"validate: {nothing}{summary['reject_share']:.1%} of {summary['rows_in']} rows dropped, "
        f"max_reject_share is {config.max_reject_share:.1%}; most fail in {language} ({failed}); first of all: {first}"
    )


def _write(corpus: Corpus, kept: dict[str, list[str]], folder: Path) -> None:
    for name, ids in kept.items():
        rows = corpus.rows(name)
        write_jsonl(folder / name, rows.at([rows.first[row_id] for row_id in ids]))
    (folder / "corpus.json").write_text(json.dumps({"language": corpus.language.code}), encoding="utf-8")


def data_docs(summary: dict[str, Any], reports: list[Report]) -> str:
    """The results as one page of HTML that needs nothing else: Great Expectations' own pages fetch their style."""
    from jinja2 import Environment, PackageLoader

    from xlrm.expectations import MEANING

    by_language: dict[str, list[Report]] = {}
    for report in reports:
        by_language.setdefault(report.language.name, []).append(report)
    totals = {name: sum((report.failures for report in many), Counter()) for name, many in by_language.items()}
    applies = {name: {o.expectation.name for r in many for o in r.outcomes} for name, many in by_language.items()}
    pages = Environment(
        loader=PackageLoader("xlrm", "reporting"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = pages.get_template("data_docs.html.j2")
    return page.render(summary=summary, languages=by_language, totals=totals, applies=applies, meaning=MEANING)
