"""What a training says of itself as it goes: step by step in MLflow, and as a file of what it makes."""

import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm import progress
from xlrm.store.unfinished import Sender
from xlrm.tracking import mlflow_runs

if TYPE_CHECKING:
    from transformers import TrainerCallback

FILE = "curves.jsonl"
"""One object a line: step and values; of the pairs held out their own, at the steps where these were scored."""
SECONDS_BETWEEN_CALLS = 10
_NAMES = {
    "loss": "loss", "accuracy": "accuracy", "rewards/accuracies": "accuracy", "margin": "margin",
    "rewards/margins": "margin", "rewards/chosen": "chosen_reward", "rewards/rejected": "rejected_reward",
    "mean_reward": "mean_reward", "learning_rate": "learning_rate", "grad_norm": "gradient_norm",
    "eval_loss": "heldout_loss", "eval_accuracy": "heldout_accuracy", "eval_margin": "heldout_margin",
}  # fmt: skip
"""As transformers and TRL call it -> as it is kept."""

Point = dict[str, float]


def points(history: Iterable[dict[str, Any]]) -> list[Point]:
    """Of the log that transformers' Trainer keeps; without what is no finite number."""
    found = []
    for entry in history:
        values = {name: float(entry[key]) for key, name in _NAMES.items() if key in entry}
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        if values:
            found.append({"step": int(entry["step"]), **values})
    return found


def write(history: Iterable[dict[str, Any]], path: Path) -> None:
    path.write_text("".join(f"{json.dumps(point)}\n" for point in points(history)))


def run_at_work() -> str | None:
    """Id of the MLflow run of the stage at work, None without one."""
    return mlflow_runs.running()


def to_mlflow(run_id: str) -> "TrainerCallback":
    """A callback for transformers' Trainer, of its first process: sends each point to the run, some seconds' worth at once. A
    training that goes on from a checkpoint sends what was before as well, where the run does not have it. An MLflow that does not
    answer holds up nothing before the end."""
    from transformers import TrainerCallback

    run = mlflow_runs.Run(run_id)

    class ToMlflow(TrainerCallback):
        def __init__(self) -> None:
            self.sender, self.sent, self.begun = Sender(), 0, 0.0
            self.unsure = True  # of what the run has: of the training before it was killed, or of a call that failed

        def on_log(self, args, state, control, **kwargs):
            if self.sender.idle and time.monotonic() - self.begun >= SECONDS_BETWEEN_CALLS:
                self.begin(state)

        def on_train_end(self, args, state, control, **kwargs):
            self.sender.wait()
            self.begin(state)
            self.sender.wait()
            if self.sent < len(state.log_history):
                progress.say(f"MLflow run {run.id} lacks the end of the curves; they are in {FILE} too")

        def begin(self, state) -> None:
            self.begun = time.monotonic()
            until = len(state.log_history)
            new = points(state.log_history[self.sent : until])
            self.sender.start("curves", lambda: self.send(new, until))

        def send(self, new: list[Point], until: int) -> None:
            there = run.logged() if self.unsure else set()
            self.unsure = True
            run.log_points(new, there)
            self.sent, self.unsure = until, False

    return ToMlflow()
