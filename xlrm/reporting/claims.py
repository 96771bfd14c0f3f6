"""The claims of Hong et al. 2025, tested one by one on the results of a run.

A verdict follows from 95 % intervals and adjusted p-values that other parts of the page show. `yes`: the whole interval
supports the claim; `no`: the whole interval contradicts it; `not decided`: neither; `not measured`: the run lacks what the
claim is about. A claim about every language is `no` as soon as one language contradicts it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xlrm.reporting import claims_on_accuracy, claims_on_alignment, claims_on_representations, paper_claims
from xlrm.reporting.material import Material
from xlrm.reporting.outcomes import Outcome, Verdict
from xlrm.reporting.published import paper_tables
from xlrm.reporting.published.paper_tables import Claim
from xlrm.reporting.wording import listed


@dataclass(frozen=True)
class TestedClaim:
    claim: Claim
    paper: str
    """What the paper's own tables say of it."""
    outcome: Outcome


_TESTS: dict[str, Callable[[Material], Outcome]] = {
    "mean": claims_on_accuracy.mean,
    "every_language": claims_on_accuracy.every_language,
    "bounds": claims_on_accuracy.bounds,
    "bases": claims_on_accuracy.bases,
    "reasoning": claims_on_accuracy.reasoning,
    "non_latin": claims_on_accuracy.non_latin,
    "dominates": claims_on_accuracy.dominates,
    "classifiers": claims_on_accuracy.classifiers,
    "decrement": claims_on_accuracy.decrement,
    "self_taught": claims_on_accuracy.self_taught,
    "armorm": claims_on_accuracy.armorm,
    "nearest": claims_on_representations.nearest,
    "farthest": claims_on_representations.farthest,
    "collapse": claims_on_representations.collapse,
    "correlation": claims_on_representations.correlation,
    "norms": claims_on_representations.norms,
    "base": claims_on_alignment.base,
    "largest": claims_on_alignment.largest,
    "increase": claims_on_alignment.increase,
    "on_par": claims_on_alignment.on_par,
}
"""Key in paper_a_claims.csv -> test."""


def test(material: Material) -> list[TestedClaim]:
    """Empty for a run whose source language is not the paper's."""
    if material.source != "en":
        return []
    return [
        TestedClaim(claim, paper_claims.of(claim.key), _TESTS[claim.key](material)) for claim in paper_tables.claims()
    ]


def summary(tested: Sequence[TestedClaim]) -> str:
    """How many claims hold; empty without claims."""
    if not tested:
        return ""
    counts = Counter(tested_claim.outcome.verdict for tested_claim in tested)
    parts = [
        f"{count} {words[0] if count == 1 else words[1]}"
        for verdict, words in _WORDS.items()
        if (count := counts[verdict])
    ]
    return f"Of {len(tested)} claims of the paper, {listed(parts)} in this run."


_WORDS: dict[Verdict, tuple[str, str]] = {
    "yes": ("holds", "hold"), "no": ("does not hold", "do not hold"),
    "not decided": ("is not decided", "are not decided"), "not measured": ("is not measured", "are not measured"),
}  # fmt: skip
"""Verdict -> how one claim, and how several, are said to have it."""
