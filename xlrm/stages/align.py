"""Aligns a policy to one reward model's preferences by DPO."""

from pathlib import Path

from pydantic import Field

from xlrm.store.jsonl import read_rows
from xlrm.training.trainers import DpoTraining


class Config(DpoTraining):
    """Defaults are paper A's (appendix B)."""

    labeler: str
    """The reward model whose preferences to take: the language it was trained in."""
    learning_rate: float = Field(5e-7, gt=0)
    """Peak learning rate (paper A: 5e-7)."""
    batch_size: int = Field(32, ge=1)
    """Pairs in a step (paper A: 32)."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"ranked": (f"{config.labeler}.jsonl",)}


def run(config: Config, *, policy: Path, ranked: Path, output: Path) -> dict[str, float]:
    """Raises DataError for unreadable pairs, ConfigError for a batch that cannot be made."""
    from xlrm.training import trainers

    rows = read_rows(ranked / f"{config.labeler}.jsonl", ("prompt",))  # a policy may have said nothing at all
    metrics = trainers.train_dpo(policy, rows, config, output)
    return metrics and metrics | {"pairs": float(len(rows))}  # none on other nodes than the first
