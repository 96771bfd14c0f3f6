"""The first lines of the page: what was done, and the main finding."""

from xlrm.analysis.comparisons import Comparison, MeanDifference
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.results import Evaluation
from xlrm.reporting.facts import Facts
from xlrm.reporting.results import language_name
from xlrm.reporting.wording import PERCENT, counts, listed, names, p_value, percent, percent_range, points, points_range

NO_MEAN = "The tests of these languages have no items in common, so there is no mean over the languages."


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
