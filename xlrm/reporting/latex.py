"""Documents of tables as LaTeX, with the rules of the package booktabs."""

from collections.abc import Sequence

from xlrm.reporting.documents import Cell, Document, Grid

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "\u2212": "$-$", "\u2013": "--", "\u201c": "``", "\u201d": "''", "\u2019": "'", "\u2192": r"$\to$", "\u2265": r"$\geq$",
    "\u00a0": "~", "\u00b7": r"$\cdot$", "\u2026": r"\dots{}", '"': r"\textquotedbl{}",
}  # fmt: skip
_LONG = 44
"""Characters in a cell from which on its column breaks lines."""
_NEEDS = "\\usepackage[T1]{fontenc}, \\usepackage{booktabs} and \\usepackage{longtable}"


def latex(document: Document) -> str:
    """A file to be read by \\input in a paper: a longtable for each grid, in the order of the document."""
    head = [f"% {document.title}", f"% Needs {_NEEDS}.", *(f"% {escaped(line)}" for line in document.lead)]
    return "\n".join([*head, "", *(line for grid in document.grids for line in [*_table(grid), ""])])


def escaped(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)


def _table(grid: Grid) -> list[str]:
    kinds = [_kind(grid, place) for place in range(len(grid.columns))]
    caption = escaped(" ".join(filter(None, (f"{grid.title}.", grid.note))))
    head = [_row([Cell(" ".join(column.split())) for column in grid.columns]), r"\midrule"]
    return [
        r"\begingroup\scriptsize\setlength{\tabcolsep}{3pt}", rf"\begin{{longtable}}{{@{{}}{''.join(kinds)}@{{}}}}",
        rf"\caption{{{caption}}}\\", r"\toprule", *head, r"\endfirsthead", r"\toprule", *head, r"\endhead",
        r"\bottomrule", r"\endlastfoot", *_rows(grid), r"\end{longtable}", r"\endgroup",
    ]  # fmt: skip


def _rows(grid: Grid) -> list[str]:
    """Lines of the body; the first label is printed once for the rows below each other that share it."""
    lines: list[str] = []
    before = ""
    for row in grid.rows:
        label = row[0].text
        repeated = grid.labels > 1 and label == before
        if lines and grid.labels > 1 and not repeated and len(grid.rows) > len({r[0].text for r in grid.rows}):
            lines.append(r"\addlinespace")
        lines.append(_row([Cell("") if repeated else row[0], *row[1:]]))
        before = label
    return lines


def _row(cells: Sequence[Cell]) -> str:
    texts = (" ".join(filter(None, (escaped(cell.text), escaped(cell.small)))) for cell in cells)
    return f"{' & '.join(texts)} \\\\"


def _kind(grid: Grid, place: int) -> str:
    """Letters of a column: numbers to the right; long texts as wide as their share of all long columns."""
    widths = [max((len(row[at].text) for row in grid.rows), default=0) for at in range(len(grid.columns))]
    if widths[place] < _LONG:
        return "l" if place < grid.labels else "r"
    long = [min(width, 120) for width in widths if width >= _LONG]
    part = 0.74 * min(widths[place], 120) / sum(long)
    return rf"p{{{part:.2f}\linewidth}}"
