"""How often the row checks reject a correct translation, and what the gate of `validate` decides then.

python -m benchmarks.false_alarms          tables: sentences and blocks by expectation, pairs as the gate judges them
python -m benchmarks.false_alarms rates    the rates that xlrm/validation/alarms.py keeps
python -m benchmarks.false_alarms people   rows of people's texts that are refused as translations, and as a language's own

With --json FILE the figures are also written there.
"""

import argparse
import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.defect_counts import Found, alarm_table
from benchmarks.defects import SHARED_DATA, SOURCE, TARGETS, Row, documents_of
from benchmarks.planted_defects import count_alarms
from xlrm.languages import LANGUAGES
from xlrm.validation import alarms, suite
from xlrm.validation.alarms import Rates, kind
from xlrm.validation.frame import Plan
from xlrm.validation.limits import Limits

PAIR = ("id", "prompt", "chosen", "rejected")
Rows = dict[str, list[Row]]
"""Language -> rows; rows at the same index say the same in each language."""


def pairs_of_sentences(shared: Path, half: str, sentences: int, pairs: int = 250) -> Rows:
    """Human translations: a prompt of one sentence of NTREX-128, and two answers of the next `sentences` sentences."""
    found = [sentence for many in documents_of(shared, half) for sentence in many]
    step = max(1, (len(found) - 2 * sentences - 1) // pairs)
    windows = [found[at : at + 2 * sentences + 1] for at in range(0, len(found) - 2 * sentences, step)]
    return {language: list(_of_sentences(windows, language, sentences)) for language in (SOURCE, *TARGETS)}


def _of_sentences(windows: list[list[dict]], language: str, sentences: int) -> Iterator[Row]:
    """Pairs whose prompt is a window's first sentence, chosen the next `sentences`, and rejected the rest."""
    joint = "" if language == "zh" else " "
    for number, window in enumerate(windows):
        texts = [sentence[language].strip() for sentence in window]
        parts = texts[:1], texts[1 : sentences + 1], texts[sentences + 1 :]
        yield {"id": f"n{number}"} | dict(zip(PAIR[1:], map(joint.join, parts), strict=True))


def pairs_of_questions(shared: Path) -> Rows:
    """Human translations from XQuAD: a paragraph and a question as prompt, its answer and the answer to another
    question."""
    found: dict[str, dict[str, Row]] = {}
    for language in (SOURCE, "es", "de", "ru"):
        with gzip.open(shared / "multilingual" / f"xquad_pref_{language}.jsonl.gz", "rt", encoding="utf-8") as file:
            found[language] = {row["id"]: {name: row[name] for name in PAIR} for row in map(json.loads, file)}
    ids = [one for one in found[SOURCE] if all(one in rows for rows in found.values())]
    return {language: [rows[one] for one in ids] for language, rows in found.items()}


def pairs_of_blocks(shared: Path, characters: int, pairs: int = 250) -> Rows:
    """Software documentation, mostly machine-translated: a prompt of one block, and answers of blocks with
    `characters` in total."""
    with gzip.open(shared / "text" / "parallel5_cppdocs_sample.jsonl.gz", "rt", encoding="utf-8") as file:
        blocks = iter([json.loads(line) for line in islice(file, 100 * pairs)])
    found: Rows = {language: [] for language in (SOURCE, "es", "it", "ko", "zh")}
    for number in range(pairs):
        parts = [[next(blocks)], list(_as_long(blocks, characters)), list(_as_long(blocks, characters))]
        for language, rows in found.items():
            texts = ("\n\n".join(block[language] for block in many) for many in parts)
            rows.append({"id": f"d{number}"} | dict(zip(PAIR[1:], texts, strict=True)))
    return found


def _as_long(blocks: Iterator[dict], characters: int) -> Iterator[dict]:
    length = 0
    while length < characters:
        block = next(blocks)
        length += len(block[SOURCE])
        yield block


def alarms_of_sentences(shared: Path = SHARED_DATA, half: str = "report") -> Found:
    """False alarms if each sentence is a row of its own and therefore counts once."""
    found = Found()
    sentences = [sentence for many in documents_of(shared, half) for sentence in many]
    rows = {
        language: [{"id": f"s{i}", "prompt": one[language].strip()} for i, one in enumerate(sentences)]
        for language in (SOURCE, *TARGETS)
    }
    for language in TARGETS:
        count_alarms(found, rows[language], rows[SOURCE], language, ("id", "prompt"))
    return found


def measured_rates(shared: Path = SHARED_DATA, half: str = "report") -> dict[str, Rates]:
    """Language -> rates of alarms on texts of one, three and eight sentences of NTREX-128."""
    sentences = [sentence for many in documents_of(shared, half) for sentence in many]
    windows = [sentences[at : at + 12] for at in range(len(sentences) - 11)]
    rows = {language: list(_of_sentences(windows, language, 3)) for language in (SOURCE, *TARGETS)}
    looked_at = alarms.amounts(rows[SOURCE]).sum(axis=0).tolist()
    return {language: _rates(rows[language], rows[SOURCE], language, looked_at) for language in TARGETS}


def _rates(rows: list[Row], source: list[Row], language: str, looked_at: list[float]) -> Rates:
    failed: tuple[set, set, set] = (set(), set(), set())
    for outcome in suite.failures(rows, source, PAIR, language, SOURCE, Limits()):
        failed[kind(outcome.expectation.name)].update((row, outcome.expectation.column) for row in outcome.failed)
    return Rates(*(round(len(texts) / amount, 4) for texts, amount in zip(failed, looked_at, strict=True)))


def judged(name: str, rows: Rows, allowed: float = 0.05) -> Iterator[dict]:
    """The gate's verdict on these pairs in each language."""
    source = rows[SOURCE]
    amounts = alarms.amounts(source)
    for language in [one for one in rows if one != SOURCE]:
        outcomes = suite.failures(rows[language], source, PAIR, language, SOURCE, Limits())
        failed = {row for outcome in outcomes for row in outcome.failed}
        share = alarms.expected(language, amounts, alarms.shares_by_kind(outcomes, len(source)))
        verdict = alarms.judge(len(failed), len(source), share, allowed)
        shares = asdict(verdict) | {"excess": verdict.excess}
        yield {"pairs": name, "language": language, "rows": len(source), "passed": verdict.passed} | shares


def verdicts(shared: Path = SHARED_DATA) -> list[dict]:
    """The gate's verdicts on all sets of pairs. The rates are from one half of NTREX; nothing was measured on the
    other sets."""
    made = {
        "NTREX, answers of 3 sentences": pairs_of_sentences(shared, "report", 3),
        "NTREX, answers of 8 sentences": pairs_of_sentences(shared, "report", 8),
        "NTREX's other half, 3 sentences": pairs_of_sentences(shared, "tune", 3),
        "NTREX's other half, 8 sentences": pairs_of_sentences(shared, "tune", 8),
        "XQuAD, questions": pairs_of_questions(shared),
        "documentation, 500 characters": pairs_of_blocks(shared, 500),
        "documentation, 1,100 characters": pairs_of_blocks(shared, 1100),
    }
    return [verdict for name, rows in made.items() for verdict in judged(name, rows)]


def people(shared: Path = SHARED_DATA) -> list[dict]:
    """Shares of rows that people wrote or translated which fail a check: as translations of the source with the same
    ids, and as a corpus of the language's own."""
    made = {
        "XQuAD, questions": pairs_of_questions(shared),
        "NTREX, answers of 3 sentences": pairs_of_sentences(shared, "report", 3),
        "NTREX, answers of 8 sentences": pairs_of_sentences(shared, "report", 8),
    }
    found = []
    for name, rows in made.items():
        anywhere: dict[str, set[int]] = {"translated": set(), "own": set()}
        for language, texts in rows.items():
            failed = {"own": _failed(suite.check(Plan(PAIR, LANGUAGES[language], None, Limits()), texts))}
            if language != SOURCE:
                failed["translated"] = _failed(suite.failures(texts, rows[SOURCE], PAIR, language, SOURCE, Limits()))
            shares = {checked: len(ids) / len(texts) for checked, ids in failed.items()}
            found.append({"pairs": name, "language": language, "rows": len(texts)} | shares)
            for checked, ids in failed.items():
                anywhere[checked] |= ids
        shares = {checked: len(ids) / len(rows[SOURCE]) for checked, ids in anywhere.items()}
        found.append({"pairs": name, "language": "any", "rows": len(rows[SOURCE])} | shares)
    return found


def _failed(outcomes: list[suite.Outcome]) -> set[int]:
    return {row for outcome in outcomes for row in outcome.failed}


def people_table(found: list[dict]) -> str:
    """The shares in Markdown."""
    lines = ["| pairs | language | rows | refused as translations | as its own |", "|---|---|---|---|---|"]
    for one in found:
        translated = f"{one['translated']:.1%}" if "translated" in one else ""
        lines.append(f"| {one['pairs']} | {one['language']} | {one['rows']:,} | {translated} | {one['own']:.1%} |")
    return "\n".join(lines)


def gate_table(found: list[dict]) -> str:
    """The verdicts in Markdown."""
    lines = [
        "| pairs | language | rows | failed | expected | excess | limit | gate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        cells = " | ".join(f"{one[name]:.1%}" for name in ("failed", "expected", "excess", "limit"))
        gate = "passed" if one["passed"] else "refused"
        lines.append(f"| {one['pairs']} | {one['language']} | {one['rows']:,} | {cells} | {gate} |")
    return "\n".join(lines)


def alarms_of_documentation(shared: Path = SHARED_DATA, wanted: int = 3000) -> Found:
    """Alarms on software documentation, a kind of text for which no threshold was chosen. It is mostly
    machine-translated and was not corrected here, so some alarms are justified."""
    with gzip.open(shared / "text" / "parallel5_cppdocs_sample.jsonl.gz", "rt", encoding="utf-8") as file:
        blocks = [json.loads(line) for line in islice(file, wanted)]
    found = Found()
    for language in ("es", "it", "ko", "zh"):
        rows, source = (
            [{"id": str(i), "text": block[one]} for i, block in enumerate(blocks)] for one in (language, SOURCE)
        )
        count_alarms(found, rows, source, language, ("id", "text"))
    return found


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("what", nargs="?", choices=("tables", "rates", "people"), default="tables")
    return found


def main() -> None:
    options = parser().parse_args()
    if options.what == "rates":
        measured = measured_rates()
        for code, rates in measured.items():
            print(f'    "{code}": {rates},')
        figures: dict[str, Any] = {"rates": {code: asdict(rates) for code, rates in measured.items()}}
    elif options.what == "people":
        shares = people()
        print(people_table(shares))
        figures = {"people": shares}
    else:
        sentences, blocks, gate = alarms_of_sentences(), alarms_of_documentation(), verdicts()
        print(alarm_table(sentences, "sentences"), alarm_table(blocks, "blocks"), gate_table(gate), sep="\n\n")
        figures = {"sentences": sentences.figures(), "blocks": blocks.figures(), "gate": gate}
    record.write(__spec__.name, options, figures)


if __name__ == "__main__":
    main()
