"""Speed, memory and precision with models of real size, on whatever device there is, in one file.

    python -m benchmarks.real_sizes --models FOLDER... --output results.json [--device auto] [--minutes 40]
        [--vllm PYTHON] [--venv DIR] [--parts NAME,...] [--size small]

Every part is a benchmark of this folder in a process of its own, for each model in turns: rates of matrix products and time
by phase, scoring beside plain transformers, the rewardbench package and vLLM, with and without a long conversation, the best
of 64, training of reward models and DPO beside TRL as shipped and at its best settings, sampling beside vLLM alone, growth,
rewards in bfloat16, and memory and rate of trainings (LoRA, bitsandbytes' optimizer, ZeRO-3). A part that cannot run, fails
or has no time left is named with the reason. The file is written after every part. `--size` is by default that for the
device; small tries everything in minutes on any machine.

`--vllm` is by default this Python if it has vLLM, `--venv` the environment of benchmarks.rewardbench_parity if there is one.
Exits with 1 if a part failed.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import record, rewardbench_parity

SIZES = ("cpu", "cuda", "small")


@dataclass(frozen=True)
class Part:
    name: str
    module: str
    sizes: tuple[str, str, str]
    """Options for each of `SIZES`."""
    peers: tuple[str, ...] = ()
    """Options of software that takes part where it is installed: vllm, venv."""
    in_vllm: bool = False
    """Whether it runs in the Python that has vLLM."""

    def options(self, size: str) -> list[str]:
        return self.sizes[SIZES.index(size)].split()


_HALF = "--dtype bfloat16"
_TINY = "--pairs 2 --rounds 1"
PARTS = (
    Part("phases", "phases", ("--pairs 4 --batch 4", "--pairs 48 --batch 16", "--pairs 2 --batch 2")),
    Part("phases, bfloat16", "phases", ("", f"--pairs 48 --batch 16 {_HALF}", "")),
    Part(
        "reward training", "reward_training_speed",
        ("--pairs 4 --batch 2 --rounds 3 --shipped", f"--pairs 48 --batch 16 --rounds 3 --shipped {_HALF}", f"{_TINY} --batch 2"),
    ),
    Part(
        "trainings", "training_memory",
        ("--pairs 2", f"--pairs 16 {_HALF}", "--pairs 2 --cases full,ZeRO-3"),
    ),
    Part("scoring", "scoring", ("--pairs 4", f"--pairs 200 {_HALF}", _TINY), ("vllm", "venv")),
    Part(
        "scoring, a long conversation", "scoring",
        ("--pairs 4 --long 1500", f"--pairs 64 --long 12000 {_HALF}", f"{_TINY} --long 300"), ("vllm", "venv"),
    ),
    Part("scoring, float32", "scoring", ("", "--pairs 60 --rounds 1", ""), ("vllm", "venv")),
    Part(
        "sampling", "sampling_speed",
        ("--pairs 2 --tokens 32", f"--pairs 8 --tokens 256 {_HALF}", f"{_TINY} --samples 4 --tokens 4"), in_vllm=True,
    ),
    Part(
        "DPO", "dpo_speed",
        ("--pairs 4 --batch 2 --rounds 3 --shipped", f"--pairs 32 --batch 8 --rounds 3 --shipped {_HALF}", f"{_TINY} --batch 2"),
    ),
    Part("rewards in bfloat16", "half_precision", ("--pairs 40", "--pairs 300", "--pairs 2")),
    Part("growth", "work_growth", ("--pairs 2 --batch 2 --rounds 3", f"--pairs 32 --batch 16 {_HALF}", f"{_TINY} --batch 2")),
    Part("best of 64", "best_of_n", ("--pairs 1", f"--pairs 4 {_HALF}", f"{_TINY} --responses 3")),
)  # fmt: skip
_MEMORY_APART = ("scoring", "best_of_n", "reward_training_speed", "dpo_speed")
"""Benchmarks that measure memory in further processes, which is left to "trainings"."""
_LEAST = 20
"""Seconds below which no part is started."""


def command(part: Part, model: Path, options: argparse.Namespace, file: Path) -> list[str]:
    python = options.vllm if part.in_vllm else sys.executable
    line = [str(python), "-m", f"benchmarks.{part.module}", "--model", str(model), "--json", str(file)]
    line += ["--device", options.device, "--clock", options.clock, "--threads", str(options.threads)]
    line += ["--no-memory"] * (part.module in _MEMORY_APART) + part.options(options.size)
    if "vllm" in part.peers and options.vllm:
        line += ["--vllm", str(options.vllm)]
    if "venv" in part.peers:
        line += ["--venv", str(options.venv)] if options.venv else ["--no-package"]
    return line


def environment(part: Part, options: argparse.Namespace) -> dict[str, str]:
    """Variables of a part's process, which sees one GPU, unless it is about several."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    gpus = {"CUDA_VISIBLE_DEVICES": first} if options.device == "cuda" and part.name != "trainings" else {}
    return os.environ | gpus | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": str(options.threads)}


def skipped(part: Part, options: argparse.Namespace, left: float) -> str | None:
    """Reason why a part is not run; None if it is."""
    if not part.options(options.size):
        return f"not for the size {options.size}"
    if options.parts and part.name not in options.parts:
        return "not asked for by --parts"
    if part.in_vllm and options.vllm is None:
        return "vLLM is not installed here, and --vllm names no Python that has it"
    return "no time left" if left < _LEAST else None


def run(part: Part, model: Path, options: argparse.Namespace, left: float) -> dict[str, Any]:
    """Figures of a part, or the reason why there are none."""
    if reason := skipped(part, options, left):
        return {"skipped": reason}
    with tempfile.TemporaryDirectory() as name:
        file, begun = Path(name) / "figures.json", time.monotonic()
        try:
            done = subprocess.run(
                command(part, model, options, file), env=environment(part, options), cwd=name, capture_output=True, text=True,
                timeout=left, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"skipped": f"stopped after {left:.0f} s, when no time was left"}
        if not file.exists():
            return {"failed": (done.stderr or done.stdout).strip()[-2000:]}
        found = json.loads(file.read_text(encoding="utf-8"))
        return {name: found[name] for name in ("figures", "missed", "options")} | {"seconds": time.monotonic() - begun}


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Part -> model -> figures. The file is written after each."""
    end = time.monotonic() + 60 * options.minutes
    results: dict[str, dict[str, Any]] = {part.name: {} for part in PARTS}
    for part in PARTS:
        for model in options.models:
            found = run(part, model, options, end - time.monotonic())
            results[part.name][model.name] = found
            for line in summary(found):
                print(f"{part.name}, {model.name}: {line}", flush=True)
            record.write("benchmarks.real_sizes", options, {"parts": results, "left_out": left_out(options)})
    return results


def left_out(options: argparse.Namespace) -> dict[str, str]:
    """Software that takes no part, and why."""
    reasons = {
        "rewardbench": None
        if options.venv
        else "no environment with it; `python -m benchmarks.rewardbench_parity` makes one",
        "vLLM": None if options.vllm else "not installed; --vllm names a Python that has it",
    }
    return {name: reason for name, reason in reasons.items() if reason}


def summary(found: dict[str, Any]) -> Iterator[str]:
    """Lines on a part, from its figures."""
    yield from (f"{kind}: {found[kind].splitlines()[-1]}" for kind in ("skipped", "failed") if kind in found)
    figures = found.get("figures", {})
    for one in figures.get("contestants", ()):
        ratios = one["ours_is_faster_by"]
        yield f"{one['name']}: {median(one['seconds']):.2f} s, {median(ratios):.2f}x ({min(ratios):.2f} .. {max(ratios):.2f})"
    yield from (
        f"{name} takes no part: {reason.splitlines()[-1]}" for name, reason in figures.get("unavailable", {}).items()
    )
    for name, case in figures.get("cases", {}).items():
        memory = "peak {peak_mib:,.0f} MiB, estimate {estimate_mib:,.0f}; {of_roof:.0%} of the rate of matrix products"
        yield f"{name}: " + (case.get("skipped") or memory.format(**case))
    for name, one in figures.items():
        if isinstance(one, dict) and "exponent" in one:
            yield f"{name}: exponent {one['exponent']:.2f}"
        elif isinstance(one, dict) and "of_roof" in one:
            yield f"{name}: {one['of_roof']:.0%} of the rate of matrix products"
    if "of_vllm" in figures:
        yield f"{median(figures['of_vllm']):.2f} of vLLM alone"
    if "changed" in figures:
        yield "{changed} of {pairs} verdicts change, largest difference {largest_difference:.2g}".format(**figures)
    yield from (f"missed: {line}" for line in found.get("missed", ()))


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument(
        "--models", type=Path, nargs="+", required=True, help="folders of decoders in Hugging Face's format"
    )
    found.add_argument("--output", dest="json", type=record.new_file, required=True, help="the same as --json")
    found.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    found.add_argument("--size", choices=SIZES, help="by default that for the device")
    found.add_argument("--parts", type=lambda text: text.split(";"), help="names, separated by ';'; by default all")
    found.add_argument("--minutes", type=float, default=40)
    found.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    found.add_argument("--clock", choices=["wall", "processor"], default="wall")
    found.add_argument("--vllm", type=Path, metavar="PYTHON")
    found.add_argument("--venv", type=Path, metavar="DIR", help="environment with rewardbench")
    return found


def complete(options: argparse.Namespace) -> argparse.Namespace:
    """The options with what depends on this machine."""
    import torch

    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    options.size = options.size or options.device
    options.models = [folder.resolve() for folder in options.models]
    if options.vllm is None and importlib.util.find_spec("vllm"):
        options.vllm = Path(sys.executable)
    if options.venv is None and (rewardbench_parity.VENV / "bin" / "python").exists():
        options.venv = rewardbench_parity.VENV
    for name in ("vllm", "venv"):
        if vars(options)[name]:
            vars(options)[name] = vars(options)[name].absolute()
    return options


def main() -> int:
    options = complete(parser().parse_args())
    results = measure(options)
    return int(any("failed" in found for models in results.values() for found in models.values()))


if __name__ == "__main__":
    sys.exit(main())
