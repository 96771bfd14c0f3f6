"""Scoring a file of conversations; a killed run continues where it stopped."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from xlrm.data import conversations
from xlrm.errors import DataError, within
from xlrm.models.templates import TemplateRefusal
from xlrm.processes import locks
from xlrm.scorers import engines, parallel
from xlrm.scorers.interface import Scoring
from xlrm.scorers.reward_journal import Journal
from xlrm.store import hub, outputs, row_files
from xlrm.store.row_files import PLAIN, Reading, RowFile
from xlrm.store.row_writers import Output


class Scored(NamedTuple):
    rows: int
    cut: int
    """Conversations that were longer than `max_length`."""


def score_file(
    model: Callable[[], Path], source: Path | str, output: Path, scoring: Scoring, reading: Reading = PLAIN
) -> Scored:
    """Writes the rows of `source` (any file of `row_files`), in order, with a "reward" added, in the format that the name
    of `output` says. `model` returns the reward model's folder, and is called only after all rows have been checked to
    be conversations.

    Memory use does not grow with the rows. Waits for another process that writes the same output. Raises DataError for
    a row that is not a conversation, ConfigError for an output that cannot be written, ConfigError or ArtifactError
    for a model that cannot be used."""
    engines.check_machine(scoring)
    outputs.check_file(output)
    with locks.alone(output.with_name(f".{output.name}.lock"), f"score: {output}"):
        table = RowFile(str(source), replace(reading, columns={}))
        columns = row_files.columns_of(table.name, table.records, reading)
        written = Output.named(output)
        total = sum(1 for _ in _conversations(table, columns, _seen(table, written)))
        if not total:
            raise DataError("no rows", where=table.name)
        written.learn()
        folder = model()
        engines.check(folder, scoring)
        scorer = parallel.load(folder, scoring)
        journal = Journal.of_file(output, hub.folder_digest(folder), scoring)
        rows, asked = itertools.tee(table.numbered())
        rewards = scorer.stream(_conversations(table, columns, asked), total, journal)
        try:
            count = written.write({**row, "reward": reward} for (_, row), reward in zip(rows, rewards, strict=True))
        except TemplateRefusal as error:
            number, _ = next(itertools.islice(table.numbered(), error.place, None))
            raise DataError(error.message, where=f"{table.name}:{number}") from error
        journal.remove()
    scorer.say_cut("score", count)
    return Scored(count, len(scorer.cut))


def _seen(table: RowFile, written: Output) -> Iterator[tuple[int, dict]]:
    for number, row in table.numbered():
        written.see({**row, "reward": 0.0})
        yield number, row


def _conversations(
    table: RowFile, columns: Mapping[str, str], rows: Iterable[tuple[int, dict]]
) -> Iterator[list[conversations.Message]]:
    for number, row in rows:
        with within(f"{table.name}:{number}: "):
            conversation = conversations.of_row(row_files.with_columns(row, columns))
        yield conversation
