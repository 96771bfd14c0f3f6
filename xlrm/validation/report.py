"""Validation report: failures by language and file, as a summary, metrics, an error message and an HTML page."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.data.corpora import Corpus
from xlrm.languages import Language
from xlrm.validation.summary import FileSummary, Summary, TranslationSummary

if TYPE_CHECKING:
    from xlrm.validation.alarms import Verdict
    from xlrm.validation.suite import Outcome

Kept = dict[str, dict[str, list[str]]]
"""Language -> file -> ids of the kept rows."""


@dataclass(frozen=True)
class FileReport:
    """Results of Great Expectations for one file of one language."""

    language: Language
    file: str
    rows: int
    ids: list[str]
    """Ids of the checked rows, followed by those of the source rows that the file lacks."""
    outcomes: "list[Outcome]"
    allowed: float
    """Share of the rows that may fail beyond the expected share."""
    expected: float = 0
    """Share of the rows that would fail in a sound translation."""
    translated: bool = True
    """Whether the file was translated here."""

    @cached_property
    def verdict(self) -> "Verdict":
        from xlrm.validation import alarms

        return alarms.judge(len(self.failed), len(self.ids), self.expected, self.allowed)

    @cached_property
    def failed(self) -> set[int]:
        return {row for outcome in self.outcomes for row in outcome.failed}

    @cached_property
    def failures(self) -> Counter[str]:
        """Number of rows that fail each expectation."""
        pairs = {(outcome.expectation.name, row) for outcome in self.outcomes for row in outcome.failed}
        return Counter(name for name, _ in sorted(pairs))

    def rejects(self) -> Iterator[dict[str, str]]:
        for outcome in self.outcomes:
            for row, value in outcome.failed.items():
                yield {
                    "language": self.language.code, "file": self.file, "id": self.ids[row],
                    "expectation": outcome.expectation.name, "column": outcome.expectation.column, "value": value,
                }  # fmt: skip


def summary(corpora: list[Corpus], reports: list[FileReport], kept: Kept, thresholds: dict[str, Any]) -> Summary:
    """Summary of the validation of a source (the first corpus), its translations and other languages' own corpora."""
    source = corpora[0]
    rows_in, rows_out = sum(map(len, source.files.values())), 0
    for name in source.files:
        same = [corpus for corpus in corpora if name in corpus.files and (corpus is source or corpus.translated)]
        rows_out += len(set.intersection(*(set(kept[corpus.language.code][name]) for corpus in same)))
    languages: dict[str, dict[str, FileSummary]] = {}
    for report in reports:
        verdict = report.verdict
        languages.setdefault(report.language.code, {})[report.file] = FileSummary(
            rows_in=report.rows, rows_out=len(kept[report.language.code][report.file]), failures=dict(report.failures),
            failed=verdict.failed, expected=verdict.expected, excess=verdict.excess, limit=verdict.limit,
            passed=verdict.passed,
        )  # fmt: skip
    translations = {
        corpus.language.code: TranslationSummary(
            name=corpus.language.name, shards=len(corpus.folders), translator=corpus.translator, repairs=corpus.repairs
        )
        for corpus in corpora
        if corpus.translated
    }
    own = {
        corpus.language.code: tuple(name.removesuffix(".jsonl") for name in corpus.files)
        for corpus in corpora[1:]
        if not corpus.translated
    }
    return Summary(
        passed=all(file.passed and file.rows_out for files in languages.values() for file in files.values()),
        rows_in=rows_in,
        rows_out=rows_out,
        reject_share=(rows_in - rows_out) / rows_in,
        kept={code: sum(map(len, ids.values())) for code, ids in kept.items()},
        thresholds=thresholds,
        languages=languages,
        translations=translations,
        own=own,
    )


def metrics(summary: Summary, corpora: list[Corpus], reports: list[FileReport]) -> dict[str, float]:
    """Flat metrics: rows of the source (`rows_in`), kept in all languages (`rows_out`) and in each (`kept`), repaired
    texts by language, and failures by language and by expectation."""
    failed = {f"failures/{corpus.language.code}": 0 for corpus in corpora}
    repaired = {f"repaired/{corpus.language.code}": corpus.repairs.mended for corpus in corpora if corpus.repairs}
    by_expectation: Counter[str] = Counter()
    for report in reports:
        code = report.language.code
        failed[f"failures/{code}"] += len(report.failed)
        counts = {outcome.expectation.name: 0 for outcome in report.outcomes} | report.failures
        for name, count in counts.items():
            by_expectation[f"failures/{code}/{name}"] += count
    kept = {f"kept/{code}": count for code, count in summary.kept.items()}
    return (
        summary.model_dump(include={"rows_in", "rows_out", "reject_share"}) | kept | failed | repaired | by_expectation
    )


def refusal(reports: list[FileReport], kept: Kept) -> str:
    """Error message in one line: the refused files, worst first, then the files without kept rows."""
    refused = sorted((file for file in reports if not file.verdict.passed), key=lambda file: -file.verdict.excess)
    empty = {code: ", ".join(name for name in ids if not ids[name]) for code, ids in kept.items()}
    nothing = [f"no row of {names} passed in {code}" for code, names in empty.items() if names]
    what = "translations" if all(file.translated for file in refused) else "corpora"
    return f"{what} refused: {'; '.join([*map(_of_file, refused), *nothing])}"


def _of_file(report: FileReport) -> str:
    verdict = report.verdict
    causes = ", ".join(f"{name} {count}" for name, count in report.failures.most_common(3))
    if not report.translated:
        return (
            f"{report.language.name} {report.file}: {verdict.failed:.1%} of {len(report.ids)} rows failed, "
            f"limit {verdict.limit:.1%} ({causes})"
        )
    return (
        f"{report.language.name} {report.file}: {verdict.failed:.1%} of {len(report.ids)} rows failed, "
        f"{verdict.expected:.1%} expected of correct translations, excess {verdict.excess:.1%}, limit {verdict.limit:.1%} "
        f"({causes})"
    )


def data_docs(summary: Summary, reports: list[FileReport]) -> str:
    """Results as one self-contained HTML page; Great Expectations' own pages load their styles from elsewhere."""
    from jinja2 import Environment, FileSystemLoader

    from xlrm.validation.suite import MEANING

    by_language: dict[str, list[FileReport]] = {}
    for report in reports:
        by_language.setdefault(report.language.name, []).append(report)
    totals = {name: sum((report.failures for report in group), Counter()) for name, group in by_language.items()}
    applies = {name: {o.expectation.name for r in group for o in r.outcomes} for name, group in by_language.items()}
    folder = Path(__file__).parent
    pages = Environment(loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = pages.get_template("data_docs.html.j2")
    return page.render(summary=summary, languages=by_language, totals=totals, applies=applies, meaning=MEANING)
