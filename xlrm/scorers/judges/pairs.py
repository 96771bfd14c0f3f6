"""Pairs of responses to a prompt, and a judge's verdicts on them.

Which response is shown first follows from the seed and the pair's id, so it is the same in every language and run.
RewardBench chooses at random without a seed.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from xlrm.errors import DataError
from xlrm.models.decoding import Completion

Verdict = Literal["A", "B", "tie", "error"]
"""Position of the better response: A is first, B second. tie if the judge finds them equally good, error if its answer
is unreadable."""


@dataclass(frozen=True)
class Pair:
    """Two responses to a prompt."""

    id: str
    prompt: str
    a: str
    b: str
    run: int = 0
    """Number of the run, from 0, if several responses to a prompt are judged."""

    @classmethod
    def of(cls, name: str, prompt: Any, a: Any, b: Any) -> "Pair":
        """Raises DataError for several turns: the judges' prompts have room for one question and one answer to it, and
        those that know the right answers know them for single questions. `name`: the pair's id."""
        for field, value in (("prompt", prompt), ("response", a), ("response", b)):
            if not isinstance(value, str):
                raise DataError(
                    f"a judge compares two texts that answer one question, and this {field} is a list",
                    where=f"item {name}: {field}", hint="judge single turns, or use a reward model, which reads several",
                )  # fmt: skip
        return cls(name, prompt, a, b)


@dataclass(frozen=True)
class Judgement:
    """A judge's verdicts on a pair, one for each order in which it was shown."""

    a_first: tuple[bool, ...]
    """Whether response a was shown first, by order."""
    verdicts: tuple[Verdict, ...]
    answers: tuple[Completion, ...] = ()
    """The judge's answers, if it writes any."""

    @property
    def unreadable(self) -> int:
        """Number of verdicts that could not be read."""
        return self.verdicts.count("error")

    @property
    def preference(self) -> float:
        """Mean over the orders, on alpaca_eval's scale: 1 if response a is better, 2 if b is, 1.5 for neither."""
        both = zip(self.verdicts, self.a_first, strict=True)
        return sum(_preference(verdict, a_first) for verdict, a_first in both) / len(self.verdicts)

    def record(self) -> dict:
        """verdicts, answers, and the reasons of refusals if there are any."""
        refusals = [answer.refused for answer in self.answers if answer.refused]
        record = {"verdicts": list(self.verdicts), "answers": [answer.text for answer in self.answers]}
        return record | ({"refused": refusals} if refusals else {})


def coin(seed: int, pair: str) -> bool:
    """Whether response a of the pair with this id is shown first."""
    return bool(hashlib.sha256(f"{seed}\0{pair}".encode()).digest()[0] & 1)


def _preference(verdict: Verdict, a_first: bool) -> float:
    if verdict not in ("A", "B"):
        return 1.5
    return 1.0 if (verdict == "A") == a_first else 2.0
