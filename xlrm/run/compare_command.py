"""The command that compares models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from xlrm.errors import ConfigError
from xlrm.run.output import console, empty_table, errors_in_one_line, print_result
from xlrm.run.scoring_commands import codes, quiet_transformers, ties_of
from xlrm.run.scoring_options import checked, scoring_options
from xlrm.scorers.interface import Scoring
from xlrm.store import outputs

if TYPE_CHECKING:
    from xlrm.reporting.documents import Document
    from xlrm.run.evaluations import Wanted


_WIDE = 120
"""Columns of a terminal in which a figure and its interval are on one line."""


@scoring_options()
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Folders of `xlrm evaluate`, files of rewards, URIs of evaluations, runs, models:/NAME@ALIAS; "
            "with --benchmark any models. All others are compared with the first."
        ),
    ],
    benchmark: Annotated[str | None, typer.Option(help="Benchmark to evaluate models on, as in evaluate.")] = None,
    language: Annotated[str, typer.Option(help="Language to evaluate models in, or several: en,ko.")] = "en",
    items: Annotated[int | None, typer.Option(help="Number of items, drawn by a seed (default: all).")] = None,
    ties: Annotated[
        str | None, typer.Option(help="How a pair with equal rewards counts: lost or half (default: as evaluated).")
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Instead, a table of the accuracies of several runs, a block for each base.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="File to write to as well: .md, .csv or .html.")] = None,
    *,
    scoring: dict[str, Any],
) -> None:
    """Compare models on the items that they share, by language and section: differences, intervals and tests."""
    with errors_in_one_line():
        from xlrm.reporting import documents

        if output:
            documents.check(output)
            outputs.check_file(output)
        document = (
            _table(models) if table else _compared(models, _wanted(benchmark, language, items, ties, scoring), ties)
        )
        if output:
            documents.write(document, output)
    _show(document)
    if output:
        print_result(output)


def _wanted(
    benchmark: str | None, language: str, items: int | None, ties: str | None, scoring: dict[str, Any]
) -> "Wanted | None":
    from xlrm.evaluation import single
    from xlrm.run.evaluations import Wanted

    if not benchmark:
        if scoring or items is not None:
            options = [*scoring, *(["items"] if items is not None else [])]
            raise ConfigError("is for models to evaluate, with --benchmark", where=f"--{options[0].replace('_', '-')}")
        return None
    if items is not None and items < 1:
        raise ConfigError("at least 1 item is required", where="--items", value=items)
    checked(Scoring, scoring, "xlrm compare")
    quiet_transformers()
    return Wanted(single.read_items(benchmark, codes(language), items), scoring, ties_of(ties or "lost"))


def _compared(models: list[str], wanted: "Wanted | None", ties: str | None) -> "Document":
    from xlrm.analysis import paired_models
    from xlrm.reporting import comparison
    from xlrm.run import evaluations

    rule = ties_of(ties) if ties else None
    groups = evaluations.find_all(models, wanted)
    return comparison.document(paired_models.compare(evaluations.paired(groups), rule))


def _table(models: list[str]) -> "Document":
    from xlrm.reporting import bases
    from xlrm.run import evaluations

    return bases.document([evaluations.find(name) for name in models])


def _show(document: "Document") -> None:
    terminal = console()
    wide = terminal.width >= _WIDE
    between = " " if wide else "\n"
    for line in [*document.legend, *document.lead]:
        terminal.print(Text(line))
    for grid in document.grids:
        table = empty_table(grid.columns[: grid.labels], grid.columns[grid.labels :])
        table.title = Text(grid.title)
        table.padding = (0, 1) if wide else (0, 0)
        for row in grid.rows:
            table.add_row(*(Text(between.join(filter(None, (cell.text, *cell.small.split(" · "))))) for cell in row))
        terminal.print(table)
        if grid.note:
            terminal.print(Text(grid.note))
    for note in document.notes:
        terminal.print(Text(f"– {note}"), style="dim")


COMMANDS = (compare,)
