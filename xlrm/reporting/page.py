"""The page: everything found, put into the template."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from xlrm.published import SECTIONS as COLUMNS
from xlrm.published import figure_3, table_1, table_2, tables_3_to_7
from xlrm.reporting import figures, lineage, sentences
from xlrm.reporting.lineage import Made
from xlrm.reporting.results import (
    AVERAGE,
    CHANCE,
    SECTIONS,
    SUBSET,
    Comparison,
    Difference,
    Evaluation,
    External,
    WinRate,
    further,
    language_name,
    paper_cells,
    paper_delta,
    section_names,
    sections,
)
from xlrm.reporting.transfer import Transfer

FILTERS = (
    sentences.percent, sentences.percent_range, sentences.points, sentences.points_range, sentences.signed,
    sentences.p_value, sentences.duration, sentences.memory, sentences.shown, sentences.names, figures.model_name,
    language_name, section_names,
)  # fmt: skip


@dataclass(frozen=True)
class Material:
    """What a report is made from."""

    evaluations: list[Evaluation]
    """The source's first."""
    comparisons: list[Comparison]
    mean: Difference
    """Mean of the comparisons' average differences."""
    representations: dict[str, Any]
    """As the represent stage writes it."""
    transfer: Transfer
    """What f has to do with accuracy in other languages."""
    win_rates: list[WinRate]
    validation: dict[str, Any]
    """As the validate stage writes it."""
    registered: dict[str, Any]
    """As the register stage writes it."""
    artifacts: list[Made]
    external: list[External] = field(default_factory=list)
    """Reward models off the shelf."""


def render(material: Material, title: str, tiny: bool) -> str:
    """The whole page as HTML: the same text for the same material."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {one.__name__: one for one in FILTERS} | {"svg": Markup, "heat": _heat}
    template = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(title=title, tiny=tiny, **_context(material))


def _context(material: Material) -> dict[str, Any]:
    source = material.evaluations[0]
    return {
        "material": material,
        "source": source.language,
        "languages": [one.language for one in material.evaluations],
        "sections": sections(material.evaluations),
        "subsets": _subsets(source),
        "newest": _newest(material.artifacts),
        "sentences": sentences,
        "paper": table_1() if source.language == "en" else {},
        "paper_delta": paper_delta,
        "paper_sections": list(SECTIONS),
        "average": AVERAGE,
        "chance": CHANCE,
        "meaning": _meaning(),
        "failures": _failures(material.validation),
        "benchmarks": further(material.evaluations),
        **_published(source.language),
        **_figures(material),
        **_provenance(material.artifacts),
    }


def _published(source: str) -> dict[str, Any]:
    """What Hong et al. 2025 print, where the source is theirs."""
    bases = dict.fromkeys(one.reward_model for one in tables_3_to_7() if one.trained_in)
    return {
        "paper_bases": list(bases) if source == "en" else [],
        "paper_columns": list(COLUMNS.values()),
        "paper_cells": paper_cells,
        "table_2": table_2(),
        "figure_3": figure_3() if source == "en" else (),
    }


def _figures(material: Material) -> dict[str, Any]:
    source = material.evaluations[0].language
    return {
        "deltas": figures.deltas(material.comparisons, sections(material.evaluations)),
        "rewards": figures.rewards(material.evaluations),
        "singular_shares": figures.singular_shares(material.representations["models"], source),
        "embedding_norms": figures.embedding_norms(material.representations["embedding_norms"]),
        "transfer_figure": _transfer_figure(material, source),
        "win_rates": figures.win_rates(material.win_rates, source),
    }


def _transfer_figure(material: Material, source: str) -> str:
    """Empty where there is nothing to correlate."""
    if not material.transfer.share:
        return ""
    return figures.transfer(material.transfer.models, material.representations["models"]["base"]["mean"], source)


def _provenance(artifacts: list[Made]) -> dict[str, Any]:
    stages = lineage.by_stage(artifacts)
    seconds = [one.record.seconds for one in artifacts]
    return {
        "stages": stages,
        "configs": lineage.configs(artifacts),
        "software": lineage.software(artifacts),
        "drawing": lineage.drawing(artifacts),
        "numbers": {one.uri: one.number for one in artifacts},
        "input_uris": lineage.input_uris,
        "seconds": sum(seconds),
        "longest": max([*seconds, 0.001]),  # never 0: bars are shares of it
        "longest_stage": max([*(sum(one.record.seconds for one in many) for many in stages.values()), 0.001]),
        "peak": max([*(one.record.peak_memory_mib for one in artifacts), 0.001]),
    }


def _newest(artifacts: list[Made]) -> str:
    ends = [one.record.started + timedelta(seconds=one.record.seconds) for one in artifacts]
    return f"{max(ends):%Y-%m-%d %H:%M} UTC" if ends else ""


def _heat(value: float, chance: float = CHANCE) -> tuple[str, int]:
    """Colour and strength, 0 to 100, of an accuracy's cell: no colour at chance."""
    if value >= chance:
        return "right", round(100 * (value - chance) / (1 - chance))
    return "wrong", round(100 * (chance - value) / chance)


def _subsets(source: Evaluation) -> dict[str, dict[str, int]]:
    """Section -> accuracy's name of a subset -> items in one language."""
    rows = next(iter(source.scores.values()))
    found: dict[str, Counter[str]] = {}
    for row in rows:
        found.setdefault(row["section"], Counter())[SUBSET + row["subset"]] += 1
    return {name: dict(found[name]) for name in sections([source]) if name in found}


def _failures(validation: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Language -> expectation -> rows that failed in any of its files."""
    return {
        language: dict(sum((Counter(file["failures"]) for file in files.values()), Counter()))
        for language, files in validation["languages"].items()
    }


def _meaning() -> dict[str, str]:
    """Expectation -> what it expects."""
    from xlrm.expectations import MEANING

    return MEANING
