"""Expected failure rates of sound translations, measured on human translations, and the gate that uses them.

Human translators leave out a number or a final mark, or keep a name unchanged, so a text fails more often the longer it
is and the more numbers it has. A file is judged by the share of its rows that fail beyond these rates.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import numpy as np

from xlrm.data import row_texts
from xlrm.validation.suite import Outcome
from xlrm.validation.texts import prose

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
PER_TEXT = ("length", "truncated", "cut")
"""Expectations on a whole text, whose failure rate does not grow with its length."""


def kind(name: str) -> int:
    """Index of an expectation's rate in `Rates`: 0 per text, 1 per number, 2 for all others."""
    return 0 if name in PER_TEXT else 1 if name == "number" else 2


DEVIATIONS = 2
"""Standard deviations of the failing share, due to chance, that are added to the limit."""


@dataclass(frozen=True)
class Rates:
    """Failure rates of sound translations into one language."""

    per_text: float
    """Failures of `length`, `truncated` and `cut`, per text."""
    per_number: float
    """Failures of `number`, per number in the source."""
    per_1000_characters: float
    """Failures of all other expectations, per thousand characters of the source."""


# Translations from English in the second half of NTREX-128's documents: python -m benchmarks.false_alarms rates
MEASURED = {
    "es": Rates(per_text=0.0038, per_number=0.0088, per_1000_characters=0.0),
    "it": Rates(per_text=0.0008, per_number=0.0055, per_1000_characters=0.0),
    "ko": Rates(per_text=0.003, per_number=0.0046, per_1000_characters=0.0015),
    "zh": Rates(per_text=0.022, per_number=0.0, per_1000_characters=0.0015),
    "de": Rates(per_text=0.0015, per_number=0.0, per_1000_characters=0.0175),
    "ru": Rates(per_text=0.0008, per_number=0.0134, per_1000_characters=0.0015),
    "tr": Rates(per_text=0.0046, per_number=0.0, per_1000_characters=0.0),
    "vi": Rates(per_text=0.0008, per_number=0.0231, per_1000_characters=0.0),
}


def rates(language: str) -> Rates:
    """Measured rates of the language; for one without measurements, the highest rate of each kind."""
    every = MEASURED.values()
    highest = Rates(
        max(measured.per_text for measured in every),
        max(measured.per_number for measured in every),
        max(measured.per_1000_characters for measured in every),
    )
    return MEASURED.get(language, highest)


def amounts(rows: Iterable[dict]) -> np.ndarray:
    """Array (n, 3): texts, numbers in them, and thousands of characters outside code, for each row of the source."""
    spoken = ([prose(text) for text in row_texts.texts(row)] for row in rows)
    counted = [
        (len(texts), sum(len(_NUMBER.findall(text)) for text in texts), sum(map(len, texts)) / 1000) for texts in spoken
    ]
    return np.array(counted, dtype=np.float32).reshape(-1, 3)


def expected(language: str, rows: np.ndarray, failed: tuple[float, float, float] = (1, 1, 1)) -> float:
    """Expected share of failing rows in a sound translation, from the `amounts` (n, 3) of the rows: the mean of
    1 - exp(-(per_text * texts + per_number * numbers + per_1000_characters * thousands of characters)). Each kind is
    expected at most as often as it `failed` (shares by kind), so that the absence of one kind does not excuse another.
    """
    if not len(rows):
        return 0.0
    measured = rates(language)
    counts = rows * np.array([measured.per_text, measured.per_number, measured.per_1000_characters])
    by_kind = np.minimum(np.mean(1 - np.exp(-counts), axis=0), failed)
    return float(min(np.mean(1 - np.exp(-counts.sum(axis=1))), by_kind.sum()))


def shares_by_kind(outcomes: Iterable[Outcome], rows: int) -> tuple[float, float, float]:
    """Share of the `rows` rows that fail at least one expectation of each kind."""
    failed: tuple[set[int], set[int], set[int]] = (set(), set(), set())
    for outcome in outcomes:
        failed[kind(outcome.expectation.name)].update(outcome.failed)
    per_text, per_number, per_character = (len(indices) / max(rows, 1) for indices in failed)
    return per_text, per_number, per_character


@dataclass(frozen=True)
class Verdict:
    """Decision of the gate on one file of one language; all numbers are shares of its rows."""

    failed: float
    expected: float
    """Share that fails in sound translations into this language with the same lengths and numbers."""
    limit: float
    """Maximum of `failed` - `expected`."""

    @property
    def excess(self) -> float:
        return self.failed - self.expected

    @property
    def passed(self) -> bool:
        return self.excess <= self.limit


def judge(failed: int, rows: int, expected: float, allowed: float) -> Verdict:
    """Verdict on `failed` of `rows` rows. The limit is the allowed share plus `DEVIATIONS` standard deviations by
    which a share of allowed + expected varies by chance in so many rows."""
    share = min(1.0, allowed + expected)
    chance = DEVIATIONS * sqrt(share * (1 - share) / max(rows, 1))
    return Verdict(failed / max(rows, 1), expected, allowed + chance)
