"""The figures of the page, and what each shows."""

from xlrm.analysis.comparisons import Comparison
from xlrm.analysis.embedding_norms import EmbeddingNorms
from xlrm.analysis.hidden_states import BASE, Similarity
from xlrm.analysis.transfer import Transferred
from xlrm.evaluation.benchmarks import AVERAGE
from xlrm.evaluation.results import Evaluation
from xlrm.reporting import curves as trainings
from xlrm.reporting import plots
from xlrm.reporting.curves import Curves
from xlrm.reporting.plots import Bar, Line, Mark, Point, Spread
from xlrm.reporting.published.paper_tables import table_1
from xlrm.reporting.results import CHANCE, JudgedSystem, language_name, model_name, paper_delta

MARKERS = ("^", "s")
"""Markers of the paper's models, in the table's order."""


def deltas(comparisons: list[Comparison], sections: list[str]) -> dict[str, str]:
    """Section or average -> figure: accuracy of the source's model minus that of the language's own, with the paper's
    values if it has them. All figures have one scale."""
    rows = {name: _delta_rows(comparisons, name) for name in (AVERAGE, *sections)}
    ends = [
        end
        for by_language in rows.values()
        for points in by_language.values()
        for point in points
        for end in (point.value, point.low, point.high)
        if end is not None
    ]
    limits = (min([*ends, 0]) - 2, max([*ends, 0]) + 2)
    return {name: plots.dots(f"delta-{name}", by_language, limits, 0, "points") for name, by_language in rows.items()}


def _delta_rows(comparisons: list[Comparison], name: str) -> dict[str, list[Point]]:
    rows = {}
    for comparison in comparisons:
        points = []
        if delta := comparison.deltas.get(name):
            role = "source" if delta.value > 0 else "target"
            points.append(Point(100 * delta.value, role, 100 * delta.low, 100 * delta.high))
        if comparison.source.language == "en":
            values = [paper_delta(model, comparison.language, name) for model in table_1()]
            points += [Point(v, "soft", marker=m) for v, m in zip(values, MARKERS, strict=True) if v is not None]
        if points:
            rows[language_name(comparison.language)] = points
    return rows


def rewards(evaluations: list[Evaluation]) -> dict[str, list[tuple[Evaluation, str]]]:
    """Benchmark language -> the source's model and that language's own, each with a histogram of its rewards."""
    histograms: dict[str, list[tuple[Evaluation, str]]] = {}
    for evaluation in evaluations:
        shown = [on for on in evaluation.scores if evaluation is evaluations[0] or on == evaluation.language]
        if not shown:
            continue
        sides = {on: [_rewards(evaluation.scores[on], side) for side in ("chosen", "rejected")] for on in shown}
        limits = plots.span([values for pair in sides.values() for values in pair])
        for on, (chosen, rejected) in sides.items():
            title = f"rewards of the {language_name(evaluation.language)} reward model on {language_name(on)} answers"
            figure = plots.histograms(f"rewards-{evaluation.language}-{on}", chosen, rejected, limits, title)
            histograms.setdefault(on, []).append((evaluation, figure))
    return histograms


def _rewards(rows: list[dict], side: str) -> list[float]:
    return [reward for row in rows for reward in row[side]]


def singular_shares(models: dict[str, Similarity], source: str) -> str:
    """`models`: the base model first, then the reward models by language."""
    rows = [
        Spread(
            model_name(name), result.values, result.mean, {BASE: "base", source: "source"}.get(name, "target"),
            *result.interval,
        )
        for name, result in models.items()
    ]  # fmt: skip
    return plots.ridges("singular", rows, "share of the largest singular value")


def embedding_norms(models: dict[str, EmbeddingNorms]) -> dict[str, str]:
    """Model -> figure, for models in which a language has tokens of its own."""
    figures = {name: _norms(f"norms-{place}", result.norms) for place, (name, result) in enumerate(models.items())}
    return {name: figure for name, figure in figures.items() if figure}


def _norms(name: str, norms: dict[str, list[float]]) -> str:
    rows = [
        Spread(language_name(language), values, sorted(values)[len(values) // 2], "base")
        for language, values in norms.items()
        if values
    ]
    return plots.ridges(name, rows, "norm of a token's embedding") if rows else ""


def transfer(models: list[Transferred], base: float, source: str) -> str:
    """Mean accuracy of each reward model in languages other than its own, against its f; `base` is the base model's
    f."""
    marks = [
        Mark(
            language_name(model.language), model.share.value, 100 * model.accuracy,
            "source" if model.language == source else "target", model.share.low, model.share.high,
            [100 * value for value in model.accuracies.values()],
        )
        for model in models
    ]  # fmt: skip
    return plots.scatter(
        "transfer", marks, base, "share of the largest singular value", "accuracy in other languages, %"
    )


PATTERNS: dict[str, tuple[str, str]] = {
    "base": ("base", ""), "source": ("source", "//"), "target": ("target", "--"), "other": ("right", "xx"),
}  # fmt: skip
"""Kind of a policy -> role of its colour, and pattern of its bar."""


def win_rates(systems: list[JudgedSystem], reference: str) -> str:
    """Figure 3 of the paper: bars of each language's policies, against one reference."""
    groups: dict[str, list[Bar]] = {}
    for system in systems:
        rate, (role, pattern) = system.rate.estimate, PATTERNS[system.kind]
        groups.setdefault(language_name(system.language), []).append(
            Bar(100 * rate.value, 100 * rate.low, 100 * rate.high, role, pattern)
        )
    label = f"win rate against {reference}, %"
    return plots.bars("wins", groups, 100 * CHANCE, label, f"{label}, by language and policy") if groups else ""


def curves(shown: list[Curves], source: str) -> list[tuple[Curves, dict[str, str]]]:
    """Each training with a figure for each of its measures. Figures of one stage and measure share their scale."""
    return [
        (training, {
            name: plots.lines(
                f"{name}-{place}", series, _limits(shown, training.stage, name), f"{name} of the {training.title}"
            )
            for name in trainings.MEASURES[training.stage] if (series := _series(training, name, source))
        })
        for place, training in enumerate(shown)
    ]  # fmt: skip


def _series(training: Curves, name: str, source: str) -> list[Line]:
    role = "source" if (training.labeler or training.language) == source else "target"
    train, heldout = trainings.thinned(training.values(name)), training.values(f"heldout_{name}")
    return [line for line in (Line(train, role), Line(heldout, "ink", dots=True)) if line.values]


def _limits(shown: list[Curves], stage: str, name: str) -> tuple[float, float]:
    values = [
        value
        for training in shown
        if training.stage == stage
        for part in (trainings.thinned(training.values(name)), training.values(f"heldout_{name}"))
        for _, value in part
    ]
    low, high = min(values), max(values)
    margin = max(0.05 * (high - low), 0.01)
    return low - margin, high + margin
