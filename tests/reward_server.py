"""The reward server for tests: `xlrm serve` as a process of its own, on a free port."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from xlrm.models import loading


@dataclass
class Server:
    process: subprocess.Popen
    url: str
    lines: list[str]

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def post(self, path: str, body: dict | list | str, headers: dict | None = None) -> httpx.Response:
        content = (body if isinstance(body, str) else json.dumps(body)).encode(errors="surrogateescape")
        return self.client.post(path, content=content, headers={"Content-Type": "application/json"} | (headers or {}))

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def rewards(self, conversations: list) -> list[float]:
        answer = self.post("/v1/rewards", {"conversations": conversations})
        assert answer.status_code == 200, answer.text
        return [one["reward"] for one in answer.json()["data"]]

    def metric(self, name: str) -> float:
        values = [line.split()[-1] for line in self.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
        return float(values[0])


@contextmanager
def started(
    model: str | Path, *arguments: str, ready: bool = True, under: tuple[str, ...] = (), **environment: str
) -> Iterator[Server]:
    command = [*under, sys.executable, "-m", "xlrm.cli", "serve", str(model), "--port", "0", *arguments]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | environment
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    lines: list[str] = []
    threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True).start()
    try:
        until(lambda: process.poll() is not None or any("listening on" in line for line in lines), lines)
        listening = next(line for line in lines if "listening on" in line)
        server = Server(process, listening.split("listening on ")[1].split(",")[0], lines)
        if ready:
            until(lambda: server.get("/readyz").status_code == 200, lines)
        yield server
    finally:
        process.kill()
        process.wait()


def until(true: Callable[[], bool], lines: list[str], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "".join(lines)
        time.sleep(0.02)


def new_model(base: Path, folder: Path) -> Path:
    """A reward model in `folder`, right in form, not in what it says."""
    tokenizer = loading.load_tokenizer(base)
    loading.new_reward_model(base, tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
