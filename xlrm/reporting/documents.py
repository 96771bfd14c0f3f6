"""Short documents of tables: as Markdown, as an HTML page, and as a CSV file for spreadsheets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm import markdown_table
from xlrm.errors import ConfigError
from xlrm.reporting.tables import Table

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    small: str = ""
    """Second line, such as an interval."""
    tone: str = ""
    """Class of the page's style sheet: source, target, unsure or own, or several."""


@dataclass(frozen=True)
class Grid:
    """A table of cells, as a page or terminal shows it."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    labels: int = 1
    """Number of columns, from the left, that name the row; the others have figures."""
    note: str = ""


@dataclass(frozen=True)
class Document:
    """Sentences and tables, and one table of all figures for spreadsheets."""

    title: str
    lead: list[str]
    """What the tables show, in sentences."""
    grids: list[Grid]
    csv: Table
    legend: list[str] = field(default_factory=list)
    """What the letters in the tables stand for."""
    notes: list[str] = field(default_factory=list)


def write(document: Document, path: Path) -> None:
    """Writes the form that the file's name ends in. Raises ConfigError for another ending."""
    content = _FORMS[check(path)](document)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def check(path: Path) -> str:
    """The ending of a file's name. Raises ConfigError for one that no form has."""
    if path.suffix not in _FORMS:
        raise ConfigError("no such form", where="--output", value=str(path), hint=f"there are {', '.join(_FORMS)}")
    return path.suffix


def markdown(document: Document) -> str:
    lead = [part for line in document.lead for part in (line, "")]
    legend = [*(f"- {line}" for line in document.legend), *([""] if document.legend else [])]
    lines = [f"# {document.title}", "", *legend, *lead]
    for grid in document.grids:
        lines += [f"## {grid.title}", "", *markdown_table.head(grid.columns)]
        lines += [
            markdown_table.row(" ".join(filter(None, (cell.text, cell.small))) for cell in row) for row in grid.rows
        ]
        lines += ["", *([grid.note, ""] if grid.note else [])]
    return "\n".join([*lines, *(f"- {note}" for note in document.notes)]) + "\n"


def html(document: Document) -> str:
    """The page, with the report's style sheet."""
    return template("document.html.j2").render(document=document, link=document.csv.link())


def template(name: str, **filters: Callable[..., object]) -> "Template":
    """A template of this folder. A name that it is not given is an error. `filters`: beside jinja's own and `svg`, for text that
    is HTML already."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"svg": Markup, **filters}
    return environment.get_template(name)


_FORMS: dict[str, Callable[[Document], bytes]] = {
    ".md": lambda document: markdown(document).encode(),
    ".html": lambda document: html(document).encode(),
    ".csv": lambda document: document.csv.content(),
}
