"""Comparisons of models, as documents."""

from collections.abc import Iterable
from dataclasses import fields

from xlrm.analysis.paired_models import ModelComparison, Row, Shared
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.reporting.documents import Cell, Document, Grid
from xlrm.reporting.results import SECTIONS, language_name
from xlrm.reporting.tables import Table
from xlrm.reporting.wording import LEVEL, listed, percent, points, signed

_COLUMNS = ("language", "section", "items", "{0}", "{1}", "{1} − {0}", "better /\nworse", "p", "McNemar's\np")
_NOTES = (
    "Accuracies in %, differences in percentage points: the second model minus the first, on the items that both have.",
    "Interval: 95 % bootstrap, items resampled within their subsets. better / worse: items for which the second model "
    "earns more, or less, than the first.",
    "p: two-sided permutation test of random signs. McNemar's p: exact test of better against worse, in which every item "
    "counts the same whatever its subset's weight. Each test's p-values are adjusted for all rows here by Holm's method.",
    "None of this covers the randomness of training: two runs of one recipe with other seeds differ by more.",
)


def document(compared: ModelComparison) -> Document:
    pairs = list(dict.fromkeys((row.first, row.second) for row in compared.table))
    letters = _letters(pairs)
    columns = tuple(field.name for field in fields(Row))
    return Document(
        title="Comparison of models",
        lead=[_sentence(pair, compared, letters) for pair in pairs],
        grids=[_grid(pair, compared, letters) for pair in pairs],
        csv=Table(columns, [tuple(getattr(row, name) for name in columns) for row in compared.table]),
        legend=[f"{letter}: {name}" for name, letter in letters.items()],
        notes=[*_NOTES, f"A pair with equal rewards earns {'nothing' if compared.ties == 'lost' else 'a half'}."],
    )


def _letters(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """A, B, C and so on for each model, in the order in which they come; numbers beyond Z."""
    names = dict.fromkeys(name for pair in pairs for name in pair)
    return {name: chr(ord("A") + place) if place < 26 else str(place + 1) for place, name in enumerate(names)}


def _sentence(pair: tuple[str, str], compared: ModelComparison, letters: dict[str, str]) -> str:
    """What the averages show."""
    rows = [row for row in compared.table if (row.first, row.second) == pair and row.part == AVERAGE]
    ahead = [_in(row) for row in rows if row.p < LEVEL and row.difference > 0]
    behind = [_in(row) for row in rows if row.p < LEVEL and row.difference < 0]
    undecided = [_in(row) for row in rows if row.p >= LEVEL]
    findings = {"better in": ahead, "worse in": behind, "not shown to differ in": undecided}
    first, second = (letters[name] for name in pair)
    return f"{second} against {first}: {'; '.join(f'{verb} {listed(places)}' for verb, places in findings.items() if places)}."


def _in(row: Row) -> str:
    return f"{_language(row.language)} ({points(row.difference)} [{points(row.low)}, {points(row.high)}])"


def _language(code: str) -> str:
    return language_name(code) if code else "an unnamed language"


def _grid(pair: tuple[str, str], compared: ModelComparison, letters: dict[str, str]) -> Grid:
    rows = [row for row in compared.table if (row.first, row.second) == pair]
    shared = [row for row in compared.shared if (row.first, row.second) == pair]
    several = len({row.benchmark for row in rows}) > 1
    cells, before = [], ("", "")
    for row in sorted(rows, key=lambda row: _order(row, rows)):
        place = (row.benchmark, row.language)
        label = f"{row.benchmark}, {_language(row.language)}" if several else _language(row.language)
        cells.append(_cells(row, label if place != before else ""))
        before = place
    first, second = (letters[name] for name in pair)
    columns = tuple(column.format(first, second) for column in _COLUMNS)
    return Grid(f"{second} against {first}", columns, cells, labels=2, note=left_out(shared))


def _order(row: Row, rows: list[Row]) -> tuple[int, int]:
    """Places in the order of the table; sections as RewardBench has them, then others, then the average."""
    places = list(dict.fromkeys((other.benchmark, other.language) for other in rows))
    ranks = {name: rank for rank, name in enumerate(SECTIONS)} | {AVERAGE: len(SECTIONS) + 1}
    return places.index((row.benchmark, row.language)), ranks.get(row.part, len(SECTIONS))


def _cells(row: Row, label: str) -> list[Cell]:
    tone = ("source" if row.difference > 0 else "target") if row.p < LEVEL else "unsure"
    return [
        Cell(label), Cell(row.part), Cell(f"{row.items:,}"), Cell(percent(row.first_accuracy)),
        Cell(percent(row.second_accuracy)),
        Cell(points(row.difference), f"[{points(row.low)}, {points(row.high)}]", tone),
        Cell(f"{row.better} / {row.worse}"), Cell(_p(row.p), tone="" if row.p < LEVEL else "unsure"),
        Cell(_p(row.mcnemar_p), tone="" if row.mcnemar_p < LEVEL else "unsure"),
    ]  # fmt: skip


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else signed(value, 3 if value < 0.1 else 2).lstrip("+")


def left_out(shared: Iterable[Shared]) -> str:
    """Items that are not compared; empty if all are."""
    counts = [
        f"{_language(row.language)}, {row.benchmark}: {row.items:,} items in both; left out: {row.other_texts:,} with other "
        f"texts, {row.only_first:,} only in the first, {row.only_second:,} only in the second"
        for row in shared
        if row.other_texts or row.only_first or row.only_second
    ]
    return "; ".join(counts) + "." if counts else ""
