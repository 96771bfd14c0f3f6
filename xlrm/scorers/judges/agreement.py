"""How far judges agree on the same pairs: members of a jury, or people.

Cohen, J. (1960), "A coefficient of agreement for nominal scales". The labels are the better response, a or b, or a tie.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict


class JudgesAgreement(BaseModel):
    """Two judges on the pairs that both could judge."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    first: str
    second: str
    items: int
    agreement: float
    """Share of the pairs in which both name the same response, or both a tie."""
    kappa: float | None
    """Cohen's kappa: 1 for full agreement, 0 for as much as chance gives; None if both always say the same one thing."""


def of_all(votes: Mapping[str, Sequence[float | None]]) -> list[JudgesAgreement]:
    """Agreement of each two judges with a pair that both judged. `votes`: judge -> its preference in [1, 2] for each
    pair, None where it has none."""
    both = itertools.combinations(votes, 2)
    compared = [_agreement(first, second, votes[first], votes[second]) for first, second in both]
    return [each for each in compared if each]


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """(p_o - p_e) / (1 - p_e): p_o is the share of equal labels, p_e the share that independent judges with the same
    counts of labels would have. None if p_e is 1."""
    n = len(first)
    by_first, by_second = Counter(first), Counter(second)
    observed = sum(a == b for a, b in zip(first, second, strict=True))
    expected = sum(by_first[label] * by_second[label] for label in by_first)  # of n * n
    return None if expected == n * n else (n * observed - expected) / (n * n - expected)


def _agreement(
    first: str, second: str, ours: Sequence[float | None], theirs: Sequence[float | None]
) -> JudgesAgreement | None:
    both = [(_label(a), _label(b)) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if not both:
        return None
    kappa = cohens_kappa([a for a, _ in both], [b for _, b in both])
    share = sum(a == b for a, b in both) / len(both)
    return JudgesAgreement(first=first, second=second, items=len(both), agreement=share, kappa=kappa)


def _label(preference: float) -> str:
    return "a" if preference < 1.5 else "b" if preference > 1.5 else "tie"
