"""Lines of progress, from wherever a stage runs to whoever watches."""

import os
import sys
import time

PREFIX = "xlrm │ "
SECONDS_BETWEEN_LINES = 15
NO_BARS = {
    "TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}  # fmt: skip
"""Environment of a process whose libraries are to show no bars."""


def say(text: str) -> None:
    """One line on standard error, flushed, so that a log follower sees it at once: standard output is for results."""
    print(f"{PREFIX}{text}", file=sys.stderr, flush=True)


def bars_hidden() -> bool:
    """True where a progress bar would only fill a log file."""
    return not os.isatty(2)


class Counter:
    """A bar where a terminal shows it, and a line every so often where a log is kept."""

    def __init__(self, label: str, total: int | None, unit: str):
        """`total`: None where nobody knows it."""
        from tqdm import tqdm

        self.label, self.unit = label, unit
        self.begun = self.said = time.monotonic()
        self.bar = tqdm(total=total, desc=label, unit=f" {unit}", disable=bars_hidden())
        self.total, self.done = total, 0

    def advance(self, count: int) -> None:
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.done and now - self.said >= SECONDS_BETWEEN_LINES:
            self.said = now
            if self.total is None:
                say(f"{self.label}: {self.done} {self.unit}")
                return
            left = (now - self.begun) / self.done * max(0, self.total - self.done)
            say(f"{self.label}: {self.done} of {self.total} {self.unit}, about {left:.0f} s left")

    def close(self) -> None:
        self.bar.close()


def training_steps(label: str):
    """A callback for transformers' Trainer: a line every so often with the steps done, the loss and the time left."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            self.begun = self.said = time.monotonic()
            self.first = state.global_step

        def on_log(self, args, state, control, logs=None, **kwargs):
            now = time.monotonic()
            if "eval_loss" in (logs or {}):
                right = f", accuracy {logs['eval_accuracy']:.3f}" if "eval_accuracy" in logs else ""
                say(
                    f"{label}: step {state.global_step} of {state.max_steps}, held out: loss {logs['eval_loss']:.3f}{right}"
                )
            if now - self.said < SECONDS_BETWEEN_LINES or "loss" not in (logs or {}):
                return
            self.said = now
            left = (now - self.begun) / (state.global_step - self.first) * (state.max_steps - state.global_step)
            loss = float(logs["loss"])
            say(f"{label}: step {state.global_step} of {state.max_steps}, loss {loss:.3f}, about {left:.0f} s left")

    return Steps()
