"""What a judge said of many pairs, whoever judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from xlrm.scorers.judges.agreement import JudgesAgreement
from xlrm.scorers.judges.pairs import Judgement
from xlrm.scorers.judges.pairwise import Cost


@dataclass(frozen=True)
class Scored(Judgement):
    """A judgement that follows from a score of each response: the higher one is better."""

    scores: tuple[float | None, float | None] = (None, None)
    """Scores of response a and response b; None where there is none."""
    unit: Literal["rewards", "ratings"] = "rewards"
    weighted: tuple[bool, ...] = ()
    """For ratings: whether each is an expected value over the log-probabilities of numbers, rather than the number that
    the judge wrote."""

    def record(self) -> dict:
        more = {"weighted": list(self.weighted)} if self.unit == "ratings" else {}
        return super().record() | {self.unit: list(self.scores)} | more


@dataclass(frozen=True)
class Voted(Judgement):
    """A judgement of several judges."""

    votes: Mapping[str, float | None] = field(default_factory=dict)
    """Judge -> its preference between a and b in [1, 2]; None if it is unreadable."""

    def record(self) -> dict:
        return super().record() | {"votes": dict(self.votes)}


@dataclass(frozen=True)
class Verdicts:
    judgements: Sequence[Judgement]
    """In the order of the pairs."""
    cost: Cost | None = None
    """Questions, tokens and dollars of a generative judge; None for others, and for a jury, whose members have theirs."""
    members: Mapping[str, "Verdicts"] = field(default_factory=dict)
    """Members of a jury: entry -> what it judged."""
    agreement: Sequence[JudgesAgreement] = ()
    """How far each two members of a jury, or people, agree."""


def by_scores(a: float | None, b: float | None) -> float | None:
    """Preference between a and b: 1 if a has the higher score, 2 if b has, 1.5 if they are equal; None without one."""
    if a is None or b is None:
        return None
    return 1.5 if a == b else 1.0 if a > b else 2.0


def vote(judgement: Judgement) -> float | None:
    """Preference between a and b in [1, 2]; None if none of the judgement's verdicts is readable."""
    return None if judgement.unreadable == len(judgement.preferences) else judgement.preference
