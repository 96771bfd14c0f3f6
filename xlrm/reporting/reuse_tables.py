"""The numbers of the page on reused reward models as CSV files, one row for each value."""

from collections.abc import Iterable, Iterator

from xlrm.analysis import source_ranking
from xlrm.evaluation.results import Estimate
from xlrm.reporting import (
    lineage,
    reuse_divergence,
    reuse_explanations,
    reuse_published,
    reuse_recommender,
    reuse_statements,
)
from xlrm.reporting.reuse_material import METHODS, Material, baselines, values_of
from xlrm.reporting.tables import Table


def gather(material: Material) -> dict[str, Table]:
    """Name of the file -> table, for tables that have rows."""
    made = {
        "win_rates": _table(
            "method judge source target win_rate low high prompts verdicts unreadable draws first position_bias "
            "reference_characters characters", _win_rates(material),
        ),
        "own_and_other": _table("method target own own_low own_high other other_low other_high difference low "
                                "high", _compared(material)),
        "paper": _table("table task method measure source target value", _paper(material)),
        "ranks": _table("method judge source target rank", _ranks(material)),
        "accuracy": _table("source target accuracy low high", _accuracy(material)),
        "increases": _table("method policy_target labeler evaluator increase low high", _increases(material)),
        "best_of_k": _table("target labeler evaluator k kl_bound increase low high", _best_of_k(material)),
        "divergence": _table("source target kl low high", _divergence(material)),
        "steps": _table("target labeler step kl evaluator increase", _steps(material)),
        "taus": _table("method target tau", _taus(material)),
        "typology": _table("method feature same different mean_same mean_different t p p_bonferroni", _typology(material)),
        "words": _table("target source rows words r2_fitted chance r2_held_out", _words(material)),
        "sft": _table("language data source metric value", _sft(material)),
        "translated_sft": _table("method language data source win_rate low high prompts", _translated(material)),
        "recommender": _table("of matrix rule target sources regret", reuse_recommender.rows(material)),
        "statements": _table("key where sentence papers_tables paper_verdict this_run verdict", _statements(material)),
        "artifacts": _table(lineage.COLUMNS, lineage.rows(material.artifacts)),
    }  # fmt: skip
    return {name: table for name, table in made.items() if table.rows}


def _table(columns: str, rows: Iterable[tuple]) -> Table:
    return Table(tuple(columns.split()), list(rows))


def _win_rates(material: Material) -> Iterator[tuple]:
    for verdicts in material.verdicts:
        for source, own in verdicts.rates.items():
            for target, rate in own.items():
                numbers = (rate.items, rate.verdicts, rate.unreadable, rate.draws, rate.first, rate.position_bias)
                yield (
                    verdicts.method, verdicts.judge, source, target, rate.win_rate, *rate.interval,
                    *("" if number is None else number for number in numbers), *(rate.characters or ("", "")),
                )  # fmt: skip


def _compared(material: Material) -> Iterator[tuple]:
    for method, compared in material.compared.items():
        by_target = (compared.own_by_target, compared.other_by_target, compared.difference_by_target)
        for target in compared.own_by_target:
            yield method, target, *(number for own in by_target for number in _numbers(own[target]))
        total = (compared.own, compared.other, compared.difference)
        yield method, "mean", *(number for estimate in total for number in _numbers(estimate))


def _numbers(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _paper(material: Material) -> Iterator[tuple]:
    for table in reuse_published.counterparts(material):
        for source, row in reuse_published.cells(table, material, scale=1.0).items():
            for target, value in row.items():
                yield table.number, table.task, table.method, table.measure, source, target, value


def _ranks(material: Material) -> Iterator[tuple]:
    for verdicts in material.verdicts:
        for source, own in source_ranking.ranks(values_of(verdicts.cells)).items():
            yield from ((verdicts.method, verdicts.judge, source, target, rank) for target, rank in own.items())


def _accuracy(material: Material) -> Iterator[tuple]:
    for source, own in material.accuracies.items():
        yield from ((source, target, *_numbers(estimate)) for target, estimate in own.items())
    for name, row in baselines(material).items():
        yield from ((f"{name} baseline", target, value, "", "") for target, value in row.items())


def _increases(material: Material) -> Iterator[tuple]:
    for method in METHODS:
        for target, by_labeler in material.rewards(method):
            for labeler, own in by_labeler.items():
                yield from ((method, target, labeler, name, *_numbers(estimate)) for name, estimate in own.items())


def _best_of_k(material: Material) -> Iterator[tuple]:
    for best in material.best_of_n:
        for labeler, own in best.increases.items():
            for evaluator, several in own.items():
                for k, estimate in zip(best.sizes, several, strict=True):
                    yield best.language, labeler, evaluator, k, best.kl_bound[k], *_numbers(estimate)


def _divergence(material: Material) -> Iterator[tuple]:
    for source, own in reuse_divergence.divergences(material).items():
        yield from ((source, target, *_numbers(estimate)) for target, estimate in own.items())


def _steps(material: Material) -> Iterator[tuple]:
    for gains in material.gains:
        for labeler, points in gains.curves.items():
            for point in points:
                divergence = "" if point.kl is None else point.kl
                yield from (
                    (gains.language, labeler, point.step, divergence, name, value)
                    for name, value in point.increases.items()
                )


def _taus(material: Material) -> Iterator[tuple]:
    for method, (result, _) in reuse_explanations.taus(material).items():
        yield from ((method, target, tau) for target, tau in result.by_target.items())


def _typology(material: Material) -> Iterator[tuple]:
    for method, result in reuse_explanations.typologies(material).items():
        for each in result.features:
            numbers = (each.mean_same, each.mean_different, each.t, each.p, each.p_bonferroni)
            row = ("" if number is None else number for number in numbers)
            yield method, each.feature, each.same, each.different, *row


def _words(material: Material) -> Iterator[tuple]:
    for target, own in material.words.items():
        for source, each in own.items():
            yield target, source, each.rows, each.words, each.in_sample, each.chance, each.held_out


def _sft(material: Material) -> Iterator[tuple]:
    for each in material.trained_sft:
        yield from ((each.language, each.kind, each.source, name, value) for name, value in each.metrics.items())


def _translated(material: Material) -> Iterator[tuple]:
    for each in material.translated:
        yield (
            each.method,
            each.language,
            each.kind,
            each.source,
            each.rate.win_rate,
            *each.rate.interval,
            each.rate.items,
        )


def _statements(material: Material) -> Iterator[tuple]:
    for each in reuse_statements.test(material):
        claim, outcome = each.claim, each.outcome
        yield claim.key, claim.where, claim.sentence, each.paper, each.paper_verdict, outcome.measured, outcome.verdict
