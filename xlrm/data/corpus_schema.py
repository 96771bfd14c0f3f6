"""The schema of a corpus: its files of rows with their columns, and corpus.json, which describes it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from xlrm.store.json_file import JsonFile
from xlrm.store.jsonl import read_rows

Name = Literal["preferences", "heldout", "benchmark", "prompts", "parallel", "demonstrations"]
PAIR = ("prompt", "chosen", "rejected")
JUDGMENT = ("prompt", "response")
TEXTS = (*PAIR, "text", "response")
"""Columns that are translated."""


@dataclass(frozen=True)
class Table:
    """A file of a corpus, with a row on each line."""

    name: Name
    columns: tuple[str, ...]
    """Columns of every row."""
    numbers: tuple[str, ...] = ()
    """Further columns, which are a number, null or absent."""
    optional: bool = False

    @property
    def file(self) -> str:
        return f"{self.name}.jsonl"

    def read(self, folder: Path) -> list[dict]:
        """Raises DataError for a file or a row that cannot be read, and for a row without one of the columns."""
        return read_rows(folder / self.file, self.columns, self.numbers)


PREFERENCE_PAIRS = Table("preferences", ("id", *PAIR, "subset", "source"), ("margin",))
JUDGMENTS = Table("preferences", ("id", *JUDGMENT, "subset", "source"), ("label",))
"""Single judgments, which stand in the place of preference pairs: responses with a label from 0 (bad) to 1 (good)."""
HELDOUT_PAIRS = Table("heldout", PREFERENCE_PAIRS.columns, PREFERENCE_PAIRS.numbers, optional=True)
"""Held-out pairs, from the same datasets as the preference pairs."""
BENCHMARK_ITEMS = Table("benchmark", ("id", *PAIR, "subset", "section"), ("weight",), optional=True)
CORPUS_PROMPTS = Table("prompts", ("id", "prompt", "split"), optional=True)
"""Prompts that policies are aligned on (split train) and judged on (split eval); those of demonstrations have their
subset."""
PARALLEL_TEXTS = Table("parallel", ("id", "text"), optional=True)
"""Texts whose hidden states are compared between languages."""
DEMONSTRATIONS = Table("demonstrations", ("id", *JUDGMENT, "split", "subset"), optional=True)
"""Prompts with a good response, for supervised fine-tuning: split is train or validation, subset the dataset of the row."""
_ALL = (PREFERENCE_PAIRS, HELDOUT_PAIRS, BENCHMARK_ITEMS, CORPUS_PROMPTS, PARALLEL_TEXTS, DEMONSTRATIONS)
TABLES: dict[Name, Table] = {table.name: table for table in _ALL}


def columns(table: Table, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns of every row of a table, one of whose rows is given."""
    return JUDGMENTS.columns if table.columns == PREFERENCE_PAIRS.columns and is_judgment(row) else table.columns


def is_judgment(row: Mapping[str, Any]) -> bool:
    """Whether a row is a single judgment instead of a pair."""
    return row.get("response") is not None and row.get("chosen") is None


def files(names: Iterable[Name] = tuple(TABLES)) -> tuple[str, ...]:
    """File names of tables."""
    return tuple(TABLES[name].file for name in names)


class Repairs(BaseModel):
    """Numbers of texts whose translation failed a check."""

    model_config = ConfigDict(frozen=True)

    tried: int = 0
    """Translated again."""
    mended: int = 0
    untranslated: int = 0
    """Left blank."""

    def __add__(self, other: "Repairs") -> "Repairs":
        sums = (getattr(self, name) + getattr(other, name) for name in Repairs.model_fields)
        return Repairs(**dict(zip(Repairs.model_fields, sums, strict=True)))


class Description(JsonFile):
    """corpus.json: the language of a corpus or of a shard of it, and how it was translated."""

    FILE: ClassVar[str] = "corpus.json"
    WRITTEN_BY: ClassVar[str] = 'a corpus says its language there, as {"language": "es"}'
    INDENT: ClassVar[int | None] = 1

    language: str
    """A code, as in `xlrm.languages`."""
    shard: tuple[int, int] = (1, 1)
    """Number of the shard, and of all shards."""
    translator: dict[str, Any] | None = None
    """What identifies the translator."""
    repairs: Repairs | None = None
    files: tuple[Name, ...] | None = None
    """Files that were translated; None for all."""
