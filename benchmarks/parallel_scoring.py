"""Rewards per second of one and of several processes, with one thread each.

    python -m benchmarks.parallel_scoring [--processes 2] [--pairs 120] [--rounds 3]

The model and the pairs are those of benchmarks/workload.py. Rounds alternate between one process, several, and as many
processes that know nothing of each other, each with its share of the pairs: no way of sharing can be faster than these
on the same machine. Exits with 1 if a reward differs by more than 1e-5, or if several processes reach less than 0.9 of
the rewards per second of the independent ones.
"""

import argparse
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import record, workload

TOLERANCE = 1e-5
SHARE = 0.9
"""Least share of the rewards per second of independent processes."""
_scorer: Any = None
"""The model of an independent process."""


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def load(folder: Path) -> None:
    """Loads the model of an independent process."""
    global _scorer
    from xlrm.scorers import engines
    from xlrm.scorers.interface import Scoring

    _scorer = engines.load(folder, Scoring(device="cpu"))


def score(chats: list) -> list[float]:
    return _scorer.score(chats)


def independent(folder: Path, count: int, chats: list) -> Callable[[], list[float]]:
    """Scores by `count` processes that have loaded the model, each with every `count`-th pair."""
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), load, (folder,))
    pairs = [chats[i : i + 2] for i in range(0, len(chats), 2)]
    shares = [list(itertools.chain(*pairs[i::count])) for i in range(count)]
    list(pool.map(score, [chats[:20]] * count * 4))  # starts them, and warms up
    return lambda: list(itertools.chain(*pool.map(score, shares)))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import torch

    from xlrm.scorers import engines, parallel
    from xlrm.scorers.interface import Scoring

    torch.set_num_threads(1)
    workload.save_model(folder, options)
    chats = workload.conversations(workload.pairs(options.pairs))
    os.environ["OMP_NUM_THREADS"] = str(options.processes)  # shared evenly, so one thread each
    one = engines.load(folder, Scoring(device="cpu"))
    several = parallel.load(folder, Scoring(device="cpu", processes=options.processes))
    works: dict[str, Callable[[], list[float]]] = {
        "one": partial(one.score, chats),
        "several": partial(several.score, chats),
        "independent": independent(folder, options.processes, chats),
    }
    one.score(chats[:20]), several.score(chats[:20])
    rates: dict[str, list[float]] = {name: [] for name in works}
    rewards: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, work in works.items():
            seconds, rewards[name] = timed(work)
            rates[name].append(len(chats) / seconds)
    difference = max(abs(a - b) for a, b in zip(rewards["one"], rewards["several"], strict=True))
    return {"rewards_per_second": rates, "difference": difference}


def ratio(figures: dict[str, Any], name: str, other: str) -> float:
    """Median of the ratio of two contestants' rewards per second in the same round."""
    rates = figures["rewards_per_second"]
    return median(a / b for a, b in zip(rates[name], rates[other], strict=True))


def missed(figures: dict[str, Any]) -> list[str]:
    lines = []
    if figures["difference"] > TOLERANCE:
        lines.append(f"a reward differs by {figures['difference']:.1e}; at most {TOLERANCE} is allowed")
    if (share := ratio(figures, "several", "independent")) < SHARE:
        lines.append(f"{share:.2f} of the rewards per second of independent processes; {SHARE} is the goal")
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
    lines = missed(figures)
    for name, rates in figures["rewards_per_second"].items():
        times = ratio(figures, name, "one")
        print(f"{name}: {median(rates):.1f} rewards/s, {times:.2f}x; " + ", ".join(f"{rate:.1f}" for rate in rates))
    print(f"largest difference of a reward {figures['difference']:.1e}; load {os.getloadavg()[0]:.1f}")
    record.write("benchmarks.parallel_scoring", options, figures, lines)
    print("\n".join(f"missed: {line}" for line in lines) or "every goal met")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
