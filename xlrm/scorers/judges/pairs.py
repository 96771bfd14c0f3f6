"""Pairs of responses to a prompt, and a judge's verdicts on them.

Which response is shown first follows from the seed and the pair's id (`coin`), so it is the same in every language.
RewardBench chooses at random without a seed, alpaca_eval from the prompt's text (`alpaca_eval.a_first`).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from xlrm.data import conversations
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
    """Text of the prompt; of several turns as `thread` shows them."""
    a: str
    b: str
    run: int = 0
    """Number of the run, from 0: other responses where there are several, another order where one is drawn, and another
    answer of a judge that samples."""
    system: str = ""
    """Name of the system that wrote b."""
    subset: str = ""
    """Data set that the prompt is from; empty if its row names none."""
    language: str = ""
    """Code of the language of prompt and responses, for judges' prompts that name it."""
    turns: tuple[conversations.Message, ...] | None = field(default=None, hash=False)
    """Messages of a prompt of several turns; None for a single question."""

    @classmethod
    def of(cls, name: str, prompt: Any, a: Any, b: Any, run: int = 0, language: str = "", subset: str = "") -> "Pair":
        """`name`: the pair's id; `prompt`: a text or messages. Raises DataError for a response that is a list."""
        for value in (a, b):
            if not isinstance(value, str):
                raise _of_turns(name, "response")
        turns = None if isinstance(prompt, str) else tuple(prompt)
        return cls(name, thread(prompt), a, b, run, subset=subset, language=language, turns=turns)


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


_SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}
"""Role -> name in a thread: paper B's dialogs are "between a human and an assistant" (Wu et al. 2024, appendix G.1)."""


def thread(prompt: conversations.Turns) -> str:
    """A prompt as one text: that of a single message of the user; else all messages, each after the name of its speaker and
    a colon, with a blank line between."""
    if isinstance(prompt, str):
        return prompt
    return conversations.shown(
        [{**message, "role": _SPEAKERS.get(message["role"], message["role"])} for message in prompt]
    )


def check_single(pairs: Iterable[Pair]) -> None:
    """Raises DataError for a prompt of several turns: most judges' prompts have room for one question and one answer to it,
    and those that know the right answers know them for single questions."""
    for pair in pairs:
        if pair.turns is not None:
            raise _of_turns(pair.id, "prompt")


def _of_turns(name: str, what: str) -> DataError:
    return DataError(
        f"a judge compares two texts that answer one question, and this {what} is a list", where=f"item {name}: {what}",
        hint="judge single turns, or use judge.prompt=dialog or a reward model, which read several",
    )  # fmt: skip


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
