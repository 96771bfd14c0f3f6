"""Levels that a reward model's accuracy on held-out rows is read against (paper B, section 6.1): the more frequent label,
and response length.

Single judgments have a majority baseline and a length baseline that calls responses above (or below) a threshold good.
Pairs have no majority; their length baseline always prefers the longer (or the shorter) response. Direction and threshold
are chosen on training rows, never on the rows that they are measured on. Lengths are in characters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Direction = Literal["longer", "shorter"]


def expected_agreement(first: float, second: float) -> float:
    """Share of binary decisions on which two independent models with these accuracies agree: p q + (1 - p)(1 - q)
    (footnote 7). Accuracies and result in [0, 1]."""
    return first * second + (1 - first) * (1 - second)


def observed_agreement(first: Sequence[float], second: Sequence[float]) -> float:
    """Share of decisions on which two models agree. A decision is 1 or 0, or 0.5 for a tie, which agrees by half with
    any other: as often as one that is broken at random."""
    return sum(a * b + (1 - a) * (1 - b) for a, b in zip(first, second, strict=True)) / len(first)


def majority(good: Sequence[bool]) -> bool:
    """The more frequent label of training rows; good if both are equally frequent. Raises ValueError without a row."""
    if not good:
        raise ValueError("a majority takes at least one label")
    return 2 * sum(good) >= len(good)


def majority_accuracy(label: bool, good: Sequence[bool]) -> float:
    """Share of rows with this label."""
    return sum(each == label for each in good) / len(good)


@dataclass(frozen=True)
class PairRule:
    """Always prefers the longer, or always the shorter response; equal lengths are a tie."""

    direction: Direction
    training_accuracy: float
    training_rows: int

    def decisions(self, lengths: Sequence[tuple[int, int]]) -> list[float]:
        """1 for each pair (n) whose first response is preferred, 0 for the second, 0.5 for a tie."""
        sign = 1 if self.direction == "longer" else -1
        return [0.5 if a == b else float(sign * (a - b) > 0) for a, b in lengths]


def fit_pairs(lengths: Sequence[tuple[int, int]]) -> PairRule:
    """The direction that is more often right on training pairs (n), given the lengths of the chosen and of the rejected
    response; longer if both are as good. Equal lengths earn a half. Raises ValueError without a pair."""
    if not lengths:
        raise ValueError("a length baseline takes at least one training pair")
    longer = sum(PairRule("longer", 0, 0).decisions(lengths)) / len(lengths)
    return PairRule("longer" if longer >= 0.5 else "shorter", max(longer, 1 - longer), len(lengths))


@dataclass(frozen=True)
class ThresholdRule:
    """Calls a response good if it is longer than the threshold, or if it is not longer."""

    direction: Direction
    threshold: int
    """Characters. `longer` than the threshold is good, or `shorter`: at most the threshold."""
    training_accuracy: float
    training_rows: int

    def decisions(self, lengths: Sequence[int]) -> list[float]:
        """1 for each response (n) that it calls good, else 0."""
        return [float((length > self.threshold) == (self.direction == "longer")) for length in lengths]


def fit_judgments(lengths: Sequence[int], good: Sequence[bool]) -> ThresholdRule:
    """The threshold and direction with the highest accuracy on training rows (n), of all thresholds: -1, where all
    responses are longer, and every length that occurs. Of equally good ones the smallest threshold, and longer. Raises
    ValueError without a row."""
    import numpy as np

    if not len(lengths):
        raise ValueError("a length baseline takes at least one training row")
    thresholds, places = np.unique(np.asarray(lengths), return_inverse=True)
    thresholds = np.concatenate([[-1], thresholds])
    labels = np.asarray(good, dtype=float)
    at_most_good, at_most_bad = (_at_most(places, weights, len(thresholds)) for weights in (labels, 1 - labels))
    longer = at_most_bad + labels.sum() - at_most_good  # right: bad ones up to the threshold, good ones beyond
    best = {"longer": longer / len(lengths), "shorter": 1 - longer / len(lengths)}
    direction: Direction = "longer" if best["longer"].max() >= best["shorter"].max() else "shorter"
    place = int(best[direction].argmax())
    return ThresholdRule(direction, int(thresholds[place]), float(best[direction][place]), len(lengths))


def _at_most(places: "np.ndarray", weights: "np.ndarray", thresholds: int) -> "np.ndarray":
    """Sum of the weights of rows up to each threshold (thresholds); the first threshold lies below all rows."""
    import numpy as np

    return np.concatenate([[0.0], np.bincount(places, weights=weights, minlength=thresholds - 1).cumsum()])
