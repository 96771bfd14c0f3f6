"""Writes the results of an experiment as one self-contained HTML page, as Markdown and LaTeX, and as CSV files."""

from pathlib import Path

from xlrm.analysis import comparisons, transfer
from xlrm.analysis.representations import Representations
from xlrm.data import data_card
from xlrm.data.corpus_schema import BENCHMARK_ITEMS
from xlrm.data.data_card import DataCard
from xlrm.evaluation import judged_policies, reward_table
from xlrm.evaluation.results import EvaluationResults, ExternalResults, JudgedItems, JudgeResults, read_evaluations
from xlrm.languages import InLanguages
from xlrm.registry.champion import Registered
from xlrm.reporting import curves, facts, mistakes, rendering, responses, results
from xlrm.reporting import lineage as provenance
from xlrm.reporting.material import Material
from xlrm.store.artifacts import Record
from xlrm.validation.summary import Summary


class Config(InLanguages):
    title: str | None = None
    """Heading of the page; by default "Cross-lingual reward models", or "Reward model" if there is one language alone."""
    run: str = ""
    """Name of the run, shown in the title and first line of the page."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {
        "corpora": (Summary.FILE, f"*/{BENCHMARK_ITEMS.file}"), "evaluations": (EvaluationResults.FILE, reward_table.FILE),
        "representations": (Representations.FILE,), "verdicts": (JudgeResults.FILE, JudgedItems.FILE),
        "external": (ExternalResults.FILE,), "registered": (Registered.FILE,),
        "policies": (curves.FILE, "training_log.jsonl"), "curated": (DataCard.FILE,),
    }  # fmt: skip


def run(
    config: Config, *, lineage: dict[str, Record], output: Path, corpora: Path | None = None,
    evaluations: list[Path] | None = None, representations: Path | None = None, verdicts: list[Path] | None = None,
    policies: list[Path] | None = None, registered: Path | None = None, external: Path | None = None,
    curated: Path | None = None,
) -> dict[str, float]:  # fmt: skip
    """Writes report.html, report.md, report.tex and tables/*.csv. A part without its input is left out, and the page says
    how to get it.

    `corpora`: the output of validate, or its summary alone. `evaluations`: the source language's reward model first,
    then those of the target languages. `external`: the output of the stage `external`. `policies`: aligned policies
    without verdicts. `curated`: the source language's corpus, whose account it quotes.

    `transfer/{language}` is the average accuracy of the source language's model on that language's benchmark, minus
    that of the language's own model. `correlation/...` is between a model's accuracy in other languages and its f, or
    the distance of its f from the base model's. Raises DataError for evaluations that cannot be compared.
    """
    evaluated = read_evaluations(evaluations or [])
    compared = comparisons.compare_all(evaluated[0], evaluated[1:]) if evaluated else []
    represented, validation = Representations.find(representations), Summary.find(corpora)
    material = Material(
        facts=facts.gather(config.run, lineage, evaluated, validation),
        evaluations=evaluated,
        comparisons=compared,
        mean=comparisons.mean_delta(compared),
        representations=represented,
        transfer=transfer.measure(evaluated, represented.models) if represented else None,
        alignment=judged_policies.read(verdicts) if verdicts else None,
        responses=responses.responses(lineage),
        rankings=responses.rankings(lineage),
        trained=responses.trainings(lineage),
        validation=validation,
        registered=Registered.find(registered),
        artifacts=provenance.made(lineage),
        external=results.read_external(external) if external else [],
        mistakes=mistakes.find(evaluated, corpora) if corpora else {},
        curves=curves.read(lineage),
        notes=data_card.notes(card) if (card := DataCard.find(curated)) else [],
    )
    rendering.write(material, config.title, output)
    return material.metrics()
