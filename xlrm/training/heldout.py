"""Held-out pairs: a reward model is evaluated on them during training and at its end, and never trained on them."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xlrm.data import hub_sets
from xlrm.data.corpus_schema import HELDOUT_PAIRS
from xlrm.store.jsonl import read_rows

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState

BEST = "best/model"
"""Folder of the weights with the lowest held-out loss so far, in a training's folder and in its checkpoints. It is
nested because transformers would load a folder of adapters that is directly in a checkpoint."""


def rows(
    corpora: Path, languages: list[str], required: tuple[str, ...], most: int | None = None, seed: int = 0
) -> list[dict]:
    """Held-out rows of the corpus in these languages, or a sample of `most`; empty if it has none."""
    files = [corpora / language / HELDOUT_PAIRS.file for language in languages]
    numbers = HELDOUT_PAIRS.numbers
    held = [row for file in files if file.is_file() for row in read_rows(file, required, numbers)]
    return [held[i] for i in hub_sets.sample(len(held), most, seed)]


def dataset(folder: Path) -> "Dataset | None":
    """Tokenised held-out rows of a training's folder, or None."""
    from datasets import load_from_disk

    return load_from_disk(str(folder / "heldout")) if (folder / "heldout").is_dir() else None


def by_row(trainer: type) -> type["Trainer"]:
    """Subclass of a trainer that evaluates `pairs` or `judgments` on the rewards of all rows, each counted once. TRL's
    trainer averages batch means, so that an incomplete last batch counts as much as the others. transformers pads that
    batch with the first rows, to keep all processes in step, and drops them after gathering the rewards."""
    import torch

    class ByRow(trainer):
        def prediction_step(
            self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
        ) -> tuple[None, "torch.Tensor", "torch.Tensor"]:
            """(None, rewards, labels) of judgments, or (None, chosen - rejected reward, margins) of pairs; each (n)."""
            inputs = self._prepare_inputs(inputs)
            labels, margins = inputs.pop("labels", None), inputs.pop("margin", None)
            with torch.no_grad(), self.compute_loss_context_manager():
                rewards = model(**inputs).logits[:, 0].float()
            if labels is not None:
                return None, rewards, labels
            chosen, rejected = rewards.chunk(2)
            return None, chosen - rejected, torch.zeros_like(chosen) if margins is None else margins

    return ByRow


def scoring(
    times: int, save_best: Callable[[], None] | None, value: Literal["eval_loss", "eval_rouge_l"] = "eval_loss"
) -> "TrainerCallback":
    """Callback for transformers' Trainer that evaluates `times` times at even intervals, the last time after the last
    step. It calls `save_best` in all processes when the loss is the lowest, or ROUGE-L the highest, so far."""
    from transformers import TrainerCallback

    class Scoring(TrainerCallback):
        def on_step_end(self, args: Any, state: "TrainerState", control: "TrainerControl", **kwargs: Any) -> None:
            steps = {round(state.max_steps * number / times) for number in range(1, times + 1)}
            control.should_evaluate = state.global_step in steps

        def on_evaluate(self, args: Any, state: "TrainerState", control: Any, **kwargs: Any) -> None:
            values = [entry[value] for entry in state.log_history if value in entry]
            best = min(values) if value == "eval_loss" else max(values)
            if save_best and kwargs["metrics"][value] == best:
                save_best()

    return Scoring()


def results(points: Sequence[Mapping[str, float]], best: bool, rows: Any) -> dict[str, float]:
    """Metrics of the last evaluation, or of the one whose weights are kept if that is the best; {} without any. `rows`: those
    evaluated on."""
    if scored := [point for point in points if "heldout_rouge_l" in point]:
        point = max(scored, key=lambda entry: entry["heldout_rouge_l"]) if best else scored[-1]
    elif scored := [point for point in points if "heldout_loss" in point]:
        point = min(scored, key=lambda entry: entry["heldout_loss"]) if best else scored[-1]
    else:
        return {}
    names = ("heldout_loss", "heldout_accuracy", "heldout_rouge_l")
    return {name: point[name] for name in names if name in point} | {"heldout_rows": float(len(rows))}


def save_best(trainer: "Trainer", folder: Path) -> None:
    """Saves the model as the best so far; all processes must call it. A kill leaves the previous best model."""
    new = folder / "best.new"
    trainer.save_model(str(new / "model"))
    if trainer.is_world_process_zero():
        shutil.rmtree(folder / "best", ignore_errors=True)
        new.rename(folder / "best")
    trainer.accelerator.wait_for_everyone()


def copy_best(source: Path, target: Path) -> None:
    """Copies the best model from a training's folder into a checkpoint or back. The target's best model is replaced, or
    removed if the source has none."""
    shutil.rmtree(target / "best", ignore_errors=True)
    if (source / BEST).is_dir():
        shutil.copytree(source / BEST, target / BEST)


def pairs(prediction: Any) -> dict[str, float]:
    """Mean loss -log sigmoid(difference - margin), accuracy and mean difference, from reward differences (n) and the
    pairs' margins (n)."""
    import numpy as np

    apart, margins = (np.asarray(array, dtype=float) for array in (prediction.predictions, prediction.label_ids))
    loss = np.logaddexp(0, margins - apart).mean()
    return {"loss": float(loss), "accuracy": float((apart > 0).mean()), "margin": float(apart.mean())}


def judgments(prediction: Any) -> dict[str, float]:
    """Mean binary cross-entropy, and accuracy of the rewards' signs, from rewards (n) and labels (n; 1 good, 0 bad)."""
    import numpy as np

    rewards, labels = (np.asarray(array, dtype=float) for array in (prediction.predictions, prediction.label_ids))
    loss = (np.logaddexp(0, rewards) - labels * rewards).mean()
    return {"loss": float(loss), "accuracy": float(((rewards > 0) == (labels > 0.5)).mean())}
