"""`python -m components._warm`: a process that has loaded the libraries of a task's steps and makes each step in a copy of
itself, so that a task of many short steps loads them once.

Only on machines without GPUs: a process may not be copied once it has looked for them (CUDA), and training there takes far
longer than loading. This process reads labels from its input, one a line, and answers with the status of each step.
"""

import atexit
import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from components import IMAGES, _step, component_of
from components.hardware import TRAININGS, here
from xlrm.processes import launch
from xlrm.run.steps import Step

ALWAYS = ("mlflow", "xlrm.run.runner")
OF_IMAGE = {
    "train": (
        "torch",
        "transformers:AutoModelForCausalLM",
        "transformers:AutoTokenizer",
        "transformers:PreTrainedModel",
    ),
    "sample": (
        "torch",
        "transformers:AutoModelForCausalLM",
        "transformers:AutoTokenizer",
        "transformers:PreTrainedModel",
    ),
}
"""Image -> modules that its steps load, some with a name whose look-up loads more."""
OF_TRAININGS = ("trl:RewardTrainer", "trl:DPOTrainer", "trl:GRPOTrainer", "datasets")
ANSWERS = "XLRM_ANSWERS"
"""Environment variable with the number of the pipe for answers."""


class Warm:
    """The process, from the side of the task that asks it."""

    def __init__(self, modules: Iterable[str], environment: dict[str, str]):
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, *modules], env=environment | {ANSWERS: str(writing)}, pass_fds=(writing,),
            stdin=subprocess.PIPE, text=True, preexec_fn=launch.die_with_parent,
        )  # fmt: skip
        os.close(writing)
        self.answers = os.fdopen(reading)

    def make(self, label: str) -> int:
        """Status of a step, negative for the number of the signal that ended it, as of a process of its own."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has been killed, and says so by its status
            print(label, file=self.process.stdin, flush=True)
        answer = self.answers.readline()
        return int(answer) if answer else self.process.wait()

    def end(self) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.answers.close()


def begin(steps: list[Step], environment: dict[str, str]) -> Warm | None:
    """The process for several steps of a machine without GPUs; None for others."""
    if len(steps) < 2 or here() != 0:
        return None
    return Warm(modules(steps), environment)


def modules(steps: list[Step]) -> tuple[str, ...]:
    """What these steps of one task load."""
    component = component_of(steps[0])
    trains = OF_TRAININGS if component in TRAININGS else ()
    return (*ALWAYS, *OF_IMAGE.get(IMAGES.get(component, ""), ()), *trains)


def main(names: list[str]) -> None:
    answers = os.fdopen(int(os.environ.pop(ANSWERS)), "w")
    at_work: list[Any] = []
    signal.signal(signal.SIGTERM, lambda number, frame: _end(at_work))
    for name in names:
        module, _, part = name.partition(":")
        with contextlib.suppress(ImportError):  # an image has what its steps need
            getattr(importlib.import_module(module), part or "__name__")
    gc.freeze()  # the copies share what no collection touches
    context = multiprocessing.get_context("fork")
    for line in sys.stdin:
        process = context.Process(target=_copy, args=(line.strip(),))
        process.start()
        at_work[:] = [process]
        process.join()
        at_work.clear()
        print(process.exitcode, file=answers, flush=True)


def _copy(label: str) -> None:
    """Makes the step, in the copy, and ends it as the interpreter would."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    launch.die_with_parent()
    sys.argv = [_step.__name__, label]
    try:
        _step.main(label)
    finally:
        atexit._run_exitfuncs()


def _end(at_work: list[Any]) -> None:
    """Ends the step at work, whose status is then answered; without one, ends this process."""
    if not at_work:
        os._exit(128 + signal.SIGTERM)
    at_work[0].terminate()


if __name__ == "__main__":
    main(sys.argv[1:])
