"""Scoring a file of conversations; a killed run continues where it stopped."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from xlrm.data import conversations
from xlrm.errors import ConfigError, DataError
from xlrm.models.templates import TemplateRefusal
from xlrm.processes import locks
from xlrm.scorers import engines, parallel
from xlrm.scorers.interface import Scoring
from xlrm.scorers.reward_journal import Journal
from xlrm.store import hub
from xlrm.store.jsonl import each_row, write_jsonl


class Scored(NamedTuple):
    rows: int
    cut: int
    """Conversations that were longer than `max_length`."""


def score_file(model: Callable[[], Path], source: Path, output: Path, scoring: Scoring) -> Scored:
    """Writes the rows of `source` (.jsonl or .parquet), in order, with a "reward" added. `model` returns the reward
    model's folder, and is called only after all rows have been checked to be conversations.

    Memory use does not grow with the rows. Waits for another process that writes the same output. Raises DataError for
    a row that is not a conversation, ConfigError for an output that is a folder or a device, ConfigError or ArtifactError
    for a model that cannot be used."""
    engines.check_machine(scoring)
    if output.exists() and not output.is_file():
        raise ConfigError("a file is required, which may be new", where="--output", value=str(output))
    with locks.alone(output.with_name(f".{output.name}.lock"), f"score: {output}"):
        total = sum(1 for _ in _conversations(source, each_row(source)))
        folder = model()
        engines.check(folder, scoring)
        scorer = parallel.load(folder, scoring)
        journal = Journal.of_file(output, hub.model_version(str(folder), None), scoring)
        rows, asked = itertools.tee(each_row(source))
        chats = _conversations(source, asked)
        rewards = scorer.stream(chats, total, journal)
        try:
            count = write_jsonl(output, ({**row, "reward": reward} for row, reward in zip(rows, rewards, strict=True)))
        except TemplateRefusal as error:
            raise DataError(error.message, where=f"{source}:{error.place + 1}") from error
        journal.remove()
    scorer.say_cut("score", count)
    return Scored(count, len(scorer.cut))


def _conversations(file: Path, rows: Iterator[dict]) -> Iterator[list[conversations.Message]]:
    for number, row in enumerate(rows, 1):
        try:
            yield conversations.of_row(row)
        except DataError as error:
            error.within(f"{file}:{number}: ")
            raise
