"""Pairs of responses to a prompt, and a judge's verdicts on them.

Which response is shown first follows from the seed and the pair's id (`coin`), so it is the same in every language.
RewardBench chooses at random without a seed, alpaca_eval from the prompt's text (`alpaca_eval.a_first`).
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from xlrm.errors import DataError
from xlrm.models.decoding import Completion
from xlrm.scorers.judges import alpaca_eval

Orders = Literal["seeded", "both", "alpacaeval"]
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
    """Number of the run, from 0: other responses where there are several, another order where one is drawn, and another
    answer of a judge that samples."""
    system: str = ""
    """Name of the system that wrote b."""

    @classmethod
    def of(cls, name: str, prompt: Any, a: Any, b: Any, run: int = 0) -> "Pair":
        """Raises DataError for several turns: the judges' prompts have room for one question and one answer to it, and
        those that know the right answers know them for single questions. `name`: the pair's id."""
        for field, value in (("prompt", prompt), ("response", a), ("response", b)):
            if not isinstance(value, str):
                raise DataError(
                    f"a judge compares two texts that answer one question, and this {field} is a list",
                    where=f"item {name}: {field}", hint="judge single turns, or use a reward model, which reads several",
                )  # fmt: skip
        return cls(name, prompt, a, b, run)


@dataclass(frozen=True)
class Judgement:
    """A judge's verdicts on a pair, one for each order in which it was shown."""

    a_first: tuple[bool, ...]
    """Whether response a was shown first, by order."""
    preferences: tuple[float | None, ...]
    """Preference for the order shown, by order: 1 if the first response is better, 2 if the second is, 1.5 for neither,
    what lies between for a judge that is not sure; None if the answer is unreadable."""
    answers: tuple[Completion, ...] = ()
    """The judge's answers, if it writes any."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The better position, by order."""
        return tuple(map(verdict, self.preferences))

    @property
    def unreadable(self) -> int:
        """Number of verdicts that could not be read."""
        return self.preferences.count(None)

    @property
    def mapped(self) -> tuple[float | None, ...]:
        """Preference between a and b, by order: 1 if response a is better, 2 if b is (alpaca_eval's scale)."""
        shown = zip(self.preferences, self.a_first, strict=True)
        return tuple(value if value is None or a_first else 3 - value for value, a_first in shown)

    @property
    def preference(self) -> float:
        """Mean of `mapped` over the orders that could be read; 1.5 if none could (`unreadable`)."""
        readable = [value for value in self.mapped if value is not None]
        return sum(readable) / len(readable) if readable else 1.5

    def record(self) -> dict:
        """verdicts and answers; the reasons of refusals if there are any; and for a judge that was asked for
        log-probabilities, those at the beginning of its answers, and what follows from them (`preferences`)."""
        refusals = [answer.refused for answer in self.answers if answer.refused]
        record: dict[str, Any] = {"verdicts": list(self.verdicts), "answers": [answer.text for answer in self.answers]}
        if any(answer.logprobs for answer in self.answers):
            likely = [next(iter(answer.answer_logprobs), None) for answer in self.answers]
            record |= {"preferences": list(self.preferences), "logprobs": likely}
        return record | ({"refused": refusals} if refusals else {})


def coin(seed: int, pair: str) -> bool:
    """Whether response a of the pair with this id is shown first."""
    return bool(hashlib.sha256(f"{seed}\0{pair}".encode()).digest()[0] & 1)


def a_first_in(orders: Orders, pair: Pair, seed: int) -> list[bool]:
    """Whether response a is shown first, for each order in which the pair is shown. Each run draws anew."""
    if orders == "both":
        return [True, False]
    return [alpaca_eval.a_first(pair.prompt, pair.run) if orders == "alpacaeval" else coin(seed + pair.run, pair.id)]


def verdict(preference: float | None) -> Verdict:
    """The better position by a preference for the order shown."""
    if preference is None:
        return "error"
    return "A" if preference < 1.5 else "B" if preference > 1.5 else "tie"
