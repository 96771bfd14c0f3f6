"""Memory that loading a reward model takes, by the precision it is loaded in, each in a process of its own.

    python -m benchmarks.loading_memory [--layers 24] [--hidden 1024]

The folder has random weights in float32 (benchmarks/workload.py). The peak is that of anonymous memory beyond what the
process held before, sampled every 2 ms while the model is loaded: files are mapped, and their pages are not counted.
Exits with 1 if float32 or bfloat16 takes more than a tenth and 100 MiB beyond the weights, as a second copy of them
would. In int8 and 4bit, bitsandbytes reads weights in bfloat16 and frees them one by one.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from benchmarks import memory, record, workload

PRECISIONS = ("float32", "bfloat16", "int8", "4bit")
_MIB = 2**20


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("--layers", type=int, default=24)
    found.add_argument("--hidden", type=int, default=1024, help="hidden size of the model, a multiple of 128")
    found.add_argument("--of", choices=PRECISIONS, help=argparse.SUPPRESS)
    found.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return found


def load(folder: Path, precision: Any) -> dict[str, float]:
    """MiB of the weights, and of the peak while they are loaded."""
    import transformers.models.qwen2.modeling_qwen2  # noqa: F401 - imported before the measurement

    from xlrm.models import loading

    if precision in ("int8", "4bit"):
        import bitsandbytes  # noqa: F401
    peaks, done, before = [0.0], threading.Event(), memory.anonymous()

    def sample() -> None:
        while not done.wait(0.002):
            peaks.append(memory.anonymous() - before)

    sampler = threading.Thread(target=sample)
    sampler.start()
    model = loading.load_reward_model(folder, precision, "cpu")
    done.set()
    sampler.join()
    return {"weights": model.get_memory_footprint() / _MIB, "peak": max(peaks)}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    workload.save_model(folder, options)
    quantized = importlib.util.find_spec("bitsandbytes") is not None
    found = {}
    for precision in PRECISIONS if quantized else PRECISIONS[:2]:
        command = [sys.executable, "-m", "benchmarks.loading_memory", "--of", precision, "--folder", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{precision}:\n{done.stderr[-3000:]}")
        found[precision] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    options = parser().parse_args()
    if options.of:
        print(json.dumps(load(options.folder, options.of)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        figures = measure(options, Path(name))
    missed = []
    for precision, found in figures.items():
        print(f"{precision}: weights {found['weights']:,.0f} MiB, peak {found['peak']:,.0f} MiB")
        if precision in PRECISIONS[:2] and found["peak"] > 1.1 * found["weights"] + 100:
            missed.append(f"{precision}: {found['peak']:,.0f} MiB for {found['weights']:,.0f} MiB of weights")
    record.write("benchmarks.loading_memory", options, figures, missed)
    print("\n".join(f"missed: {line}" for line in missed) or "every goal met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
