"""Finds the best of 64 responses to one prompt: this project compared with a plain loop over transformers.

    python -m benchmarks.best_of_n [--pairs PROMPTS] [--responses 64] [--device cuda] [--dtype bfloat16]

It also prints the largest difference of a reward, the standard deviation of rewards, and for how many prompts
the best response is the same. Exits with 1 if a reward differs by more than 1e-5, another response is the best, or a
goal is missed.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks import contest, workload
from benchmarks.contest import Benchmark, Contestant, Parity
from benchmarks.scoring import tolerance


def contestants(options: argparse.Namespace, folder: Path) -> list[Contestant]:
    plain = contest.plain_scores(folder, options, 16)
    return [
        Contestant("xlrm", contest.our_scores(folder, options)),
        Contestant("transformers, batch 16", plain, 1.8, less_memory=1.0),
    ]


def parity(ours: list[float], theirs: list[float], options: argparse.Namespace) -> Parity:
    import numpy as np

    one, other = (np.array(rewards).reshape(-1, options.responses) for rewards in (ours, theirs))
    apart = float(abs(one - other).max())
    agree = one.argmax(1) == other.argmax(1)
    said = f"{apart:.1e} (std {one.std():.2f}), {agree.sum()}/{len(agree)}"
    return Parity(said, apart <= tolerance(options) and bool(agree.all()))


def benchmark(responses: int) -> Benchmark:
    rows = partial(workload.lists, responses=responses)
    return Benchmark("benchmarks.best_of_n", f"The best of {responses}", contestants, rows, parity, few=1)


def parser() -> argparse.ArgumentParser:
    found = contest.parser(__doc__, count=2)
    found.add_argument("--responses", type=int, default=64)
    return found


def main() -> int:
    options = parser().parse_args()
    return contest.main(benchmark(options.responses), options)


if __name__ == "__main__":
    sys.exit(main())
