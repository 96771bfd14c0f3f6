"""The page: the material of a report, put into the template."""

from collections import Counter
from typing import Any

from xlrm.analysis.comparisons import Difference, shared
from xlrm.analysis.hidden_states import BASE
from xlrm.evaluation.benchmarks import AVERAGE, SUBSET
from xlrm.evaluation.judged_policies import BASE as BASE_ROLE
from xlrm.evaluation.judged_policies import COMPARED, SOURCE, TARGET
from xlrm.evaluation.results import Estimate, Evaluation
from xlrm.registry.gate import Decision
from xlrm.reporting import (
    accuracy_sentences,
    alignment_sentences,
    claims,
    documents,
    figures,
    gate_sentences,
    lineage,
    mistakes,
    paper_sentences,
    representation_sentences,
    sentences,
    wording,
)
from xlrm.reporting.material import Material
from xlrm.reporting.published.paper_tables import SECTIONS as COLUMNS
from xlrm.reporting.published.paper_tables import figure_3, table_1, table_2, tables_3_to_7
from xlrm.reporting.results import (
    CHANCE,
    SECTIONS,
    further,
    language_name,
    mean_scores,
    model_name,
    paper_cells,
    paper_delta,
    sections,
    system_name,
    tested,
)
from xlrm.reporting.tables import Table, link
from xlrm.validation.summary import Summary

FILTERS = (
    wording.percent, wording.percent_range, wording.points, wording.points_range, wording.signed, wording.p_value,
    wording.duration, wording.memory, wording.shown, wording.names, wording.shortened, wording.share, gate_sentences.verdict,
    model_name, language_name, system_name, mean_scores,
)  # fmt: skip
WORDS = (
    sentences, accuracy_sentences, alignment_sentences, gate_sentences, paper_sentences, representation_sentences, wording,
)  # fmt: skip
"""Modules whose functions the templates call, by the module's name."""


def heading(material: Material) -> str:
    """Heading of the page without a title of its own."""
    alone = len(material.evaluations) == 1 and len(tested(material.evaluations)) == 1
    return "Reward model" if alone else "Cross-lingual reward models"


def render(material: Material, title: str, tables: dict[str, Table], texts: dict[str, str]) -> str:
    """The whole page as HTML, with the tables and `texts` (name of a file -> its content) to download. The same material
    gives the same text."""
    template = documents.template("report.html.j2", heat=_heat, **{function.__name__: function for function in FILTERS})
    files = {name: link(text.encode(), "text/plain") for name, text in texts.items()}
    return template.render(title=title, tiny=material.facts.tiny, tables=tables, files=files, **_context(material))


def _context(material: Material) -> dict[str, Any]:
    source, evaluations = material.source, material.evaluations
    return {
        "material": material,
        "facts": material.facts,
        "left_out": material.left_out(),
        "claims": claims.test(material),
        "claims_summary": claims.summary,
        "judged": material.judged,
        "source": source,
        "languages": [evaluation.language for evaluation in evaluations],
        "tested": tested(evaluations),
        "sections": sections(evaluations),
        "shared": shared(evaluations),
        "subsets": _subsets(evaluations[0]) if evaluations else {},
        "wrong": _wrong(evaluations),
        **{module.__name__.rpartition(".")[2]: module for module in WORDS},
        "paper": table_1() if source == "en" else {},
        "paper_delta": paper_delta,
        "paper_sections": list(SECTIONS),
        "average": AVERAGE,
        "chance": CHANCE,
        "meaning": _meaning(),
        "failures": _failures(material.validation) if material.validation else {},
        "models": _models(material),
        "benchmarks": further(evaluations),
        **_alignment(material),
        **_published(source),
        **_figures(material),
        **lineage.context(material.artifacts),
    }


def _alignment(material: Material) -> dict[str, Any]:
    alignment = material.alignment
    names = {SOURCE: f"{language_name(material.source)} RM", TARGET: "own RM", BASE_ROLE: "base policy"}
    rows: dict[str, dict[tuple[str, str], Any]] = {}
    for results in alignment.languages if alignment else ():
        for pair in COMPARED:
            if alignment and (difference := alignment.difference(results.language, *pair)):
                key = (names[pair[0]], names[pair[1]])
                rows.setdefault(language_name(results.language), {})[key] = Difference(
                    difference.value, difference.low, difference.high, difference.p_holm
                )
    for pair, mean in alignment.differences.items() if alignment and len(rows) > 1 else ():
        rows.setdefault("mean", {})[names[pair[0]], names[pair[1]]] = mean
    present = dict.fromkeys(pair for row in rows.values() for pair in row)
    return {"differences": rows, "compared": list(present), "alignment_means": alignment.means if alignment else {}}


def _published(source: str) -> dict[str, Any]:
    """Results that Hong et al. 2025 print; most are left out if the source language is not theirs."""
    bases = dict.fromkeys(cell.reward_model for cell in tables_3_to_7() if cell.trained_in)
    return {
        "paper_bases": list(bases) if source == "en" else [],
        "paper_columns": list(COLUMNS.values()),
        "paper_cells": paper_cells,
        "table_2": table_2(),
        "figure_3": figure_3() if source == "en" else (),
    }


def _figures(material: Material) -> dict[str, Any]:
    source, represented, judged = material.source, material.representations, material.judged
    return {
        "deltas": figures.deltas(material.comparisons, sections(material.evaluations)) if material.comparisons else {},
        "rewards": figures.rewards(material.evaluations),
        "curves": figures.curves(material.curves, source),
        "singular_shares": figures.singular_shares(represented.models, source) if represented else "",
        "embedding_norms": figures.embedding_norms(represented.embedding_norms) if represented else {},
        "transfer_figure": _transfer_figure(material),
        "win_rates": figures.win_rates(judged, alignment_sentences.reference(judged)),
    }


def _transfer_figure(material: Material) -> str:
    """Figure of the correlation; empty if there is none."""
    if not (material.representations and material.transfer and material.transfer.share):
        return ""
    base = material.representations.models[BASE].mean
    return figures.transfer(material.transfer.models, base, material.source)


def _models(material: Material) -> list[tuple[str, str, str, Estimate | None, Decision | None]]:
    """Name, version, address, accuracy in its own language and gate's decision of each registered model."""
    registered, models = material.registered, []
    if registered is None:
        return []
    for name, version in registered.versions.items():
        aliases = registered.aliases.get(name, [])
        uri = f"models:/{name}@{aliases[0]}" if aliases else f"models:/{name}/{version}"
        own = next(
            (evaluation for evaluation in material.evaluations if name.endswith(f"-{evaluation.language}")), None
        )
        accuracy = own.accuracy(own.language) if own else None
        models.append((name, version, uri, accuracy, registered.decisions.get(name)))
    return models


def _heat(value: float, chance: float = CHANCE) -> tuple[str, int]:
    """Colour of an accuracy's cell, and its strength from 0 to 100; no colour at chance."""
    if value >= chance:
        return "right", round(100 * (value - chance) / (1 - chance))
    return "wrong", round(100 * (chance - value) / chance)


def _wrong(evaluations: list[Evaluation]) -> dict[str, dict[str, tuple[int, int]]]:
    """Language of a reward model -> section -> (pairs that it ranks wrongly, all pairs), over all languages."""
    counts = {}
    for evaluation in evaluations:
        rows = [row for rows in evaluation.scores.values() for row in rows]
        wrong = Counter(row["section"] for row in rows if mistakes.is_wrong(row))
        counts[evaluation.language] = {
            name: (wrong[name], total) for name, total in Counter(r["section"] for r in rows).items()
        }
    return counts


def _subsets(source: Evaluation) -> dict[str, dict[str, int]]:
    """Section -> name of a subset's accuracy -> items in the first language tested."""
    rows = next(iter(source.scores.values()), [])
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row["section"], Counter())[SUBSET + row["subset"]] += 1
    return {name: dict(counts[name]) for name in sections([source]) if name in counts}


def _failures(validation: Summary) -> dict[str, dict[str, int]]:
    """Language -> expectation -> failed rows over all its files."""
    return {
        language: dict(sum((Counter(file.failures) for file in files.values()), Counter()))
        for language, files in validation.languages.items()
    }


def _meaning() -> dict[str, str]:
    """Expectation -> what it expects."""
    from xlrm.validation.suite import MEANING

    return MEANING
