"""Trains a reward model on the preference pairs of one language."""

import hashlib
import json
from pathlib import Path

from pydantic import Field

from xlrm.rows import read_rows
from xlrm.training import TrainingConfig


class Config(TrainingConfig):
    """Defaults are paper A's (appendix B)."""

    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate (paper A: 1e-5)."""
    batch_size: int = Field(128, ge=1)
    """Pairs in a step (paper A: 128)."""
    similar_lengths: bool = False
    """Steps of pairs of like length: less padding, in an order that is a little less random than paper A's."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": (f"{config.language}/preferences.jsonl",)}


def run(config: Config, *, base: Path, corpora: Path, output: Path) -> dict[str, float]:
    """Raises DataError for unreadable pairs, ConfigError for a batch that cannot be made."""
    from xlrm import models, training

    rows = read_rows(corpora / config.language / "preferences.jsonl", ("prompt", "chosen", "rejected"))
    tokenizer = models.load_tokenizer(base)
    model = models.new_reward_model(base, tokenizer, config.seed)
    metrics = training.train_reward_model(model, tokenizer, rows, config, config.similar_lengths, output)
    model.config.use_cache = False
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    template = hashlib.sha256(tokenizer.chat_template.encode()).hexdigest()
    card = {"kind": "reward model", "language": config.language, "pairs": len(rows), "chat_template_sha256": template}
    (output / "xlrm.json").write_text(json.dumps(card, indent=2) + "\n")
    return metrics | {"pairs": float(len(rows)), "parameters": float(model.num_parameters())}
