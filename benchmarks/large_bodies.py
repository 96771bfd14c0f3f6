"""Latency of small requests to the reward server while other clients send bodies of 8 MiB.

    python -m benchmarks.large_bodies [--seconds 8] [--senders 2] [--json FILE]

One client on loopback asks for the reward of a short conversation, again and again over one connection: first alone,
then beside `--senders` processes that send large bodies of one kind after the other. A tiny model, so that the time is
that of reading and tokenising.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks import record, serving_load, workload

MOST_BYTES = 8 * 2**20
SMALL = {"prompt": "How much is one plus two?", "response": "Three."}
_SENTENCE = "The quick brown fox jumps over the lazy dog. "
_TURNS = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
ROWS = {
    "long conversations": (SMALL | {"response": (_SENTENCE * 5000)[:199_000]}, 200),
    "many messages": (_TURNS * 300, 200),
    "many rows, which are refused": (SMALL, 200_000),
}
"""Kind -> a row, and how many of them a body has at most, if 8 MiB suffice."""


def body(kind: str) -> bytes:
    row, most = ROWS[kind]
    count = min(most, MOST_BYTES // (len(json.dumps(row)) + 2) - 1)
    return json.dumps({"conversations": [row] * count}).encode()


def send(url: str, kind: str, until: float) -> None:
    """Sends bodies until that time on the system's monotonic clock."""
    content = body(kind)
    while time.monotonic() < until:
        try:
            httpx.post(f"{url}/v1/rewards", content=content, headers={"Content-Type": "application/json"}, timeout=300)
        except httpx.TransportError:  # an answer of 413 may come before all of the body was read
            time.sleep(0.1)


def latencies(url: str, seconds: float) -> list[float]:
    """Milliseconds that each small request takes."""
    taken, until = [], time.monotonic() + seconds
    with httpx.Client(base_url=url, timeout=300) as client:
        while time.monotonic() < until:
            begun = time.perf_counter()
            client.post("/v1/rewards", json={"conversations": [SMALL]}).raise_for_status()
            taken.append(1000 * (time.perf_counter() - begun))
    return taken


def beside(folder: Path, kind: str | None, options: argparse.Namespace) -> list[float]:
    """Latencies beside senders of that kind. Each kind has a server of its own, without the work left from others."""
    with serving_load.serving(folder, options.threads, "wait_ms=0") as server:
        latencies(server.url, 1)
        until = time.monotonic() + options.seconds + 2
        spawn = multiprocessing.get_context("spawn")
        senders = [
            spawn.Process(target=send, args=(server.url, kind, until)) for _ in range(options.senders if kind else 0)
        ]
        for sender in senders:
            sender.start()
        time.sleep(2 if kind else 0)
        taken = latencies(server.url, options.seconds)
        for sender in senders:
            sender.kill()
            sender.join()
    return taken


def parser() -> argparse.ArgumentParser:
    options = record.parser(__doc__)
    options.add_argument("--seconds", type=float, default=8, help="of each measurement")
    options.add_argument("--senders", type=int, default=2)
    options.add_argument("--threads", type=int, default=1, help="of PyTorch in a server")
    options.set_defaults(layers=2, hidden=128)
    return options


def main(options: argparse.Namespace) -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    table = Table("beside", "MiB", "requests", "p50, ms", "p99, ms", "longest, ms")
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        workload.save_model(Path(name), options)
        for kind in (None, *ROWS):
            taken = beside(Path(name), kind, options)
            p99 = quantiles(taken, n=100)[98] if len(taken) > 1 else taken[0]
            size = len(body(kind)) / 2**20 if kind else 0
            figures[kind or "nothing"] = {
                "mib": size, "requests": len(taken), "p50": median(taken), "p99": p99, "longest": max(taken),
            }  # fmt: skip
            numbers = f"{size:.1f}", f"{len(taken)}", f"{median(taken):.1f}", f"{p99:.0f}", f"{max(taken):.0f}"
            table.add_row(kind or "nothing", *numbers)
    Console(width=120).print(table)
    record.write(__spec__.name, options, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main(parser().parse_args()))
