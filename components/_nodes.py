"""What nodes of a TrainJob say and how they end, as long as their pods are there to be asked."""

import contextlib
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from urllib3.exceptions import HTTPError

from xlrm import progress
from xlrm.errors import ArtifactError

QUIET_S = 30.0
"""Of a log without a line, before it is opened anew and the job looked at."""
SKEW_S = 600
"""Clocks of this pod and a node may differ by so much before lines of a log are lost that broke."""
LAST_LINES = 500
"""Of a node that ended badly, in which its first error is looked for: each of its processes may have left a traceback."""
SHOWN_LINES = 50
"""Of those, the last ones, where the node's log is not shown as it comes."""


class NoLog(Exception):
    """A pod that is gone, or has not begun."""


def rank(pod: Any) -> int:
    return int((pod.metadata.labels or {}).get("batch.kubernetes.io/job-completion-index", 0))


@dataclass(frozen=True, order=True)
class BadEnd:
    """Of a node's container. In the order of what is the cause of what: a node that was killed may have been on account of
    another that ended in the same second."""

    at: datetime
    killed: bool
    rank: int
    pod: str
    machine: str
    status: str
    reason: str = field(compare=False)
    """The first error in the last lines of its log, or else the last line."""

    def __str__(self) -> str:
        said = f"node {self.rank} ({self.pod} on {self.machine}) ended with status {self.status}"
        return f"{said}: {self.reason}" if self.reason else said


@dataclass
class BadEnds:
    """How nodes of a job end, looked at while it goes on: a job that fails has no pods any more. A Kubernetes Job that is out
    of restarts ends them all, also those whose container has failed, and says so when they are gone."""

    cluster: Any
    job: str
    ends: dict[tuple[str, datetime], BadEnd] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def gathered(self, every_s: float) -> Iterator["BadEnds"]:
        """In a thread of its own: the caller's waits for lines of a log."""
        stopped = threading.Event()
        threading.Thread(target=self._gather, args=(stopped, every_s), daemon=True).start()
        try:
            yield self
        finally:
            stopped.set()

    def _gather(self, stopped: threading.Event, every_s: float) -> None:
        while not stopped.wait(every_s):
            with contextlib.suppress(Exception):  # the caller asks the same, and says what is wrong
                self.note(self.cluster.pods(self.job))

    def note(self, pods: list[Any]) -> None:
        """Each end once, with a word on it and what the node's log says."""
        with self.lock:
            for pod, previous, end in ((one, *each) for one in pods for each in _bad_ends(one)):
                key = (pod.metadata.name, end.finished_at)
                if key not in self.ends:
                    self.ends[key] = self._end(pod, previous, end)
                    progress.say(f"TrainJob {self.job}: {self.ends[key]}")

    def first(self) -> BadEnd:
        with self.lock:
            return min(self.ends.values())

    def _end(self, pod: Any, previous: bool, end: Any) -> BadEnd:
        status = str(end.exit_code) if end.reason in (None, "Error") else f"{end.exit_code} ({end.reason})"
        lines = self._last_lines(pod.metadata.name, previous)
        if rank(pod) and lines:  # the first node's log is shown as it comes
            print(f"{progress.PREFIX}the last lines of node {rank(pod)}:", *lines[-SHOWN_LINES:], sep="\n", flush=True)
        killed = end.exit_code in (128 + signal.SIGTERM, 128 + signal.SIGKILL)
        return BadEnd(end.finished_at, killed, rank(pod), pod.metadata.name, pod.spec.node_name, status, _reason(lines))

    def _last_lines(self, pod: str, previous: bool) -> list[str]:
        try:
            text = self.cluster.log(pod, previous=previous, tail_lines=LAST_LINES, _request_timeout=(5, 30))
        except (NoLog, ArtifactError, HTTPError) as error:
            return [f"its log cannot be read: {error}"]
        return [line for line in text.splitlines() if line.strip()]


def _bad_ends(pod: Any) -> Iterator[tuple[bool, Any]]:
    """(whether its container was started again since, how it ended)."""
    for one in pod.status.container_statuses or []:
        for previous, state in ((True, one.last_state), (False, one.state)):
            if state and state.terminated and state.terminated.exit_code:
                yield previous, state.terminated


def _reason(lines: list[str]) -> str:
    """The first error of a log, without the rank that torch puts before it: those after are of what it broke."""
    errors = (
        re.fullmatch(r"(?:\[rank\d+\]: )?((?:[\w.]*(?:Error|Exception)(?::.*)?)|error: .*)", one) for one in lines
    )
    return next((found[1] for found in errors if found), lines[-1] if lines else "")


@dataclass
class Log:
    """What a pod says, each line once however often the stream breaks. Lines are known by the time the node gave them."""

    cluster: Any
    pod: str = ""
    time: str = ""
    """Of the last line shown."""
    count: int = 0
    """Lines shown of that time."""
    last: str = ""
    """The last line shown."""

    def read(self, pod: str, follow: bool) -> None:
        """Shows what is new, and with `follow` what comes until the stream ends, breaks or is quiet."""
        if pod != self.pod:
            self.pod, self.time, self.count = pod, "", 0
        since = {"since_seconds": _age_s(self.time) + SKEW_S} if self.time else {}
        options = {"timestamps": True, "follow": follow, "_preload_content": False, "_request_timeout": (5, QUIET_S)}
        # Where it breaks, the next call reads on from the last whole line.
        log = self.cluster.log
        with contextlib.suppress(NoLog, HTTPError), contextlib.closing(log(pod, **options, **since)) as stream:
            self._show(_lines(stream.stream(decode_content=False), keep_rest=not follow))

    def _show(self, lines: Iterable[str]) -> None:
        known, skip = self.time, self.count
        for line in lines:
            at, _, text = line.partition(" ")
            at = _comparable(at)
            if not at or at < known:  # without a time: the node's own complaint, not a line of the log
                continue
            if at == known and skip:
                skip -= 1
                continue
            self.count = self.count + 1 if at == self.time else 1
            self.time, self.last = at, text
            print(text, flush=True)


def _lines(chunks: Iterable[bytes], keep_rest: bool) -> Iterator[str]:
    """Whole lines; what a broken stream leaves of one comes again with the next."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (one.decode(errors="replace") for one in whole)
    if rest and keep_rest:
        yield rest.decode(errors="replace")


def _comparable(time_of_line: str) -> str:
    """With all nine digits of a second: a kubelet may leave out noughts at the end. Empty for what is no time."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", time_of_line)
    return f"{found[1]}.{found[2] or '':0<9}{found[3]}" if found else ""


def _age_s(time_of_line: str) -> int:
    return max(0, int((datetime.now(UTC) - datetime.fromisoformat(time_of_line)).total_seconds()))
