"""The figures, as SVG to embed in a page: the only module that imports matplotlib.

Colours are roles (`source`, `right`, ...); the page's style gives each a value for light and one for dark mode. A
figure is as wide as a phone shows it, one unit to a pixel, and a page puts several side by side. The same values give
the same bytes.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from xlrm.reporting.labels import Box, spread

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLES = ("ink", "soft", "line", "panel", "source", "target", "right", "wrong", "base")
_COLOUR = {role: f"#0000{number:02x}" for number, role in enumerate(ROLES, 1)}  # placeholders that `_inline` replaces
_STYLE: dict[Any, Any] = {
    "hatch.linewidth": 1.4, "svg.fonttype": "none", "text.parse_math": False, "font.size": 11, "axes.unicode_minus": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.linewidth": 1,
    "axes.edgecolor": _COLOUR["line"], "axes.labelcolor": _COLOUR["soft"], "text.color": _COLOUR["ink"],
    "xtick.color": _COLOUR["line"], "xtick.labelcolor": _COLOUR["soft"], "xtick.labelsize": 10.5,
    "ytick.color": _COLOUR["line"], "ytick.labelcolor": _COLOUR["ink"], "ytick.major.size": 0,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip
_PIXELS = 72  # pixels in an inch of matplotlib's SVG


@dataclass(frozen=True)
class Point:
    """A value, with its interval if it has one."""

    value: float
    role: str
    low: float | None = None
    high: float | None = None
    marker: str = "o"


@dataclass(frozen=True)
class Spread:
    """A distribution with its mean or median, and the interval of that if it has one."""

    label: str
    values: list[float]
    centre: float
    role: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Mark:
    """A labelled point with the interval of its x, and the values whose mean is its y."""

    label: str
    x: float
    y: float
    role: str
    low: float
    high: float
    parts: list[float]


@dataclass(frozen=True)
class Spot:
    """A point of two measurements, with the interval of its y if it has one."""

    x: float
    y: float
    role: str
    low: float | None = None
    high: float | None = None
    marker: str = "o"


@dataclass(frozen=True)
class Bar:
    """A value with its interval, in the pattern of its kind: matplotlib's hatch, empty for a filled bar."""

    value: float
    low: float
    high: float
    role: str
    pattern: str = ""


@dataclass(frozen=True)
class Line:
    """Values by step."""

    values: list[tuple[float, float]]
    role: str
    dots: bool = False


def dots(
    name: str, rows: dict[str, list[Point]], limits: tuple[float, float], middle: float, x_label: str, width: int = 236
) -> str:
    """One row for each label, one dot with its whisker for each point, and a vertical line at `middle`."""
    height = 52 + sum(11 * len(points) + 13 for points in rows.values())
    with _axes(name, width, height) as axes:
        axes.axvline(middle, color=_COLOUR["soft"], linewidth=1, zorder=0)
        places, top = {}, 0.0
        for label, points in rows.items():
            places[label] = top + (len(points) - 1) / 2
            for i, point in enumerate(points):
                _dot(axes, point, top + i)
            top += len(points) + 13 / 11
        axes.set_yticks(list(places.values()), list(places))
        axes.set_ylim(top - 0.7, -0.9)
        axes.set_xlim(*limits)
        axes.set_xlabel(x_label)
        return _svg(axes, x_label)


def bars(name: str, groups: dict[str, list[Bar]], middle: float, x_label: str, title: str, width: int = 340) -> str:
    """A group of horizontal bars for each label, each with its whisker, its value at its end, and a pattern of its kind; a
    vertical line at `middle`. Bars begin at 0."""
    height = 56 + sum(17 * len(group) + 15 for group in groups.values())
    with _axes(name, width, height) as axes:
        places, top = {}, 0.0
        for label, group in groups.items():
            places[label] = top + (len(group) - 1) / 2
            for i, bar in enumerate(group):
                colour = _COLOUR[bar.role]
                axes.barh(
                    top + i, bar.value, 0.82, facecolor=_COLOUR["panel"] if bar.pattern else colour, edgecolor=colour,
                    hatch=bar.pattern, linewidth=1.2,
                )  # fmt: skip
                axes.plot(
                    (bar.low, bar.high), (top + i,) * 2, color=_COLOUR["ink"], linewidth=1.6, solid_capstyle="butt"
                )
                axes.annotate(
                    f"{bar.value:.1f}", (max(bar.high, bar.value), top + i), (5, 0), textcoords="offset points",
                    va="center", fontsize=10, annotation_clip=False,
                )  # fmt: skip
            top += len(group) + 15 / 17
        axes.axvline(middle, color=_COLOUR["soft"], linewidth=1, linestyle=(0, (3, 3)))
        axes.set_yticks(list(places.values()), list(places))
        axes.set_ylim(top - 0.9, -0.8)
        highest = max(max(bar.high, bar.value) for group in groups.values() for bar in group)
        axes.set_xlim(0, max(highest * 1.12, middle * 1.2))
        axes.set_xlabel(x_label)
        return _svg(axes, title)


def ridges(name: str, rows: list[Spread], x_label: str) -> str:
    """Smoothed distributions one above the other, each with a dot (and whisker) at its centre. A vertical line marks
    the centre of the first."""
    import numpy as np

    values = np.concatenate([row.values for row in rows])
    low, high = float(values.min()), float(values.max())
    margin = (high - low) * 0.05 or 0.01
    grid = np.linspace(low - margin, high + margin, 120)
    with _axes(name, 340, 46 + 38 * len(rows)) as axes:
        axes.axvline(rows[0].centre, color=_COLOUR["soft"], linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        for place, row in enumerate(rows):
            curve = 0.8 * _density(np.array(row.values), grid)
            axes.fill_between(grid, place, place - curve, color=_COLOUR[row.role], alpha=0.35, linewidth=0)
            axes.plot(grid, place - curve, color=_COLOUR[row.role], linewidth=1.2)
            _dot(axes, Point(row.centre, row.role, row.low, row.high), place)
        axes.set_yticks([place - 0.15 for place in range(len(rows))], [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.6, -0.95)
        axes.set_xlim(grid[0], grid[-1])
        axes.set_xlabel(x_label)
        return _svg(axes, x_label)


def histograms(name: str, chosen: list[float], rejected: list[float], limits: tuple[float, float], title: str) -> str:
    """Rewards of the chosen responses, filled, and of the rejected ones, dashed; panels of one model share `limits`."""
    import numpy as np

    edges = np.linspace(*limits, 31)
    with _axes(name, 236, 118) as axes:
        for values, role, line, filled in ((chosen, "right", "-", True), (rejected, "wrong", (0, (3, 1.5)), False)):
            counts, _ = np.histogram(np.clip(values, *limits), edges)
            if filled:
                axes.stairs(
                    counts / max(len(values), 1), edges, fill=True, color=_COLOUR[role], alpha=0.32, linewidth=0
                )
            axes.stairs(counts / max(len(values), 1), edges, color=_COLOUR[role], linewidth=1.3, linestyle=line)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=4)  # more labels with two decimals overlap
        axes.set_xlim(*limits)
        axes.margins(y=0.04)
        axes.set_xlabel("reward")
        return _svg(axes, title)


def scatter(name: str, marks: list[Mark], line: float, x_label: str, y_label: str) -> str:
    """One dot with its whisker for each mark, a dash at each value that it is the mean of, and a vertical line at
    `line`."""
    with _axes(name, 340, max(250, 80 + 16 * len(marks))) as axes:
        axes.axvline(line, color=_COLOUR["soft"], linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        for mark in marks:
            colour = _COLOUR[mark.role]
            axes.plot([mark.x] * len(mark.parts), mark.parts, "_", markersize=7, color=colour, alpha=0.5)
            _dot(axes, Point(mark.x, mark.role, mark.low, mark.high), mark.y)
        axes.margins(x=0.12)
        axes.tick_params(axis="y", labelcolor=_COLOUR["soft"])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        _label(axes, marks)
        return _svg(axes, f"{y_label}, by {x_label}")


def _label(axes: "Axes", marks: list[Mark]) -> None:
    """Puts each mark's label beside it, to the left if there is no room to the right, without overlap. A line leads to
    a label that had to move."""
    _figure(axes).draw_without_rendering()
    _figure(axes).set_layout_engine("none")  # labels are placed in this layout
    frame = axes.get_window_extent()
    places = [tuple(axes.transData.transform((mark.x, mark.y))) for mark in marks]
    notes = [
        axes.annotate(mark.label, (mark.x, mark.y), (0, 0), textcoords="offset points", fontsize=10.5) for mark in marks
    ]
    boxes = []
    for (x, y), note in zip(places, notes, strict=True):
        size = note.get_window_extent()
        right, left = x + 7, max(frame.x0, x - 7 - size.width)
        boxes.append(Box(right if right + size.width <= frame.x1 else left, y + 3, size.width, size.height))
    for note, place, before, box in zip(notes, places, boxes, spread(boxes, frame.y0, frame.y1), strict=True):
        note.set_position((box.left - place[0], box.low - place[1]))
        note.set_verticalalignment("bottom")
        if abs(box.low - before.low) > box.height / 2:
            axes.annotate(
                "", (box.left if box.left > place[0] else box.right, box.low + box.height / 2), place,
                xycoords="figure pixels", textcoords="figure pixels", zorder=0,
                arrowprops={"arrowstyle": "-", "color": _COLOUR["line"], "linewidth": 1, "shrinkA": 4, "shrinkB": 0},
            )  # fmt: skip


def cloud(name: str, spots: list[Spot], across: float, x_label: str, y_label: str, upright: float | None = None) -> str:
    """One dot with its whisker for each spot, a horizontal line at `across`, and a vertical one at `upright`."""
    with _axes(name, 340, 260) as axes:
        axes.axhline(across, color=_COLOUR["soft"], linewidth=1, zorder=0)
        if upright is not None:
            axes.axvline(upright, color=_COLOUR["soft"], linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        for spot in spots:
            colour, filled = _COLOUR[spot.role], spot.marker == "o"
            if spot.low is not None and spot.high is not None:
                axes.plot((spot.x, spot.x), (spot.low, spot.high), color=colour, linewidth=1.2, alpha=0.45)
            axes.plot(
                spot.x, spot.y, spot.marker, markersize=6, markerfacecolor=colour if filled else "none",
                markeredgecolor=_COLOUR["panel"] if filled else colour, markeredgewidth=1.1,
            )  # fmt: skip
        axes.margins(x=0.06)
        axes.tick_params(axis="y", labelcolor=_COLOUR["soft"])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return _svg(axes, f"{y_label}, by {x_label}")


def lines(
    name: str, series: list[Line], limits: tuple[float, float] | None, title: str, x_label: str = "step",
    ticks: dict[float, str] | None = None,
) -> str:  # fmt: skip
    """Values by step, as lines or as dots; panels of several models share `limits`. `ticks`: x -> label, for another scale."""
    with _axes(name, 236, 132) as axes:
        for line in series:
            dotted = line.dots or len(line.values) == 1  # one point makes no line
            style = {"marker": "o", "markersize": 4, "linewidth": 0.8} if dotted else {"linewidth": 1.4}
            axes.plot(*zip(*line.values, strict=True), color=_COLOUR[line.role], **style)
        if limits:
            axes.set_ylim(*limits)
        axes.margins(x=0.02)
        axes.tick_params(axis="y", labelcolor=_COLOUR["soft"], labelsize=10.5)
        axes.ticklabel_format(useOffset=False)
        axes.grid(axis="y", color=_COLOUR["line"], linewidth=0.6)
        axes.set_axisbelow(True)
        if ticks:
            axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set_xlabel(x_label)
        return _svg(axes, title)


def span(values: list[list[float]]) -> tuple[float, float]:
    """Limits that hold all values except the outermost 0.5 % on each side."""
    import numpy as np

    low, high = np.quantile(np.concatenate(values), (0.005, 0.995))
    margin = (high - low) * 0.06 or 1.0
    return float(low - margin), float(high + margin)


def _dot(axes: "Axes", point: Point, place: float) -> None:
    colour = _COLOUR[point.role]
    if point.low is not None and point.high is not None:
        axes.plot(
            (point.low, point.high), (place, place), color=colour, linewidth=2, alpha=0.75, solid_capstyle="round"
        )
    filled = point.marker == "o"
    axes.plot(
        point.value, place, point.marker, markersize=7 if filled else 6, markerfacecolor=colour if filled else "none",
        markeredgecolor=_COLOUR["panel"] if filled else colour, markeredgewidth=1.2,
    )  # fmt: skip


def _density(values: "np.ndarray", grid: "np.ndarray") -> "np.ndarray":
    """A Gaussian kernel estimate with Silverman's bandwidth, scaled to a height of 1."""
    import numpy as np

    spread = values.std() or (grid[-1] - grid[0]) / 100
    bandwidth = max(1.06 * spread * len(values) ** -0.2, (grid[1] - grid[0]))
    curve = np.exp(-0.5 * ((grid[:, None] - values[None, :]) / bandwidth) ** 2).sum(axis=1)
    return curve / curve.max()


@contextmanager
def _axes(name: str, width: int, height: int) -> "Iterator[Axes]":
    """Empty axes in a figure of their own, within the style.

    pyplot would keep every figure until the process ends. `name` makes the ids in the SVG differ from those of the
    page's other figures.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width / _PIXELS, height / _PIXELS), dpi=_PIXELS, layout="constrained")
        yield figure.subplots()


def _figure(axes: "Axes") -> "Figure":
    figure = axes.get_figure(root=True)
    assert figure, "from `_axes`"
    return figure


def _svg(axes: "Axes", title: str) -> str:
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    _figure(axes).savefig(file, format="svg", metadata=nothing)
    return _inline(file.getvalue(), title)


def _inline(svg: str, title: str) -> str:
    """The `svg` element alone, without what a page does not need: namespaces, fonts, ids of groups, white space."""
    view = re.search(r'viewBox="0 0 (\S+) [^"]*"', svg)
    assert view, "matplotlib writes one"
    box, width = view.group(0, 1)
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    for pattern, new in (
        (r"<!--.*?-->|<style.*?</style>|<metadata>.*?</metadata>", ""),
        (r'<g id="[^"]*"', "<g"),
        (r"font-family: [^;\"]*(; )?", ""),
        (r' transform="rotate\(-0 [^)]*\)"', ""),
        (r"\s*\n\s*", " "),
        (r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag.group())),  # hundredths of a pixel suffice
        (r"#0000([0-9a-f]{2})\b", lambda role: f"var(--{ROLES[int(role.group(1), 16) - 1]})"),
    ):
        body = re.sub(pattern, new, body, flags=re.DOTALL)
    size = f'style="max-width: {float(width) * 1.3:.0f}px"'
    return f'<svg {box} {size} role="img" aria-label="{escape(title)}">{body.strip()}'
