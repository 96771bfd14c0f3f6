"""How many planted defects of translations the row checks find, how often they reject a correct translation, and at
which share of defective rows the gate of `validate` refuses a file.

    python -m benchmarks.planted_defects [--seeds 5] [--half report] [--json FILE]
    python -m benchmarks.planted_defects --gate [--half report] [--json FILE]

Clean rows are NTREX-128's human translations (benchmarks/defects.py), with answers of three sentences. Each class of
defect is planted in 5 % of the rows that allow it, five or six classes at a time; for the gate, one class at a time in
a growing share of all rows. Thresholds were chosen on the first half of the documents; the figures are from the other
half.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks import record
from benchmarks.defect_counts import Found, alarm_table
from benchmarks.defects import (
    DEFECTS,
    ROW_DEFECTS,
    SHARED_DATA,
    SOURCE,
    TARGETS,
    Defect,
    Item,
    Row,
    cut_short,
    items,
    loop_of_a_phrase,
    lost_number,
    untranslated_copy,
    wrong_language,
)
from xlrm.stages.validate import Config
from xlrm.validation import alarms
from xlrm.validation.limits import Limits
from xlrm.validation.suite import failures

COLUMNS = ("id", "prompt", "chosen", "rejected", "subset", "source")
SHARE = 0.05
GATED = (wrong_language, untranslated_copy, cut_short, loop_of_a_phrase, lost_number)
GATED_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
GATED_SENTENCES = (1, 5)
"""Sentences of an answer: some 130 and 640 characters."""
MANY_ROWS = 10_000


GROUPS = [list(DEFECTS)[at::3] for at in range(3)]


def measure(
    shared: Path = SHARED_DATA, half: str = "report", seeds: int = 1, targets: tuple[str, ...] = TARGETS
) -> Found:
    found, clean = Found(), items(shared, half)
    source = [item.rows[SOURCE] for item in clean]
    for language in targets:
        count_alarms(found, [item.rows[language] for item in clean], source, language)
        for seed in range(seeds):
            for group in GROUPS:
                _plant(found, clean, source, language, group, random.Random(f"{language} {seed} {group[0].__name__}"))
    return found


def count_alarms(
    found: Found, rows: list[Row], source: list[Row], language: str, columns: tuple[str, ...] = COLUMNS
) -> None:
    failed: set[int] = set()
    for outcome in failures(rows, source, columns, language, SOURCE, Limits()):
        key = (outcome.expectation.name, language)
        found.clean[key] += len(rows)
        found.alarms[key] += len(outcome.failed)
        failed |= outcome.failed.keys()
    found.clean["any", language], found.alarms["any", language] = len(rows), len(failed)


def _failed(rows: list[Row], source: list[Row], language: str) -> dict[str, set[str]]:
    """Id -> expectations that a row with this id fails."""
    ids = [row["id"] for row in rows]
    ids += [row["id"] for row in source if row["id"] not in set(ids)]
    failed: dict[str, set[str]] = defaultdict(set)
    for outcome in failures(rows, source, COLUMNS, language, SOURCE, Limits()):
        for row in outcome.failed:
            failed[ids[row]].add(outcome.expectation.name)
    return failed


def _plant(
    found: Found, clean: list[Item], source: list[Row], language: str, group: list[Defect], rng: random.Random
) -> None:
    rows = {item.rows[language]["id"]: item.rows[language] for item in clean}
    places = rng.sample(clean, len(clean))
    planted: dict = {}
    for defect in group:
        changed = _changed(places, language, defect, rng)
        rows |= {row_id: rows[row_id] | change for row_id, change in changed}
        planted |= dict.fromkeys((row_id for row_id, _ in changed), (defect.__name__, DEFECTS[defect]))
    many = list(rows.values())
    for name, meant in ROW_DEFECTS.items():
        for row_id in _break_rows(many, name, [item.rows[language]["id"] for item in places], rng):
            planted[row_id] = (name, meant)
            places = [item for item in places if item.rows[language]["id"] != row_id]
    failed = _failed(many, source, language)
    for row_id, (name, meant) in planted.items():
        found.planted[name, language] += 1
        found.caught[name, language] += bool(failed.get(row_id, set()) & set(meant))
        found.noticed[name, language] += bool(failed.get(row_id))


def _changed(places: list[Item], language: str, defect: Defect, rng: random.Random) -> list[tuple[str, Row]]:
    """(id, change) of 5 % of the rows that allow the defect. They are removed from `places`, so that no row gets two
    defects."""
    able = [(item, change) for item in places if (change := defect(item, language, rng))]
    chosen = able[: max(1, round(SHARE * len(able)))]
    for item, _ in chosen:
        places.remove(item)
    return [(item.rows[language]["id"], change) for item, change in chosen]


def _break_rows(rows: list[Row], name: str, free: list[str], rng: random.Random) -> list[str]:
    """Deletes, duplicates or moves back 1 % of the rows; returns their ids."""
    movable = {row["id"] for row in rows[:-10]}
    chosen = [row_id for row_id in free if row_id in movable][: max(1, len(rows) // 100)]
    for row_id in chosen:
        at = next(i for i, row in enumerate(rows) if row["id"] == row_id)
        row = rows[at] if name == "double_id" else rows.pop(at)
        if name != "missing_row":
            rows.insert(min(at + rng.randint(2, 9), len(rows)), dict(row))
    return chosen


def table(found: Found) -> str:
    """Recall of each class, by the expectations meant for it and by any; then false alarms of each expectation; in
    Markdown."""
    languages = list(dict.fromkeys(language for _, language in found.clean))
    meant = {defect.__name__: names for defect, names in DEFECTS.items()} | ROW_DEFECTS
    lines = [f"| planted | found by | rows | {' | '.join(languages)} |", f"|---|---|---|{'---|' * len(languages)}"]
    for name, names in meant.items():
        rows = sum(found.planted[name, language] for language in languages)
        cells = " | ".join(_recall(found, name, language) for language in languages)
        lines.append(f"| {name.replace('_', ' ')} | {', '.join(names)} | {rows} | {cells} |")
    return "\n".join([*lines, "", alarm_table(found, "texts")])


def refused_from(shared: Path = SHARED_DATA, half: str = "report") -> list[dict]:
    """The lowest of `GATED_SHARES` at which the gate refuses the file, by defect and sentences per answer; in
    brackets, the same for a file of `MANY_ROWS` rows with the same share of failures."""
    found = []
    for defect in GATED:
        for sentences in GATED_SENTENCES:
            clean = items(shared, half, sentences, across=True)
            labels = {"planted": defect.__name__.replace("_", " "), "sentences": sentences, "rows": len(clean)}
            found.append(labels | {language: _refused_from(clean, language, defect) for language in TARGETS})
    return found


def gate_table(found: list[dict]) -> str:
    """The shares in Markdown."""
    lines = [f"| {' | '.join(found[0])} |", f"|{'---|' * len(found[0])}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row.values()))} |" for row in found)])


def _refused_from(clean: list[Item], language: str, defect: Defect) -> str:
    source = [item.rows[SOURCE] for item in clean]
    amounts, allowed, of_many = alarms.amounts(source), Config().max_reject_share, None
    for share, failed, by_kind in _failed_by_share(clean, source, language, defect):
        expected = alarms.expected(language, amounts, by_kind)
        if not of_many and not alarms.judge(round(failed * MANY_ROWS), MANY_ROWS, expected, allowed).passed:
            of_many = f"{share:.0%}"
        if not alarms.judge(round(failed * len(clean)), len(clean), expected, allowed).passed:
            return f"{share:.0%}" if of_many == f"{share:.0%}" else f"{share:.0%} ({of_many})"
    return f"none ({of_many})" if of_many else "none"


def _failed_by_share(
    clean: list[Item], source: list[Row], language: str, defect: Defect
) -> Iterator[tuple[float, float, tuple[float, float, float]]]:
    """(share of rows with the defect, share of rows that fail, the latter by kind), for growing shares."""
    rng = random.Random(f"{language} {defect.__name__}")
    places = rng.sample(range(len(clean)), len(clean))
    able = [(place, change) for place in places if (change := defect(clean[place], language, rng))]
    for share in GATED_SHARES:
        rows = [item.rows[language] for item in clean]
        for place, change in able[: round(share * len(clean))]:
            rows[place] = rows[place] | change
        outcomes = failures(rows, source, COLUMNS, language, SOURCE, Limits())
        failed = {row for outcome in outcomes for row in outcome.failed}
        yield share, len(failed) / len(clean), alarms.shares_by_kind(outcomes, len(clean))


def _recall(found: Found, name: str, language: str) -> str:
    planted = found.planted[name, language]
    mine, any_ = (counts[name, language] / planted for counts in (found.caught, found.noticed))
    return f"{mine:.0%}" if mine == any_ else f"{mine:.0%} ({any_:.0%})"


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("--seeds", type=int, default=5)
    found.add_argument("--half", choices=("tune", "report"), default="report")
    found.add_argument("--gate", action="store_true", help="measure the share of wrong rows at which a file is refused")
    return found


def main() -> None:
    given = parser().parse_args()
    if given.gate:
        shares = refused_from(half=given.half)
        print(gate_table(shares))
        record.write(__spec__.name, given, {"refused_from": shares})
    else:
        found = measure(half=given.half, seeds=given.seeds)
        print(table(found))
        record.write(__spec__.name, given, found.figures())


if __name__ == "__main__":
    main()
