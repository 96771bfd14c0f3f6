"""Registers reward models in MLflow, each under an alias, with its accuracies."""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import artifacts, settings


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = Field("xlrm", pattern=r"^[\w-]+$")
    """Registered names are {prefix}-{language}."""
    alias: str = Field("champion", pattern=r"^[a-z][\w-]*$")
    """Alias that the new versions get."""
    gate: Literal["report", "enforce"] = "report"
    """Whether a new version that is not better than the champion is reported, or fails the run."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"evaluations": ("results.json",)}


def fingerprint(config: Config) -> str:
    """Registered in one MLflow is not registered in another."""
    return hashlib.sha256(settings.tracking_uri().encode()).hexdigest()


def run(config: Config, *, reward_models: list[Path], evaluations: list[Path], output: Path) -> dict[str, float]:
    """Writes registered.json: name -> version. Each model's evaluation is found by its language."""
    from xlrm import tracking

    results = {found["language"]: found["results"] for found in (_read(path / "results.json") for path in evaluations)}
    registered = {}
    for path in reward_models:
        language = _read(path / "xlrm.json")["language"]
        metrics = {
            f"accuracy/{on}/{name.lower().replace(' ', '_')}": value
            for on, result in results[language].items()
            for name, value in result["accuracy"].items()
            if not name.startswith("subset/")
        }
        name = f"{config.prefix}-{language}"
        digest, _ = artifacts.digest_directory(path)
        registered[name] = tracking.register(name, path, digest, config.alias, metrics, tracking.current_run())
    (output / "registered.json").write_text(json.dumps({"alias": config.alias, "versions": registered}, indent=2))
    return {f"version/{name}": float(version) for name, version in registered.items()}


def _read(path: Path) -> dict:
    return json.loads(path.read_text())
