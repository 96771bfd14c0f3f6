"""Trains a reward model on the preference pairs of one or several languages."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from xlrm.data.corpus_schema import HELDOUT_PAIRS, PREFERENCE_PAIRS, is_judgment
from xlrm.languages import InLanguages, JoinedLanguages
from xlrm.store.jsonl import each_row, read_rows
from xlrm.training import columns, heldout, model_card
from xlrm.training.comparisons import RewardComparisons
from xlrm.training.trainers import RewardTraining


class Config(RewardTraining, RewardComparisons, InLanguages):
    """Settings of the training; defaults follow paper A, appendix B, except `optimizer` and `precision`."""

    language: JoinedLanguages
    """Language of the training data, or several joined by +, such as en+es, for a multilingual reward model."""
    mixture: Literal["split", "all", "pool"] = "split"
    """With several languages: split takes each pair once, in a random one of them; all takes it in each; both match pairs by
    their ids. pool takes all rows of all languages as they are, for corpora that are no translations of each other (paper
    B, appendix F)."""
    learning_rate: float = Field(1e-5, gt=0)
    """Peak learning rate (paper A: 1e-5)."""
    batch_size: int = Field(128, ge=1)
    """Preference pairs per optimizer step (paper A: 128)."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {
        "corpora": tuple(
            f"{language}/{name}"
            for language in config.language.split("+")
            for name in (PREFERENCE_PAIRS.file, HELDOUT_PAIRS.file)
        )
    }


def run(config: Config, *, base: Path, corpora: Path, output: Path) -> dict[str, float]:
    """Raises DataError for unreadable pairs, and ConfigError for a batch size or length that is not possible."""
    from xlrm.training import trainers

    rows = training_rows(config, corpora)
    scored = heldout.rows(corpora, config.language.split("+"), required(config), config.heldout_pairs, config.seed)
    metrics = trainers.train_reward_model(base, rows, config, output, scored)
    if not metrics:  # with several nodes, only the first has the model
        return {}
    model_card.write_reward_model(output, base, config.language, len(rows), config.model_dump(mode="json"), metrics)
    return metrics | {"pairs": float(len(rows))}


def required(config: Config) -> tuple[str, ...]:
    return ("prompt",) if config.loss == "pointwise" else ("prompt", "chosen", "rejected")


def training_rows(config: Config, corpora: Path) -> list[dict]:
    """Pairs of one language, or a mixture, in corpus order. Raises DataError for a pair without an id in a mixture,
    ConfigError for a loss of pairs on single judgments."""
    languages = config.language.split("+")
    for language in languages:
        first = next(each_row(corpora / language / PREFERENCE_PAIRS.file), {})
        columns.check_loss(config.loss, is_judgment(first), f"{language}/{PREFERENCE_PAIRS.file}")
    rows = {
        language: read_rows(corpora / language / PREFERENCE_PAIRS.file, required(config), PREFERENCE_PAIRS.numbers)
        for language in languages
    }
    return next(iter(rows.values())) if len(rows) == 1 else columns.mixture(rows, config.mixture, config.seed)
