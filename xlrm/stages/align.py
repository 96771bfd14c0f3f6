"""Aligns a policy to one reward model's preferences by DPO."""

from pathlib import Path

from pydantic import Field

from xlrm.rows import read_rows
from xlrm.training import TrainingConfig


class Config(TrainingConfig):
    """Defaults are paper A's (appendix B)."""

    labeler: str
    """The reward model whose preferences to take: the language it was trained in."""
    beta: float = Field(0.1, gt=0)
    """Weight of staying close to the policy (paper A: 0.1)."""
    learning_rate: float = Field(5e-7, gt=0)
    """Peak learning rate (paper A: 5e-7)."""
    batch_size: int = Field(32, ge=1)
    """Pairs in a step (paper A: 32)."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"ranked": (f"{config.labeler}.jsonl",)}


def run(config: Config, *, policy: Path, ranked: Path, output: Path) -> dict[str, float]:
    """Raises DataError for unreadable pairs, ConfigError for a batch that cannot be made."""
    from xlrm import models, training

    rows = read_rows(ranked / f"{config.labeler}.jsonl", ("prompt", "chosen", "rejected"))
    model, tokenizer = models.load_causal_lm(policy), models.load_tokenizer(policy)
    metrics = training.train_dpo(model, tokenizer, rows, config, config.beta, output)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return metrics | {"pairs": float(len(rows))}
