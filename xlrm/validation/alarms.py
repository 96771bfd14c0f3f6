"""How many rows of a sound translation the expectations would find fault with: what human translations fail by.

A translator leaves out a number, or a final mark, or keeps a name as it is; so the longer a text, and the more numbers in
it, the likelier it fails. What was measured on human translations is kept here as rates, and a file is judged by what it
fails beyond them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import numpy as np

from xlrm.validation.frame import TEXTS
from xlrm.validation.suite import Outcome
from xlrm.validation.texts import prose

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
PER_TEXT = ("length", "truncated", "cut")
"""Expectations of a whole text, which does not fail them the oftener for being long."""


def kind(name: str) -> int:
    """Of an expectation, the place of its rate in `Rates`: of texts, of numbers, of all others."""
    return 0 if name in PER_TEXT else 1 if name == "number" else 2


DEVIATIONS = 2
"""Standard deviations of the share that fails by chance which the limit leaves room for."""


@dataclass(frozen=True)
class Rates:
    """Failures of right translations into one language."""

    per_text: float
    """Of `length`, `truncated` and `cut`, for each text."""
    per_number: float
    """Of `number`, for each number of the source."""
    per_1000_characters: float
    """Of all other expectations, for a thousand characters of the source."""


# From English, on half of NTREX-128's documents: python -m benchmarks.false_alarms rates
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
    """Of a language that was not measured, the highest of all."""
    every = MEASURED.values()
    highest = Rates(
        max(one.per_text for one in every),
        max(one.per_number for one in every),
        max(one.per_1000_characters for one in every),
    )
    return MEASURED.get(language, highest)


def amounts(rows: Iterable[dict]) -> np.ndarray:
    """Of each row of a source (n, 3): its texts, the numbers in them, and their thousands of characters outside code."""
    spoken = ([prose(row[name]) for name in TEXTS if isinstance(row.get(name), str)] for row in rows)
    counted = [
        (len(texts), sum(len(_NUMBER.findall(text)) for text in texts), sum(map(len, texts)) / 1000) for texts in spoken
    ]
    return np.array(counted, dtype=np.float32).reshape(-1, 3)


def expected(language: str, rows: np.ndarray, failed: tuple[float, float, float] = (1, 1, 1)) -> float:
    """Share of the rows, given by their `amounts` (n, 3), that fail though they are well translated: of each,
    1 - exp(-(per_text * texts + per_number * numbers + per_1000_characters * thousands of characters)). Of each kind of failure
    no more is expected than there is, by the shares that `failed`: what a translator does right excuses no other fault."""
    if not len(rows):
        return 0.0
    measured = rates(language)
    found = rows * np.array([measured.per_text, measured.per_number, measured.per_1000_characters])
    by_kind = np.minimum(np.mean(1 - np.exp(-found), axis=0), failed)
    return float(min(np.mean(1 - np.exp(-found.sum(axis=1))), by_kind.sum()))


def shares_by_kind(outcomes: Iterable[Outcome], rows: int) -> tuple[float, float, float]:
    """Of so many rows, those that fail an expectation of each kind."""
    failed: tuple[set[int], set[int], set[int]] = (set(), set(), set())
    for outcome in outcomes:
        failed[kind(outcome.expectation.name)].update(outcome.failed)
    return tuple(len(one) / max(rows, 1) for one in failed)


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one file of one language, in shares of its rows."""

    failed: float
    expected: float
    """What right translations of this language, length and numbers fail by."""
    limit: float
    """What may fail beyond that."""

    @property
    def excess(self) -> float:
        return self.failed - self.expected

    @property
    def passed(self) -> bool:
        return self.excess <= self.limit


def judge(failed: int, rows: int, expected: float, allowed: float) -> Verdict:
    """The limit is the allowed share, and what chance alone may add to that and the expected one in so few rows."""
    share = min(1.0, allowed + expected)
    chance = DEVIATIONS * sqrt(share * (1 - share) / max(rows, 1))
    return Verdict(failed / max(rows, 1), expected, allowed + chance)
