"""Claims on aligned policies, tested on a run (section 4 of Hong et al. 2025)."""

from xlrm.evaluation.judged_policies import BASE, SOURCE, TARGET, JudgedPolicies
from xlrm.evaluation.results import Difference
from xlrm.reporting.material import Material
from xlrm.reporting.outcomes import Outcome, Verdict, every, missing, signed_by
from xlrm.reporting.results import language_name
from xlrm.reporting.wording import LEVEL, p_value, points, points_range

_ABSENT = missing("No policies were aligned and judged (curate.prompts, judge.judge).")
_ONE_POLICY = missing("No two policies of one language, by the English and by its own reward model.")
TIED = "zh"
"""Language in which the paper's two policies are level."""


def base(material: Material) -> Outcome:
    gains = _differences(material.alignment, BASE)
    if not gains:
        return _ABSENT
    return Outcome(every(_sign(gain) for gain in gains.values()), _shown(gains), "wins")


def largest(material: Material) -> Outcome:
    """By the language in which the policy by the source's reward model gains most: the sign of its gain, since the
    paper's size is of another model and judge."""
    increase = material.alignment.largest_increase if material.alignment else None
    if not increase:
        return _ABSENT
    code, gain = increase
    return Outcome(_sign(gain), f"At most {_shown({code: gain})}", "wins")


def increase(material: Material) -> Outcome:
    mean = material.alignment.differences.get((SOURCE, BASE)) if material.alignment else None
    if not material.alignment or not mean:
        return _ABSENT
    count = len(_differences(material.alignment, BASE))
    return Outcome(
        signed_by(mean.value, mean.p, LEVEL),
        f"{points(mean.value)} points [{points(mean.low)}, {points(mean.high)}], {p_value(mean.p)}, on average over {count} "
        f"language{'s' if count > 1 else ''}.",
        "wins",
    )


def on_par(material: Material) -> Outcome:
    """The claim is that the policy by the source's reward model is better, but level in Chinese; no language where it is
    worse."""
    differences = _differences(material.alignment, TARGET)
    if not differences:
        return _ONE_POLICY if material.alignment else _ABSENT
    verdicts: list[Verdict] = [
        "yes" if code == TIED and _sign(difference) != "no" else _sign(difference)
        for code, difference in differences.items()
    ]
    return Outcome(every(verdicts), _shown(differences), "wins")


def _differences(alignment: JudgedPolicies | None, other: str) -> dict[str, Difference]:
    """Language -> win rate of the policy by the source's reward model minus the other role's."""
    if not alignment:
        return {}
    between = {each.language: alignment.difference(each.language, SOURCE, other) for each in alignment.languages}
    return {code: difference for code, difference in between.items() if difference}


def _sign(difference: Difference) -> Verdict:
    return signed_by(difference.value, difference.p_holm, LEVEL)


def _shown(differences: dict[str, Difference]) -> str:
    shown = [
        f"{language_name(code)} {points(difference.value)} [{points_range(difference.estimate)}], {p_value(difference.p_holm)}"
        for code, difference in differences.items()
    ]
    return f"{'; '.join(shown)}."
