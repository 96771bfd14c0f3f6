"""Trains a reward model on the preference pairs of one language, or of several."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from xlrm.store.jsonl import read_rows
from xlrm.training import columns, heldout, model_card
from xlrm.training.trainers import RewardTraining


class Config(RewardTraining):
    """Defaults are paper A's (appendix B), but for what needs a GPU."""

    language: str
    """Language of the training data; several, such as en+es, make a bilingual or multilingual reward model."""
    mixture: Literal["split", "all"] = "split"
    """Of several languages: split has each pair once, in one of them by chance; all has each pair in each."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate (paper A: 1e-5)."""
    batch_size: int = Field(128, ge=1)
    """Pairs in a step (paper A: 128)."""

    @field_validator("language")
    @classmethod
    def _each_once(cls, language: str) -> str:
        codes = language.split("+")
        if not all(codes) or len(set(codes)) < len(codes):
            raise ValueError("codes of different languages, joined by +")
        return language


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {
        "corpora": tuple(
            f"{language}/{name}"
            for language in config.language.split("+")
            for name in ("preferences.jsonl", heldout.FILE)
        )
    }


def run(config: Config, *, base: Path, corpora: Path, output: Path) -> dict[str, float]:
    """Raises DataError for unreadable pairs, ConfigError for a batch that cannot be made."""
    from xlrm.training import trainers

    rows = training_rows(config, corpora)
    scored = heldout.rows(corpora, config.language.split("+"), required(config))
    metrics = trainers.train_reward_model(base, rows, config, output, scored)
    if not metrics:  # of several nodes the first has the model
        return {}
    model_card.write_reward_model(output, base, config.language, len(rows), config.model_dump(mode="json"), metrics)
    return metrics | {"pairs": float(len(rows))}


def required(config: Config) -> tuple[str, ...]:
    return ("prompt",) if config.loss == "pointwise" else ("prompt", "chosen", "rejected")


def training_rows(config: Config, corpora: Path) -> list[dict]:
    """Rows of the language, or of a mixture, in the order of the corpus. Raises DataError for pairs without ids in one."""
    languages = config.language.split("+")
    found = {one: read_rows(corpora / one / "preferences.jsonl", required(config)) for one in languages}
    return next(iter(found.values())) if len(found) == 1 else columns.mixture(found, config.mixture, config.seed)
