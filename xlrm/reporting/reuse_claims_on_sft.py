"""Claims of Wu et al. 2024 on SFT data from translation: there, or there and back (section 5.3)."""

from collections.abc import Mapping

from xlrm.analysis.quantities import gap_closed
from xlrm.reporting.results import language_name
from xlrm.reporting.reuse_evidence import Evidence, Finding, Row
from xlrm.reporting.wording import PERCENT, listed, signed

DEGENERATE = 30.0
"""Win rate in % below which a policy counts as degenerate; the paper names no limit."""
LITTLE = 5.0
"""Points of the win rate up to which a drop is little."""
TO = {
    "translated": ("translated lg>en", "translated en>lg"),
    "back-translated": ("back-translated en>lg>en", "back-translated lg>en>lg"),
}
"""Kind of data -> rows of policies in English, and in the other languages."""


def back_translation(evidence: Evidence) -> Finding:
    """Holds if back-translation closes more than half of the gap in ROUGE-L in every case and some win rate exceeds 50 %, in
    part if in some cases."""
    rouge, rates = evidence.sft_rouge, evidence.translated_sft["best_of_n"]
    english: dict[str, float] = {}
    others: dict[str, float] = {}
    for language in rouge[TO["translated"][0]]:
        sides = ((english, "en", 0), (others, language, 1))
        for closed, policy, place in sides:
            share = gap_closed(
                rouge["organic"][policy],
                rouge[TO["translated"][place]][language],
                rouge[TO["back-translated"][place]][language],
            )
            closed[language] = 100 * (share or 0.0)
    shares = [*english.values(), *others.values()]
    above = [value for row in TO["back-translated"] for value in rates[row].values() if value > 50]
    most = sum(share > 50 for share in shares)
    low = [language_name(code) for code, share in others.items() if share <= 50]
    shown = [f"{language_name(code)} {signed(share, 0)}" for code, share in others.items()]
    return Finding(
        "holds" if most == len(shares) and above else "holds in part" if most else "not supported",
        f"Share of the gap in ROUGE-L that it closes, in{PERCENT}: {min(english.values()):.0f} to "
        f"{max(english.values()):.0f} for policies in English; in the other languages {', '.join(shown)} (below 0: worse than "
        f"translated once). "
        f"{len(above)} of {2 * len(english)} win rates with best-of-n exceed 50{PERCENT}."
        f"{f' Not supported for policies in {listed(low)}.' if low else ''}",
    )


def translated_sft(evidence: Evidence) -> Finding:
    """Holds if translated data cost more than 5 points with best-of-n, less on one data set without its organic baseline
    below 50 %, and up to 5 with RL; in part if the first."""
    tables = evidence.translated_sft
    first, one_set, rl = (_drops(tables[name]) for name in ("best_of_n", "best_of_n of one data set", "rl"))
    organic = [
        value
        for row in ("organic lg>en", "organic en>lg")
        for value in tables["best_of_n of one data set"][row].values()
    ]
    usable = [drop for drop, rate in rl if rate >= DEGENERATE]
    baseline, means = _mean(organic), [_mean([drop for drop, _ in own]) for own in (first, one_set, rl)]
    better = sum(drop > 0 for drop, _ in one_set)
    fallen = ": the gap shrinks because the baseline falls" if baseline < 50 else ""
    hurts, smaller, little = means[0] < -LITTLE, means[1] > means[0] and baseline >= 50, abs(means[2]) <= LITTLE
    return Finding(
        "holds" if hurts and smaller and little else "holds in part" if hurts else "not supported",
        f"Translated minus organic data, in points: best-of-n {signed(means[0])}. On one data set {signed(means[1])} (better "
        f"in {better} of {len(one_set)} cells), but there organic data only reach {baseline:.1f}{PERCENT} themselves, below the "
        f"SFT policy in {sum(rate < 50 for rate in organic)} of {len(organic)} cells{fallen}. RL {signed(means[2])}; without "
        f"the {len(rl) - len(usable)} of {len(rl)} cells below {DEGENERATE:.0f}{PERCENT} {signed(_mean(usable))}.",
    )


def _drops(rows: Mapping[str, Row]) -> list[tuple[float, float]]:
    """Win rate of translated minus that of organic data, and the former, of each cell."""
    return [
        (rows[f"translated {kind}"][language] - value, rows[f"translated {kind}"][language])
        for kind in ("lg>en", "en>lg")
        for language, value in rows[f"organic {kind}"].items()
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
