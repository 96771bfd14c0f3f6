"""Two responses to a prompt, and what a judge says of them.

Which response stands first is a coin's choice, one coin a pair, thrown from the seed and the pair's id: the same in every
language and every run. RewardBench throws an unseeded one.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from xlrm.models.decoding import Completion

Verdict = Literal["A", "B", "error"]
"""The place of the better response; error: the judge named none."""


@dataclass(frozen=True)
class Pair:
    """Two responses to a prompt."""

    id: str
    prompt: str
    a: str
    b: str


@dataclass(frozen=True)
class Judgement:
    """Of a pair, in each order that it was shown in."""

    a_first: tuple[bool, ...]
    """Whether response a stood in the first place."""
    verdicts: tuple[Verdict, ...]
    answers: tuple[Completion, ...]

    @property
    def preference(self) -> float:
        """1 where response a is better, 2 where b is, 1.5 where neither is named (alpaca_eval's scale): the mean over the
        orders."""
        both = zip(self.verdicts, self.a_first, strict=True)
        return sum(_preference(verdict, a_first) for verdict, a_first in both) / len(self.verdicts)


def coin(seed: int, pair: str) -> bool:
    """Whether response a of a pair stands first."""
    return bool(hashlib.sha256(f"{seed}\0{pair}".encode()).digest()[0] & 1)


def _preference(verdict: Verdict, a_first: bool) -> float:
    if verdict == "error":
        return 1.5
    return 1.0 if (verdict == "A") == a_first else 2.0
