"""Training curves: sent to MLflow during the training, and written as a file beside the trained model."""

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
    from transformers import TrainerCallback, TrainerState

FILE = "curves.jsonl"
"""One JSON object per line: the step and its values; held-out values have lines of their own."""
SECONDS_BETWEEN_CALLS = 10
_NAMES = {
    "loss": "loss", "accuracy": "accuracy", "rewards/accuracies": "accuracy", "margin": "margin",
    "rewards/margins": "margin", "rewards/chosen": "chosen_reward", "rewards/rejected": "rejected_reward",
    "drift/chosen": "chosen_drift", "drift/rejected": "rejected_drift",
    "mean_reward": "mean_reward", "learning_rate": "learning_rate", "grad_norm": "gradient_norm",
    "xlrm/reward": "reward", "xlrm/spread": "reward_spread", "xlrm/equal": "equal_groups", "xlrm/missing": "missing_rewards",
    "kl": "kl", "entropy": "entropy", "completions/mean_length": "response_tokens", "completions/clipped_ratio": "cut_responses",
    "eval_loss": "heldout_loss", "eval_accuracy": "heldout_accuracy", "eval_margin": "heldout_margin",
    "eval_rouge_l": "heldout_rouge_l", "mean_token_accuracy": "token_accuracy",
}  # fmt: skip
"""Name in the logs of transformers and TRL -> name in the curves."""

Point = dict[str, float]


def points(history: Iterable[dict[str, Any]]) -> list[Point]:
    """Points of the curves, from the log history of transformers' Trainer; values that are not finite are left out."""
    curve = []
    for entry in history:
        values = {name: float(entry[key]) for key, name in _NAMES.items() if key in entry}
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        if values:
            curve.append({"step": int(entry["step"]), **values})
    return curve


def write(history: Iterable[dict[str, Any]], path: Path) -> None:
    path.write_text("".join(f"{json.dumps(point, allow_nan=False)}\n" for point in points(history)))


def with_drift(trainer: type) -> type:
    """Subclass of TRL's DPOTrainer whose logs say how far the log-probabilities of chosen and rejected responses have moved
    from the reference's, in nats, averaged over the pairs since the last log: `rewards/...` of TRL without beta. A chosen
    response that becomes less likely, too, is a common sign of too many steps."""

    class WithDrift(trainer):
        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            for side in ("chosen", "rejected"):
                if rewards := self._metrics["train"].get(f"rewards/{side}"):
                    logs[f"drift/{side}"] = sum(rewards) / len(rewards) / self.beta
            super().log(logs, start_time)

    return WithDrift


def run_at_work() -> str | None:
    """Id of the current stage's MLflow run, or None."""
    return mlflow_runs.running()


def to_run(points: list[Point]) -> None:
    """Sends points to the current stage's MLflow run, if it has one."""
    if points and (run := run_at_work()):
        sender = Sender()
        sender.start("curves", lambda: mlflow_runs.Run(run).log_points(points, set()))
        sender.wait()


def to_mlflow(run_id: str) -> "TrainerCallback":
    """Callback for transformers' Trainer, in the first process only: sends new points to the run every few seconds, in
    the background, so that an unresponsive MLflow delays only the end. A training resumed from a checkpoint also sends
    earlier points that the run lacks."""
    from transformers import TrainerCallback

    run = mlflow_runs.Run(run_id)

    class ToMlflow(TrainerCallback):
        def __init__(self) -> None:
            self.sender, self.sent, self.begun = Sender(), 0, 0.0
            self.unsure = True  # whether the run has points of a killed training or a failed call

        def on_log(self, args: Any, state: "TrainerState", control: Any, **kwargs: Any) -> None:
            if self.sender.idle and time.monotonic() - self.begun >= SECONDS_BETWEEN_CALLS:
                self.begin(state)

        def on_train_end(self, args: Any, state: "TrainerState", control: Any, **kwargs: Any) -> None:
            self.sender.wait()
            self.begin(state)
            self.sender.wait()
            if self.sent < len(state.log_history):
                progress.say(f"MLflow run {run.id} lacks the end of the training curves; {FILE} has all of them")

        def begin(self, state: "TrainerState") -> None:
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
