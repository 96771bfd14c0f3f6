"""Trains a policy by reinforcement learning (GRPO or RLOO): on its own responses, which a reward model scores meanwhile."""

from pathlib import Path

from xlrm.data.corpus_schema import CORPUS_PROMPTS
from xlrm.training.recipes import OnlineTraining


class Config(OnlineTraining):
    """Settings of the training; defaults follow DeepSeekMath (Shao et al. 2024) and TRL, where they differ as said."""

    labeler: str
    """Reward model that scores the responses, named by the language it was trained in."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": (f"{config.language}/{CORPUS_PROMPTS.file}",)}


def run(
    config: Config, *, policy: Path, corpora: Path, output: Path, reward_model: Path | None = None
) -> dict[str, float]:
    """Trains on the prompts for alignment. With `reward_url`, `reward_model` is not used. Raises DataError for prompts that leave
    no room for a response, ConfigError for a batch size or length that is not possible or without a reward model, and
    ArtifactError for a reward model or server that fails."""
    from xlrm.training import online_rl

    prompts = [row["prompt"] for row in CORPUS_PROMPTS.read(corpora / config.language) if row["split"] == "train"]
    if config.reward_url:
        config = config.model_copy(update={"reward_url": config.reward_url.replace("{labeler}", config.labeler)})
        reward_model = None
    return online_rl.train_online(policy, reward_model, prompts, config, output)
