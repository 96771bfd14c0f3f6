"""Results of evaluations, verdicts and the paper, in the order and under the names that the page shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from xlrm.analysis.hidden_states import BASE
from xlrm.evaluation.judged_policies import BASE as BASE_ROLE
from xlrm.evaluation.judged_policies import SOURCE, TARGET, JudgedPolicies, roles
from xlrm.evaluation.results import (
    REFERENCE,
    Estimate,
    Evaluation,
    ExternalResults,
    JudgeResults,
    Results,
    Scores,
    WinRate,
)
from xlrm.languages import LANGUAGES
from xlrm.reporting.published import paper_tables
from xlrm.reporting.published.paper_tables import Cell

CHANCE = 0.5
SECTIONS = ("Chat", "Chat Hard", "Safety", "Reasoning")
"""Sections of RewardBench in paper A's order; a benchmark's other sections come after them."""


Kind = Literal["base", "source", "target", "other"]
"""What a policy was aligned to: nothing, the source language's reward model, the language's own, or either in another way
(online) or from elsewhere."""


@dataclass(frozen=True)
class JudgedSystem:
    """A policy's responses in one language, against those of the reference."""

    language: str
    system: str
    """Name in the results of the stage judge."""
    kind: Kind
    reference: str
    judge: str
    rate: WinRate


@dataclass(frozen=True)
class External:
    """A reward model from elsewhere, on the benchmark of every language."""

    name: str
    kind: str
    """classifier or generative."""
    averages: dict[str, Estimate]
    """Language -> average accuracy."""
    unreadable: dict[str, tuple[int, int]]
    """For a generative model: language -> (verdicts that could not be read, verdicts)."""


def language_name(code: str) -> str:
    """English name of a language; for codes joined by +, the names joined in the same way. Other text stays
    unchanged."""
    return " + ".join(LANGUAGES[part].name if part in LANGUAGES else part for part in code.split("+"))


def model_name(name: str) -> str:
    if name == BASE:
        return "Base model"
    return f"{language_name(name)} RM" if all(code in LANGUAGES for code in name.split("+")) else name


def read_external(folder: Path) -> list[External]:
    """Results of the stage external, classifiers first."""
    externals = []
    for name, model in ExternalResults.read(folder).models.items():
        averages = {code: average for code, result in model.results.items() if (average := result.estimate())}
        counts = {code: (result.unreadable or 0, result.verdicts) for code, result in model.results.items()}
        unreadable = {code: (lost, verdicts) for code, (lost, verdicts) in counts.items() if verdicts}
        externals.append(External(name, model.kind, averages, unreadable))
    return sorted(externals, key=lambda external: external.kind)


def judged(alignment: JudgedPolicies) -> list[JudgedSystem]:
    """By language: the policy before alignment, those by the source's and by the language's own reward model, others."""
    order = {kind: place for place, kind in enumerate(get_args(Kind))}
    systems = []
    for results in alignment.languages:
        kinds: dict[str, Kind] = {system: _KINDS[role] for role, system in roles(results).items()}
        own = [
            JudgedSystem(results.language, name, kinds.get(name, "other"), results.reference, results.judge or "", rate)
            for name, rate in results.results.items()
        ]
        systems += sorted(own, key=lambda system: order[system.kind])
    return systems


_KINDS: dict[str, Kind] = {BASE_ROLE: "base", SOURCE: "source", TARGET: "target"}


def mean_scores(results: JudgeResults) -> list[tuple[str, str, Scores]]:
    """Judge, system and its mean scores: of the judge, or of each member of a jury that scores responses."""
    by_judge = {results.judge or "": results.scores} | {name: member.scores for name, member in results.members.items()}
    return [(judge, system, scores) for judge, own in by_judge.items() for system, scores in own.items()]


def system_name(system: str) -> str:
    """`base policy`, `by English RM`, or for a policy trained online its method too."""
    if system == REFERENCE:
        return "base policy"
    method, _, labeler = system.rpartition("-")
    if labeler in LANGUAGES and (not method or method.isalpha()):
        return f"{f'{method.upper()} ' if method else ''}by {language_name(labeler)} RM"
    return system


def sections(evaluations: list[Evaluation]) -> list[str]:
    """Names of the sections that occur, those of RewardBench first."""
    results = [result for evaluation in evaluations for result in evaluation.results.values()]
    seen = dict.fromkeys(name for result in results for name in result.sections)
    return [name for name in SECTIONS if name in seen] + [name for name in seen if name not in SECTIONS]


def tested(evaluations: list[Evaluation]) -> Results:
    """Language -> the result of the first model evaluated in it, for values that do not depend on the model."""
    results: Results = {}
    for evaluation in evaluations:
        results = results | {on: result for on, result in evaluation.results.items() if on not in results}
    return results


def further(evaluations: list[Evaluation]) -> dict[str, Results]:
    """Further benchmark -> language -> the first evaluation's result, for values that do not depend on the model."""
    benchmarks: dict[str, Results] = {}
    for evaluation in reversed(evaluations):
        for name, results in evaluation.benchmarks.items():
            benchmarks[name] = benchmarks.get(name, {}) | results
    return {name: results for name, results in reversed(benchmarks.items()) if results}


def paper_cells(on: str, trained_in: str) -> dict[str, Cell]:
    """Base model -> its result in Tables 3 to 7 of Hong et al. 2025, for the reward model trained in one language on
    the benchmark of another."""
    cells = paper_tables.tables_3_to_7()
    return {cell.reward_model: cell for cell in cells if (cell.language, cell.trained_in) == (on, trained_in)}


def paper_delta(model: str, language: str, name: str) -> float | None:
    """English minus target in points, from Table 1 of the paper; None if the table does not have it."""
    rows = paper_tables.table_1()[model].get(language)
    if rows is None or name not in rows["target"]:
        return None
    return round(rows["english"][name] - rows["target"][name], 1)
