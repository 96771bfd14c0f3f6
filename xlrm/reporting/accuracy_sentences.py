"""Findings on accuracies, in words."""

from xlrm.analysis.comparisons import Comparison
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.results import Evaluation, Results
from xlrm.reporting.results import CHANCE, External, language_name, tested
from xlrm.reporting.wording import LEVEL, counts, listed, names, unreadable


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


def unreadable_in(models: list[External]) -> str:
    """How many verdicts of each generative model could not be read, over all languages."""
    counts = {
        model.name: [sum(column) for column in zip(*model.unreadable.values(), strict=True)]
        for model in models
        if model.unreadable
    }
    return listed([f"{name}: {unreadable(*count)}" for name, count in counts.items()])
