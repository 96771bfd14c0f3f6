"""Rewards per second of one and of several processes, with one thread each.

    python -m benchmarks.parallel_scoring [--processes 2] [--pairs 120] [--rounds 3]

The model and the pairs are those of benchmarks/workload.py. Rounds alternate between one process and several, in
one run, after both have warmed up; loading is timed by itself. Exits with 1 if a reward differs by more than 1e-5, or if the
median ratio is less than 0.85 of the number of processes.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import record, workload

TOLERANCE = 1e-5
SHARE = 0.85
"""Least ratio of rewards per second, as a share of the number of processes."""


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import torch

    from xlrm.scorers import engines, parallel
    from xlrm.scorers.interface import Scoring

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = str(options.processes)  # shared evenly, so one thread each
    workload.save_model(folder, options)
    chats = workload.conversations(workload.pairs(options.pairs))
    one = engines.load(folder, Scoring(device="cpu"))
    loading, several = timed(lambda: parallel.load(folder, Scoring(device="cpu", processes=options.processes)))
    expected, found = one.score(chats[:20]), several.score(chats[:20])  # warm up
    rates: dict[str, list[float]] = {"one": [], "several": []}
    for _ in range(options.rounds):
        for name, scorer in (("one", one), ("several", several)):
            seconds, rewards = timed(partial(scorer.score, chats))
            rates[name].append(len(chats) / seconds)
            expected, found = (rewards, found) if name == "one" else (expected, rewards)
    difference = max(abs(a - b) for a, b in zip(expected, found, strict=True))
    ratios = [b / a for a, b in zip(rates["one"], rates["several"], strict=True)]
    return {"rewards_per_second": rates, "ratios": ratios, "difference": difference, "loading_seconds": loading}


def missed(figures: dict[str, Any], options: argparse.Namespace) -> list[str]:
    lines = []
    if figures["difference"] > TOLERANCE:
        lines.append(f"a reward differs by {figures['difference']:.1e}; at most {TOLERANCE} is allowed")
    if median(figures["ratios"]) < (least := SHARE * options.processes):
        lines.append(f"{median(figures['ratios']):.2f}x with {options.processes} processes; {least:.2f}x is the goal")
    return lines


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("--processes", type=int, default=2)
    found.add_argument("--pairs", type=int, default=120)
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--layers", type=int, default=4)
    found.add_argument("--hidden", type=int, default=256, help="hidden size of the model, a multiple of 128")
    return found


def main() -> int:
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(options, Path(name))
    lines = missed(figures, options)
    one, several = (figures["rewards_per_second"][name] for name in ("one", "several"))
    print(f"rewards/s: {median(one):.1f} in one process, {median(several):.1f} in {options.processes}")
    ratios = ", ".join(f"{ratio:.2f}" for ratio in figures["ratios"])
    print(
        f"ratio: {median(figures['ratios']):.2f} ({ratios}); largest difference of a reward {figures['difference']:.1e}"
    )
    print(
        f"loading in {options.processes} processes: {figures['loading_seconds']:.1f} s; load {os.getloadavg()[0]:.1f}"
    )
    record.write("benchmarks.parallel_scoring", options, figures, lines)
    print("\n".join(f"missed: {line}" for line in lines) or "every goal met")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
