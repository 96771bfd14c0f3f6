"""Logs and exits of a TrainJob's nodes, read while their pods exist."""

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from urllib3.exceptions import HTTPError

from xlrm import progress
from xlrm.errors import ArtifactError

QUIET_S = 30.0
"""Seconds without a new line after which a log is opened again and the job is looked at."""
SKEW_S = 600
"""Seconds by which the clocks of this pod and a node may differ without losing lines of a log whose stream broke."""
LAST_LINES = 500
"""Lines at the end of a failed node's log that are searched for the first error: each of its processes may have left
a traceback."""
SHOWN_LINES = 50
"""The last lines of these that are printed, for nodes whose log is not followed."""
_ERROR = re.compile(rf"(?:\[rank\d+\]: |{re.escape(progress.PREFIX)})?([\w.]*(?:Error|Exception)(?::.*)?|error: .*)")
"""A line of a traceback, from a training process (`xlrm.processes.launch`) or from the stage itself, or the stage's
last line."""


class NoLog(Exception):
    """The pod is gone or has not started."""


def rank(pod: Any) -> int:
    return int((pod.metadata.labels or {}).get("batch.kubernetes.io/job-completion-index", 0))


@dataclass(frozen=True, order=True)
class BadEnd:
    """How a node's container ended. The smallest is the most likely cause of the others: the earliest, and within
    one second a container that ended by itself rather than one that was killed."""

    at: datetime
    killed: bool
    rank: int
    pod: str
    machine: str
    status: str
    reason: str = field(compare=False)
    """The first error in the last lines of its log, or else the last line."""

    def __str__(self) -> str:
        message = f"node {self.rank} ({self.pod} on {self.machine}) ended with status {self.status}"
        return f"{message}: {self.reason}" if self.reason else message


@dataclass
class BadEnds:
    """How the nodes of a job ended, recorded while the job runs: a failed job has no pods left. A Kubernetes Job that
    has no restarts left ends all pods, also those whose container failed, and reports that only when they are gone.

    Ends come in rounds: a node that fails takes the others with it, and then all are restarted, sometimes for days.
    """

    cluster: Any
    job: str
    nodes: int
    known: set[tuple[str, datetime]] = field(default_factory=set)
    """(pod name, time) of all ends."""
    last: list[BadEnd] = field(default_factory=list)
    """Ends of the last round."""
    over: bool = False
    """Whether all nodes ran again after the last round."""
    earlier: int = 0
    """Number of ends in earlier rounds."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def gathered(self, every_s: float) -> Iterator["BadEnds"]:
        """Records ends every `every_s` seconds in a thread of its own, because the caller's thread waits for lines
        of a log."""
        stopped = threading.Event()
        threading.Thread(target=self._gather, args=(stopped, every_s), daemon=True).start()
        try:
            yield self
        finally:
            stopped.set()

    def _gather(self, stopped: threading.Event, every_s: float) -> None:
        while not stopped.wait(every_s):
            with contextlib.suppress(Exception):  # the caller asks the same and reports what is wrong
                self.note(self.cluster.pods(self.job))

    def note(self, pods: list[Any]) -> None:
        """Records each end once, and prints it with the last lines of the node's log."""
        ending = all(pod.metadata.deletion_timestamp for pod in pods)
        with self.lock:
            ends = ((pod, previous, end) for pod in pods for previous, end in _bad_ends(pod))
            for pod, previous, end in sorted(ends, key=lambda entry: (entry[2].finished_at, rank(entry[0]))):
                if (pod.metadata.name, end.finished_at) in self.known:
                    continue
                bad_end = self._end(pod, previous, end)
                self.known.add((bad_end.pod, bad_end.at))
                progress.say(f"TrainJob {self.job}: {bad_end}")
                if previous or not ending or not self.last:  # otherwise the end of the job caused it
                    self._add(bad_end)
            self.over = self.over or self._all_run_again(pods)

    def summary(self) -> str:
        """The first end of the last round, and the number of ends in earlier rounds; empty if none is known."""
        with self.lock:
            before = f"after {self.earlier} earlier failure(s), " if self.earlier else ""
            return f"{before}{min(self.last)}" if self.last else ""

    def _add(self, end: BadEnd) -> None:
        if self.over or len({bad_end.rank for bad_end in self.last}) == self.nodes:
            self.earlier, self.last, self.over = self.earlier + len(self.last), [], False
        self.last.append(end)

    def _all_run_again(self, pods: list[Any]) -> bool:
        """Whether all nodes run in containers started after the first end of the round: a restarted node may still
        wait for nodes that have not noticed the failure yet."""
        if not self.last:
            return False
        first, ended = min(self.last).at, {bad_end.rank for bad_end in self.last}
        again = {rank(pod) for pod in pods for since in _runs_since(pod) if rank(pod) in ended or since > first}
        return len(again) == self.nodes

    def _end(self, pod: Any, previous: bool, end: Any) -> BadEnd:
        status = str(end.exit_code) if end.reason in (None, "Error") else f"{end.exit_code} ({end.reason})"
        lines = self._last_lines(pod.metadata.name, previous)
        if rank(pod) and lines:  # the first node's log is followed anyway
            progress.say("\n".join([f"the last lines of node {rank(pod)}:", *lines[-SHOWN_LINES:]]))
        killed = end.exit_code in (128 + signal.SIGTERM, 128 + signal.SIGKILL)
        return BadEnd(end.finished_at, killed, rank(pod), pod.metadata.name, pod.spec.node_name, status, _reason(lines))

    def _last_lines(self, pod: str, previous: bool) -> list[str]:
        try:
            text = self.cluster.log(pod, previous=previous, tail_lines=LAST_LINES, _request_timeout=(5, 30))
        except (NoLog, ArtifactError, HTTPError) as error:
            return [f"its log cannot be read: {error}"]
        return [line for line in text.splitlines() if line.strip()]


def _bad_ends(pod: Any) -> Iterator[tuple[bool, Any]]:
    """(whether the container was restarted since, its terminated state) of each bad end."""
    for container in pod.status.container_statuses or []:
        for previous, state in ((True, container.last_state), (False, container.state)):
            if state and state.terminated and state.terminated.exit_code:
                yield previous, state.terminated


def _runs_since(pod: Any) -> list[datetime]:
    """When the pod's containers were started, if they are running."""
    states = [container.state for container in pod.status.container_statuses or []]
    return [state.running.started_at for state in states if state and state.running]


def _reason(lines: list[str]) -> str:
    """The first error of a log, without the rank that torch puts before it, or else its last line. Later errors are
    consequences; torch's ChildFailedError follows any error and carries no message."""
    errors = (_ERROR.fullmatch(line) for line in lines if "ChildFailedError" not in line)
    return next((match[1] for match in errors if match), lines[-1] if lines else "")


@dataclass
class Log:
    """A pod's log on standard error, each line once however often the stream breaks. Lines are recognised by the
    node's timestamps."""

    cluster: Any
    pod: str = ""
    time: str = ""
    """Timestamp of the last line shown."""
    count: int = 0
    """Number of lines shown with that timestamp."""
    last: str = ""
    """The last line shown."""

    def read(self, pod: str, follow: bool) -> None:
        """Shows the new lines; with `follow`, also those that come until the stream ends, breaks or is quiet for
        QUIET_S."""
        if pod != self.pod:
            self.pod, self.time, self.count = pod, "", 0
        since = {"since_seconds": _age_s(self.time) + SKEW_S} if self.time else {}
        options = {"timestamps": True, "follow": follow, "_preload_content": False, "_request_timeout": (5, QUIET_S)}
        # If the stream breaks, the next call continues after the last whole line.
        log = self.cluster.log
        with contextlib.suppress(NoLog, HTTPError), contextlib.closing(log(pod, **options, **since)) as stream:
            self._show(_lines(stream.stream(decode_content=False), keep_rest=not follow))

    def _show(self, lines: Iterable[str]) -> None:
        known, skip = self.time, self.count
        for line in lines:
            at, _, text = line.partition(" ")
            at = _comparable(at)
            if not at or at < known:  # without a time it is the node's own complaint, not a line of the log
                continue
            if at == known and skip:
                skip -= 1
                continue
            self.count = self.count + 1 if at == self.time else 1
            self.time, self.last = at, text
            print(text, file=sys.stderr, flush=True)


def _lines(chunks: Iterable[bytes], keep_rest: bool) -> Iterator[str]:
    """Whole lines. The rest of a broken stream is dropped, because the next stream repeats that line; `keep_rest`
    keeps it."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest and keep_rest:
        yield rest.decode(errors="replace")


def _comparable(time_of_line: str) -> str:
    """The timestamp with all nine digits of a second, because a kubelet may omit trailing zeros. Empty for any other
    text."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", time_of_line)
    return f"{match[1]}.{match[2] or '':0<9}{match[3]}" if match else ""


def _age_s(time_of_line: str) -> int:
    return max(0, int((datetime.now(UTC) - datetime.fromisoformat(time_of_line)).total_seconds()))
