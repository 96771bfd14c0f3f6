"""Options of the pipeline `reuse-rewards`: further models, with which paper B compares the reuse of reward models."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from xlrm.store.fields import NotCounted


class RewardComparisons(BaseModel):
    """Further reward models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bilingual: Annotated[tuple[str, ...], NotCounted] = ()
    """For the pipeline reuse-rewards: further reward models, each of two languages joined by +, such as de+en (paper B, table
    25: de+en), trained from a model that is fine-tuned in both."""
    translate_train: Annotated[bool, NotCounted] = False
    """For the pipeline reuse-rewards: whether each language also gets a reward model for every other one, trained on pairs
    translated from it (paper B, section 5.1, translate-train), to compare with the transfer of reward models."""

    @field_validator("bilingual")
    @classmethod
    def _of_several(cls, bilingual: tuple[str, ...]) -> tuple[str, ...]:
        pairs = [name.split("+") for name in bilingual]
        if any(len(pair) != 2 or len(set(pair)) < 2 or not all(pair) for pair in pairs):
            raise ValueError("codes of two languages, joined by +, are allowed, such as de+en")
        if len(set(map(frozenset, pairs))) < len(pairs):
            raise ValueError("each pair of languages is allowed once, in one order")
        return bilingual


class SftComparisons(BaseModel):
    """Further policies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    translated: Annotated[tuple[Literal["translated", "round_trip"], ...], NotCounted] = ()
    """For the pipeline reuse-rewards: further policies, with English as source or target, on the other language's
    demonstrations translated into a policy's own (translated), or on its own ones translated there and back (round_trip); paper
    B, section 5.3, has both."""
