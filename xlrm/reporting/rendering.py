"""The files of a report: the page, its tables as Markdown, LaTeX and CSV."""

from pathlib import Path

from xlrm.reporting import documents, grids, latex, page, tables
from xlrm.reporting.material import Material

PAGE, MARKDOWN, LATEX = "report.html", "report.md", "report.tex"


def write(material: Material, title: str | None, output: Path) -> None:
    """Writes the three files and tables/*.csv; `title` is by default that of `page.heading`."""
    title = title or page.heading(material)
    made, document = tables.gather(material, paper=material.source == "en"), grids.document(material, title)
    texts = {MARKDOWN: documents.markdown(document), LATEX: latex.latex(document)}
    tables.write(made, output / "tables")
    for name, text in (texts | {PAGE: page.render(material, title, made, texts)}).items():
        (output / name).write_text(text, encoding="utf-8")
