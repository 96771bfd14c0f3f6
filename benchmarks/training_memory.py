"""Memory and speed of training a reward model by the project's own stage code, beside the memory that it estimates.

    python -m benchmarks.training_memory [--model FOLDER] [--cases full,checkpointed,lora] [--device cuda] [--dtype bfloat16]

Each case is a process of its own that trains on one batch, three times. The peak is that of a device: on a CPU resident
memory beyond what the process held after its imports, on a GPU what PyTorch allocated. The estimate is
`xlrm.training.memory.of_training` for the tokens of that batch, without the reserve. `of_roof` is the share of the rate
of matrix products of all devices (model FLOP utilisation: prompts once, no padding, no recomputation), from the second
step on. Cases that the machine cannot run are named with the reason.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import contest, memory, record, workload

CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "checkpointed": {"gradient_checkpointing": True},
    "lora": {"lora_rank": 16},
    "8-bit optimizer": {"optimizer": "paged_adamw_8bit"},
    "ZeRO-3": {"processes": 0},
    "ZeRO-3, 8-bit optimizer": {"processes": 0, "optimizer": "paged_adamw_8bit"},
}
"""Case -> fields of `RewardTraining` beside or in place of those of `config`."""
STEPS = 3


def config(case: str, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "language": "en", "learning_rate": 1e-5, "batch_size": options.pairs, "device_batch_size": options.pairs,
        "epochs": STEPS, "precision": options.dtype, "processes": 1, "gradient_checkpointing": False, "log_steps": 1,
        "max_length": max(2048, options.long + 1024), "heldout_scorings": 0,
    } | CASES[case]  # fmt: skip


def unavailable(case: str, options: argparse.Namespace) -> str | None:
    """Reason why this machine cannot run the case; None if it can."""
    import torch

    gpus = torch.cuda.device_count() if options.device == "cuda" else 0
    if "8-bit" in case and not gpus:
        return "bitsandbytes' paged optimizers are for GPUs"
    if "8-bit" in case and importlib.util.find_spec("bitsandbytes") is None:
        return "bitsandbytes is not installed"
    if "ZeRO-3" in case and gpus < 2:
        return f"needs two GPUs; this machine has {gpus}"
    if "ZeRO-3" in case and importlib.util.find_spec("deepspeed") is None:
        return "deepspeed is not installed"
    return None


# The process of a case


def worker(folder: Path) -> None:
    """`reward_worker` of the project, which also writes peak memory and seconds for each process."""
    import peft  # noqa: F401 - imported before the measurement
    import torch
    import trl  # noqa: F401
    from transformers import TrainerCallback

    from xlrm.training import trainers

    class Clock(TrainerCallback):
        ends: ClassVar[list[float]] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.ends.append(CLOCK())

    train, clock = trainers.train, Clock()

    def timed(trainer: Any, *given: Any) -> None:
        trainer.add_callback(clock)
        train(trainer, *given)

    trainers.train = timed  # type: ignore[assignment]
    memory.reset_peak()
    held = memory.held()
    trainers.reward_worker(folder)
    cuda = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    peak = memory.peak() - held if cuda is None else cuda
    figures = {"peak_mib": peak, "seconds": clock.ends[-1] - clock.ends[0]}
    (folder / f"measured.{os.environ.get('RANK', 0)}.json").write_text(json.dumps(figures))


def run(case: str, options: argparse.Namespace) -> dict[str, float]:
    """Figures of the process that took most."""
    from xlrm.training import trainers
    from xlrm.training.recipes import RewardTraining

    run_job: Callable[..., Any] = trainers.run_job

    def measured(_: str, *given: Any) -> dict[str, float]:
        return run_job("benchmarks.training_memory:worker", *given)

    trainers.run_job = measured  # type: ignore[assignment]
    rows = workload.of_options(workload.pairs(options.pairs), options)
    pairs = [{"prompt": row["prompt"], "chosen": row["responses"][0], "rejected": row["responses"][1]} for row in rows]
    with tempfile.TemporaryDirectory() as name:
        settings = RewardTraining.model_validate(config(case, options))
        trainers.train_reward_model(options.folder, pairs, settings, Path(name) / "output")
        found = [json.loads(path.read_text()) for path in Path(name).glob("measured.*.json")]
    return {key: max(one[key] for one in found) for key in found[0]} | {"processes": len(found)}


CLOCK = time.process_time if os.environ.get("XLRM_BENCHMARK_CLOCK") == "processor" else time.perf_counter


# All cases


def estimate(case: str, shape: Any, tokens: int, processes: int, options: argparse.Namespace) -> float:
    """MiB by the project's formula, for `tokens` tokens of a process."""
    from xlrm.training import memory as formula
    from xlrm.training.recipes import RewardTraining

    settings = RewardTraining.model_validate(config(case, options))
    return formula.of_reward_model(shape, tokens, processes, settings).total / 2**20


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from xlrm.models import compute

    workload.save_model(folder, options, policy=True)
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = compute.shape(described)
    assert shape, described
    rows = workload.of_options(workload.pairs(options.pairs), options)
    tokens = workload.tokens_of(rows)
    work = 3 * (STEPS - 1) * workload.operations(rows, described)
    rate = contest.matmul_rate(options)
    cases: dict[str, Any] = {}
    for case in options.cases:
        if reason := unavailable(case, options):
            cases[case] = {"skipped": reason}
            continue
        found = _apart(case, options, folder)
        if "skipped" not in found:
            processes = int(found["processes"])
            found["estimate_mib"] = estimate(case, shape, tokens // processes, processes, options)
            found["of_roof"] = work / found["seconds"] / rate / processes
        cases[case] = found
        print(f"{case}: {found}", flush=True)
    return {"work": workload.described(rows), "tokens": tokens, "matrix_products_per_second": rate, "cases": cases}


def _apart(case: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    kept = ("pairs", "long", "model", "device", "dtype", "threads", "clock")
    given = [
        part for name in kept if vars(options)[name] is not None for part in (f"--{name}", str(vars(options)[name]))
    ]
    command = [sys.executable, "-m", "benchmarks.training_memory", "--of", case, "--folder", str(folder), *given]
    environment = os.environ | {
        "MALLOC_MMAP_THRESHOLD_": "65536", "XLRM_BENCHMARK_CLOCK": options.clock, "OMP_NUM_THREADS": str(options.threads),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }  # fmt: skip
    if options.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return {"skipped": f"failed: {done.stderr.strip()[-300:]}"}
    return json.loads(done.stdout.splitlines()[-1])


def parser() -> argparse.ArgumentParser:
    found = contest.parser(__doc__, count=4)
    found.add_argument("--cases", type=lambda text: text.split(","), default=list(CASES), help=", ".join(CASES))
    return found


def main() -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    options = parser().parse_args()
    if options.of:
        print(json.dumps(run(options.of, options)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        figures = measure(options, Path(name))
    record.write("benchmarks.training_memory", options, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
