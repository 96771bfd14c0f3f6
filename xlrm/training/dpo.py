"""A policy aligned by DPO, with TRL's trainer. The tokens and where they are cut are those of `preference_tokens`, and the
reference's log-probabilities those of `references`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlrm.evaluation.alignment_results import PairCounts
from xlrm.models import loading, transformers4, weights
from xlrm.processes import launch
from xlrm.training import curves, finite, preference_tokens, references, trainers
from xlrm.training.recipes import DpoTraining
from xlrm.training.trainers import Job


def train_dpo(policy: Path, rows: Sequence[dict[str, Any]], config: DpoTraining, output: Path) -> dict[str, float]:
    """Aligns a policy by DPO on rows with prompt, chosen and rejected, and writes it to `output`. Returns the metrics,
    none on nodes other than the first.

    Conversations longer than `max_length` lose their beginning and are counted; TRL's DPOTrainer would cut the end of
    responses, and drop pairs whose prompt is as long. Raises TemplateRefusal for a conversation that the policy's template
    does not accept, and ConfigError for a batch size or length that is not possible."""
    trainers.check_decoder(policy)
    trainers.check_length("align.max_length", config, policy)
    trainers.check_batch(config, len(rows))
    folder, label = output.parent, f"align[{config.language}]"

    def prepare() -> Path:
        weights.check_finite(policy)
        tokens, counts = preference_tokens.dataset(loading.load_tokenizer(policy), rows, config.max_length)
        preference_tokens.say_cut(counts, label, config.max_length)
        tokens.save_to_disk(folder / "tokens")
        counts.write(folder)
        return policy

    metrics = trainers.run_job(f"{__name__}:dpo_worker", prepare, folder, config, DpoTraining)
    if metrics:
        finite.check_trained(folder / "trained", label, metrics["steps"])
        trainers.copy(folder / "trained", output)
        metrics |= {name: float(count) for name, count in PairCounts.read(folder).model_dump().items()}
    transformers4.write_older_names(output)
    return metrics


def dpo_worker(folder: Path) -> None:
    """Aligns a policy in the prepared `folder`; runs in every process of the training."""
    from datasets import load_from_disk
    from trl import DPOConfig, DPOTrainer
    from trl.models.utils import prepare_deepspeed

    job = Job.read(folder)
    policy, config = job.start, DpoTraining(**job.config)
    dataset = load_from_disk(str(folder / "tokens"))
    arguments = trainers.training_arguments(
        DPOConfig, config, folder, beta=config.beta, max_length=None, precompute_ref_log_probs=True,
        remove_unused_columns=False,
    )  # fmt: skip
    tokenizer, model = trainers.load_policy(policy)
    label = f"align[{config.language}]"
    trainer_type = references.kept(
        curves.with_drift(finite.checked(DPOTrainer, label)), policy, config, prepare_deepspeed
    )
    with launch.together("computing the reference's log-probabilities"):
        trainer = trainer_type(
            model,
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
            data_collator=preference_tokens.batch,
        )
    trainers.train(trainer, label, folder, job)
