"""Rewards of 60 pairs: this project compared with the rewardbench package, at the batch sizes of its script and its
command, with a plain loop over transformers, and with vLLM's pooling runner.

    python -m benchmarks.scoring [--model FOLDER] [--long TOKENS] [--device cuda] [--dtype bfloat16] [--venv DIR]
        [--vllm PYTHON]

The package runs in an environment of its own, which is created if there is none, as one process that loads the model
once; only its loop is timed. vLLM is measured where `--vllm` names a Python that has it. It also prints the largest
difference of a reward, the standard deviation of rewards, and how many verdicts agree. Exits with 1 if a reward differs
by more than 1e-5 (with `--model` 1e-4), a verdict differs, or a goal is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import contest, rewardbench_parity, workload
from benchmarks.contest import Benchmark, Contestant, Parity, Unavailable
from benchmarks.workload import Row

TOLERANCE, REAL = 1e-5, 1e-4
"""Largest difference of a reward: of the small model, and of a real one, whose states have larger values."""
PEERS = {
    "rewardbench, run_rm.py, batch 64": ("run_rm", 5.5),
    "rewardbench, its command, batch 8": ("command", 2.8),
}
"""Contestant of the package -> its way (benchmarks/rewardbench_oracle.py), and the goal."""
_TRUNCATED = 1600
"""Tokens of a response from which the package's script may truncate the conversation, to 2,048 with its prompt."""


class Server:
    """Another software in a separate process, which ends with this one."""

    def __init__(self, name: str, command: list[Any], clock: str, environment: dict[str, str]):
        """`environment`: variables beside or in place of this process's, which has no PYTHONPATH for it."""
        self.name, self.clock = name, clock
        self.folder = tempfile.TemporaryDirectory()
        folder = self.folder.name
        self.log = (Path(folder) / "log").open("w+")
        self.process = subprocess.Popen(
            list(map(str, command)), cwd=folder, env=rewardbench_parity.clean_environment(folder) | environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip

    def ask(self, rows: list[Row], way: str = "") -> dict:
        """`seconds`, `rewards` of (chosen, rejected), and `peak` in MiB above idle."""
        pairs = [
            {"prompt": row["prompt"]} | dict(zip(("chosen", "rejected"), row["responses"], strict=True)) for row in rows
        ]
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"pairs": pairs, "way": way, "clock": self.clock}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Unavailable(f"{self.name}: {Path(self.log.name).read_text()[-1000:]}")
        return json.loads(line)


def package(folder: Path, options: argparse.Namespace) -> list[Contestant]:
    """The rewardbench package in its two ways; without its script's for conversations that it truncates, and where its
    batches are those of the command."""
    if not options.venv:
        return []
    python = rewardbench_parity.environment(options.venv).absolute()
    command = [
        python, rewardbench_parity.ORACLE.absolute(), "serve", folder.absolute(), options.device, options.dtype,
        options.threads,
    ]  # fmt: skip
    server = Server("the rewardbench package", command, options.clock, {})
    differs = options.long < _TRUNCATED and options.pairs > 8
    ways = {name: way for name, way in PEERS.items() if way[0] != "run_rm" or differs}
    return [_served(server, name, way, goal, less_memory=1.0) for name, (way, goal) in ways.items()]


def vllm(folder: Path, options: argparse.Namespace) -> list[Contestant]:
    if not options.vllm:
        return []
    command = [
        options.vllm.absolute(), "-m", "benchmarks.vllm_peer", "score", folder.absolute(), options.dtype,
        max(2048, options.long + 1024),
    ]  # fmt: skip
    here = {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": str(options.threads)}
    return [_served(Server("vLLM", command, options.clock, here), "vLLM, pooling")]


def _served(
    server: Server, name: str, way: str = "", goal: float | None = None, less_memory: float | None = None
) -> Contestant:
    peaks: list[float] = []

    def run(rows: list[Row]) -> tuple[float, list[float]]:
        answer = server.ask(rows, way)
        peaks.append(answer["peak"])
        return answer["seconds"], [reward for pair in answer["rewards"] for reward in pair]

    return Contestant(name, lambda rows: lambda: run(rows), goal, less_memory, peak=lambda: max(peaks))


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
    return [make() for make in found.values()] + package(folder, options) + vllm(folder, options)


def parity(ours: list[float], theirs: list[float], options: argparse.Namespace) -> Parity:
    import numpy as np

    one, other = np.array(ours), np.array(theirs)
    apart = float(abs(one - other).max())
    agree = (one[::2] > one[1::2]) == (other[::2] > other[1::2])
    said = f"{apart:.1e} (std {one.std():.2f}), {agree.sum()}/{len(agree)}"
    return Parity(said, apart <= tolerance(options) and bool(agree.all()))


def tolerance(options: argparse.Namespace) -> float:
    return REAL if vars(options).get("model") else TOLERANCE


BENCHMARK = Benchmark("benchmarks.scoring", "Scoring pairs", contestants, workload.pairs, parity)


def parser() -> argparse.ArgumentParser:
    found = contest.parser(__doc__, count=60)
    found.add_argument(
        "--venv",
        type=Path,
        default=rewardbench_parity.VENV,
        help="virtual environment with rewardbench (XLRM_REWARDBENCH_VENV)",
    )
    found.add_argument("--no-package", dest="venv", action="store_const", const=None, help="without the package")
    found.add_argument(
        "--vllm", type=Path, metavar="PYTHON", help="Python of an environment with vLLM and this project"
    )
    return found


def main() -> int:
    return contest.main(BENCHMARK, parser().parse_args())


if __name__ == "__main__":
    sys.exit(main())
