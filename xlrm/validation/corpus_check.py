"""Checks a source corpus, its translations and the languages' own corpora file by file, and finds the rows that pass."""

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


def read(source: Path, translations: list[Path], own: list[Path]) -> list[Corpus]:
    """The source, then the corpora of other languages, with all their files loaded. A source with neither pairs nor a
    benchmark, such as one of prompts or demonstrations alone, is complete. Raises DataError for a table that a
    language has twice, an unreadable file, and a file without rows."""
    there = {table.name for table in TABLES.values() if (source / table.file).is_file()}
    first = corpora.read_own(source) if there and not there & {"preferences", "benchmark"} else corpora.read(source)
    loaded = [first, *corpora.read_translations(translations), *map(corpora.read_own, own)]
    for table in TABLES.values():
        having = [corpus for corpus in loaded if corpus.has(table.file)]
        if table.optional and not (source / table.file).is_file():
            having = [corpus for corpus in having if not (corpus.translated or corpus is loaded[0])]
        codes = [corpus.language.code for corpus in having]
        if len(set(codes)) != len(codes):
            raise DataError(
                f"one corpus with {table.file} is allowed for each language",
                where="validate.translations", value=", ".join(codes),
            )  # fmt: skip
        for corpus in having:
            if not len(corpus.rows(table.file)) and not corpus.translated:
                raise DataError("no rows", where=corpus.folders[0] / table.file)
    return loaded


def tables(corpora: list[Corpus]) -> list[str]:
    """Files that at least one corpus has."""
    return [table.file for table in TABLES.values() if any(table.file in corpus.files for corpus in corpora)]


def check(corpora: list[Corpus], limits: Limits, allowed: float) -> list[FileReport]:
    """One report for each file and each corpus that has it; the source is the first corpus. `allowed`: share of a file's
    rows that may fail beyond the expected share."""
    return [report for name in tables(corpora) for report in _reports(corpora, name, limits, allowed)]


def passing(corpora: list[Corpus], reports: list[FileReport], parity: bool) -> Kept:
    """Ids, in order, of rows that pass in their language and, if translated, in the source; with `parity` in all
    languages."""
    source = corpora[0]
    failed = {
        (report.file, report.language.code): {report.ids[row] for row in report.failed} for report in reports
    }  # fmt: skip
    kept: Kept = {corpus.language.code: {} for corpus in corpora}
    for name in tables(corpora):
        everywhere = set().union(*(ids for (file, _), ids in failed.items() if file == name))
        for corpus in [corpus for corpus in corpora if name in corpus.files]:
            code = corpus.language.code
            given = (source if corpus.translated else corpus).rows(name).ids
            dropped = failed[name, code] | (failed[name, source.language.code] if corpus.translated else set())
            dropped = everywhere if parity else dropped
            kept[code][name] = [row_id for row_id in given if row_id and row_id not in dropped]
    return kept


def write(corpora: list[Corpus], kept: Kept, output: Path) -> None:
    """Writes the kept rows of each file, and corpus.json, into a folder for each language."""
    for corpus in corpora:
        code, folder = corpus.language.code, output / corpus.language.code
        for name in corpus.files:
            rows = corpus.rows(name)
            places = [rows.first[row_id] for row_id in kept[code][name]]
            write_jsonl(folder / name, (row for row in rows.at(places) if row is not None))
        Description(language=code).write(folder)


def _reports(corpora: list[Corpus], name: str, limits: Limits, allowed: float) -> Iterator[FileReport]:
    """Report for each corpus that has the file `name`."""
    import numpy as np

    from xlrm.validation import alarms, suite

    source, there = corpora[0], [corpus for corpus in corpora if name in corpus.files]
    amounts = _amounts(source, name) if name in source.files else np.empty((0, 3))
    for corpus in there:
        translated, rows = corpus.translated, corpus.rows(name)
        plan = _plan(limits, source, corpus, name)
        outcomes = suite.check_ids(rows.ids, source.rows(name).ids if translated else None)
        outcomes += suite.merged(_checked(plan, source, corpus, name))
        lacking = _lacking(source, corpus, name) if translated else []
        failed = alarms.shares_by_kind(outcomes, len(rows) + len(lacking))
        expected = alarms.expected(corpus.language.code, amounts, failed) if translated else 0.0
        yield FileReport(corpus.language, name, len(rows), rows.ids + lacking, outcomes, allowed, expected, translated)


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

    first = next(corpus.rows(name).at(range(min(1, len(corpus.rows(name))))), None)
    names, language = columns(_TABLES[name], first or {}), corpus.language
    if not corpus.translated:
        return frame.Plan(names, language, None, limits)
    rows = corpus.rows(name)
    places = range(0, len(rows), 1 + len(rows) // FITTED_ROWS)
    pairs = (pair for pair in zip(*_side_by_side(source, corpus, name, places), strict=True) if pair[1])
    bands = frame.bands(names, language, source.language, limits, pairs)
    return frame.Plan(names, language, source.language, limits, bands)


def _side_by_side(source: Corpus, corpus: Corpus, name: str, places: range) -> tuple[Iterator, Iterator]:
    """Rows of a file at these places, and the source rows with the same ids, None if the source has none."""
    rows = corpus.rows(name)
    if not corpus.translated:
        return rows.at(places), iter(())
    original = source.rows(name)
    return rows.at(places), original.at([original.first.get(rows.ids[place]) for place in places])


def _lacking(source: Corpus, corpus: Corpus, name: str) -> list[str]:
    there = corpus.rows(name).first
    return [row_id for row_id in source.rows(name).first if row_id not in there]
