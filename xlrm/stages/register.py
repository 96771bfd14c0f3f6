"""Registers reward models in MLflow with card, signature and fingerprint, and makes each model that
passes the gate the champion of its name."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field

from xlrm.errors import GateError
from xlrm.evaluation import reward_table
from xlrm.evaluation.results import EvaluationResults
from xlrm.registry import candidates, champion, gate
from xlrm.scorers.fingerprints import Fingerprint
from xlrm.store import addresses
from xlrm.store.artifacts import Record


class Config(gate.Rule):
    prefix: str = Field(pattern=r"^[\w-]+$", examples=["my-models"])
    """Prefix of the registered names {prefix}-{language}: experiments with equal prefixes add versions to the same models,
    and each new version is compared with the champion there. A pipeline takes the experiment's name if none is given."""
    gate: Literal["report", "enforce"] = "report"
    """What happens if a challenger is not promoted: report records the decision, enforce also fails the run, after
    everything is stored. The decision itself is the same."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"evaluations": (EvaluationResults.FILE, reward_table.FILE, Fingerprint.FILE)}


def destination(config: Config) -> str:
    """Digest of MLflow's address; a local database that is moved together with the store keeps its digest."""
    where, home = addresses.tracking_uri(), str(addresses.home())
    if addresses.store().startswith(f"file://{home}/"):
        where = where.replace(home, "")
    return hashlib.sha256(where.encode()).hexdigest()


def stands(record: Record) -> bool:
    """Whether the registry still has all versions that the artifact names, of the same models. Raises ArtifactError."""
    return champion.still_registered(record)


def run(
    config: Config, *, reward_models: list[Path], evaluations: list[Path], lineage: dict[str, Record], output: Path
) -> dict[str, float]:
    """Writes registered.json, gate.md, and a folder for each name with the files stored beside the weights. Models and
    evaluations are matched by language. `promoted/{name}` is the gate's decision; for a version registered earlier, the
    decision made then. The aliases in registered.json are the current ones.

    Raises DataError, before any model is registered, for one without an evaluation or with numbers that are not finite;
    ConfigError, before that model is registered, for a benchmark it was not evaluated on; ArtifactError if MLflow does
    not answer; and GateError (enforce), after everything is stored, for a model that is not promoted.
    """
    from xlrm.tracking import mlflow_runs

    models = candidates.gather(config.prefix, reward_models, evaluations, lineage)
    registered = {facts.name: champion.register(config, facts, output / facts.name) for facts in models}
    metrics = champion.report(registered, output)
    refused = {name: entry for name, entry in registered.items() if not entry.decision.promoted}
    if config.gate == "enforce" and refused:
        mlflow_runs.current_run().log(metrics)  # a stage that fails logs no metrics itself
        why = "; ".join(f"{name} version {entry.version}: {entry.decision.reason}" for name, entry in refused.items())
        raise GateError(f"not promoted; a champion stays unchanged: {why}", where="register")
    return metrics
