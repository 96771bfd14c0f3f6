"""Registers reward models in MLflow, with card, signature and fingerprint, and lets each take the champion's place if it is
better than the champion."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field

from xlrm.errors import GateError
from xlrm.registry import candidates, champion, gate
from xlrm.store import addresses
from xlrm.store.artifacts import Record


class Config(gate.Rule):
    prefix: str = Field("xlrm", pattern=r"^[\w-]+$")
    """Registered names are {prefix}-{language}."""
    gate: Literal["report", "enforce"] = "report"
    """Which version is the champion is decided alike; enforce ends the run in an error, after all is stored, when a
    challenger did not become it."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"evaluations": ("results.json", "rewards.parquet", "fingerprint.json")}


def destination(config: Config) -> str:
    """Registered in one MLflow is not registered in another; a database that is moved with its store stays the same."""
    where, home = addresses.tracking_uri(), str(addresses.home())
    if addresses.store().startswith(f"file://{home}/"):
        where = where.replace(home, "")
    return hashlib.sha256(where.encode()).hexdigest()


def stands(record: Record) -> bool:
    """Whether the registry still has all versions that an artifact names, of the same models. Raises ArtifactError."""
    return champion.still_registered(record)


def run(
    config: Config, *, reward_models: list[Path], evaluations: list[Path], lineage: dict[str, Record], output: Path
) -> dict[str, float]:
    """Writes registered.json, gate.md, and a folder for each name with what is stored with its version beside the weights.
    Each model's evaluation is found by its language. `promoted/{name}` is the decision, of a version that was registered before
    the one of then; the aliases in registered.json are those of now.

    Raises, before any is registered, DataError for a model without an evaluation of its own or with one that has numbers that
    are not finite; ConfigError for a benchmark that a model was not evaluated on, before that model is registered; ArtifactError
    for an MLflow that does not answer; and GateError (enforce), after everything is stored, for a model that is not promoted.
    """
    from xlrm.tracking import mlflow_runs

    models = candidates.gather(config.prefix, reward_models, evaluations, lineage)
    registered = {facts.name: champion.register(config, facts, output / facts.name) for facts in models}
    metrics = champion.report(registered, output)
    refused = {name: one for name, one in registered.items() if not one.decision.promoted}
    if config.gate == "enforce" and refused:
        mlflow_runs.current_run().log(metrics)  # which a stage that fails does not
        why = "; ".join(f"{name} version {one.version}: {one.decision.reason}" for name, one in refused.items())
        raise GateError(f"register: not promoted, and the champion stays, where there is one: {why}")
    return metrics
