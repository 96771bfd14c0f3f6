"""The command that makes a sheet or a form for people who judge."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from xlrm.errors import ConfigError, within
from xlrm.run.output import errors_in_one_line, print_result


def sheet(
    judged: Annotated[
        str, typer.Argument(help="URI of an artifact of the stage judge, whoever judged, or a folder with its files.")
    ],
    output: Annotated[
        Path,
        typer.Option(help="File to write: .html (a form), or .csv, .tsv, .jsonl, .json or .parquet (a sheet)."),
    ],
    seed: Annotated[int, typer.Option(help="Seed of the order of responses and rows.")] = 42,
    items: Annotated[
        int | None, typer.Option(min=1, help="Number of rows (default: all); the first by the seed.")
    ] = None,
    per_system: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of prompts of each system, the same for all (paper B: 100 for best-of-n, 250 for RL)."
        ),
    ] = None,
    task: Annotated[
        str, typer.Option(help="Instructions of a form: response, or paper B's summarization or dialog.")
    ] = "response",
) -> None:
    """Write a sheet or a form for people to judge by: pairs of responses without the names of their systems."""
    from xlrm.evaluation.results import JudgeResults
    from xlrm.scorers.judges import form, human
    from xlrm.scorers.judges.pairs import Pair
    from xlrm.store import outputs
    from xlrm.store.jsonl import read_rows
    from xlrm.store.row_files import form_of
    from xlrm.store.row_writers import Output

    with errors_in_one_line():
        outputs.check_file(output)
        if not form_of(output.name) and output.suffix != form.ENDING:
            raise ConfigError(
                "no such form", where="--output", value=str(output),
                hint="there are .html, .csv, .tsv, .jsonl, .json, .parquet",
            )  # fmt: skip
        folder = _folder(judged)
        compared = read_rows(folder / "verdicts.jsonl", ("id", "system", "prompt"))
        pairs = [
            dataclasses.replace(
                Pair.of(row["id"], row["prompt"], row["reference"], row["response"]), system=row["system"]
            )
            for row in compared
        ]
        language = JudgeResults.read(folder).language
        rows = human.sheet(pairs, language, seed, per_system)[:items]
        if not rows:
            raise ConfigError("no pair of different responses to judge", where="JUDGED", value=judged)
        if output.suffix == form.ENDING:
            output.write_text(form.html(rows, task, language), "utf-8")
        else:
            written = Output.named(output, spreadsheet=True)
            for row in rows:
                written.see(row)
            written.learn()
            written.write(rows)
    print_result(f"{output}: {len(rows)} pairs")


def _folder(judged: str) -> Path:
    """The folder with the files of an artifact of the stage judge. Raises ConfigError for anything else."""
    from xlrm.store import addresses, artifacts

    if Path(judged).is_dir():
        return Path(judged)
    if "://" in judged:
        with within("JUDGED: "):
            return artifacts.fetch(judged, addresses.home() / "cache")
    message = "no such folder; one with verdicts.jsonl, or the URI of an artifact of the stage judge, is required"
    raise ConfigError(message, where="JUDGED", value=judged)


COMMANDS = (sheet,)
