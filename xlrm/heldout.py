"""Pairs that a reward model does not learn from: scored now and then while it is trained, and at its end."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.rows import read_rows

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback, TrainingArguments

FILE = "heldout.jsonl"
"""Of a corpus: pairs of the same sources that nothing is trained on."""
BEST = "best/model"
"""In a training's folder and in its checkpoints: the weights of the best scoring so far. Two folders, as transformers takes a
folder of adapters right in a checkpoint for one to load."""


def rows(corpora: Path, languages: list[str], required: tuple[str, ...]) -> list[dict]:
    """Those of a corpus in all of some languages, where it has any."""
    files = [corpora / language / FILE for language in languages]
    return [row for file in files if file.is_file() for row in read_rows(file, required)]


def dataset(folder: Path, arguments: "TrainingArguments") -> "Dataset | None":
    """As many of the rows as make whole batches in all processes, since TRL takes the mean of the batches' means; of fewer rows
    than that, smaller batches. None without any."""
    from datasets import load_from_disk

    if not (folder / "heldout").is_dir():
        return None
    found, world = load_from_disk(str(folder / "heldout")), arguments.world_size
    batch = min(arguments.per_device_eval_batch_size, len(found) // world)
    if not batch:
        return None
    arguments.per_device_eval_batch_size = batch
    return found.select(range(len(found) // (batch * world) * batch * world))


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


def accuracy(prediction: Any) -> dict[str, float]:
    """Share of the judgments (1 good, 0 bad) that the rewards' signs agree with."""
    agreed = (prediction.predictions[:, 0] > 0) == (prediction.label_ids > 0.5)
    return {"accuracy": float(agreed.mean())}
