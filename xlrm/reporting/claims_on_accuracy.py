"""Claims on the accuracy of reward models, tested on a run (sections 2 and 5 of Hong et al. 2025)."""

from xlrm.analysis.comparisons import Comparison
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.results import Estimate
from xlrm.languages import LANGUAGES
from xlrm.reporting.material import Material
from xlrm.reporting.outcomes import Outcome, Verdict, above, every, missing, signed_by
from xlrm.reporting.results import External, language_name
from xlrm.reporting.wording import LEVEL, PERCENT, names, p_value, percent, percent_range, points, points_range

REASONING = "Reasoning"
_ONE_MODEL = missing("No other reward model to compare the English one with.")
_EXTERNAL = "Reward models from elsewhere were not evaluated (external.models)."
_FEW = 70
"""Accuracy in % that the paper's classifiers mostly exceed."""


def mean(material: Material) -> Outcome:
    if not (value := material.mean):
        return _ONE_MODEL
    return Outcome(
        above(value),
        f"{points(value.value)} points [{points_range(value)}], {p_value(value.p)}, on average over "
        f"{names([comparison.language for comparison in material.comparisons])}.",
        "table",
    )


def every_language(material: Material) -> Outcome:
    return _in_every_language(material, AVERAGE)


def reasoning(material: Material) -> Outcome:
    return _in_every_language(material, REASONING)


def _in_every_language(material: Material, name: str) -> Outcome:
    compared = [comparison for comparison in material.comparisons if name in comparison.deltas]
    deltas = {comparison.language: comparison.deltas[name] for comparison in compared}
    if not deltas:
        return _ONE_MODEL if not material.comparisons else missing(f"The benchmark has no section {name}.")
    verdict = every(signed_by(delta.value, delta.p, LEVEL) for delta in deltas.values())
    shown = [
        f"{language_name(code)} {points(delta.value)} [{points_range(delta)}], {p_value(delta.p)}"
        for code, delta in deltas.items()
    ]
    return Outcome(verdict, f"{'; '.join(shown)}.", "table")


def bounds(material: Material) -> Outcome:
    """By the base model: at least 4.3 points for Llama, at most for Qwen."""
    base = next((name for name in material.facts.bases if "Llama-3.2-3B" in name or "Qwen2.5-3B" in name), "")
    if not base or not material.comparisons:
        return missing("The base model is neither of the two, or has no other reward model.")
    deltas = {comparison.language: comparison.deltas[AVERAGE] for comparison in material.comparisons}
    llama = "Llama" in base
    code = (min if llama else max)(deltas, key=lambda code: deltas[code].value)
    away = [Estimate(*((v - 0.043) * (1 if llama else -1) for v in _ends(delta, llama))) for delta in deltas.values()]
    bound = f"{'smallest' if llama else 'largest'} difference of {base}"
    shown = f"{language_name(code)} {points(deltas[code].value)} [{points_range(deltas[code])}]"
    return Outcome(every(above(margin) for margin in away), f"The {bound}: {shown}.", "table")


def _ends(delta: Estimate, llama: bool) -> tuple[float, float, float]:
    """Value, low and high, which change places where the sign is turned."""
    return (delta.value, delta.low, delta.high) if llama else (delta.value, delta.high, delta.low)


def bases(material: Material) -> Outcome:
    return missing("A run has one base model; two runs stand side by side by: xlrm compare --table RUN RUN")


def non_latin(material: Material) -> Outcome:
    compared = [comparison for comparison in material.comparisons if REASONING in comparison.deltas]
    comparisons = [comparison for comparison in compared if comparison.language in LANGUAGES]
    latin = [comparison for comparison in comparisons if LANGUAGES[comparison.language].script == "Latin"]
    others = [comparison for comparison in comparisons if comparison not in latin]
    if not (latin and others):
        return missing("No difference in Reasoning in both a Latin and another script.")
    ours, theirs = _together(others), _together(latin)
    verdict: Verdict = "not decided"
    if ours.low > theirs.high or ours.high < theirs.low:
        verdict = "yes" if ours.value > theirs.value else "no"
    shown = [
        f"{_named(group)} {points(mean.value)} [{points_range(mean)}]"
        for group, mean in ((others, ours), (latin, theirs))
    ]
    return Outcome(verdict, f"Reasoning, in points: {'; '.join(shown)}.", "table")


def _named(comparisons: list[Comparison]) -> str:
    return names([comparison.language for comparison in comparisons])


def _together(comparisons: list[Comparison]) -> Estimate:
    """Mean difference in Reasoning; its interval is as wide as if the languages' errors were the same."""
    deltas = [comparison.deltas[REASONING] for comparison in comparisons]
    return Estimate(
        *(sum(ends) / len(deltas) for ends in zip(*((d.value, d.low, d.high) for d in deltas), strict=True))
    )


def dominates(material: Material) -> Outcome:
    source, *others = material.evaluations
    best, verdicts = [], []
    for on in source.results:
        own = source.accuracy(on, REASONING)
        rivals = [rival for other in others if (rival := other.accuracy(on, REASONING))]
        if own and rivals:
            best.append(all(own.value >= rival.value for rival in rivals))
            verdicts.append(_ahead(own, rivals))
    if not verdicts:
        return missing("No Reasoning accuracies of several reward models on one test.")
    measured = f"The highest Reasoning accuracy in {sum(best)} of {len(best)} languages."
    return Outcome(every(verdicts), measured, "cells")


def _ahead(own: Estimate, rivals: list[Estimate]) -> Verdict:
    if any(rival.low > own.high for rival in rivals):
        return "no"
    return "yes" if all(own.low > rival.high for rival in rivals) else "not decided"


def classifiers(material: Material) -> Outcome:
    averages = [
        cell for model in material.external if model.kind == "classifier"
        for code, cell in model.averages.items() if code != material.source
    ]  # fmt: skip
    if not averages:
        return missing(_EXTERNAL)
    over = sum(above(cell, _FEW / 100) == "yes" for cell in averages)
    under = sum(above(cell, _FEW / 100) == "no" for cell in averages)
    verdict: Verdict = "yes" if 2 * over > len(averages) else "no" if 2 * under > len(averages) else "not decided"
    measured = f"Of {len(averages)} averages, the interval of {over} is above {_FEW} %, of {under} below it."
    return Outcome(verdict, measured, "external")


def decrement(material: Material) -> Outcome:
    lost = {model.name: _lost(model, material.source) for model in material.external}
    known = {name: value for name, value in lost.items() if value is not None}
    ranked = sorted(known, key=known.__getitem__)
    if len(known) < 2 or not any(name.startswith("gpt-4o") for name in known):
        return missing("GPT-4o was not evaluated beside another model (external.models).")
    shown = ", ".join(f"{name} {100 * known[name]:.1f}" for name in ranked)
    least = ranked[0].startswith("gpt-4o")
    # Without an interval of the difference, only a GPT-4o that loses more than another decides the claim.
    return Outcome(
        "not decided" if least else "no", f"Lost from English to the others, in points: {shown}.", "external"
    )


def _lost(model: External, source: str) -> float | None:
    others = [cell.value for code, cell in model.averages.items() if code != source]
    return model.averages[source].value - sum(others) / len(others) if source in model.averages and others else None


def self_taught(material: Material) -> Outcome:
    own = next((model for model in material.external if model.name.startswith("self-taught")), None)
    others = [model for model in material.external if model is not own]
    codes = [code for code in own.averages if code != material.source] if own else []
    if not own or not others or not codes:
        return missing("Self-Taught was not evaluated beside another model (external.models).")
    rivals = {code: [model.averages[code] for model in others if code in model.averages] for code in codes}
    best = sum(all(own.averages[code].value >= rival.value for rival in rivals[code]) for code in codes)
    verdict = every(_ahead(own.averages[code], rivals[code]) for code in codes)
    return Outcome(verdict, f"The best in {best} of {len(codes)} languages.", "external")


def armorm(material: Material) -> Outcome:
    rival = next((model for model in material.external if model.name.startswith("armorm")), None)
    own = material.evaluations[0].accuracy(material.source)
    if not rival or material.source not in rival.averages or not own:
        return missing("ArmoRM was not evaluated (external.models: [armorm]).")
    other = rival.averages[material.source]
    verdict: Verdict = "no" if other.low > own.high else "yes" if own.value >= other.value else "not decided"
    shown = [f"{percent(accuracy.value)}{PERCENT} [{percent_range(accuracy)}]" for accuracy in (own, other)]
    return Outcome(verdict, f"This run's English model {shown[0]}, ArmoRM {shown[1]}.", "external")
