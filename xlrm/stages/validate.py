"""Checks the corpora of all languages row by row, and keeps the rows that pass in each language."""

from pathlib import Path

from pydantic import Field

from xlrm.data import corpus_schema
from xlrm.data.corpus_schema import Description
from xlrm.errors import GateError
from xlrm.languages import InLanguages
from xlrm.store.jsonl import write_jsonl
from xlrm.validation import corpus_check, prompt_choice, report
from xlrm.validation.limits import Limits


class Config(InLanguages):
    max_reject_share: float = Field(0.05, ge=0, le=1)
    """Maximum share of a file's rows that may fail in a language beyond the share expected of sound translations, with
    an allowance for chance in small files; above it the stage fails (formula: docs/validation.md)."""
    train_prompts: int | None = Field(None, ge=1)
    """Prompts for alignment to write for each language, of those that pass; null for all. Pipelines fill in
    curate.train_prompts, of which curate.spare_prompts is a surplus."""
    parity: bool = False
    """Whether a row that fails in one language is dropped in all; rows are matched by their ids."""
    limits: Limits = Limits()
    """Thresholds of the row checks; docs/validation.md gives their sources."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    files = (Description.FILE, *corpus_schema.files())
    return {"source": files, "translations": files, "own": files}


def run(
    config: Config, *, source: Path, translations: list[Path] | None = None, own: list[Path] | None = None, output: Path
) -> dict[str, float]:
    """Writes the rejected rows with reasons and, if the gate passes, the kept rows under `output/{language}`.

    `own`: corpora that were not translated here; like the source, they are checked as human texts and not compared
    with it. A language may have some tables of its own and others translated. A translation keeps the rows that pass in
    it and in the source, any other corpus those that pass in itself; with `parity`, a row that fails in one language is
    dropped in all. Raises DataError for an unreadable corpus, and GateError if too many rows of a file fail in a
    language, or none is kept.
    """
    loaded = corpus_check.read(source, translations or [], own or [])
    reports = corpus_check.check(loaded, config.limits, config.max_reject_share)
    kept = corpus_check.passing(loaded, reports, config.parity)
    summary = report.summary(loaded, reports, kept, config.model_dump(mode="json"))
    write_jsonl(output / "rejects.jsonl", (reject for file_report in reports for reject in file_report.rejects()))
    summary.write(output)
    (output / "data_docs.html").write_text(report.data_docs(summary, reports), encoding="utf-8")
    if not summary.passed:
        raise GateError(report.refusal(reports, kept), where="validate.max_reject_share", value=config.max_reject_share)
    chosen = prompt_choice.choose(loaded, kept, config.train_prompts)
    corpus_check.write(loaded, chosen, output)
    return report.metrics(summary, loaded, reports)
