"""Writes what an experiment found as one HTML page that needs nothing else."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from xlrm.artifacts import Record
from xlrm.reporting import lineage as provenance
from xlrm.reporting import page, results, transfer
from xlrm.reporting.results import AVERAGE


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = "Cross-lingual reward models"
    """Heading of the page."""
    tiny: bool = True
    """Marks the numbers as a tiny model's: they show the method, not the papers' results."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": ("summary.json",), "verdicts": ("results.json",), "external": ("results.json",)}


def run(
    config: Config, *, corpora: Path, evaluations: list[Path], representations: Path, verdicts: list[Path],
    registered: Path, lineage: dict[str, Record], external: Path | None = None, output: Path,
) -> dict[str, float]:  # fmt: skip
    """Writes report.html. `evaluations`: the source language's reward model first, then each target's. `external`: what the
    stage of that name found of models off the shelf.

    `transfer/{language}` is the source's model minus that language's own, in average accuracy on its benchmark;
    `correlation/...` is of the models' f, or how far it is from the base's, with their accuracy in other languages.
    Raises DataError for evaluations that cannot be compared.
    """
    source, *targets = found = results.read_evaluations(evaluations)
    comparisons = results.compare_all(source, targets)
    representations_found = _read(representations / "results.json")
    transferred = transfer.measure(found, representations_found["models"])
    material = page.Material(
        evaluations=found,
        comparisons=comparisons,
        mean=results.mean_delta(comparisons),
        representations=representations_found,
        transfer=transferred,
        win_rates=results.read_win_rates(verdicts),
        validation=_read(corpora / "summary.json"),
        registered=_read(registered / "registered.json"),
        artifacts=provenance.made(lineage),
        external=results.read_external(external) if external else [],
    )
    (output / "report.html").write_text(page.render(material, config.title, config.tiny), encoding="utf-8")
    deltas = {f"transfer/{one.language}": one.deltas[AVERAGE].value for one in comparisons}
    return {"transfer/mean_delta": material.mean.value} | deltas | _correlations(transferred)


def _correlations(found: transfer.Transfer) -> dict[str, float]:
    metrics = {}
    for name, one in (("f", found.share), ("moved", found.moved)):
        if one:
            metrics[f"correlation/{name}/pearson"], metrics[f"correlation/{name}/spearman"] = one.pearson, one.spearman
    return metrics


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
