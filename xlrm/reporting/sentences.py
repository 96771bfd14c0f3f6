"""Findings in words, and numbers as the page shows them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xlrm import settings
from xlrm.published import table_1
from xlrm.reporting.figures import model_name
from xlrm.reporting.results import (
    AVERAGE,
    CHANCE,
    Comparison,
    Difference,
    Estimate,
    Evaluation,
    WinRate,
    language_name,
    paper_delta,
)
from xlrm.reporting.transfer import Correlation, Transfer

MINUS = "\u2212"
LEVEL = 0.05
PERCENT = "\u00a0%"  # stays on the line of its number


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def percent_range(one: Estimate) -> str:
    """Whole percents: an interval's ends are not known any better."""
    return f"{100 * one.low:.0f}\u2013{100 * one.high:.0f}"


def signed(value: float, digits: int = 1) -> str:
    rounded = round(value, digits) + 0.0  # turns -0.0 into 0.0
    return f"{rounded:{'+' if rounded else ''}.{digits}f}".replace("-", MINUS)


def points(share: float, digits: int = 1) -> str:
    return signed(100 * share, digits)


def points_range(one: Estimate, digits: int = 1) -> str:
    return f"{points(one.low, digits)}, {points(one.high, digits)}"


def p_value(p: float) -> str:
    """With what p-values of 9,999 permutations can tell."""
    return "p\u00a0<\u00a00.001" if p < 0.001 else f"p\u00a0=\u00a0{p:.{3 if p < 0.1 else 2}f}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def memory(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"


def shown(value: Any) -> str:
    """As JSON where it is not text, and without user names and passwords in addresses."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    while (clean := settings.shown(text)) != text:  # a password may itself have an @
        text = clean
    return text


def names(codes: list[str]) -> str:
    found = [language_name(code) for code in codes]
    return f"{', '.join(found[:-1])} and {found[-1]}" if len(found) > 1 else found[0]


def headline(comparisons: list[Comparison], mean: Difference) -> str:
    source = language_name(comparisons[0].source.language)
    if len(comparisons) == 1:
        language = language_name(comparisons[0].language)
        subject, other = f"{language} pairs", f"the {language} one"
    else:
        subject, other = f"pairs in {names([one.language for one in comparisons])}", "models trained in those languages"
    ours, theirs = (percent(_mean(comparisons, side)) + PERCENT for side in (source_side, own_side))
    return (
        f"The {source} reward model is right on {ours} of {subject}, {other} on {theirs}: "
        f"{points(mean.value)} points [{points_range(mean)}], {p_value(mean.p)}."
    )


def source_side(one: Comparison) -> Estimate:
    return _accuracy(one.source, one.language)


def own_side(one: Comparison) -> Estimate:
    return _accuracy(one.own, one.language)


def _accuracy(evaluation: Evaluation, on: str) -> Estimate:
    found = evaluation.accuracy(on)
    assert found, "compared models were evaluated on the language they are compared in"
    return found


def _mean(comparisons: list[Comparison], side: Callable[[Comparison], Estimate]) -> float:
    return sum(side(one).value for one in comparisons) / len(comparisons)


def by_language(comparisons: list[Comparison]) -> str:
    """The single differences, from the source's best to its worst."""
    ranked = sorted(comparisons, key=lambda one: -one.deltas[AVERAGE].value)
    found = [f"{language_name(one.language)} {points(one.deltas[AVERAGE].value)}" for one in ranked]
    return f"{language_name(comparisons[0].source.language)} minus own, in points: {', '.join(found)}."


def matrix(evaluations: list[Evaluation]) -> str:
    cells = [found for one in evaluations for on in one.results if (found := one.accuracy(on))]
    unsure = sum(cell.includes(CHANCE) for cell in cells)
    ahead = sum(
        all(found.value <= best.value for other in evaluations if (found := other.accuracy(one.language)))
        for one in evaluations
        if (best := one.accuracy(one.language))
    )
    return (
        f"In {ahead} of {len(evaluations)} languages the model trained in that language is the best one; "
        f"{unsure} of {len(cells)} accuracies cannot be told from chance."
    )


def transfer(comparisons: list[Comparison]) -> str:
    told = [one.deltas[AVERAGE].value for one in comparisons if one.deltas[AVERAGE].p < LEVEL]
    ahead = sum(value > 0 for value in told)
    return (
        f"On average the {language_name(comparisons[0].source.language)} model is ahead in {ahead} of "
        f"{len(comparisons)} languages, behind in {len(told) - ahead}, and not told from the language's own in "
        f"{len(comparisons) - len(told)} (p ≥ {LEVEL})."
    )


def ties(evaluations: list[Evaluation]) -> str:
    """How many items had equal rewards, and what these counted."""
    results = [result for one in evaluations for result in one.results.values()]
    counted = {"lost": "as lost", "half": "half"}[evaluations[0].tie_policy]
    items, equal = (sum(result.get(key) or 0 for result in results) for key in ("items", "ties"))
    return f"In {equal:,} of {items:,} cases chosen and rejected had the same reward; that counts {counted}."


def paper_means() -> dict[str, float]:
    """Model -> mean of Table 1's average differences over its languages, in points."""
    found = {}
    for model, languages in table_1().items():
        deltas = [paper_delta(model, language, AVERAGE) or 0.0 for language in languages]
        found[model] = sum(deltas) / len(deltas)
    return found


def singular(models: dict[str, dict]) -> str:
    away = {name: one["mean"] - models["base"]["mean"] for name, one in models.items() if name != "base"}
    if not away:
        return f"Base {models['base']['mean']:.3f}."
    nearest, farthest = (pick(away, key=lambda name: abs(away[name])) for pick in (min, max))
    return (
        f"Base {models['base']['mean']:.3f}. The {model_name(nearest)} stays nearest to it "
        f"({signed(away[nearest], 3)}), the {model_name(farthest)} moves farthest ({signed(away[farthest], 3)})."
    )


POSITION = {"last": "last token", "mean": "mean over all tokens", "first": "first token"}
TEMPLATE = {"raw": "raw text", "chat": "the text as a user's message, in the chat template"}


def reading(representations: dict[str, Any]) -> str:
    """Which states were compared, and of how many texts of what."""
    said, account = representations["reading"], representations["parallel"]
    layer = "after the final norm" if said["layer"] == -1 else "before the final norm"
    place = f"{POSITION[said['position']]}, layer {signed(said['layer'], 0)} ({layer}); {TEMPLATE[said['template']]}"
    texts = Path(account["set"]).name  # of a file, or of a set in a folder of this machine
    left_out = account["incomplete"] + account["duplicates"]
    return (
        f"{place}; {representations['texts']:,} texts of {texts}"
        f"{f', {left_out:,} more left out as duplicates or not in every language' if left_out else ''}"
    )


def mean_cosine(model: dict[str, Any]) -> float:
    """Over pairs of two languages."""
    cells = [value for i, row in enumerate(model["cosine"]) for value in row[i + 1 :]]
    return sum(cells) / len(cells)


def correlated(found: Transfer) -> str:
    count = len(found.models)
    if not found.share or not found.moved:
        return (
            f"{count} reward models with an f and accuracies in other languages: too few, or too alike, to correlate."
        )
    return (
        f"Over {count} reward models, accuracy in other languages than their own correlates with f by "
        f"{_correlation(found.share)}, and with f's distance from the base model's by {_correlation(found.moved)}."
    )


def _correlation(one: Correlation) -> str:
    ends = f" [{', '.join(signed(end, 2) for end in one.interval)}]" if one.interval else " (too few for an interval)"
    return f"{signed(one.pearson, 2)}{ends}"


def wins(found: list[WinRate]) -> str:
    above = sum(one.rate.low > CHANCE for one in found)
    below = sum(one.rate.high < CHANCE for one in found)
    return f"{above} of {len(found)} aligned policies win more often than they lose, {below} less often."
