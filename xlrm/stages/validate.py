"""Checks a corpus and its translations row by row, and keeps of each language the rows that passed in it."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from xlrm.data import corpora
from xlrm.data.corpora import Corpus
from xlrm.errors import DataError, GateError
from xlrm.languages import Language
from xlrm.store.jsonl import write_jsonl
from xlrm.validation.limits import Limits

if TYPE_CHECKING:
    import numpy as np

    from xlrm.validation.alarms import Verdict
    from xlrm.validation.frame import Plan
    from xlrm.validation.suite import Outcome

COLUMNS = {
    "preferences.jsonl": ("id", "prompt", "chosen", "rejected", "subset", "source"),
    "heldout.jsonl": ("id", "prompt", "chosen", "rejected", "subset", "source"),
    "benchmark.jsonl": ("id", "prompt", "chosen", "rejected", "subset", "section"),
    "prompts.jsonl": ("id", "prompt", "split"),
    "parallel.jsonl": ("id", "text"),
}
OPTIONAL = ("heldout.jsonl", "prompts.jsonl", "parallel.jsonl")
CHUNK_ROWS = 10_000  # held in memory at a time, with their source's
FITTED_ROWS = 20_000  # of a file, that its bands of length are fitted from


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_reject_share: float = Field(0.05, ge=0, le=1)
    """Share of a file's rows that may fail in a language beyond what sound translations fail by; above it, and what chance
    adds in few rows, the stage fails. docs/validation.md has the formula."""
    parity: bool = False
    """Whether all languages keep the same rows: one that fails in one of them is then dropped in all."""
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
    expected: float = 0
    """Share of the rows that fail though they are right."""

    def verdict(self, config: Config) -> "Verdict":
        from xlrm.validation import alarms

        return alarms.judge(len(self.failed), len(self.ids), self.expected, config.max_reject_share)

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

    A translation keeps the rows that pass in it and in the source, the source those that pass in itself; with `parity`,
    all keep the same. The order is the source's. Raises DataError for a corpus that cannot be read, GateError where too
    many rows of a file fail in a language, or all.
    """
    found = _corpora(source, translations)
    reports = [report for name in found[0].files for report in _reports(found, name, config)]
    kept = _kept(found, reports, config.parity)
    summary = _summary(config, found, reports, kept)
    write_jsonl(output / "rejects.jsonl", (reject for report in reports for reject in report.rejects()))
    (output / "summary.json").write_text(json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8")
    (output / "data_docs.html").write_text(data_docs(summary, reports), encoding="utf-8")
    if not summary["passed"]:
        raise GateError(_refusal(config, reports, kept))
    for corpus in found:
        _write(corpus, kept[corpus.language.code], output / corpus.language.code)
    return _metrics(summary, found, reports)


def _corpora(source: Path, translations: list[Path]) -> list[Corpus]:
    found = [corpora.read(source), *corpora.read_translations(translations)]
    codes = [corpus.language.code for corpus in found]
    if len(set(codes)) != len(codes):
        raise DataError(f"validate: one corpus a language, got {', '.join(codes)}")
    for name in [name for name in COLUMNS if name not in OPTIONAL or (source / name).is_file()]:
        first, *_ = [
            corpus.rows(name) for corpus in found if corpus.has(name)
        ]  # all are read, so that a broken one is named at once
        if not len(first):
            raise DataError(f"{source / name}: no rows")
    return found


def _reports(found: list[Corpus], name: str, config: Config) -> Iterator[Report]:
    """One of each language for the file `name`."""
    from xlrm.validation import alarms, suite

    source = found[0]
    amounts = _amounts(source, name)
    for corpus in [one for one in found if one.has(name)]:
        translated, rows = corpus is not source, corpus.rows(name)
        plan = _plan(config, source, corpus, name)
        outcomes = suite.check_ids(rows.ids, source.rows(name).ids if translated else None)
        outcomes += suite.merged(_checked(plan, source, corpus, name))
        lacking = _lacking(source, corpus, name) if translated else []
        failed = alarms.shares_by_kind(outcomes, len(rows) + len(lacking))
        expected = alarms.expected(corpus.language.code, amounts, failed) if translated else 0.0
        yield Report(corpus.language, name, len(rows), rows.ids + lacking, outcomes, expected)


def _amounts(source: Corpus, name: str) -> "np.ndarray":
    from xlrm.validation import alarms

    rows = source.rows(name)
    return alarms.amounts(row or {} for row in rows.at(range(len(rows))))


def _checked(plan: "Plan", source: Corpus, corpus: Corpus, name: str) -> Iterator[tuple[int, "list[Outcome]"]]:
    """The outcomes of each chunk, and the row it begins at."""
    from xlrm.validation import suite

    count = len(corpus.rows(name))
    for start in range(0, count or 1, CHUNK_ROWS):
        rows, sources = _side_by_side(source, corpus, name, range(start, min(start + CHUNK_ROWS, count)))
        yield start, suite.check(plan, list(rows), list(sources))


def _plan(config: Config, source: Corpus, corpus: Corpus, name: str) -> "Plan":
    """What the file is held to; its bands of length are those of rows evenly taken from all of it."""
    from xlrm.validation import frame

    columns, language = COLUMNS[name], corpus.language
    if corpus is source:
        return frame.Plan(columns, language, None, config.limits)
    rows = corpus.rows(name)
    places = range(0, len(rows), 1 + len(rows) // FITTED_ROWS)
    pairs = (pair for pair in zip(*_side_by_side(source, corpus, name, places), strict=True) if pair[1])
    bands = frame.bands(columns, language, source.language, config.limits, pairs)
    return frame.Plan(columns, language, source.language, config.limits, bands)


def _side_by_side(source: Corpus, corpus: Corpus, name: str, places: range) -> tuple[Iterator, Iterator]:
    """Some rows of a file; and the source's rows of the same ids, None where it has none."""
    rows, original = corpus.rows(name), source.rows(name)
    wanted = [original.first.get(rows.ids[place]) for place in places] if corpus is not source else []
    return rows.at(places), original.at(wanted)


def _lacking(source: Corpus, corpus: Corpus, name: str) -> list[str]:
    there = corpus.rows(name).first
    return [row_id for row_id in source.rows(name).first if row_id not in there]


Kept = dict[str, dict[str, list[str]]]
"""Language -> file -> ids."""


def _kept(found: list[Corpus], reports: list[Report], parity: bool) -> Kept:
    """The ids that nothing is wrong with in a language and in the source, or with `parity` anywhere; in its order."""
    source = found[0]
    kept: Kept = {corpus.language.code: {} for corpus in found}
    for name, rows in source.files.items():
        failed = {one.language.code: {one.ids[row] for row in one.failed} for one in reports if one.file == name}
        everywhere = set().union(*failed.values())
        for code, ids in [(code, ids) for code, ids in kept.items() if code in failed]:
            dropped = everywhere if parity else failed[code] | failed[source.language.code]
            ids[name] = [row_id for row_id in rows.ids if row_id and row_id not in dropped]
    return kept


def _summary(config: Config, found: list[Corpus], reports: list[Report], kept: Kept) -> dict[str, Any]:
    rows_in = sum(len(rows) for rows in found[0].files.values())
    rows_out = sum(
        len(set.intersection(*(set(ids[name]) for ids in kept.values() if name in ids))) for name in found[0].files
    )
    languages: dict[str, dict] = {}
    for report in reports:
        verdict = report.verdict(config)
        languages.setdefault(report.language.code, {})[report.file] = {
            "rows_in": report.rows, "rows_out": len(kept[report.language.code][report.file]),
            "failures": dict(report.failures), "failed": verdict.failed, "expected": verdict.expected,
            "excess": verdict.excess, "limit": verdict.limit, "passed": verdict.passed,
        }  # fmt: skip
    translations = {
        corpus.language.code: {
            "name": corpus.language.name,
            "shards": len(corpus.folders), "translator": corpus.translator, "repairs": corpus.repairs,
        }
        for corpus in found[1:]
    }  # fmt: skip
    return {
        "passed": all(file["passed"] and file["rows_out"] for files in languages.values() for file in files.values()),
        "rows_in": rows_in, "rows_out": rows_out, "reject_share": (rows_in - rows_out) / rows_in,
        "kept": {code: sum(map(len, ids.values())) for code, ids in kept.items()},
        "thresholds": config.model_dump(mode="json"), "languages": languages, "translations": translations,
    }  # fmt: skip


def _metrics(summary: dict[str, Any], found: list[Corpus], reports: list[Report]) -> dict[str, float]:
    """Counts of rows: those of the source and what is left of them in every language (`rows_out`) and in each (`kept`);
    what failed by language, and by language and expectation."""
    failed = {f"failures/{corpus.language.code}": 0 for corpus in found}
    repaired = {f"repaired/{one.language.code}": one.repairs["mended"] for one in found if one.repairs}
    by_expectation: Counter[str] = Counter()
    for report in reports:
        code = report.language.code
        failed[f"failures/{code}"] += len(report.failed)
        counts = {outcome.expectation.name: 0 for outcome in report.outcomes} | report.failures
        for name, count in counts.items():
            by_expectation[f"failures/{code}/{name}"] += count
    kept = {f"kept/{code}": count for code, count in summary["kept"].items()}
    total = {key: summary[key] for key in ("rows_in", "rows_out", "reject_share")}
    return total | kept | failed | repaired | by_expectation


def _refusal(config: Config, reports: list[Report], kept: Kept) -> str:
    """Each language and file that is refused, the worst first."""
    refused = [one for one in reports if not one.verdict(config).passed]
    refused.sort(key=lambda one: -one.verdict(config).excess)
    empty = {code: ", ".join(name for name in ids if not ids[name]) for code, ids in kept.items()}
    nothing = [f"no row of {names} passed in {code}" for code, names in empty.items() if names]
    said = "; ".join([*(_of_file(config, report) for report in refused), *nothing])
    return f"validate: translations refused, max_reject_share is {config.max_reject_share:.1%}: {said}"


def _of_file(config: Config, report: Report) -> str:
    verdict = report.verdict(config)
    causes = ", ".join(f"{name} {count}" for name, count in report.failures.most_common(3))
    return (
        f"{report.language.name} {report.file}: {verdict.failed:.1%} of {len(report.ids)} rows failed, "
        f"{verdict.expected:.1%} expected of right translations, excess {verdict.excess:.1%}, limit {verdict.limit:.1%} "
        f"({causes})"
    )


def _write(corpus: Corpus, kept: dict[str, list[str]], folder: Path) -> None:
    for name, ids in kept.items():
        rows = corpus.rows(name)
        write_jsonl(folder / name, rows.at([rows.first[row_id] for row_id in ids]))
    (folder / "corpus.json").write_text(json.dumps({"language": corpus.language.code}), encoding="utf-8")


def data_docs(summary: dict[str, Any], reports: list[Report]) -> str:
    """The results as one page of HTML that needs nothing else: Great Expectations' own pages fetch their style."""
    from jinja2 import Environment, FileSystemLoader

    from xlrm.validation import suite

    by_language: dict[str, list[Report]] = {}
    for report in reports:
        by_language.setdefault(report.language.name, []).append(report)
    totals = {name: sum((report.failures for report in many), Counter()) for name, many in by_language.items()}
    applies = {name: {o.expectation.name for r in many for o in r.outcomes} for name, many in by_language.items()}
    folder = Path(suite.__file__).parent
    pages = Environment(loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = pages.get_template("data_docs.html.j2")
    return page.render(summary=summary, languages=by_language, totals=totals, applies=applies, meaning=suite.MEANING)
