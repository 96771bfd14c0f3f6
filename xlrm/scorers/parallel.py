"""Rewards by several processes on one machine, each with a copy of the model.

This process tokenises and forms batches as one process would, so rewards are the same for any number of processes. A
process gets a batch whenever it has answered one, the longest first, so that all end at about the same time.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError, XlrmError
from xlrm.models import loading, padding, precisions
from xlrm.models.chat_templates import Side
from xlrm.models.packing import model as packing
from xlrm.models.packing import sharing
from xlrm.processes import launch, signals
from xlrm.scorers import engines
from xlrm.scorers.interface import Batch, Scorer, Scoring, Tokens

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_AHEAD = 2
"""Batches that a process has at a time: one that it computes, and the next."""
_JOB, _SOCKET, _LOG = "scoring.json", "socket", "log"
"""Files in the folder of a group of processes: what they load, where they answer, and what they print."""


class Limits(NamedTuple):
    """What a process says of its model when it has loaded it."""

    max_length: int
    batch_tokens: int
    packed: bool


def load(folder: Path, scoring: Scoring) -> Scorer:
    """Scorer of the reward model in `folder`, in as many processes as `scoring` asks for. Raises the errors of
    `engines.load`, and ArtifactError for a process that ends."""
    count = engines.processes(scoring)
    if count == 1:
        return engines.load(folder, scoring)
    config, tokenizer = loading.reward_config(folder), engines.tokenizer_of(folder)
    progress.say(f"score: the model is loaded in {count} processes")
    group = _Group(folder, scoring, count)
    return ParallelScorer(config, tokenizer, group, *group.limits, scoring.truncation_side)


@dataclass(eq=False)
class ParallelScorer(Scorer):
    """Scorer whose batches are computed by a group of processes."""

    config: "PretrainedConfig"
    tokenizer: "PreTrainedTokenizerBase"
    group: "_Group"
    max_length: int
    batch_tokens: int
    packed: bool
    """Whether the model computes packed batches."""
    truncation_side: Side = "left"

    @property
    def embeddings(self) -> int:
        return self.config.get_text_config().vocab_size

    def batches(self, token_ids: Sequence[Tokens]) -> Iterator[list[int]]:
        kinds = padding.kinds(self.config, token_ids)
        return sharing.batches(token_ids, self.batch_tokens, self.packed, kinds)

    def computed(self, batches: Sequence[Batch]) -> Iterator[tuple[int, list[float]]]:
        return self.group.rewards(batches)


class _Group:
    """The processes, started by accelerate. They end when this object is no longer referenced, or this process ends."""

    def __init__(self, model: Path, scoring: Scoring, count: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="xlrm-score-"))
        (self.folder / _JOB).write_text(scoring.model_dump_json(include=set(Scoring.model_fields)))
        (self.folder / "model").symlink_to(model.absolute())
        self.connections: list[Connection] = []
        with (self.folder / _LOG).open("w") as log, socket.socket(socket.AF_UNIX) as listener:
            _bind(listener, self.folder / _SOCKET)
            listener.listen(count)
            on_cpu = precisions.device(scoring.device) == "cpu"
            self.process = launch.start(f"{__name__}:serve", self.folder, count, on_cpu, log)
            self.end = weakref.finalize(self, _end, self.process, self.connections, self.folder)
            signals.also_at_the_end(partial(shutil.rmtree, self.folder, ignore_errors=True))
            self._accept(listener, count)
        self.limits: Limits = [self._answer(connection) for connection in self.connections][-1]

    def rewards(self, batches: Sequence[Batch]) -> Iterator[tuple[int, list[float]]]:
        """Yields (index of the batch, its rewards) in the order in which they are computed, from the last batch on."""
        waiting = list(enumerate(batches))
        given: dict[Connection, deque[int]] = {connection: deque() for connection in self.connections}
        for connection in self.connections * _AHEAD:
            self._give(connection, waiting, given)
        while busy := [connection for connection, numbers in given.items() if numbers]:
            for connection in cast(list[Connection], wait(busy)):
                answer = self._answer(connection)
                self._give(connection, waiting, given)
                yield given[connection].popleft(), answer

    def _give(
        self, connection: Connection, waiting: list[tuple[int, Batch]], given: dict[Connection, deque[int]]
    ) -> None:
        """Sends a process the next batch that waits, if any."""
        if waiting:
            number, batch = waiting.pop()
            given[connection].append(number)
            self._send(connection, batch)

    def _accept(self, listener: socket.socket, count: int) -> None:
        """Waits until all processes are connected. Raises ArtifactError if they end before."""
        listener.settimeout(0.5)
        while len(self.connections) < count:
            try:
                self.connections.append(Connection(listener.accept()[0].detach()))
            except TimeoutError:
                if self.process.poll() is not None:
                    raise self._ended() from None

    def _send(self, connection: Connection, batch: Batch) -> None:
        try:
            connection.send(batch)
        except OSError as error:
            raise self._ended() from error

    def _answer(self, connection: Connection) -> Any:
        """What the process sent. Raises the error that it sent, and ArtifactError if it has ended."""
        try:
            answer = connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if isinstance(answer, XlrmError):
            self.end()
            raise answer
        return answer

    def _ended(self) -> ArtifactError:
        """The error for a process that has ended. The others end too."""
        count, kept = len(self.connections), shutil.copyfile(self.folder / _LOG, f"{self.folder}.log")
        self.end()
        return ArtifactError(
            "a process has ended before its work was done", where="processes", value=count or None,
            hint=f"its log is {kept}; the same command continues",
        )  # fmt: skip


def _bind(listener: socket.socket, path: Path) -> None:
    """Raises ConfigError for a path that is too long for a socket: Linux allows 107 bytes."""
    try:
        listener.bind(str(path))
    except OSError as error:
        raise ConfigError(f"{error}: {path}", where="TMPDIR", hint="set it to a shorter path, such as /tmp") from error


def _end(process: subprocess.Popen, connections: list[Connection], folder: Path) -> None:
    """Ends the processes, which stop when nobody is connected to them, and waits until their memory is free."""
    for connection in connections:
        connection.close()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def serve(folder: Path) -> None:
    """Loads the model, and answers batches with their rewards until the other side is gone; runs in every process. An
    error is sent to the other side."""
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(str(folder / _SOCKET))
        connection = Connection(end.detach())
    try:
        scorer = _scorer(folder)
        connection.send(Limits(scorer.max_length, scorer.batch_tokens, packing.enabled(scorer.network)))
        while True:
            connection.send(scorer.batch(connection.recv()))
    except (EOFError, ConnectionError):
        return
    except XlrmError as error:
        connection.send(error)
    except RuntimeError as error:  # such as too little memory on the GPU
        reason = " ".join(str(error).split())[:300]
        connection.send(ArtifactError(reason, where=f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"))
        raise


def _scorer(folder: Path) -> engines.TransformersScorer:
    scoring = Scoring.model_validate_json((folder / _JOB).read_text())
    if precisions.device(scoring.device) != "cpu":
        scoring = scoring.model_copy(update={"device": f"cuda:{os.environ['LOCAL_RANK']}"})
    scorer = engines.load((folder / "model").resolve(), scoring)
    assert isinstance(scorer, engines.TransformersScorer)
    return scorer
