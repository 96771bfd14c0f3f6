"""Checks a corpus and its translations row by row, and keeps the rows that passed in every language."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from xlrm.errors import DataError, GateError
from xlrm.languages import LANGUAGES, Language
from xlrm.rows import read_rows, write_jsonl

if TYPE_CHECKING:
    from xlrm.expectations import Outcome

COLUMNS = {
    "preferences.jsonl": ("id", "prompt", "chosen", "rejected", "subset", "source"),
    "benchmark.jsonl": ("id", "prompt", "chosen", "rejected", "subset", "section"),
    "prompts.jsonl": ("id", "prompt", "split"),
    "parallel.jsonl": ("id", "text"),
}
OPTIONAL = ("prompts.jsonl", "parallel.jsonl")
ANY_SCRIPT = (0.1, 3.0)  # length ratios of a script that the config does not name
SHOWN_CHARACTERS = 160


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_reject_share: float = Field(0.05, ge=0, le=1)
    """Share of the source's rows that may be dropped; above it the stage fails."""
    min_script_share: float = Field(0.2, ge=0, le=1)
    """Share of a text's letters that must be of its language's script. Low, since a few Latin names outweigh a whole
    Chinese sentence: technical prose goes down to 0.25 there."""
    length_ratio: dict[str, tuple[float, float]] = {
        "Latin": (0.4, 3.0),
        "Cyrillic": (0.4, 3.0),
        "Hangul": (0.15, 1.6),
        "Han": (0.1, 1.2),
    }
    """By script, how long a translation may be as a multiple of a source in Latin script, in characters. Around what
    1,000 human translations of NTREX-128 have: Latin 0.46-2.88, Cyrillic 0.48-2.46, Hangul 0.25-1.47, Han 0.15-1.13."""
    length_from: int = Field(30, ge=1)
    """Characters that a text or its source must have for their lengths to be compared ("OK" is "De acuerdo")."""

    @field_validator("length_ratio")
    @classmethod
    def _ordered(cls, bands: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for script, (low, high) in bands.items():
            if not 0 < low < high:
                raise ValueError(f"{script}: a band is two numbers, 0 < low < high")
        return bands


@dataclass(frozen=True)
class Corpus:
    language: Language
    rows: dict[str, list[dict]]
    """By file name."""


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
                    "expectation": outcome.expectation.name, "column": outcome.expectation.column,
                    "value": value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…",
                }  # fmt: skip


def run(config: Config, *, source: Path, translations: list[Path], output: Path) -> dict[str, float]:
    """Writes what was rejected and why, then, if that is little enough, the rest under `output/{language}`.

    A row that fails in one language is dropped in all, so all hold the same ids in the source's order.
    Raises DataError for a corpus that cannot be read, GateError where too many rows or all of a file's are dropped.
    """
    corpora = _corpora(source, translations)
    reports = [report for name in corpora[0].rows for report in _reports(config, corpora, name)]
    kept = _kept(corpora[0], reports)
    summary = _summary(config, corpora[0], reports, kept)
    write_jsonl(output / "rejects.jsonl", (reject for report in reports for reject in report.rejects()))
    (output / "summary.json").write_text(json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8")
    (output / "data_docs.html").write_text(data_docs(summary, reports), encoding="utf-8")
    if not summary["passed"]:
        raise GateError(f"{_refusal(config, summary, reports, kept)}; see {output / 'data_docs.html'}")
    for corpus in corpora:
        _write(corpus, kept, output / corpus.language.code)
    failed = {f"failures/{corpus.language.code}": 0 for corpus in corpora}
    for report in reports:
        failed[f"failures/{report.language.code}"] += len(report.failed)
    return {key: summary[key] for key in ("rows_in", "rows_out", "reject_share")} | failed


def _corpora(source: Path, translations: list[Path]) -> list[Corpus]:
    names = [name for name in COLUMNS if name not in OPTIONAL or (source / name).is_file()]
    folders = [source, *translations]
    corpora = [Corpus(_language(folder), {name: read_rows(folder / name) for name in names}) for folder in folders]
    codes = [corpus.language.code for corpus in corpora]
    if len(set(codes)) != len(codes):
        raise DataError(f"validate: one corpus a language, got {', '.join(codes)}")
    for name, rows in corpora[0].rows.items():
        if not rows:
            raise DataError(f"{source / name}: no rows")
    return corpora


def _language(folder: Path) -> Language:
    path = folder / "corpus.json"
    if not path.is_file():
        raise DataError(f'{path}: no such file; a corpus says its language there, as {{"language": "es"}}')
    code = json.loads(path.read_text(encoding="utf-8")).get("language")
    if code not in LANGUAGES:
        raise DataError(f"{path}: no language {code!r}; there are {', '.join(LANGUAGES)}")
    return LANGUAGES[code]


def _reports(config: Config, corpora: list[Corpus], name: str) -> Iterator[Report]:
    """One of each language for the file `name`."""
    from xlrm import expectations

    columns, source = COLUMNS[name], corpora[0]
    original = expectations.frame(source.rows[name], columns)
    for corpus in corpora:
        limits = expectations.Limits(
            script=corpus.language.script,
            script_share=config.min_script_share,
            length=_band(config, corpus.language.script, source.language.script),
            length_from=config.length_from,
        )
        checked = original
        if corpus is not source:
            found = expectations.frame(corpus.rows[name], columns)
            checked = expectations.compare(found, original, config.length_from)
        checked = expectations.with_script(checked, limits.script)
        outcomes = expectations.validate(checked, expectations.expectations(columns, limits, corpus is not source))
        yield Report(corpus.language, name, len(corpus.rows[name]), checked["id"].tolist(), outcomes)


def _band(config: Config, script: str, source_script: str) -> tuple[float, float]:
    """The config's bands are for sources in Latin script; one in another is as much shorter as its own band says."""
    latin, source = (sqrt(low * high) for low, high in (_ratios(config, "Latin"), _ratios(config, source_script)))
    low, high = _ratios(config, script)
    return low * latin / source, high * latin / source


def _ratios(config: Config, script: str) -> tuple[float, float]:
    return config.length_ratio.get(script, ANY_SCRIPT)


def _kept(source: Corpus, reports: list[Report]) -> dict[str, list[str]]:
    """By file, the ids that nothing is wrong with anywhere, in the source's order."""
    kept = {}
    for name, rows in source.rows.items():
        failed = {report.ids[row] for report in reports if report.file == name for row in report.failed}
        kept[name] = [row["id"] for row in rows if isinstance(row.get("id"), str) and row["id"] not in failed]
    return kept


def _summary(config: Config, source: Corpus, reports: list[Report], kept: dict[str, list[str]]) -> dict[str, Any]:
    rows_in = sum(len(rows) for rows in source.rows.values())
    rows_out = sum(len(ids) for ids in kept.values())
    share = (rows_in - rows_out) / rows_in
    languages: dict[str, dict] = {}
    for report in reports:
        languages.setdefault(report.language.code, {})[report.file] = {
            "rows_in": report.rows, "rows_out": len(kept[report.file]), "failures": dict(report.failures),
        }  # fmt: skip
    return {
        "passed": share <= config.max_reject_share and all(kept.values()),
        "rows_in": rows_in, "rows_out": rows_out, "reject_share": share,
        "thresholds": config.model_dump(mode="json"), "languages": languages,
    }  # fmt: skip


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
        by_id = {row.get("id"): row for row in corpus.rows[name] if isinstance(row.get("id"), str)}
        write_jsonl(folder / name, (by_id[row_id] for row_id in ids))
    (folder / "corpus.json").write_text(json.dumps({"language": corpus.language.code}), encoding="utf-8")


def data_docs(summary: dict[str, Any], reports: list[Report]) -> str:
    """The results as one page of HTML that needs nothing else: Great Expectations' own pages fetch their style."""
    from jinja2 import Environment

    from xlrm.expectations import MEANING

    by_language: dict[str, list[Report]] = {}
    for report in reports:
        by_language.setdefault(report.language.name, []).append(report)
    totals = {name: sum((report.failures for report in many), Counter()) for name, many in by_language.items()}
    applies = {name: {o.expectation.name for r in many for o in r.outcomes} for name, many in by_language.items()}
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_PAGE)
    return page.render(
        summary=summary, languages=by_language, totals=totals, applies=applies, meaning=MEANING, shown=SHOWN_CHARACTERS
    )


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Corpus validation</title>
<style>
:root { --back: #fff; --text: #1c2128; --soft: #59636e; --line: #d8dee4; --panel: #f6f8fa; --good: #116329;
  --bad: #b3261e; --good-back: #dafbe1; --bad-back: #ffebe9; }
@media (prefers-color-scheme: dark) { :root { --back: #0f141a; --text: #e6edf3; --soft: #9aa5b1; --line: #30363d;
  --panel: #171d25; --good: #6fdd8b; --bad: #ff9a92; --good-back: #12361f; --bad-back: #4a1715; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 75rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; } h2 { margin: 2.2rem 0 .6rem; font-size: 1.2rem; } p { margin: .3rem 0; }
.badge { padding: .1rem .6rem; border-radius: 1rem; font-size: .9rem; font-weight: 600; vertical-align: middle; }
.good { color: var(--good); background: var(--good-back); } .bad { color: var(--bad); background: var(--bad-back); }
.soft { color: var(--soft); } code { font: .85em/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .4rem .7rem; text-align: left; vertical-align: top; }
tr + tr > *, tbody > tr > * { border-top: 1px solid var(--line); } th { font-weight: 600; }
thead th { color: var(--soft); font-size: .85rem; white-space: nowrap; background: var(--panel); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bad { font-weight: 600; }
details { margin: .5rem 0; border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
summary { padding: .5rem .8rem; cursor: pointer; background: var(--panel); } summary b { margin-right: .5rem; }
.value { display: block; overflow-wrap: anywhere; }
.results { table-layout: fixed; border-top: 1px solid var(--line); } .results th:first-child { width: 7.5rem; }
.results .number { width: 6rem; } .results .values { width: 36%; } .results code + .soft { margin-left: .4rem; }
@media (max-width: 45rem) {
  .meaning { display: none; }
  .results, .results tbody, .results tr, .results th, .results td { display: block; width: auto !important; }
  .results thead { display: none; } .results tr { padding: .5rem 0; border-top: 1px solid var(--line); }
  .results tr > * { border: 0; padding: .1rem .8rem; text-align: left; background: none; }
  .results td.number { display: inline-block; } .results td.number + td.number { padding-left: 0; }
  .results td[data-label]::before { content: attr(data-label) " "; color: var(--soft); font-weight: 400; }
}
</style>
</head>
<body>
<h1>Corpus validation
<span class="badge {{ 'good' if summary.passed else 'bad' }}">{{ 'passed' if summary.passed else 'failed' }}</span></h1>
<p>{{ '{:,}'.format(summary.rows_out) }} of {{ '{:,}'.format(summary.rows_in) }} rows passed in every language:
{{ '{:.1%}'.format(summary.reject_share) }} dropped,
{{ '{:.1%}'.format(summary.thresholds.max_reject_share) }} allowed.</p>
<p class="soft">A row that fails in one language is dropped in all, so all hold the same rows.</p>

<h2>Rows that failed</h2>
<div class="scroll"><table>
<thead><tr><th>expectation</th><th class="meaning">what it expects</th>
{% for language in languages %}<th class="number">{{ language }}</th>{% endfor %}</tr></thead>
<tbody>
{% for name, text in meaning.items() %}
<tr><th>{{ name }}</th><td class="soft meaning">{{ text }}</td>
{% for language in languages %}
{% set count = totals[language][name] %}
<td class="number {{ 'bad' if count }}">
{{ '{:,}'.format(count) if name in applies[language] else '&ndash;' | safe }}</td>
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>

{% for language, reports in languages.items() %}
<h2>{{ language }}</h2>
{% for report in reports %}
{% set count = report.failed | length %}
<details{{ ' open' if count }}>
<summary><b>{{ report.file }}</b> <span class="soft">{{ '{:,}'.format(report.rows) }} rows,</span>
<span class="{{ 'badge bad' if count else 'soft' }}">{{ '{:,}'.format(count) }} failed</span></summary>
<table class="results">
<thead><tr><th>expectation</th><th>column</th><th class="number">checked</th><th class="number">failed</th>
<th class="values">first values</th></tr></thead>
<tbody>
{% for outcome in report.outcomes %}
{% set one = outcome.expectation %}
<tr><th>{{ one.name }}</th>
<td><code>{{ one.column }}</code><span class="soft">{{ one.rule }} <code>{{ one.kind }}</code></span></td>
<td class="number" data-label="checked">{{ '{:,}'.format(outcome.checked) }}</td>
<td class="number {{ 'bad' if outcome.failed }}" data-label="failed">{{ '{:,}'.format(outcome.failed | length) }}</td>
<td class="values">{% for row, value in (outcome.failed.items() | list)[:3] %}
<span class="value"><code>{{ report.ids[row] }}</code> {{ value | truncate(shown, true, '…', 0) }}</span>
{% endfor %}</td></tr>
{% endfor %}
</tbody></table>
</details>
{% endfor %}
{% endfor %}
</body>
</html>
"""
