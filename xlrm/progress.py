"""Progress on standard error: lines for logs, bars for terminals."""

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerState
PREFIX = "xlrm │ "
SECONDS_BETWEEN_LINES = 15
NO_BARS = {
    "TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}  # fmt: skip
"""Environment variables that switch off the progress bars of libraries."""
STEP = "XLRM_STEP"
"""Environment variable with the label of the step at work in a pipeline's run, which the processes of a training inherit."""


def say(text: str) -> None:
    """Prints one line on standard error and flushes it, so that a log follower sees it at once. Standard output is for
    results. In a pipeline's run it names the step."""
    label = os.environ.get(STEP)
    print(f"{PREFIX}{named(label, text) if label else text}", file=sys.stderr, flush=True)


@contextmanager
def of_step(label: str) -> Iterator[None]:
    """Context whose lines name the step."""
    before = os.environ.get(STEP)
    os.environ[STEP] = label
    try:
        yield
    finally:
        os.environ.pop(STEP)
        if before is not None:
            os.environ[STEP] = before


def named(label: str, text: str) -> str:
    """The text with a step's label before it, in place of the stage and of what the label says too: `reward[es]: started`
    becomes `reward-es: started`, and `judge[human]: 3 verdicts` becomes `judge-rl-de[human]: 3 verdicts`."""
    stage, *of = label.split("-")
    start = re.match(rf"(error: )?(?:{re.escape(label)}: |{re.escape(stage)}(?:\[([^]]*)\])?: )?", text)
    assert start
    error, detail = start[1] or "", start[2] or ""
    shown = f"[{detail}]" if detail and not {*detail.split(", ")} <= {*of} else ""
    return f"{error}{label}{shown}: {text[start.end() :]}"


def bars_hidden() -> bool:
    """Whether standard error is not a terminal, so that a progress bar would only fill a log file."""
    return not os.isatty(2)


class Counter:
    """A progress bar, in a terminal only, and a line every SECONDS_BETWEEN_LINES with the count and the time left."""

    def __init__(self, label: str, total: int | None, unit: str):
        """`total`: None if it is unknown."""
        from tqdm import tqdm

        self.label, self.unit = label, unit
        self.begun = self.printed = time.monotonic()
        self.bar = tqdm(total=total, desc=label, unit=f" {unit}", disable=bars_hidden())
        self.total, self.done = total, 0

    def advance(self, count: int) -> None:
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.done and now - self.printed >= SECONDS_BETWEEN_LINES:
            self.printed = now
            if self.total is None:
                say(f"{self.label}: {self.done} {self.unit}")
                return
            left = (now - self.begun) / self.done * max(0, self.total - self.done)
            say(f"{self.label}: {self.done} of {self.total} {self.unit}, about {left:.0f} s left")

    def close(self) -> None:
        self.bar.close()


def training_steps(label: str) -> "TrainerCallback":
    """A callback for transformers' Trainer. It prints a line every SECONDS_BETWEEN_LINES with the step, the loss and
    the time left, a line for each evaluation on held-out pairs, and one if the warm-up lasts to the end."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_train_begin(self, args: Any, state: "TrainerState", control: Any, **kwargs: Any) -> None:
            self.begun = self.printed = time.monotonic()
            self.first = state.global_step
            if (steps := state.max_steps) and state.is_world_process_zero and args.get_warmup_steps(steps) >= steps:
                rate = "is 0" if steps == 1 else f"stays below {args.learning_rate:g}"
                say(
                    f"{label}: {steps} step(s), all of them warm-up: the learning rate {rate}; set warmup, or warmup_steps"
                )

        def on_log(self, args: Any, state: "TrainerState", control: Any, **kwargs: Any) -> None:
            now, logs = time.monotonic(), kwargs.get("logs") or {}
            if "eval_loss" in logs:
                right = f", accuracy {logs['eval_accuracy']:.3f}" if "eval_accuracy" in logs else ""
                say(
                    f"{label}: step {state.global_step} of {state.max_steps}, held out: loss {logs['eval_loss']:.3f}{right}"
                )
            if now - self.printed < SECONDS_BETWEEN_LINES or "loss" not in logs:
                return
            self.printed = now
            left = (now - self.begun) / (state.global_step - self.first) * (state.max_steps - state.global_step)
            loss = float(logs["loss"])
            say(f"{label}: step {state.global_step} of {state.max_steps}, loss {loss:.3f}, about {left:.0f} s left")

    return Steps()
