"""Findings in words, and numbers as the page shows them."""

import json
from pathlib import Path
from typing import Any

from xlrm.analysis.comparisons import Comparison, MeanDifference
from xlrm.analysis.hidden_states import BASE, Similarity
from xlrm.analysis.representations import Representations
from xlrm.analysis.transfer import Correlation, Transfer
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.results import Estimate, Evaluation, Results
from xlrm.registry.champion import Registered
from xlrm.registry.gate import Decision
from xlrm.reporting.facts import Facts
from xlrm.reporting.figures import model_name
from xlrm.reporting.results import CHANCE, AlignedPolicy, External, language_name, tested
from xlrm.store import addresses
from xlrm.validation.summary import FileSummary, Summary

MINUS = "\u2212"
LEVEL = 0.05
NO_MEAN = "The tests of these languages have no items in common, so there is no mean over the languages."
PERCENT = "\u00a0%"  # stays on the line of its number


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def percent_range(estimate: Estimate) -> str:
    """Whole percents, because the ends of an interval are not known more precisely."""
    return f"{100 * estimate.low:.0f}\u2013{100 * estimate.high:.0f}"


def signed(value: float, digits: int = 1) -> str:
    rounded = round(value, digits) + 0.0  # turns -0.0 into 0.0
    return f"{rounded:{'+' if rounded else ''}.{digits}f}".replace("-", MINUS)


def points(share: float, digits: int = 1) -> str:
    return signed(100 * share, digits)


def points_range(estimate: Estimate, digits: int = 1) -> str:
    return f"{points(estimate.low, digits)}, {points(estimate.high, digits)}"


def p_value(p: float) -> str:
    """A p-value with as many digits as 9,999 permutations allow."""
    return "p\u00a0<\u00a00.001" if p < 0.001 else f"p\u00a0=\u00a0{p:.{3 if p < 0.1 else 2}f}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def memory(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"


def shown(value: Any) -> str:
    """Text, or JSON for any other value, without user names and passwords in addresses."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
    return addresses.shown(text)


def names(codes: list[str]) -> str:
    return listed([language_name(code) for code in codes])


def listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def shortened(text: str, start: int = 260, end: int = 80) -> str:
    """The beginning and the end of a long text."""
    return text if len(text) <= start + end + 20 else f"{text[:start].rstrip()} […] {text[-end:].lstrip()}"


def counts(by_language: dict[str, int], noun: str) -> str:
    """`320 pairs in each of English and Korean`, or `320 pairs in English and 310 in Korean`."""
    numbers = list(by_language.values())
    if len(set(numbers)) > 1:
        first, *others = [(f"{number:,}", language_name(code)) for code, number in by_language.items()]
        return listed([f"{first[0]} {noun} in {first[1]}", *(f"{number} in {name}" for number, name in others)])
    each = "each of " if len(numbers) > 1 else ""
    return f"{numbers[0]:,} {noun} in {each}{names(list(by_language))}"


def page_title(title: str, facts: Facts) -> str:
    """Title of the browser's window, which distinguishes this report from others."""
    pairs = f"{max(facts.pairs.values()):,} pairs" if facts.pairs else ""
    date = f"{facts.finished:%Y-%m-%d}" if facts.finished else ""
    return " · ".join(part for part in (facts.run, title, ", ".join(facts.bases), pairs, date) if part)


def about(facts: Facts) -> list[str]:
    """Run, models, data and date, one text each."""
    parts = [f"Run {facts.run}"] if facts.run else []
    if facts.bases:
        parts.append(f"reward models trained from {listed(facts.bases)}")
    if facts.pairs:
        parts.append(f"training: {counts(facts.pairs, 'preference pairs')}")
    if facts.items:
        parts.append(f"test: {counts(facts.items, 'pairs')}")
    if facts.policies:
        parts.append(f"policies aligned from {listed(facts.policies)}")
    if facts.prompts:
        parts.append(f"alignment: {counts(facts.prompts, 'pairs of responses')}")
    return [*parts, f"{facts.finished:%Y-%m-%d %H:%M} UTC"] if facts.finished else parts


def headline(
    evaluations: list[Evaluation], comparisons: list[Comparison], mean: MeanDifference | None, facts: Facts
) -> str:
    """The main finding, with the base model and the number of pairs behind it."""
    if not evaluations:
        return ""
    source = evaluations[0].language
    model = f"Trained from {listed(facts.bases)}" if facts.bases else ""
    if source in facts.pairs:
        model += f"{' ' if model else 'Trained '}on {facts.pairs[source]:,} pairs"
    subject = f"{model}, the" if model else "The"
    if not mean:
        return f"{subject} {language_name(source)} reward model is right on {_accuracies(evaluations[0])}."
    if len(comparisons) == 1:
        language = language_name(comparisons[0].language)
        tests, other = f"{mean.items:,} {language} test pairs", f"the {language} one"
    else:
        tests = f"{mean.items:,} test pairs in each of {names([comparison.language for comparison in comparisons])}"
        other = "models trained in those languages"
    return (
        f"{subject} {language_name(source)} reward model is right on {percent(mean.source)}{PERCENT} of {tests}, "
        f"{other} on {percent(mean.own)}{PERCENT}: {points(mean.value)} points [{points_range(mean)}], {p_value(mean.p)}."
    )


def _accuracies(evaluation: Evaluation) -> str:
    on = {code: accuracy for code in evaluation.results if (accuracy := evaluation.accuracy(code))}
    return listed(
        [
            f"{percent(a.value)}{PERCENT} [{percent_range(a)}] of {language_name(code)} test pairs"
            for code, a in on.items()
        ]
    )


def by_language(comparisons: list[Comparison]) -> str:
    """The differences in each language, from the source model's best to its worst."""
    ranked = sorted(comparisons, key=lambda comparison: -comparison.deltas[AVERAGE].value)
    parts = [
        f"{language_name(comparison.language)} {points(comparison.deltas[AVERAGE].value)}" for comparison in ranked
    ]
    return f"{language_name(comparisons[0].source.language)} minus own, in points: {', '.join(parts)}."


def matrix(evaluations: list[Evaluation]) -> str:
    """In how many languages the model trained in the language is the best, and how many accuracies differ from
    chance."""
    own = [evaluation for evaluation in evaluations if evaluation.accuracy(evaluation.language)]
    ahead = sum(
        all(rival.value <= best.value for other in evaluations if (rival := other.accuracy(evaluation.language)))
        for evaluation in own
        if (best := evaluation.accuracy(evaluation.language))
    )
    chance = _chance(evaluations)
    if len(evaluations) < 2 or not own:
        return chance
    where = f"In {'all' if ahead == len(own) else ahead or 'none'} of the {len(own)} languages"
    return f"{where}, the model trained in that language is the best. {chance}"


def _chance(evaluations: list[Evaluation]) -> str:
    cells = [cell for evaluation in evaluations for on in evaluation.results if (cell := evaluation.accuracy(on))]
    near = sum(cell.includes(CHANCE) for cell in cells)
    if near:
        return f"Chance lies within the interval of {near} of {len(cells)} accuracies."
    return f"All {len(cells)} accuracies differ from chance." if len(cells) > 1 else "The accuracy differs from chance."


def transfer(comparisons: list[Comparison]) -> str:
    deltas = [comparison.deltas[AVERAGE] for comparison in comparisons]
    ahead = sum(delta.value > 0 and delta.p < LEVEL for delta in deltas)
    behind = sum(delta.value < 0 and delta.p < LEVEL for delta in deltas)
    level = len(deltas) - ahead - behind
    kinds = ((ahead, "ahead of"), (behind, "behind"), (level, "level with"))
    parts = [(relation, count) for count, relation in kinds if count]
    (relation, count), *others = parts
    where = f"{relation} the language's own in {count} of {len(deltas)} language{'s' if len(deltas) > 1 else ''}"
    words = [where, *(f"{relation} it in {count}" for relation, count in others)]
    source = language_name(comparisons[0].source.language)
    note = f" (level: p ≥ {LEVEL})" if level else ""
    return f"On average over the sections, the {source} model is {listed(words)}{note}."


def ties(evaluations: list[Evaluation]) -> str:
    """How many items had equal rewards, and how these were counted."""
    results = [result for evaluation in evaluations for result in evaluation.results.values()]
    counted = {"lost": "as lost", "half": "half"}[evaluations[0].tie_policy]
    items, equal = sum(result.items for result in results), sum(result.ties or 0 for result in results)
    if not equal:
        return f"Chosen and rejected had different rewards in all {items:,} cases."
    return f"Chosen and rejected had the same reward in {equal:,} of {items:,} cases, which count {counted}."


def sizes(evaluations: list[Evaluation]) -> str:
    """A sentence if the tests differ in size between languages; else empty."""
    items = {on: result.items for on, result in tested(evaluations).items()}
    return f"Tests differ in size: {counts(items, 'pairs')}." if len(set(items.values())) > 1 else ""


def missing(results: Results) -> str:
    """Which subsets have no item in which languages; empty if none is missing. `results`: on one benchmark, as from
    `tested`."""
    languages: dict[tuple[str, ...], list[str]] = {}
    for on, result in results.items():
        if result.missing:
            languages.setdefault(result.missing, []).append(on)
    if not languages:
        return ""
    lacking = "; ".join(f"{listed(list(subsets))} in {names(codes)}" for subsets, codes in languages.items())
    return (
        f"The test has no items of these subsets: {lacking}. Averages there are over the other subsets and cannot be compared "
        "with those of the whole benchmark."
    )


def singular(models: dict[str, Similarity]) -> str:
    mean = models[BASE].mean
    away = {name: result.mean - mean for name, result in models.items() if name != BASE}
    base = f"f, the similarity of a text's hidden states across languages, is {mean:.3f} in the base model"
    if not away:
        return f"{base}."
    nearest, farthest = (pick(away, key=lambda name: abs(away[name])) for pick in (min, max))
    if nearest == farthest:
        return f"{base}; the {model_name(nearest)} differs from it by {signed(away[nearest], 3)}."
    return (
        f"{base}; the {model_name(nearest)} is closest to it ({signed(away[nearest], 3)}), "
        f"the {model_name(farthest)} farthest from it ({signed(away[farthest], 3)})."
    )


POSITION = {"last": "last token", "mean": "mean over all tokens", "first": "first token"}
TEMPLATE = {"raw": "raw text", "chat": "the text as a user's message, in the chat template"}


def reading(representations: Representations) -> str:
    """Which hidden states were compared, and on how many texts of which dataset."""
    mode, account = representations.reading, representations.parallel
    layer = "after the final norm" if mode.layer == -1 else "before the final norm"
    place = f"{POSITION[mode.position]}, layer {signed(mode.layer, 0)} ({layer}); {TEMPLATE[mode.template]}"
    texts = Path(account.set).name  # the last part of a path, for a file or a local dataset
    left_out = account.incomplete + account.duplicates
    return (
        f"{place}; {representations.texts:,} texts of {texts}"
        f"{f', {left_out:,} more left out as duplicates or not in every language' if left_out else ''}"
    )


def correlated(transfer: Transfer) -> str:
    count = len(transfer.models)
    if not transfer.share or not transfer.moved:
        return (
            f"Correlating f with accuracy needs at least three reward models with different values; there are {count}."
        )
    return (
        f"Over {count} reward models, accuracy in languages other than their own has a correlation of "
        f"{_correlation(transfer.share)} with f, and of {_correlation(transfer.moved)} with f's distance from the base model's."
    )


def _correlation(correlation: Correlation) -> str:
    ends = (
        f" [{', '.join(signed(end, 2) for end in correlation.interval)}]"
        if correlation.interval
        else " (too few for an interval)"
    )
    return f"{signed(correlation.pearson, 2)}{ends}"


def wins(policies: list[AlignedPolicy]) -> str:
    """How many aligned policies win and lose against the policy they were trained from: those whose interval excludes
    an even score."""
    better = sum(win.rate.low > CHANCE for win in policies)
    worse = sum(win.rate.high < CHANCE for win in policies)
    kinds = ((better, "better than"), (worse, "worse than"), (len(policies) - better - worse, "level with"))
    counted = [f"{count} {'is' if count == 1 else 'are'} {kind}" for count, kind in kinds if count]
    note = " (level: an even score lies within the interval)" if better + worse < len(policies) else ""
    return f"Of {len(policies)} aligned policies, {listed(counted)} the policy they were trained from{note}."


def judged(policies: list[AlignedPolicy]) -> str:
    """By whom the policies were judged, and how many verdicts could not be read."""
    names = listed(list(dict.fromkeys(policy.judge for policy in policies if policy.judge)))
    lost = unreadable(sum(policy.unreadable for policy in policies), sum(policy.verdicts for policy in policies))
    return f", judged by {names}; {lost}" if names else ""


def unreadable_in(models: list[External]) -> str:
    """How many verdicts of each generative model could not be read, over all languages."""
    counts = {
        model.name: [sum(column) for column in zip(*model.unreadable.values(), strict=True)]
        for model in models
        if model.unreadable
    }
    return listed([f"{name}: {unreadable(*count)}" for name, count in counts.items()])


def unreadable(count: int, verdicts: int) -> str:
    return f"{count:,} of {verdicts:,} verdicts are unreadable"


def verdict(decision: Decision | None) -> str:
    """The gate's decision on a model."""
    return f"{'accepted' if decision.promoted else 'refused'}: {decision.reason}" if decision else ""


def refused(registered: Registered | None) -> list[str]:
    """A sentence for each model that the gate refused."""
    if not registered:
        return []
    return [
        f"The registry's gate refused {name}, version {registered.versions[name]}: {decision.reason}."
        for name, decision in registered.decisions.items()
        if not decision.promoted
    ]


def validated(summary: Summary) -> str:
    """How many rows passed, and which languages and files the gate refused."""
    several = len(summary.languages.keys() - summary.own.keys()) > 1
    passed = f"{summary.rows_out:,} of {summary.rows_in:,} rows passed{' in every language' if several else ''}."
    if summary.own:
        passed += f" Data in {names(list(summary.own))} was not translated here and is checked by itself."
    if summary.passed:
        return passed
    refused = [
        f"{name.removesuffix('.jsonl')} in {language_name(code)}{_failed(file)}"
        for code, files in summary.languages.items()
        for name, file in files.items()
        if not (file.passed and file.rows_out)
    ]
    what = "translations" if summary.translations or several else "data"
    return f"The gate refused the {what}{f': {listed(refused)}' if refused else ''}. {passed}"


def _failed(file: FileSummary) -> str:
    if file.failed is None or file.expected is None or file.limit is None:
        return ""
    return f" ({percent(file.failed)}{PERCENT} of the rows failed, {percent(file.expected + file.limit)}{PERCENT} are allowed)"
