"""Summary of a validation, which its stage writes as summary.json."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from xlrm.data.corpus_schema import Repairs
from xlrm.store.json_file import JsonFile


class FileSummary(BaseModel):
    """One file of a corpus in one language. Shares are of its rows."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    rows_in: int
    rows_out: int
    failures: dict[str, int]
    """Expectation -> rows that fail it."""
    failed: float | None = None
    """Share that fails an expectation."""
    expected: float | None = None
    """Share that would fail in a sound translation."""
    excess: float | None = None
    limit: float | None = None
    """Largest excess that passes."""
    passed: bool = True


class TranslationSummary(BaseModel):
    """How the corpus of one language was translated."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    name: str
    """Name of the language."""
    shards: int
    translator: dict[str, Any] | None
    repairs: Repairs | None


class Summary(JsonFile):
    """Counts of rows, the verdict on each file, and how each translation was made."""

    FILE: ClassVar[str] = "summary.json"
    WRITTEN_BY: ClassVar[str] = "the stage validate writes it"
    INDENT: ClassVar[int | None] = 1

    passed: bool = True
    """Whether every file passed and kept some rows."""
    rows_in: int
    """Rows of the source."""
    rows_out: int
    """Rows kept in the source and in all its translations."""
    reject_share: float | None = None
    """Share of the source's rows that are not kept in the source and in all its translations."""
    kept: dict[str, int] = Field(default_factory=dict)
    """Language -> rows kept in it."""
    thresholds: dict[str, Any] = Field(default_factory=dict)
    """Config of the stage."""
    languages: dict[str, dict[str, FileSummary]]
    """Language -> file -> its summary."""
    translations: dict[str, TranslationSummary] = Field(default_factory=dict)
    """Target language -> its translation."""
    own: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Target language -> tables that it has of its own, which were not translated here."""
