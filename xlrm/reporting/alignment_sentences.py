"""Findings on aligned policies, in words."""

from collections.abc import Callable

from xlrm.evaluation.judged_policies import BASE, SOURCE, TARGET, JudgedPolicies
from xlrm.evaluation.rankings import Agreement
from xlrm.evaluation.results import REFERENCE
from xlrm.reporting.results import JudgedSystem, language_name
from xlrm.reporting.wording import PERCENT, listed, names, p_value, percent, points, signed, unreadable

_READINGS = {
    "higher": "wins more often than {}",
    "lower": "wins less often than {}",
    "no difference": "is not shown to differ from {}",
}


def answer(alignment: JudgedPolicies, source: str) -> str:
    """Whether the policy by the source's reward model wins more often than the base policy and than that by the language's
    own, in how many languages."""
    others = {BASE: "the base policy", TARGET: "the policy aligned by the language's own"}
    parts = [part for role, name in others.items() if (part := _readings(alignment, role, name))]
    if not parts:
        return ""
    return f"The policy aligned by the {language_name(source)} reward model {'; it '.join(parts)}."


def _readings(alignment: JudgedPolicies, other: str, name: str) -> str:
    languages: dict[str, list[str]] = {}
    for code, reading in alignment.readings(SOURCE, other).items():
        languages.setdefault(reading, []).append(code)
    parts = [f"{_READINGS[reading].format(name)} in {names(codes)}" for reading, codes in languages.items()]
    mean = alignment.differences.get((SOURCE, other))
    size = (
        f" (mean {points(mean.value)} points [{points(mean.low)}, {points(mean.high)}], {p_value(mean.p)})"
        if mean
        else ""
    )
    return f"{listed(parts)}{size}" if parts else ""


def reference(systems: list[JudgedSystem]) -> str:
    """What all systems are compared with."""
    references = list(dict.fromkeys(system.reference for system in systems))
    return listed(["the policy before alignment" if name == REFERENCE else name for name in references])


def judged(systems: list[JudgedSystem]) -> str:
    """By whom the policies were judged, and how many verdicts could not be read or were refused."""
    judges = listed(list(dict.fromkeys(system.judge for system in systems if system.judge)))
    verdicts = sum(system.rate.verdicts or 0 for system in systems)
    lost = unreadable(sum(system.rate.unreadable or 0 for system in systems), verdicts)
    refused = sum(system.rate.refused or 0 for system in systems)
    return f"{f'Judged by {judges}: ' if judges else ''}{lost}{f', {refused:,} questions refused' if refused else ''}."


def position(systems: list[JudgedSystem]) -> str:
    """Whether the judge prefers a response for its place; empty if that was not measured."""
    bias = [system.rate.position_bias for system in systems if system.rate.position_bias is not None]
    same = [system.rate.consistent for system in systems if system.rate.consistent is not None]
    first = [system.rate.first for system in systems if system.rate.first is not None]
    if bias and same:
        return (
            f"Position bias: judged in both orders, the same response won twice in {percent(_mean(same))}{PERCENT} of the "
            f"pairs; the first position won twice {points(_mean(bias))} points more often than the second."
        )
    return (
        f"Position: the response shown first got {percent(_mean(first))}{PERCENT} of the readable verdicts."
        if first
        else ""
    )


def jury(alignment: JudgedPolicies) -> str:
    """How far several judges, or several people, agree; empty for a single one."""
    pairs = [pair for results in alignment.languages for pair in results.kappa]
    if not pairs:
        return ""
    shares = _range([pair.agreement for pair in pairs], percent)
    kappas = [pair.kappa for pair in pairs if pair.kappa is not None]
    kappa = f", Cohen's kappa {_range(kappas, lambda value: signed(value, 2))}" if kappas else ""
    return f"Two judges each agree on {shares}{PERCENT} of the pairs{kappa}."


def _range(values: list[float], shown: Callable[[float], str]) -> str:
    return " to ".join(dict.fromkeys((shown(min(values)), shown(max(values)))))


def agreement(models: Agreement) -> str:
    """How far two reward models order the same responses alike."""
    tau = f", Kendall's tau {signed(models.kendall_tau, 2)}" if models.kendall_tau is not None else ""
    same = (
        f"{percent(models.ordered_alike)}{PERCENT} of the pairs of responses"
        if models.ordered_alike is not None
        else "no pairs"
    )
    return f"{language_name(models.first)} and {language_name(models.second)} order {same} alike{tau}"


def cost(alignment: JudgedPolicies) -> str:
    """What a generative judge took; empty for others."""
    known = [results.cost for results in alignment.languages if results.cost]
    if not known:
        return ""
    tokens = sum((entry.tokens_in or 0) + (entry.tokens_out or 0) for entry in known)
    usd = sum(entry.usd or 0.0 for entry in known)
    estimate = sum(entry.estimated_usd or 0.0 for entry in known)
    dollars = f", ${usd:,.2f} (estimated before: ${estimate:,.2f})" if usd or estimate else ""
    return f"The judge read and wrote {tokens:,} tokens{dollars}."


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
