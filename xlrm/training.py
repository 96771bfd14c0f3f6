"""Preference training by TRL: reward models (Bradley-Terry) and DPO. The only module that imports trl."""

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress, scoring
from xlrm.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer


class TrainingConfig(BaseModel):
    """What both trainings have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str
    """Language of the training data."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    batch_size: int = Field(ge=1)
    """Pairs in a step, over all devices and accumulation."""
    device_batch_size: int = Field(8, ge=1)
    """Pairs in a forward pass on one device; accumulation makes up the difference."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the data (paper A: 1)."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps with rising learning rate; a cosine follows (paper A, appendix B)."""
    max_length: int = Field(2048, ge=16)
    """Tokens; a longer pair loses its beginning and is never dropped (paper A's code: truncation_side="left")."""
    gradient_checkpointing: bool = True
    """Recomputes activations to save memory."""
    save_steps: int = Field(100, ge=1)
    """Steps between checkpoints."""
    seed: int = 42
    """Paper A's code: 42."""


def _arguments(config: TrainingConfig, output: Path, pairs: int) -> dict[str, Any]:
    """Trainer arguments. Raises ConfigError where the global batch cannot be made of the device batches."""
    import torch

    world = max(1, torch.cuda.device_count())
    device_batch = min(config.device_batch_size, config.batch_size)
    accumulation, rest = divmod(config.batch_size, device_batch * world)
    if rest or not accumulation:
        raise ConfigError(
            f"batch_size {config.batch_size} is not a multiple of {world} device(s) x device_batch_size {device_batch}"
        )
    if pairs < config.batch_size:
        raise ConfigError(f"batch_size {config.batch_size} is more than the {pairs} training pairs")
    return dict(  # noqa: C408 - reads as the call it becomes
        output_dir=str(output.parent / "checkpoints"), learning_rate=config.learning_rate,
        per_device_train_batch_size=device_batch, gradient_accumulation_steps=accumulation,
        num_train_epochs=config.epochs, warmup_steps=config.warmup, lr_scheduler_type="cosine", seed=config.seed,
        data_seed=config.seed, bf16=torch.cuda.is_available(), use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=config.gradient_checkpointing, save_steps=config.save_steps, save_total_limit=1,
        logging_steps=10, logging_first_step=True, report_to=[], disable_tqdm=True,
    )  # fmt: skip


def _train(trainer: "Trainer", label: str) -> dict[str, float]:
    """Trains from the last checkpoint on, if there is one. Returns the means of the last tenth of the log."""
    from transformers.trainer_utils import get_last_checkpoint

    trainer.add_callback(progress.training_steps(label))
    folder = Path(trainer.args.output_dir)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.is_dir() else None)
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    last = log[-max(1, len(log) // 10) :]
    names = [name for name in ("loss", "accuracy", "rewards/accuracies") if name in last[-1]]
    means = {f"train_{name.split('/')[-1]}": sum(float(e[name]) for e in last) / len(last) for name in names}
    return means | {"steps": float(trainer.state.global_step)}


def train_reward_model(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: list[dict],
    config: TrainingConfig,
    similar_lengths: bool,
    output: Path,
) -> dict[str, float]:
    """Bradley-Terry training on rows with prompt, chosen and rejected; the model is changed in place.

    -log sigmoid(r(x, y_w) - r(x, y_l)), paper A section 2.1 (which prints it without -log). Pairs come to TRL tokenised
    and truncated: left to itself, its RewardTrainer drops the pairs that are too long.
    """
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    sides = {
        f"{side}_ids": scoring.encode(
            tokenizer, [scoring.conversation(row["prompt"], row[side]) for row in rows], config.max_length
        )
        for side in ("chosen", "rejected")
    }
    dataset = Dataset.from_dict(sides)
    if similar_lengths:
        longest = [max(map(len, pair)) for pair in zip(*sides.values(), strict=True)]
        dataset = dataset.select(_similar_lengths_together(longest, config.batch_size, config.seed))
    arguments = RewardConfig(
        **_arguments(config, output, len(rows)), max_length=None, disable_dropout=True,
        train_sampling_strategy="sequential" if similar_lengths else "random",
    )  # fmt: skip
    trainer = RewardTrainer(model, arguments, train_dataset=dataset, processing_class=tokenizer)
    return _train(trainer, f"reward[{config.language}]")


def _similar_lengths_together(lengths: list[int], batch: int, seed: int) -> list[int]:
    """A random order in which every `batch` rows are of like length: of eight random batches, the rows are sorted into
    eight others. All batches then are shuffled; group_by_length of transformers leaves those of like rows together, and
    the tiny model learned less from them."""
    rng = random.Random(seed)
    rows = rng.sample(range(len(lengths)), len(lengths))
    batches, rest = [], rows[len(rows) - len(rows) % batch :]
    for start in range(0, len(rows) - len(rest), 8 * batch):
        window = sorted(rows[start : min(start + 8 * batch, len(rows) - len(rest))], key=lengths.__getitem__)
        batches += [window[i : i + batch] for i in range(0, len(window), batch)]
    rng.shuffle(batches)
    return [row for one in batches for row in one] + rest


def train_dpo(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: list[dict],
    config: TrainingConfig,
    beta: float,
    output: Path,
) -> dict[str, float]:
    """Direct preference optimisation on rows with prompt, chosen and rejected; the model is changed in place."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    messages = [
        {
            "prompt": scoring.conversation(row["prompt"], "")[:-1],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in rows
    ]
    arguments = DPOConfig(
        **_arguments(config, output, len(rows)), beta=beta, max_length=config.max_length, precompute_ref_log_probs=True
    )
    trainer = DPOTrainer(model, args=arguments, train_dataset=Dataset.from_list(messages), processing_class=tokenizer)
    return _train(trainer, f"align[{config.language}]")
