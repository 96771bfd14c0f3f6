"""What an evaluation measured, and how: the model, the benchmark and the settings, as results.json names them."""

import hashlib
import json
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from xlrm.data.corpus_schema import PAIR
from xlrm.models.chat_templates import Side
from xlrm.models.precisions import Precision
from xlrm.scorers.interface import Scoring


class ModelFacts(BaseModel):
    """A model that was evaluated."""

    model_config = ConfigDict(frozen=True)

    given: str
    """As the user named it."""
    resolved: str
    """What the name stood for: models:/NAME/VERSION, OWNER/NAME@COMMIT, the folder's full path, or the given URI."""
    digest: str | None = None
    """sha256 over the names and sha256s of the files in its folder; None for a judge."""

    @property
    def identity(self) -> str:
        """The same for two names of one model."""
        return self.digest or self.resolved


class BenchmarkFacts(BaseModel):
    """A benchmark in one language."""

    model_config = ConfigDict(frozen=True)

    given: str
    """As the user named it."""
    available: int | None = None
    """Rows that it has in the language; None if its rows are generated without an end."""


class ScoringFacts(BaseModel):
    """Settings that change rewards."""

    model_config = ConfigDict(frozen=True)

    max_length: int
    """Tokens of a conversation: the setting, or the model's limit if that is lower."""
    truncation_side: Side
    precision: Precision
    engine: str

    @classmethod
    def of(cls, scoring: Scoring, max_length: int) -> "ScoringFacts":
        return cls(
            max_length=max_length, truncation_side=scoring.truncation_side, precision=scoring.precision,
            engine=scoring.engine,
        )  # fmt: skip


def text_digest(row: dict) -> str:
    """Digest of a benchmark item's texts, in 16 hexadecimal digits: two items with the same one asked the same."""
    texts = [row.get(key) for key in PAIR]
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]


def rows_digest(rows: Sequence[dict]) -> str:
    """sha256 over what the rows of a benchmark are: their ids, texts, subsets, sections and weights, in order."""
    keys = ("id", "subset", "section", "weight")
    listing = [[*(row.get(key) for key in keys), text_digest(row)] for row in rows]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()
