"""Lines of tables in Markdown."""

from collections.abc import Iterable, Sequence


def head(names: Sequence[str]) -> list[str]:
    return [row(names), row(["---"] * len(names))]


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(cell(each) for each in cells) + " |"


def cell(content: object) -> str:
    """The content in one line, with | escaped, since names that users choose may contain both."""
    return " ".join(str(content).split()).replace("|", "\\|")
