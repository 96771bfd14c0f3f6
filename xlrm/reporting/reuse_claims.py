"""The statements of Wu et al. 2024, each with what the paper's own tables say of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from xlrm.analysis.typology import Value
from xlrm.reporting import reuse_claims_on_causes as causes
from xlrm.reporting import reuse_claims_on_judges as on_judges
from xlrm.reporting import reuse_claims_on_sft as sft
from xlrm.reporting import reuse_claims_on_transfer as transfer
from xlrm.reporting.published import paper_b
from xlrm.reporting.published.paper_tables import Claim
from xlrm.reporting.reuse_evidence import Evidence, Finding, Verdict, published
from xlrm.reporting.wording import listed


@dataclass(frozen=True)
class CheckedClaim:
    claim: Claim
    finding: Finding


_TESTS: dict[str, Callable[[Evidence], Finding]] = {
    "translate_train": transfer.translate_train, "english": transfer.english, "accuracy": causes.accuracy,
    "judges": on_judges.judges, "humans": on_judges.humans, "other_language": transfer.other_language,
    "second_judge": on_judges.second_judge, "divergence": causes.divergence, "quantity": causes.quantity,
    "baselines": causes.baselines, "back_translation": sft.back_translation, "translated_sft": sft.translated_sft,
    "bilingual": transfer.bilingual, "turkish_and_vietnamese": causes.turkish_and_vietnamese, "improves": transfer.improves,
    "stable": transfer.stable, "up_to": on_judges.up_to, "russian": transfer.russian,
}  # fmt: skip
"""Key in paper_b_claims.csv -> test."""
_ON_TABLES: dict[str, Callable[[], Finding]] = {
    "figure_6": transfer.figure_6, "expected_agreement": causes.expected_agreement, "judge_accuracy": on_judges.judge_accuracy,
}  # fmt: skip
"""Key -> test of a number that the paper prints about its own tables."""
TYPOLOGY = Finding(
    "holds in part",
    "123 features, of which 103 vary. p of the significant ones without correction: summarization best-of-n by "
    "PaLM-2-L none; summarization best-of-n by GPT-4 6A 0.0021, 41A 0.034; summarization RL by PaLM-2-L 37A "
    "0.00052, 3A 0.0038, 1A 0.0098, 65A 0.049; summarization RL by GPT-4 1A 2.4e-07 (significant after the "
    "correction), 37A 0.0049, 3A 0.014, 2A 0.018, 79B 0.018. Of the four features that the paper names, 3 are "
    "significant with RL by PaLM-2-L; 54A has 0.24. Not supported by GPT-4. 1A is alike in all languages but "
    "Russian: it may be that language alone.",
)
"""What the tables and WALS say of the statement on typology. WALS is not part of the package, so this was computed once from
cldf-datasets/wals, commit 3a9efd6 (2024)."""


@cache
def of_tables(features: tuple[Value, ...] = ()) -> tuple[CheckedClaim, ...]:
    """Every statement by the paper's tables; that on typology by `features`, or else as computed once."""
    return check(replace(published(), features=features))


def check(evidence: Evidence) -> tuple[CheckedClaim, ...]:
    """Every statement by the paper's tables as `evidence` has them."""
    findings = {key: test() for key, test in _ON_TABLES.items()} | {key: test(evidence) for key, test in _TESTS.items()}
    findings["typology"] = causes.wals(evidence) or TYPOLOGY
    return tuple(CheckedClaim(claim, findings[claim.key]) for claim in paper_b.claims())


def summary(claims: Sequence[CheckedClaim]) -> str:
    """`Of 22 statements, 12 hold, 9 hold in part and 1 is not supported.`"""
    counts = Counter(claim.finding.verdict for claim in claims)
    parts = [f"{counts[verdict]} {words[counts[verdict] != 1]}" for verdict, words in _WORDS.items() if counts[verdict]]
    return f"Of {len(claims)} statements, {listed(parts)}."


_WORDS: dict[Verdict, tuple[str, str]] = {
    "holds": ("holds", "hold"), "holds in part": ("holds in part", "hold in part"),
    "not supported": ("is not supported", "are not supported"),
}  # fmt: skip
"""Verdict -> how one statement, and how several, are written to have it."""
