"""Aligns a policy by DPO with the preference pairs that one reward model ranked."""

from pathlib import Path

from pydantic import Field

from xlrm.errors import DataError
from xlrm.evaluation.alignment_results import AlignmentResults
from xlrm.evaluation.rankings import LabelerPairs
from xlrm.store.jsonl import read_rows
from xlrm.training.recipes import DpoTraining


class Config(DpoTraining):
    """Settings of the alignment; defaults follow paper A, appendix B, except `optimizer` and `precision`."""

    labeler: str
    """Reward model whose preference pairs the policy is trained on, named by the language it was trained in."""
    learning_rate: float = Field(5e-7, gt=0)
    """Peak learning rate (paper A: 5e-7)."""
    batch_size: int = Field(32, ge=1)
    """Preference pairs per optimizer step (paper A: 32)."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"ranked": (f"{config.labeler}.jsonl", f"{config.labeler}/{LabelerPairs.FILE}")}


def run(config: Config, *, policy: Path, ranked: Path, output: Path) -> dict[str, float]:
    """Writes the aligned policy, with alignment.json beside it. Raises DataError for unreadable pairs, and for fewer than
    `batch_size`, and ConfigError for a batch size or length that is not possible."""
    from xlrm.training import dpo

    rows = read_rows(ranked / f"{config.labeler}.jsonl", ("prompt",))  # chosen or rejected may be empty
    if len(rows) < config.batch_size:
        counts = LabelerPairs.find(ranked / config.labeler)
        why, fields = counts.why_few if counts else ("", "")
        raise DataError(
            f"{len(rows) or 'no'} pairs are too few for a batch of align.batch_size={config.batch_size}"
            + (f": {why}" if why else ""),
            where=f"align: pairs by the reward model {config.labeler}",
            hint="; ".join(filter(None, [fields, "or lower align.batch_size" if rows else ""])),
        )
    metrics = dpo.train_dpo(policy, rows, config, output)
    if metrics:  # on the first node
        AlignmentResults.of(config.language, config.labeler, metrics).write(output)
    return metrics
