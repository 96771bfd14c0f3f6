"""The page on reused reward models: its parts, put into the template, and the same parts as Markdown and CSV."""

from collections.abc import Iterator
from pathlib import Path

from xlrm.reporting import (
    documents,
    lineage,
    reuse_alignment,
    reuse_analyses,
    reuse_divergence,
    reuse_recommender,
    reuse_rewards,
    reuse_statements,
    reuse_summary,
    reuse_tables,
    reuse_variants,
    tables,
    wording,
)
from xlrm.reporting.documents import Cell, Document, Grid
from xlrm.reporting.reuse_material import Material
from xlrm.reporting.reuse_parts import Part
from xlrm.reporting.reuse_statements import TestedStatement
from xlrm.reporting.tables import Table, link

PAGE, MARKDOWN = "report.html", "report.md"
FILTERS = (wording.duration, wording.memory, wording.shown)


def write(material: Material, title: str | None, output: Path) -> None:
    """Writes report.html, report.md and tables/*.csv; `title` is by default that of `reuse_summary.title`."""
    title, made = title or reuse_summary.title(material), reuse_tables.gather(material)
    content = list(parts(material))
    text = documents.markdown(_document(material, title, content))
    tables.write(made, output / "tables")
    (output / MARKDOWN).write_text(text, encoding="utf-8")
    (output / PAGE).write_text(render(material, title, content, made, {MARKDOWN: text}), encoding="utf-8")


def parts(material: Material) -> Iterator[Part]:
    """The parts with content, in the page's order."""
    every = [
        *reuse_alignment.parts(material), *reuse_rewards.parts(material), *reuse_divergence.parts(material),
        *reuse_variants.parts(material), reuse_analyses.part(material), reuse_recommender.part(material),
    ]  # fmt: skip
    return (part for part in every if part.filled)


def left_out(material: Material) -> list[str]:
    return [*reuse_summary.missing(material), *reuse_variants.missing(material)]


def render(material: Material, title: str, content: list[Part], made: dict[str, Table], texts: dict[str, str]) -> str:
    """The whole page as HTML, with the tables and `texts` (name of a file -> its content) to download. The same material gives
    the same text."""
    template = documents.template("reuse_report.html.j2", **{function.__name__: function for function in FILTERS})
    statements = reuse_statements.test(material)
    return template.render(
        title=title, material=material, parts=content, places={part.key for part in content}, tables=made,
        statements=statements, statements_summary=reuse_statements.summary(statements), summary=reuse_summary,
        left_out=left_out(material), files={name: link(text.encode(), "text/plain") for name, text in texts.items()},
        **lineage.context(material.artifacts),
    )  # fmt: skip


def _document(material: Material, title: str, content: list[Part]) -> Document:
    """The same for Markdown."""
    lead = [" · ".join(reuse_summary.about(material)), *([reuse_summary.TINY] if material.facts.tiny else [])]
    grids = [_statement_grid(reuse_statements.test(material))]
    for part in content:
        own = [matrix.grid for matrix in part.matrices] + part.grids
        lead += [f"{part.title}: {' '.join(part.sentences)}"] if part.sentences and not own else []
        grids += _under(part, own)
    costs = _costs(material)
    heading = f"{title}: {material.facts.run}" if material.facts.run else title
    return Document(
        heading, [*lead, *reuse_summary.sentences(material)], [*grids, *([costs] if costs else [])], Table((), []),
        notes=["Win rates and accuracies in %, differences in points, each with its 95 % interval.", *left_out(material)],
    )  # fmt: skip


def _under(part: Part, grids: list[Grid]) -> list[Grid]:
    """The tables of a part under its title, its sentences and notes after the last."""
    named = [Grid(f"{part.title}: {grid.title}", grid.columns, grid.rows, grid.labels, grid.note) for grid in grids]
    if named:
        last = named[-1]
        note = " ".join(text for text in (last.note, *part.sentences, *part.notes) if text)
        named[-1] = Grid(last.title, last.columns, last.rows, last.labels, note)
    return named


def _statement_grid(statements: list[TestedStatement]) -> Grid:
    rows = [
        [Cell(each.claim.sentence, f"({each.claim.where})"), Cell(each.outcome.verdict), Cell(each.outcome.measured),
         Cell(each.paper_verdict), Cell(each.paper)]
        for each in statements
    ]  # fmt: skip
    columns = ("statement", "holds here", "this run", "holds in the paper's tables", "the paper's tables")
    return Grid("The paper's statements", columns, rows, labels=5)


def _costs(material: Material) -> Grid | None:
    stages = lineage.by_stage(material.artifacts)
    rows = [
        [Cell(stage), Cell(str(len(group))), Cell(wording.duration(sum(each.record.seconds for each in group))),
         Cell(wording.memory(max(each.record.peak_memory_mib for each in group)))]
        for stage, group in stages.items()
    ]  # fmt: skip
    return Grid("Cost of each stage", ("stage", "runs", "wall time", "peak memory"), rows) if rows else None
