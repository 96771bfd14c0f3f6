"""The statements of Wu et al. 2024, each with what the paper's own tables and what this run say of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from xlrm.analysis.typology import Value
from xlrm.reporting import reuse_claims, reuse_explanations, reuse_outcomes
from xlrm.reporting.outcomes import Outcome, Verdict
from xlrm.reporting.published.paper_tables import Claim
from xlrm.reporting.reuse_material import Material
from xlrm.reporting.wording import listed


@dataclass(frozen=True)
class TestedStatement:
    claim: Claim
    paper: str
    """What the paper's own tables say of it."""
    paper_verdict: str
    """holds, holds in part, or not supported."""
    outcome: Outcome
    """What this run says of it."""


TESTS: dict[str, Callable[[Material], Outcome]] = {
    "translate_train": reuse_outcomes.translate_train,
    "english": reuse_outcomes.english_best,
    "figure_6": reuse_outcomes.figure_6,
    "accuracy": reuse_explanations.accuracy_and_alignment,
    "judges": reuse_outcomes.judges_agree,
    "humans": reuse_outcomes.humans,
    "other_language": reuse_outcomes.other_language_better,
    "second_judge": reuse_outcomes.second_judge,
    "divergence": reuse_explanations.divergence,
    "quantity": reuse_explanations.data_sizes,
    "typology": reuse_explanations.typological,
    "baselines": reuse_explanations.above_majority,
    "expected_agreement": reuse_explanations.length_agreement,
    "back_translation": reuse_explanations.back_translation,
    "translated_sft": reuse_explanations.translated_sft,
    "bilingual": reuse_outcomes.bilingual,
    "turkish_and_vietnamese": reuse_explanations.in_language,
    "improves": reuse_outcomes.improves,
    "stable": reuse_outcomes.stable,
    "up_to": reuse_outcomes.up_to,
    "russian": reuse_outcomes.russian,
}
"""Key in paper_b_claims.csv -> test on a run; a statement without one is not measured."""


@lru_cache(maxsize=1)
def test(material: Material) -> list[TestedStatement]:
    """The statements in the order of the paper's file."""
    values = tuple(Value(row["lang"], row["feature_id"], row["value"]) for row in material.features)
    return [
        TestedStatement(each.claim, each.finding.text, each.finding.verdict, _outcome(each.claim.key, material))
        for each in reuse_claims.of_tables(values)
        if each.finding
    ]


def _outcome(key: str, material: Material) -> Outcome:
    test = TESTS.get(key)
    return test(material) if test else Outcome("not measured", "of the paper alone")


def summary(tested: Sequence[TestedStatement]) -> str:
    """How many statements hold in this run, and in the paper's own tables; empty without any."""
    if not tested:
        return ""
    counts = Counter(each.outcome.verdict for each in tested)
    parts = [f"{count} {words[count > 1]}" for verdict, words in _WORDS.items() if (count := counts[verdict])]
    holding = sum(each.paper_verdict == "holds" for each in tested)
    return (
        f"Of {len(tested)} statements of the paper, {listed(parts)} in this run; in the paper's own tables {holding} hold "
        "without "
        "reservation."
    )


_WORDS: dict[Verdict, tuple[str, str]] = {
    "yes": ("holds", "hold"), "no": ("does not hold", "do not hold"),
    "not decided": ("is not decided", "are not decided"), "not measured": ("is not measured", "are not measured"),
}  # fmt: skip
