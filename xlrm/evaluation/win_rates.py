"""Win rates of aligned policies, as the stage judge writes them to results.json."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from xlrm.evaluation.results import Estimate
from xlrm.evaluation.statistics import mean_interval
from xlrm.store.json_file import JsonFile

DRAW = 1.5
"""Preference for neither response; 1 is for the policy before alignment, 2 for the aligned one (alpaca_eval)."""


class WinRate(BaseModel):
    """An aligned policy against the policy it was trained from; a draw is half a win."""

    model_config = ConfigDict(frozen=True)

    win_rate: float
    interval: tuple[float, float]
    """95 % bootstrap interval over prompts."""
    items: int
    """Prompts."""
    draws: int

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.win_rate, *self.interval)


class JudgeResults(JsonFile):
    """results.json of the stage judge."""

    FILE: ClassVar[str] = "results.json"
    WRITTEN_BY: ClassVar[str] = "the stage judge writes it"

    language: str
    """Language of the responses."""
    results: dict[str, WinRate]
    """Reward model that the policy was aligned to -> its win rate."""


def win_rate(preferences: Sequence[float]) -> WinRate:
    """Win rate mean(preference - 1) over the prompts (n), as in alpaca_eval."""
    import numpy as np

    mean, *interval = mean_interval(np.array(preferences) - 1)
    return WinRate(win_rate=mean, interval=tuple(interval), items=len(preferences), draws=list(preferences).count(DRAW))
