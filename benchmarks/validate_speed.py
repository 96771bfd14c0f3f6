"""Speed and memory of validating corpora.

python -m benchmarks.validate_speed plain [ROWS]             a million rows through the plain expectations
python -m benchmarks.validate_speed stage [ROWS] [LANGUAGES] the whole stage, corpora on disk, of five languages

With --json FILE the figures are also written there.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks import memory, record
from xlrm.data.corpus_schema import PAIR, PREFERENCE_PAIRS, Description
from xlrm.data.phrasebook import translator
from xlrm.stages import curate, validate
from xlrm.store.jsonl import write_jsonl
from xlrm.validation import suite

LANGUAGES = ("en", "es", "it", "ko", "zh")
COLUMNS = PREFERENCE_PAIRS.columns


def plain(count: int) -> dict[str, float]:
    """Schema, unique ids, parity and different answers: the expectations that measure no texts."""
    rows = [{name: f"{name} {i} of a text that is somewhat longer" for name in COLUMNS} for i in range(count)]
    ids = [row["id"] for row in rows]
    began = time.perf_counter()
    texts = pd.DataFrame({name: [row[name] for row in rows] for name in COLUMNS}, dtype="str")
    outcomes = [*suite.check_ids(ids, ids), *suite.validate(texts, suite.plain_rules(COLUMNS))]
    seconds = time.perf_counter() - began
    assert not any(outcome.failed for outcome in outcomes)
    said = f"{count:,} rows, {len(outcomes)} plain expectations"
    peak = memory.peak()
    print(f"{said}: {seconds:.1f} s, {count / seconds:,.0f} rows a second, peak {peak:,.0f} MiB")
    return {"rows": count, "expectations": len(outcomes), "seconds": seconds, "peak_memory_mib": peak}


def pairs(count: int) -> Iterator[list[dict]]:
    """The phrasebook's pairs, repeated with other sentences appended, so that no two answers are equal: one row in
    all languages at a time, with answers of some six sentences."""
    with tempfile.TemporaryDirectory() as folder:
        curate.run(
            curate.Config(preferences=("phrasebook",), pairs=2000, benchmark="phrasebook", benchmark_items=40),
            output=Path(folder),
        )
        source = [json.loads(line) for line in (Path(folder) / "preferences.jsonl").open(encoding="utf-8")]
    said = [{"en": row} | {code: _translated(row, code) for code in LANGUAGES[1:]} for row in source]
    said = [one for one in said if one["en"]["subset"] != "language"]
    rng = random.Random(0)
    for number in range(count):
        first, *more = (rng.choice(said) for _ in range(6))
        yield [_row(number, code, first[code], [one[code] for one in more]) for code in LANGUAGES]


def _translated(row: dict, code: str) -> dict:
    texts = translator.translate([row[name] for name in PAIR], "en", code)
    return row | dict(zip(PAIR, texts, strict=True))


def _row(number: int, code: str, first: dict, more: list[dict]) -> dict:
    space = "" if code == "zh" else " "
    behind = space.join(one["chosen"] for one in more)
    return first | {"id": f"s{number}"} | {name: first[name] + space + behind for name in ("chosen", "rejected")}


def stage(count: int, languages: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, count, languages)
        size = sum(path.stat().st_size for path in folder.rglob("*.jsonl")) / 2**20
        before, began = memory.peak(), time.perf_counter()
        (folder / "out").mkdir()
        source, *translations = [folder / code for code in LANGUAGES[:languages]]
        metrics = validate.run(validate.Config(), source=source, translations=translations, output=folder / "out")
        seconds = time.perf_counter() - began
    said = f"{count:,} rows x {languages} languages, {size:,.0f} MiB, {metrics['rows_out']:,} rows out"
    peak = memory.peak()
    print(f"{said}: {seconds:.0f} s, peak {peak:,.0f} MiB ({before:,.0f} MiB before)")
    return {
        "rows": count, "languages": languages, "corpora_mib": size, "rows_out": metrics["rows_out"], "seconds": seconds,
        "peak_memory_mib": peak, "before_mib": before,
    }  # fmt: skip


def _write(folder: Path, count: int, languages: int) -> None:
    files = {}
    for code in LANGUAGES[:languages]:
        (folder / code).mkdir()
        Description(language=code).write(folder / code)
        files[code] = (folder / code / "preferences.jsonl").open("w", encoding="utf-8")
    for number, many in enumerate(pairs(count)):
        for code, row in zip(files, many, strict=False):
            files[code].write(json.dumps(row, ensure_ascii=False) + "\n")
        if number == 50:
            for code, row in zip(files, many, strict=False):
                write_jsonl(folder / code / "benchmark.jsonl", [row | {"section": "Chat"}])
    for file in files.values():
        file.close()


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("kind", nargs="?", choices=("plain", "stage"), default="plain")
    found.add_argument(
        "rows", type=int, nargs="?", help="number of rows (default: 1,000,000 without the stage, 100,000 with it)"
    )
    found.add_argument("languages", type=int, nargs="?", default=len(LANGUAGES), choices=range(1, len(LANGUAGES) + 1))
    return found


def main() -> None:
    options = parser().parse_args()
    given = (options.rows or 100_000, options.languages)
    figures = plain(options.rows or 1_000_000) if options.kind == "plain" else stage(*given)
    record.write(__spec__.name, options, figures)


if __name__ == "__main__":
    main()
