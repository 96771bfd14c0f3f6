"""Rewards of 60 pairs: this project compared with the rewardbench package, at the batch sizes of its script and its
command, and with a plain loop over transformers.

    python -m benchmarks.scoring [--device cuda] [--dtype bfloat16] [--venv DIR]

The package runs in an environment of its own, which is created if there is none, as one process that loads the model
once; only its loop is timed. It also prints the largest difference of a reward, the standard deviation of rewards, and
how many verdicts agree. Exits with 1 if a reward differs by more than 1e-5, a verdict differs, or a goal is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import contest, rewardbench_parity, workload
from benchmarks.contest import Benchmark, Contestant, Parity, Run
from benchmarks.workload import Row

TOLERANCE = 1e-5
PEERS = {
    "rewardbench, run_rm.py, batch 64": ("run_rm", 5.5),
    "rewardbench, its command, batch 8": ("command", 2.8),
}
"""Contestant of the package -> its way (benchmarks/rewardbench_oracle.py), and the goal."""


class Server:
    """The package in a separate process, which ends with this one."""

    def __init__(self, python: Path, model: Path, options: argparse.Namespace):
        self.folder = tempfile.TemporaryDirectory()
        name = self.folder.name
        command = [
            python.absolute(), rewardbench_parity.ORACLE.absolute(), "serve", model.absolute(), options.device,
            options.dtype, str(options.threads),
        ]  # fmt: skip
        self.log = (Path(name) / "log").open("w+")
        self.process = subprocess.Popen(
            command, cwd=name, env=rewardbench_parity.clean_environment(name), text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip

    def ask(self, rows: list[Row], way: str) -> dict:
        """`seconds`, `rewards` of (chosen, rejected), `won`, and `peak` in MiB above idle."""
        pairs = [
            {"prompt": row["prompt"]} | dict(zip(("chosen", "rejected"), row["responses"], strict=True)) for row in rows
        ]
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"pairs": pairs, "way": way}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the rewardbench package:\n{Path(self.log.name).read_text()[-3000:]}")
        return json.loads(line)


def peers(python: Path, model: Path, options: argparse.Namespace) -> list[Contestant]:
    server = Server(python, model, options)
    peaks: dict[str, list[float]] = {way: [] for way, _ in PEERS.values()}

    def prepare(way: str) -> Callable[[list[Row]], Run]:
        def run(rows: list[Row]) -> tuple[float, list[float]]:
            found = server.ask(rows, way)
            peaks[way].append(found["peak"])
            return found["seconds"], [reward for pair in found["rewards"] for reward in pair]

        return lambda rows: lambda: run(rows)

    def contestant(name: str, way: str, goal: float) -> Contestant:
        return Contestant(name, prepare(way), goal, less_memory=1.0, peak=lambda: max(peaks[way]))

    return [contestant(name, *way) for name, way in PEERS.items()]


def contestants(options: argparse.Namespace, folder: Path) -> list[Contestant]:
    """All contestants; the package's only if they are asked for."""
    found = {
        "xlrm": lambda: Contestant("xlrm", contest.our_scores(folder, options)),
        "transformers, batch 8": lambda: Contestant(
            "transformers, batch 8", contest.plain_scores(folder, options, 8), 2.5, 1.0
        ),
    }
    if options.of:
        return [found[options.of]()]
    theirs = peers(rewardbench_parity.environment(options.venv), folder, options) if options.venv else []
    return [make() for make in found.values()] + theirs


def parity(ours: list[float], theirs: list[float], options: argparse.Namespace) -> Parity:
    import numpy as np

    one, other = np.array(ours), np.array(theirs)
    apart = float(abs(one - other).max())
    agree = (one[::2] > one[1::2]) == (other[::2] > other[1::2])
    said = f"{apart:.1e} (std {one.std():.2f}), {agree.sum()}/{len(agree)}"
    return Parity(said, apart <= TOLERANCE and bool(agree.all()))


BENCHMARK = Benchmark("benchmarks.scoring", "Scoring pairs", contestants, workload.pairs, parity)


def parser() -> argparse.ArgumentParser:
    found = contest.parser(__doc__, count=60)
    found.add_argument(
        "--venv",
        type=Path,
        default=rewardbench_parity.VENV,
        help="virtual environment with rewardbench (XLRM_REWARDBENCH_VENV)",
    )
    return found


def main() -> int:
    return contest.main(BENCHMARK, parser().parse_args())


if __name__ == "__main__":
    sys.exit(main())
