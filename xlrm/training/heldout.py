"""Pairs that a reward model does not learn from: scored now and then while it is trained, and at its end."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.store.jsonl import read_rows

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback

FILE = "heldout.jsonl"
"""Of a corpus: pairs of the same sources that nothing is trained on."""
BEST = "best/model"
"""In a training's folder and in its checkpoints: the weights of the best scoring so far. Two folders, as transformers takes a
folder of adapters right in a checkpoint for one to load."""


def rows(corpora: Path, languages: list[str], required: tuple[str, ...]) -> list[dict]:
    """Those of a corpus in all of some languages, where it has any."""
    files = [corpora / language / FILE for language in languages]
    return [row for file in files if file.is_file() for row in read_rows(file, required)]


def dataset(folder: Path) -> "Dataset | None":
    """Those of a training's folder, tokenised; None without any."""
    from datasets import load_from_disk

    return load_from_disk(str(folder / "heldout")) if (folder / "heldout").is_dir() else None


def by_row(trainer: type["Trainer"]) -> type["Trainer"]:
    """A trainer that scores by `pairs` or `judgments` of the rewards of all rows, each once. TRL's own takes means of batches'
    means, where a last batch that is not whole counts as much as the others. transformers fills that up with rows from the
    beginning, so that all processes compute alike, and drops these once it has gathered the rewards."""
    import torch

    class ByRow(trainer):
        def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
            """(None, reward, label) of each judgment, or (None, chosen's reward - rejected's, margin) of each pair."""
            inputs = self._prepare_inputs(inputs)
            labels, margins = inputs.pop("labels", None), inputs.pop("margin", None)
            with torch.no_grad(), self.compute_loss_context_manager():
                rewards = model(**inputs).logits[:, 0].float()
            if labels is not None:
                return None, rewards, labels
            chosen, rejected = rewards.chunk(2)
            return None, chosen - rejected, torch.zeros_like(chosen) if margins is None else margins

    return ByRow


def scoring(times: int, save_best: Callable[[], None] | None) -> "TrainerCallback":
    """A callback for transformers' Trainer: scores so many times, evenly, at last after the last step. `save_best` is called in
    all processes when the loss is lower than at any time before."""
    from transformers import TrainerCallback

    class Scoring(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            steps = {round(state.max_steps * number / times) for number in range(1, times + 1)}
            control.should_evaluate = state.global_step in steps

        def on_evaluate(self, args, state, control, metrics, **kwargs):
            losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
            if save_best and metrics["eval_loss"] == min(losses):
                save_best()

    return Scoring()


def save_best(trainer: "Trainer", folder: Path) -> None:
    """In all processes. A kill leaves the one before."""
    new = folder / "best.new"
    trainer.save_model(str(new / "model"))
    if trainer.is_world_process_zero():
        shutil.rmtree(folder / "best", ignore_errors=True)
        new.rename(folder / "best")
    trainer.accelerator.wait_for_everyone()


def copy_best(source: Path, target: Path) -> None:
    """From a training's folder into a checkpoint of it, or back."""
    shutil.rmtree(target / "best", ignore_errors=True)
    if (source / BEST).is_dir():
        shutil.copytree(source / BEST, target / BEST)


def pairs(prediction: Any) -> dict[str, float]:
    """Of differences of rewards (n) and the pairs' margins (n): loss -log sigmoid(difference - margin), accuracy and margin."""
    import numpy as np

    apart, margins = (np.asarray(one, dtype=float) for one in (prediction.predictions, prediction.label_ids))
    loss = np.logaddexp(0, margins - apart).mean()
    return {"loss": float(loss), "accuracy": float((apart > 0).mean()), "margin": float(apart.mean())}


def judgments(prediction: Any) -> dict[str, float]:
    """Of rewards (n) and labels (n; 1 good, 0 bad): binary cross-entropy, and the share that the rewards' signs agree with."""
    import numpy as np

    rewards, labels = (np.asarray(one, dtype=float) for one in (prediction.predictions, prediction.label_ids))
    loss = (np.logaddexp(0, rewards) - labels * rewards).mean()
    return {"loss": float(loss), "accuracy": float(((rewards > 0) == (labels > 0.5)).mean())}
