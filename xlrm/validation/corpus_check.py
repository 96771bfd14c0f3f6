"""Checks a source corpus and its translations file by file, and finds the rows that pass."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm.data import corpora
from xlrm.data.corpora import Corpus
from xlrm.data.corpus_schema import TABLES, Description, columns
from xlrm.errors import DataError
from xlrm.store.jsonl import write_jsonl
from xlrm.validation.limits import Limits
from xlrm.validation.report import FileReport, Kept

if TYPE_CHECKING:
    import numpy as np

    from xlrm.validation.frame import Plan
    from xlrm.validation.suite import Outcome

_TABLES = {table.file: table for table in TABLES.values()}
CHUNK_ROWS = 10_000  # rows in memory at a time, with their source rows
FITTED_ROWS = 20_000  # maximum rows of a file from which its length bands are fitted


def read(source: Path, translations: list[Path]) -> list[Corpus]:
    """The source, then one corpus per target language, with all files that the source has loaded. Raises DataError for
    two corpora in one language, an unreadable file, and a file of the source without rows."""
    loaded = [corpora.read(source), *corpora.read_translations(translations)]
    codes = [corpus.language.code for corpus in loaded]
    if len(set(codes)) != len(codes):
        raise DataError("one corpus of each language is allowed", where="validate.translations", value=", ".join(codes))
    for name in [table.file for table in TABLES.values() if not table.optional or (source / table.file).is_file()]:
        first, *_ = [
            corpus.rows(name) for corpus in loaded if corpus.has(name)
        ]  # reads all, so that an unreadable file fails now
        if not len(first):
            raise DataError("no rows", where=source / name)
    return loaded


def check(corpora: list[Corpus], limits: Limits, allowed: float) -> list[FileReport]:
    """One report for each file of the source and each corpus that has it; the source is the first corpus. `allowed`:
    share of a file's rows that may fail beyond the expected share."""
    return [report for name in corpora[0].files for report in _reports(corpora, name, limits, allowed)]


def passing(corpora: list[Corpus], reports: list[FileReport], parity: bool) -> Kept:
    """Ids, in source order, of rows that pass in the language and the source, or with `parity` in all languages."""
    source = corpora[0]
    kept: Kept = {corpus.language.code: {} for corpus in corpora}
    for name, rows in source.files.items():
        failed = {
            report.language.code: {report.ids[row] for row in report.failed}
            for report in reports
            if report.file == name
        }
        everywhere = set().union(*failed.values())
        for code, ids in [(code, ids) for code, ids in kept.items() if code in failed]:
            dropped = everywhere if parity else failed[code] | failed[source.language.code]
            ids[name] = [row_id for row_id in rows.ids if row_id and row_id not in dropped]
    return kept


def write(corpus: Corpus, kept: dict[str, list[str]], folder: Path) -> None:
    """Writes the kept rows of each file, and corpus.json."""
    for name, ids in kept.items():
        rows = corpus.rows(name)
        write_jsonl(folder / name, (row for row in rows.at([rows.first[row_id] for row_id in ids]) if row is not None))
    Description(language=corpus.language.code).write(folder)


def _reports(corpora: list[Corpus], name: str, limits: Limits, allowed: float) -> Iterator[FileReport]:
    """Report for each corpus that has the file `name`."""
    from xlrm.validation import alarms, suite

    source = corpora[0]
    amounts = _amounts(source, name)
    for corpus in [corpus for corpus in corpora if corpus.has(name)]:
        translated, rows = corpus is not source, corpus.rows(name)
        plan = _plan(limits, source, corpus, name)
        outcomes = suite.check_ids(rows.ids, source.rows(name).ids if translated else None)
        outcomes += suite.merged(_checked(plan, source, corpus, name))
        lacking = _lacking(source, corpus, name) if translated else []
        failed = alarms.shares_by_kind(outcomes, len(rows) + len(lacking))
        expected = alarms.expected(corpus.language.code, amounts, failed) if translated else 0.0
        yield FileReport(corpus.language, name, len(rows), rows.ids + lacking, outcomes, allowed, expected)


def _amounts(source: Corpus, name: str) -> "np.ndarray":
    from xlrm.validation import alarms

    rows = source.rows(name)
    return alarms.amounts(row or {} for row in rows.at(range(len(rows))))


def _checked(plan: "Plan", source: Corpus, corpus: Corpus, name: str) -> Iterator[tuple[int, "list[Outcome]"]]:
    """First row and outcomes of each chunk."""
    from xlrm.validation import suite

    count = len(corpus.rows(name))
    for start in range(0, count or 1, CHUNK_ROWS):
        rows, sources = _side_by_side(source, corpus, name, range(start, min(start + CHUNK_ROWS, count)))
        yield start, suite.check(plan, list(rows), list(sources))


def _plan(limits: Limits, source: Corpus, corpus: Corpus, name: str) -> "Plan":
    """Plan for checking the file; its length bands are fitted from rows taken evenly from the whole file."""
    from xlrm.validation import frame

    (first,) = source.rows(name).at([0])
    names, language = columns(_TABLES[name], first or {}), corpus.language
    if corpus is source:
        return frame.Plan(names, language, None, limits)
    rows = corpus.rows(name)
    places = range(0, len(rows), 1 + len(rows) // FITTED_ROWS)
    pairs = (pair for pair in zip(*_side_by_side(source, corpus, name, places), strict=True) if pair[1])
    bands = frame.bands(names, language, source.language, limits, pairs)
    return frame.Plan(names, language, source.language, limits, bands)


def _side_by_side(source: Corpus, corpus: Corpus, name: str, places: range) -> tuple[Iterator, Iterator]:
    """Rows of a file at these places, and the source rows with the same ids, None if the source has none."""
    rows, original = corpus.rows(name), source.rows(name)
    wanted = [original.first.get(rows.ids[place]) for place in places] if corpus is not source else []
    return rows.at(places), original.at(wanted)


def _lacking(source: Corpus, corpus: Corpus, name: str) -> list[str]:
    there = corpus.rows(name).first
    return [row_id for row_id in source.rows(name).first if row_id not in there]
