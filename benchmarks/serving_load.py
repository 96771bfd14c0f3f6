"""Requests per second and latencies of the reward server with its batches, and of one that scores each request alone.

    python -m benchmarks.serving_load [--clients 1 8 32] [--connections kept new] [--seconds 8] [--json FILE]

Clients on this machine's loopback send one conversation per request, and the next one after its answer, over a kept
connection or a new one each time. The comparison is the same server with `batch_conversations=1 wait_ms=0`: one request,
one forward pass. All are measured in turns.
Then a rolling restart: two replicas behind a TCP proxy that, like a Kubernetes Service, sends new connections to
replicas that report that they are ready; each is replaced by a new one under load. Exits with 1 if an answer is lost,
or if a reward differs by more than 1e-5 from that of `xlrm score`.
"""

import argparse
import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks import record, workload

TOLERANCE = 1e-5
POLL_SECONDS = 0.5
"""Seconds between the proxy's checks of readiness; a kubelet's default is ten seconds, and k8s/ sets it in its
Deployment."""
START_SECONDS = 180
WAYS = {"batches": (), "one at a time": ("batch_conversations=1", "wait_ms=0")}


@dataclass
class Load:
    """Results of the clients."""

    seconds: float = 0
    latencies: list[float] = field(default_factory=list)
    """Seconds of answered requests."""
    lost: list[str] = field(default_factory=list)
    """Responses or errors that came instead of an answer."""
    apart: float = 0
    """Largest difference of a reward from the expected one."""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, number: int) -> float:
        """Percentile of the latencies in milliseconds."""
        return quantiles(self.latencies, n=100)[number - 1] * 1000


# Servers


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@dataclass
class Replica:
    process: subprocess.Popen
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False


def start(folder: Path, threads: int, *arguments: str) -> Replica:
    port = free_port()
    command = [sys.executable, "-m", "xlrm.cli", "serve", str(folder), "--port", str(port), *arguments]
    variables = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return Replica(subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL), port)


def wait_until_ready(replica: Replica) -> None:
    while not replica.ready():
        if replica.process.poll() is not None:
            sys.exit(f"the server ended with {replica.process.returncode}")
        time.sleep(0.2)


@contextmanager
def serving(folder: Path, threads: int, *arguments: str) -> Iterator[Replica]:
    replica = start(folder, threads, *arguments)
    try:
        wait_until_ready(replica)
        yield replica
    finally:
        replica.process.kill()
        replica.process.wait()


# Clients


async def client(
    url: str, work: tuple[list[dict], list[float]], order: Iterator[int], load: Load, end: asyncio.Event, kept: bool
) -> None:
    """Sends requests over one connection, which is opened again if the server closes it, or over a new one each time.
    Nothing is sent twice."""
    bodies, expected = work
    headers = {} if kept else {"Connection": "close"}
    async with httpx.AsyncClient(base_url=url, timeout=60, headers=headers) as session:
        while not end.is_set():
            place = next(order) % len(bodies)
            begun = time.perf_counter()
            try:
                answer = await session.post("/v1/rewards", json=bodies[place])
            except httpx.TransportError as error:
                load.lost.append(repr(error))
                continue
            if answer.status_code != 200:
                load.lost.append(answer.text)
                continue
            load.latencies.append(time.perf_counter() - begun)
            load.apart = max(load.apart, abs(answer.json()["data"][0]["reward"] - expected[place]))


async def send(
    url: str, clients: int, work: tuple[list[dict], list[float]], seconds: float | asyncio.Event, kept: bool = True
) -> Load:
    load, end, order = Load(), asyncio.Event(), itertools.count()
    begun = time.perf_counter()
    running = [asyncio.create_task(client(url, work, order, load, end, kept)) for _ in range(clients)]
    await (asyncio.sleep(seconds) if isinstance(seconds, int | float) else seconds.wait())
    end.set()
    await asyncio.gather(*running)
    load.seconds = time.perf_counter() - begun
    return load


# A rolling restart


@dataclass
class Proxy:
    """Sends new connections in turns to the replicas that were ready at the last check."""

    replicas: list[Replica]
    ready: list[Replica] = field(default_factory=list)
    taken: int = 0

    async def look(self) -> None:
        while True:
            asked = tuple(self.replicas)
            found = await asyncio.gather(*(asyncio.to_thread(one.ready) for one in asked))
            self.ready = [one for one, ready in zip(asked, found, strict=True) if ready]
            await asyncio.sleep(POLL_SECONDS)

    async def until_ready(self, replica: Replica) -> None:
        async with asyncio.timeout(START_SECONDS):
            while replica not in self.ready:
                await asyncio.sleep(0.1)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        if not self.ready:
            writer.close()
            return
        target = self.ready[self.taken % len(self.ready)]
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target.port)
        except OSError:
            writer.close()
            return
        with suppress(
            asyncio.CancelledError
        ):  # at the end of the benchmark; Python 3.11 reports it as an error of the connection
            await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def replace(proxy: Proxy, folder: Path, threads: int) -> None:
    """Replaces replicas like a Deployment with maxUnavailable 0: a new one starts first, then the old one is asked
    to end."""
    for old in list(proxy.replicas):
        new = start(folder, threads)
        proxy.replicas.append(new)
        await proxy.until_ready(new)
        old.process.send_signal(signal.SIGTERM)
        ended = await asyncio.to_thread(old.process.wait, 60)
        if ended:
            sys.exit(f"a replica that was told to end did so with {ended}")
        proxy.replicas.remove(old)


async def rolling(folder: Path, threads: int, clients: int, work: tuple[list[dict], list[float]]) -> Load:
    proxy = Proxy([start(folder, threads) for _ in range(2)])
    looking = asyncio.create_task(proxy.look())
    try:
        for one in proxy.replicas:
            await proxy.until_ready(one)
        server = await asyncio.start_server(proxy.connect, "127.0.0.1", 0)
        end = asyncio.Event()
        sent = asyncio.create_task(send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", clients, work, end))
        await asyncio.sleep(2)
        await replace(proxy, folder, threads)
        await asyncio.sleep(2)
        end.set()
        return await sent
    finally:
        looking.cancel()
        for one in proxy.replicas:
            one.process.kill()


# Output


def work(folder: Path, rows: list[workload.Row]) -> tuple[list[dict], list[float]]:
    from xlrm.scorers import engines
    from xlrm.scorers.interface import Scoring

    chats = workload.conversations(rows)
    return [{"conversations": [chat]} for chat in chats], engines.load(folder, Scoring()).score(chats)


def measure(
    folder: Path, options: argparse.Namespace, asked: tuple[list[dict], list[float]]
) -> dict[tuple, list[Load]]:
    """(way, number of clients, connections) -> a load for each round."""
    found: dict[tuple, list[Load]] = {}
    with ExitStack() as stack:
        servers = {
            way: stack.enter_context(serving(folder, options.threads, *arguments)) for way, arguments in WAYS.items()
        }
        for server in servers.values():
            asyncio.run(send(server.url, 2, asked, 1))
        settings = itertools.product(range(options.rounds), options.clients, options.connections, servers.items())
        for _, clients, connections, (way, server) in settings:
            load = asyncio.run(send(server.url, clients, asked, options.seconds, connections == "kept"))
            found.setdefault((way, clients, connections), []).append(load)
            print(f"{way}, {clients} clients, {connections} connections: {load.rate:.0f} requests/s", file=sys.stderr)
    return found


def table(found: dict[tuple, list[Load]]) -> tuple[Table, list[dict]]:
    """Medians over the rounds, as a table and as figures."""
    shown = Table("clients", "connections", "", "requests/s", "p50, ms", "p99, ms", "ratio")
    rows = []
    for way, clients, connections in sorted(found, key=lambda key: (key[1:], key[0] != "batches")):
        loads, others = found[way, clients, connections], found["one at a time", clients, connections]
        ratio = median(one.rate / other.rate for one, other in zip(loads, others, strict=True))
        rate, p50, p99 = (
            median(values)
            for values in zip(*((one.rate, one.percentile(50), one.percentile(99)) for one in loads), strict=True)
        )
        labels = {"clients": clients, "connections": connections, "way": way}
        rows.append({**labels, "rate": rate, "p50": p50, "p99": p99, "ratio": ratio})
        shown.add_row(str(clients), connections, way, f"{rate:.0f}", f"{p50:.1f}", f"{p99:.1f}", f"{ratio:.2f}")
    return shown, rows


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    found.add_argument("--connections", nargs="+", choices=["kept", "new"], default=["kept", "new"])
    found.add_argument("--seconds", type=float, default=8, help="seconds of each measurement")
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--threads", type=int, default=1, help="PyTorch threads of a server")
    found.add_argument("--pairs", type=int, default=60)
    found.add_argument("--layers", type=int, default=2)
    found.add_argument("--hidden", type=int, default=128, help="hidden size of the model, a multiple of 128")
    found.add_argument("--restart-clients", type=int, default=8, help="with 0, no rolling restart")
    return found


def restarted(restart: Load, clients: int) -> tuple[str, dict]:
    """The rolling restart as a sentence and as figures."""
    lost, longest = len(restart.lost), max(restart.latencies) * 1000
    sentence = (
        f"rolling restart of 2 replicas under {clients} clients: {len(restart.latencies)} requests in "
        f"{restart.seconds:.0f} s, {lost} lost, p50 {restart.percentile(50):.0f} ms, p99 {restart.percentile(99):.0f} ms, "
        f"the longest {longest:.0f} ms"
    )
    return sentence, {"requests": len(restart.latencies), "seconds": restart.seconds, "lost": lost}


def main(given: argparse.Namespace) -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workload.save_model(folder, given)
        rows = workload.pairs(given.pairs)
        asked = work(folder, rows)
        found = measure(folder, given, asked) if given.rounds else {}
        clients = given.restart_clients
        restarts = [asyncio.run(rolling(folder, given.threads, clients, asked))] if clients else []
    console = Console(width=120)
    console.print(f"{workload.described(rows)}; a model of {given.layers} layers, {given.hidden} wide")
    shown, loads = table(found)
    console.print(shown)
    figures: dict[str, Any] = {"loads": loads}
    for restart in restarts:
        sentence, figures["restart"] = restarted(restart, clients)
        console.print(sentence)
    every = [*restarts, *itertools.chain.from_iterable(found.values())]
    apart, lost = max(one.apart for one in every), [said for one in every for said in one.lost]
    console.print(f"rewards at most {apart:.1e} from those of xlrm.scorers.engines")
    missed = [f"lost: {said}" for said in dict.fromkeys(lost)] + [f"rewards apart by {apart}"] * (apart > TOLERANCE)
    record.write(__spec__.name, given, {**figures, "apart": apart}, missed)
    for said in dict.fromkeys(lost):
        console.print(f"lost: {said}", markup=False)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(parser().parse_args()))
