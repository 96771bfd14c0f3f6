"""The page's tables as CSV for spreadsheets: UTF-8 with a byte order mark, one row for each value where possible."""

import base64
import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xlrm.evaluation.alignment_results import AlignmentResults
from xlrm.evaluation.benchmarks import AVERAGE, SUBSET
from xlrm.evaluation.rankings import Agreement, LabelerPairs
from xlrm.evaluation.results import Evaluation, Results
from xlrm.evaluation.reward_table import CORPUS
from xlrm.models.samples import Counts
from xlrm.reporting import claims, lineage
from xlrm.reporting.material import Material
from xlrm.reporting.published.paper_tables import table_2, tables_3_to_7
from xlrm.reporting.results import mean_scores, tested
from xlrm.scorers.judges.agreement import JudgesAgreement


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]
    rows: list[tuple]

    def content(self) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerows([self.columns, *([_cell(value) for value in row] for row in self.rows)])
        return text.getvalue().encode("utf-8-sig")

    def link(self) -> str:
        return link(self.content(), "text/csv")


def link(content: bytes, kind: str) -> str:
    """A data: URL that holds the whole file."""
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(content).decode()}"


def _cell(value: Any) -> Any:
    """Puts an apostrophe before a text that a spreadsheet would take for a formula."""
    return f"'{value}" if isinstance(value, str) and re.match(r"[=+\-@\t\r]", value) else value


def gather(material: Material, paper: bool) -> dict[str, Table]:
    """Name of the file -> table, for tables that have rows."""
    made = {
        "accuracy": _table("benchmark model tested_in part items accuracy low high", _accuracies(material)),
        "differences": _table("language part difference low high p source_accuracy own_accuracy", _deltas(material)),
        "external": _table("model kind tested_in accuracy low high unreadable verdicts", _external(material)),
        "paper": _table("table model trained_in tested_in part accuracy_percent", _paper() if paper else ()),
        "models": _table("name version aliases accepted reason champion_then", _models(material)),
        "gate": _table("name benchmark language section items champion challenger difference low high verdict", _gate(material)),
        "mistakes": _table(
            "model language section subset id prompt chosen rejected chosen_reward rejected_reward", _mistakes(material)
        ),
        "curves": _curves(material),
        "representations": _table("model f low high mean_cosine singular_value_shares", _representations(material)),
        "correlations": _table("accuracy_and models pearson low high p spearman spearman_p", _correlations(material)),
        "embedding_norms": _table("model language tokens shift wasserstein relative ks", _norms(material)),
        "claims": _table("claim where sentence papers_tables this_run verdict", _claims(material)),
        "win_rates": _table(
            f"language system reference judge win_rate low high {' '.join(_WIN_RATE)} runs reference_characters "
            "system_characters length_controlled length_controlled_label",
            _wins(material),
        ),
        "policy_differences": _table("language first second difference low high p p_holm", _policy_differences(material)),
        "agreement": _table(f"language {' '.join(Agreement.model_fields)}", _agreement(material)),
        "preference_pairs": _table(f"language labeler {' '.join(LabelerPairs.model_fields)}", _pairs(material)),
        "jury": _table("language judge system win_rate low high unreadable verdicts", _jury(material)),
        "kappa": _table(f"language {' '.join(JudgesAgreement.model_fields)}", _kappa(material)),
        "scores": _table("language judge system unit reference_mean system_mean weighted", _scores(material)),
        "alignment": _table(" ".join(_ALIGNMENT), _trained(material)),
        "responses": _table(f"language policy {' '.join(Counts.model_fields)}", _responses(material)),
        "validation": _table("language file rows_in rows_out passed failed_share expected_share limit expectation failed_rows",
            _validation(material),
        ),
        "artifacts": _table(
            lineage.COLUMNS, lineage.rows(material.artifacts)
        ),
    }  # fmt: skip
    return {name: table for name, table in made.items() if table.rows}


def write(tables: dict[str, Table], folder: Path) -> None:
    """Writes each table to a file of its name; without tables there is no folder."""
    for name, table in tables.items():
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.csv").write_bytes(table.content())


def _table(columns: str, rows: Iterable[tuple]) -> Table:
    return Table(tuple(columns.split()), list(rows))


def _accuracies(material: Material) -> Iterator[tuple]:
    for evaluation in material.evaluations:
        yield from _of_results(CORPUS, evaluation.language, evaluation.results)
        for name, results in evaluation.benchmarks.items():
            yield from _of_results(name, evaluation.language, results)
    yield from _of_baselines(material.evaluations)


def _of_results(benchmark: str, model: str, results: Results) -> Iterator[tuple]:
    for on, result in results.items():
        for part, accuracy in result.accuracy.items():
            yield benchmark, model, on, part, result.items, accuracy, *result.interval[part]


def _of_baselines(evaluations: list[Evaluation]) -> Iterator[tuple]:
    for on, result in tested(evaluations).items():
        for name, baseline in (("longest response", result.length_baseline), ("chance", result.random_baseline)):
            yield from ((CORPUS, name, on, part, result.items, value, "", "") for part, value in baseline.items())


def _deltas(material: Material) -> Iterator[tuple]:
    for comparison in material.comparisons:
        for part, delta in comparison.deltas.items():
            sides = [
                accuracy and accuracy.value
                for side in (comparison.source, comparison.own)
                if (accuracy := side.accuracy(comparison.language, part))
            ]
            yield comparison.language, part.removeprefix(SUBSET), delta.value, delta.low, delta.high, delta.p, *sides


def _external(material: Material) -> Iterator[tuple]:
    for model in material.external:
        yield from (
            (model.name, model.kind, on, cell.value, cell.low, cell.high, *model.unreadable.get(on, ("", "")))
            for on, cell in model.averages.items()
        )


def _paper() -> Iterator[tuple]:
    for cell in tables_3_to_7():
        for part, value in cell.accuracy.items():
            yield cell.table, cell.reward_model, cell.trained_in, cell.language, part, value
    for name, row in table_2().items():
        yield from ((2, name, "", on, AVERAGE, value) for on, value in row["average"].items())


def _models(material: Material) -> Iterator[tuple]:
    if registered := material.registered:
        for name, version in registered.versions.items():
            decision = registered.decisions.get(name)
            values = (decision.promoted, decision.reason, decision.champion) if decision else ("", "", "")
            yield name, version, " ".join(registered.aliases.get(name, [])), *values


def _gate(material: Material) -> Iterator[tuple]:
    for name, decision in material.registered.decisions.items() if material.registered else ():
        yield from ((name, *asdict(row).values()) for row in decision.rows)


def _mistakes(material: Material) -> Iterator[tuple]:
    for model, mistakes in material.mistakes.items():
        yield from ((model, *asdict(mistake).values()) for mistake in mistakes)


def _curves(material: Material) -> Table:
    names = list(dict.fromkeys(name for training in material.curves for row in training.rows for name in row))
    rows = [
        (training.stage, training.label, *(row.get(name, "") for name in names))
        for training in material.curves
        for row in training.rows
    ]
    return Table(("stage", "run", *names), rows)


def _representations(material: Material) -> Iterator[tuple]:
    for name, result in material.representations.models.items() if material.representations else ():
        yield name, result.mean, *result.interval, result.mean_cosine, " ".join(map(str, result.spectrum))


def _correlations(material: Material) -> Iterator[tuple]:
    if transfer := material.transfer:
        named = {"f": transfer.share, "|f - base|": transfer.moved}
        named |= {f"|f - base|, tested in {on}": correlation for on, correlation in transfer.by_language.items()}
        for name, item in named.items():
            if item:
                yield name, item.n, item.pearson, *(item.interval or ("", "")), item.p, item.spearman, item.spearman_p


def _norms(material: Material) -> Iterator[tuple]:
    for name, result in material.representations.embedding_norms.items() if material.representations else ():
        for language, norms in result.norms.items():
            away = result.distances.get(language)
            values = (away.shift, away.wasserstein, away.relative, away.ks) if away else ("",) * 4
            yield name, language, len(norms), *values


_WIN_RATE = (
    "items", "wins", "losses", "draws", "discrete", "standard_error", "run_standard_error", "verdicts", "unreadable",
    "refused", "dropped", "first", "consistent", "position_bias",
)  # fmt: skip
"""Fields of a win rate that are columns of their own."""


def _wins(material: Material) -> Iterator[tuple]:
    for system in material.judged:
        of = system.rate
        values = ("" if (value := getattr(of, name)) is None else value for name in _WIN_RATE)
        longer = (of.length_controlled.win_rate, of.length_controlled.label) if of.length_controlled else ("", "")
        yield (
            system.language, system.system, system.reference, system.judge, of.win_rate, *of.interval, *values,
            " ".join(map(str, of.runs)), *(of.characters or ("", "")), *longer,
        )  # fmt: skip


def _policy_differences(material: Material) -> Iterator[tuple]:
    if not material.alignment:
        return
    for results in material.alignment.languages:
        yield from ((results.language, *difference.model_dump().values()) for difference in results.differences)
    for (first, second), mean in material.alignment.differences.items():
        yield "mean", first, second, mean.value, mean.low, mean.high, mean.p, ""


def _agreement(material: Material) -> Iterator[tuple]:
    for ranked in material.rankings:
        yield from ((ranked.ranking.language, *each.model_dump().values()) for each in ranked.ranking.agreements)


def _pairs(material: Material) -> Iterator[tuple]:
    for ranked in material.rankings:
        yield from (
            (ranked.ranking.language, name, *each.model_dump().values())
            for name, each in ranked.ranking.labelers.items()
        )


_ALIGNMENT = tuple(dict.fromkeys(("language", "labeler", *AlignmentResults.model_fields)))


def _trained(material: Material) -> Iterator[tuple]:
    yield from (tuple(getattr(policy.results, name) for name in _ALIGNMENT) for policy in material.trained)


def _jury(material: Material) -> Iterator[tuple]:
    for results in material.alignment.languages if material.alignment else ():
        for judge, member in results.members.items():
            for system, rate in member.results.items():
                values = (rate.win_rate, *rate.interval, rate.unreadable, rate.verdicts)
                yield results.language, judge, system, *values


def _kappa(material: Material) -> Iterator[tuple]:
    for results in material.alignment.languages if material.alignment else ():
        yield from ((results.language, *pair.model_dump().values()) for pair in results.kappa)


def _scores(material: Material) -> Iterator[tuple]:
    for results in material.alignment.languages if material.alignment else ():
        for judge, system, scores in mean_scores(results):
            yield results.language, judge, system, scores.unit, scores.reference, scores.system, scores.weighted


def _responses(material: Material) -> Iterator[tuple]:
    yield from (
        (answers.language, answers.policy, *answers.counts.model_dump().values()) for answers in material.responses
    )


def _claims(material: Material) -> Iterator[tuple]:
    for tested_claim in claims.test(material):
        claim, outcome = tested_claim.claim, tested_claim.outcome
        yield claim.key, claim.where, claim.sentence, tested_claim.paper, outcome.measured, outcome.verdict


def _validation(material: Material) -> Iterator[tuple]:
    for language, files in material.validation.languages.items() if material.validation else ():
        for name, file in files.items():
            values = (file.rows_in, file.rows_out, file.passed, file.failed, file.expected, file.limit)
            for expectation, count in (file.failures or {"": 0}).items():
                yield language, name, *values, expectation, count
