"""What a run says of a claim: a verdict, and the measurements behind it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from xlrm.evaluation.results import Estimate

Verdict = Literal["yes", "no", "not decided", "not measured"]


@dataclass(frozen=True)
class Outcome:
    verdict: Verdict
    measured: str
    """What the run measured, or what it lacks."""
    place: str = ""
    """Id of the section of the page with these numbers; empty if it has none."""


def missing(what: str) -> Outcome:
    return Outcome("not measured", what)


def above(estimate: Estimate, limit: float = 0.0) -> Verdict:
    """Whether the number is above `limit`, by its whole interval."""
    if estimate.low > limit:
        return "yes"
    return "no" if estimate.high < limit else "not decided"


def signed_by(value: float, p: float, level: float) -> Verdict:
    """Whether a difference is above 0, by its p-value."""
    if p >= level:
        return "not decided"
    return "yes" if value > 0 else "no"


def every(verdicts: Iterable[Verdict]) -> Verdict:
    """Verdict on a claim about all of several cases."""
    given = set(verdicts)
    if "no" in given:
        return "no"
    return "yes" if given == {"yes"} else "not decided"
