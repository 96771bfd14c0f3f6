"""Results of a reward model on held-out rows of a corpus, beside the baselines of the corpus's training rows."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from xlrm.evaluation.estimates import Estimate


class LengthBaseline(BaseModel):
    """A rule on response length alone, chosen on training rows and measured on held-out ones: `xlrm.analysis.baselines`."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    direction: Literal["longer", "shorter"]
    """Pairs: the response that is preferred. Single judgments: the side of the threshold that is good."""
    threshold: int | None
    """Characters; a longer response is above it, any other below. None for pairs."""
    training_rows: int
    training_accuracy: float
    accuracy: float
    agreement: float
    """Share of held-out rows on which the reward model decides as this rule does."""
    expected_agreement: float
    """The same for two independent models with these accuracies."""


class RewardModeling(BaseModel):
    """A reward model on the held-out rows of a language. The intervals are 95 % bootstrap intervals over rows, drawn within
    their subsets for `macro`."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: Literal["pairs", "judgments"]
    rows: int
    accuracy: Estimate
    """Over all rows."""
    macro: Estimate
    """Plain mean over the subsets."""
    subsets: dict[str, Estimate]
    """Data set that the rows are from -> accuracy."""
    majority: float | None
    """Accuracy of the label that is more frequent in the language's training rows. None for pairs, and without such
    rows."""
    length: LengthBaseline | None
    """None without training rows in the language."""
