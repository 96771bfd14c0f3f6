"""The command that makes a sheet for people who judge."""

from pathlib import Path
from typing import Annotated

import typer

from xlrm.errors import ConfigError, within
from xlrm.run.output import errors_in_one_line, print_result


def sheet(
    judged: Annotated[
        str, typer.Argument(help="URI of an artifact of the stage judge, whoever judged, or a folder with its files.")
    ],
    output: Annotated[Path, typer.Option(help="File to write: .csv, .tsv, .jsonl, .json or .parquet.")],
    seed: Annotated[int, typer.Option(help="Seed of the order of responses and rows.")] = 42,
    items: Annotated[
        int | None, typer.Option(min=1, help="Number of rows (default: all); the first by the seed.")
    ] = None,
) -> None:
    """Write a sheet for people to judge by: pairs of responses without the names of their systems."""
    from xlrm.evaluation.results import JudgeResults
    from xlrm.scorers.judges import human
    from xlrm.scorers.judges.pairs import Pair
    from xlrm.store import addresses, artifacts, outputs
    from xlrm.store.jsonl import read_rows
    from xlrm.store.row_files import form_of
    from xlrm.store.row_writers import Output

    with errors_in_one_line():
        outputs.check_file(output)
        if not form_of(output.name):
            raise ConfigError(
                "no such form",
                where="--output",
                value=str(output),
                hint="there are .csv, .tsv, .jsonl, .json, .parquet",
            )
        if Path(judged).is_dir():
            folder = Path(judged)
        elif "://" in judged:
            with within("JUDGED: "):
                folder = artifacts.fetch(judged, addresses.home() / "cache")
        else:
            message = (
                "no such folder; one with verdicts.jsonl, or the URI of an artifact of the stage judge, is required"
            )
            raise ConfigError(message, where="JUDGED", value=judged)
        compared = read_rows(folder / "verdicts.jsonl", ("id", "prompt", "reference", "response"))
        pairs = [Pair.of(row["id"], row["prompt"], row["reference"], row["response"]) for row in compared]
        rows = human.sheet(pairs, JudgeResults.read(folder).language, seed)[:items]
        written = Output.named(output, spreadsheet=True)
        for row in rows:
            written.see(row)
        written.learn()
        count = written.write(rows)
    print_result(f"{output}: {count} pairs")


COMMANDS = (sheet,)
