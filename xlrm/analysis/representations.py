"""Similarity of models' representations across languages, as the stage represent writes it to results.json."""

from typing import Any, ClassVar

from pydantic import field_validator

from xlrm.analysis.embedding_norms import EmbeddingNorms, TokenSets
from xlrm.analysis.hidden_states import Reading, Similarity
from xlrm.data.parallel_texts import Account
from xlrm.store.json_file import JsonFile


class Representations(JsonFile):
    """results.json of the stage represent."""

    FILE: ClassVar[str] = "results.json"
    WRITTEN_BY: ClassVar[str] = "the stage represent writes it"

    languages: tuple[str, ...]
    """The source language first."""
    texts: int
    reading: Reading
    parallel: Account
    models: dict[str, Similarity]
    """The base model first, then the reward models."""
    token_sets: TokenSets
    embedding_norms: dict[str, EmbeddingNorms]
    """Model -> norms of its token embeddings."""

    @field_validator("token_sets", mode="before")
    @classmethod
    def _former_name(cls, value: Any) -> Any:
        """`min_share` was called `share`."""
        if isinstance(value, dict) and "share" in value:
            return {"min_share" if name == "share" else name: number for name, number in value.items()}
        return value
