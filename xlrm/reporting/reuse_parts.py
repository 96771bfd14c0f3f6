"""Parts of the page on reused reward models: sentences, matrices of source and target languages, figures and tables. Page and
Markdown are made from the same parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from xlrm.evaluation.results import Estimate
from xlrm.reporting.documents import Cell, Grid
from xlrm.reporting.results import CHANCE, language_name
from xlrm.reporting.wording import MINUS, PERCENT, percent, percent_range, signed

Cells = Mapping[str, Mapping[str, Estimate | float]]
"""Source language of the reward model -> target language -> number, with its interval if it has one."""
Unit = Literal["share", "difference", "size"]
"""A share between 0 and 1, shown in percent; a difference of any size, shown with its sign; or a size, such as nats."""
FULL = 0.25
"""Distance from the middle at which a share's cell has its full colour; a larger one in the matrix takes its place."""


@dataclass(frozen=True)
class Square:
    """A cell of a matrix as the page shows it."""

    text: str
    small: str = ""
    """The interval."""
    tone: Literal["right", "wrong"] = "right"
    strength: int = 0
    """Strength of the colour, from 0 to 100."""
    own: bool = False
    """Whether source and target are the same language."""
    flat: bool = False
    """Whether the interval includes the middle."""
    hint: str = ""

    @property
    def cell(self) -> Cell:
        return Cell(self.text, f"[{self.small}]" if self.small else "")


@dataclass(frozen=True)
class Matrix:
    title: str
    columns: list[str]
    """Codes of the target languages, since six names do not fit twice beside each other."""
    rows: list[tuple[str, list[Square | None]]]
    """Name of a source language, and a cell for each target."""
    feet: list[tuple[str, list[Square | None]]] = field(default_factory=list)
    """Rows below, such as baselines."""
    corner: str = "model of ↓ policy in →"
    note: str = ""

    @property
    def grid(self) -> Grid:
        """The same for Markdown."""
        rows = [
            [Cell(name), *(square.cell if square else Cell("–") for square in own)]
            for name, own in (*self.rows, *self.feet)
        ]  # fmt: skip
        return Grid(
            self.title,
            (self.corner.replace(" ↓", " (row),").replace(" →", " (column)"), *self.columns),
            rows,
            1,
            self.note,
        )


@dataclass(frozen=True)
class Figure:
    caption: str
    svg: str
    small: str = ""


@dataclass(frozen=True)
class Part:
    """A section of the page; one without content is left out."""

    key: str
    """Id of the section."""
    title: str
    sentences: list[str] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: tuple[str, ...] = ()
    """Names of the CSV files with its numbers."""
    stages: tuple[str, ...] = ()
    """Stages whose artifacts its numbers are from."""
    short: str = ""
    """Name in the page's navigation; by default the title."""
    beside: bool = False
    """Whether the tables stand beside each other."""

    @property
    def filled(self) -> bool:
        return bool(self.sentences or self.matrices or self.figures or self.grids)


def sources(cells: Cells, languages: Sequence[str]) -> list[str]:
    """Sources in the order of `languages`, then others."""
    return [code for code in languages if code in cells] + [code for code in cells if code not in languages]


def targets(cells: Cells, languages: Sequence[str]) -> list[str]:
    present = dict.fromkeys(target for own in cells.values() for target in own)
    return [code for code in languages if code in present] + [code for code in present if code not in languages]


def matrix(
    title: str, cells: Cells, languages: Sequence[str], *, unit: Unit = "share", middle: float | Mapping[str, float] = CHANCE,
    feet: Mapping[str, Mapping[str, float]] | None = None, corner: str = Matrix.corner, note: str = "",
) -> Matrix:  # fmt: skip
    """A coloured matrix. `middle`: the value without colour, for all targets or by target. `feet`: name of a row below ->
    target -> value."""
    columns = targets(cells, languages)
    middles = middle if isinstance(middle, Mapping) else dict.fromkeys(columns, middle)
    away = [abs(_value(number) - middles[target]) for own in cells.values() for target, number in own.items()]
    full = max([*away, FULL if unit == "share" else 0.0]) or 1.0

    def square(source: str, target: str, number: Estimate | float | None) -> Square | None:
        return None if number is None else _square(source, target, number, unit, middles[target], full)

    return Matrix(
        title,
        columns,
        [
            (labeler_name(source), [square(source, target, cells[source].get(target)) for target in columns])
            for source in sources(cells, languages)
        ],
        [(name, [square("", target, own.get(target)) for target in columns]) for name, own in (feet or {}).items()],
        corner,
        note,
    )


def _square(source: str, target: str, number: Estimate | float, unit: Unit, middle: float, full: float) -> Square:
    value = _value(number)
    small = interval(number, unit) if isinstance(number, Estimate) else ""
    flat = isinstance(number, Estimate) and number.includes(middle)
    hint = f"{labeler_name(source)} → {language_name(target)}: {written(value, unit)}"
    hint += f", 95 % interval {small}" if small else ""
    return Square(
        written(value, unit), small, "right" if value >= middle else "wrong", round(100 * min(1.0, abs(value - middle) / full)),
        source == target, flat, hint if source else "",
    )  # fmt: skip


def _value(number: Estimate | float) -> float:
    return number.value if isinstance(number, Estimate) else number


def written(value: float, unit: Unit) -> str:
    if unit == "share":
        return percent(value)
    return signed(value, 2) if unit == "difference" else f"{value:.2f}"


def interval(estimate: Estimate, unit: Unit) -> str:
    if unit == "share":
        return percent_range(estimate)
    join = ", " if estimate.low < 0 else "\u2013"
    return f"{estimate.low:.2f}{join}{estimate.high:.2f}".replace("-", MINUS)


def labeler_name(code: str) -> str:
    """Name of a source; of a reward model trained on translations, the language that these are from."""
    source, _, target = code.partition(">")
    return f"{language_name(source)}, translated to {language_name(target)}" if target else language_name(code)


def rate(estimate: Estimate) -> str:
    """`58.8 % [55.1, 62.3]`."""
    return f"{percent(estimate.value)}{PERCENT} [{percent(estimate.low)}, {percent(estimate.high)}]"
