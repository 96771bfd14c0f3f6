"""Cost of starting: the command, a step of a run beyond its stage's own work, and the compilation of a pipeline.

    python -m benchmarks.startup [ROUNDS] [--json FILE]

A step's overhead is the wall time of its process, as a component starts it, minus the stage's own `run` and the import
of torch. It covers the interpreter, finding, fetching, checking and storing artifacts, and MLflow, which each step logs
to. Imports that a stage makes inside `run` (transformers, TRL, Great Expectations) are shown separately. The steps are
those of the whole pipeline, from data to the report, for one target language. They log to a file, as on one machine, or
to the server that MLFLOW_TRACKING_URI names, as in a cluster. Each round (3) begins with an empty store; the medians of
the rounds are shown. Exits with 1 if a goal is missed.
"""

import argparse
import functools
import importlib.machinery
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import record

CLOCK = "XLRM_BENCHMARK_CLOCK"
"""Environment variable with the file to which a step writes its measurements."""
GOALS = {"help": 0.5, "step": 1.5, "compile": 2.0}
"""Limits in seconds."""
EXPERIMENT = {
    "base": {
        "model": "phrasebook-tiny",
        "pretraining": {"documents": 300, "layers": 2, "width": 64, "vocabulary": 1024, "languages": ["en", "es"]},
    },
    "curate": {
        "preferences": ["phrasebook"], "pairs": 64, "benchmark": "phrasebook", "benchmark_items": 28, "prompts": "phrasebook",
        "train_prompts": 8, "eval_prompts": 6, "parallel": "phrasebook", "parallel_texts": 8,
    },
    "translate": {"translator": "phrasebook"},
    "judge": {"judge": "phrasebook"},
    "register": {"prefix": "startup"},
    "reward": {"learning_rate": 1e-3, "batch_size": 8, "gradient_checkpointing": False},
    "sample": {"max_new_tokens": 8, "temperature": 1.5},
    "align": {"learning_rate": 3e-4, "batch_size": 4, "device_batch_size": 4, "gradient_checkpointing": False},
    "represent": {"languages": ["en", "es"]},
}  # fmt: skip


class Imports:
    """Seconds spent in imports so far, and those in importing torch and what it imports."""

    def __init__(self) -> None:
        self.all = self.torch = 0.0
        self.depth = self.torch_depth = 0
        for loader in (importlib.machinery.SourceFileLoader, importlib.machinery.ExtensionFileLoader):
            loader.exec_module = self._timed(loader.exec_module)  # type: ignore[method-assign]  # for this process

    def _timed(self, execute: Callable[[Any, ModuleType], None]) -> Any:
        def exec_module(loader: Any, module: ModuleType) -> None:
            of_torch = module.__name__.partition(".")[0] == "torch"
            began = time.perf_counter()
            self.depth += 1
            self.torch_depth += of_torch
            try:
                execute(loader, module)
            finally:
                seconds = time.perf_counter() - began
                self.depth -= 1
                self.torch_depth -= of_torch
                self.all += 0 if self.depth else seconds
                self.torch += seconds if of_torch and not self.torch_depth else 0

        return exec_module


def as_step(label: str) -> None:
    """Runs a step like its own process does, with a clock around the stage and one around imports."""
    imports = Imports()
    from xlrm.run import runner

    found = runner.stage_module

    def timed(run: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(run)
        def clocked(*arguments: Any, **named: Any) -> Any:
            imported, torch, began = imports.all, imports.torch, time.perf_counter()
            try:
                return run(*arguments, **named)
            finally:
                seen.update(run=time.perf_counter() - began, imports=imports.all - imported)
                seen["torch_in_run"] = imports.torch - torch

        return clocked

    def stage_module(name: str) -> ModuleType:
        module: Any = found(name)
        if not hasattr(module.run, "__wrapped__"):
            seen["stage"] = name
            module.run = timed(module.run)
        return module

    seen: dict = {}
    runner.stage_module = stage_module
    from components._step import main

    main(label)
    seen["torch"] = imports.torch
    with Path(os.environ[CLOCK]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(seen) + "\n")


def steps(home: Path) -> list[dict]:
    """Runs the steps of a run with local state in `home`; returns the measurements of each."""
    os.environ |= {"XLRM_HOME": str(home), "KFP_RUN_ID": "startup", CLOCK: str(home / "clock.jsonl")}
    from components import _run
    from xlrm.run.experiment import Experiment

    run = _run.Run(
        pipeline="cross-lingual-transfer", experiment=Experiment(name="startup", targets=("es",), stages=EXPERIMENT)
    )
    _run.begin(run)
    found = []
    for label in run.steps():
        began = time.perf_counter()
        command = [sys.executable, "-m", __spec__.name, "--step", label]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        found.append(json.loads((home / "clock.jsonl").read_text().splitlines()[-1]) | {"wall": seconds})
    return found


def overhead(step: dict) -> float:
    """Seconds of a step beyond its stage and the import of torch."""
    return step["wall"] - step["run"] - (step["torch"] - step["torch_in_run"])


def wall(command: list[str], times: int) -> float:
    """Median seconds of a fresh process."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def compile_seconds(times: int) -> tuple[float, float]:
    """Median seconds of `python -m pipelines compile`, and of building and writing the pipeline within it."""
    inside = (
        "import time; from kfp import compiler; began = time.perf_counter();"
        "from pipelines import cross_lingual_transfer, placement;"
        "compiler.Compiler().compile(cross_lingual_transfer.build(placement.current()), {!r}); print(time.perf_counter() - began)"
    )
    with tempfile.TemporaryDirectory() as folder:
        whole = wall([sys.executable, "-m", "pipelines", "compile", "--output", folder], times)
        command = [sys.executable, "-W", "ignore", "-c", inside.format(f"{folder}/inside.yaml")]
        said = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(times)]
    return whole, statistics.median(map(float, said))


def show_steps(rounds: int) -> dict[str, dict[str, float]]:
    """Prints a line for each stage, and returns the seconds of its parts."""
    found: dict[str, list[dict]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for step in steps(Path(folder)):
                found.setdefault(step["stage"], []).append(step)
    print("\n| stage | steps | wall | import torch | other imports of the stage | its work | overhead | goal | |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    figures = {}
    for stage, many in found.items():
        middle = {key: statistics.median(one[key] for one in many) for key in ("wall", "torch", "run", "imports")}
        beyond = statistics.median(map(overhead, many))
        others, work = middle["imports"] - middle["torch"], middle["run"] - middle["imports"]
        figures[stage] = {
            "wall": middle["wall"], "torch": middle["torch"], "other_imports": max(0, others), "work": work,
            "overhead": beyond,
        }  # fmt: skip
        shown = " | ".join(f"{value:.2f}" for value in figures[stage].values())
        print(f"| {stage} | {len(many)} | {shown} | {GOALS['step']} | {said(beyond < GOALS['step'])} |", flush=True)
    return figures


def said(reached: bool) -> str:
    return "reached" if reached else "missed"


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("rounds", type=int, nargs="?", default=3)
    return found


def main() -> int:
    options = parser().parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print("| what | seconds | goal | |\n|---|---:|---:|---|")
    whole, inside = compile_seconds(3)
    measured = {
        "xlrm --help": (wall([sys.executable, "-m", "xlrm.cli", "--help"], 5), GOALS["help"]),
        "python -m pipelines compile": (whole, GOALS["compile"]),
        "of which building and writing the pipeline": (inside, GOALS["compile"]),
    }
    for name, (seconds, goal) in measured.items():
        print(f"| {name} | {seconds:.2f} | {goal} | {said(seconds < goal)} |", flush=True)
    stages = show_steps(options.rounds)
    missed = [name for name, (seconds, goal) in measured.items() if seconds >= goal]
    missed += [stage for stage, one in stages.items() if one["overhead"] >= GOALS["step"]]
    figures = {"commands": {name: seconds for name, (seconds, _) in measured.items()}, "stages": stages}
    record.write(__spec__.name, options, figures, missed)
    return 1 if missed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        as_step(sys.argv[2])
    else:
        logging.disable(logging.WARNING)
        sys.exit(main())
