"""The cluster's side of a TrainJob: made or adopted, waited for with the first node's log on standard output, deleted.

The only module of a task that imports kubernetes.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError

JOBS = ("trainer.kubeflow.org", "v1alpha1")
PAUSE_S = 5.0
"""Between two looks at a job."""
QUIET_S = 30.0
"""Of a log without a line, before it is opened anew and the job looked at."""
PATIENCE_S = 600.0
"""With an API server that gives no answer: an upgrade of a control plane takes minutes, a training days."""
SKEW_S = 600
"""Clocks of this pod and a node may differ by so much before lines of a log are lost that broke."""
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Cluster:
    """One namespace of the cluster that the component runs in."""

    jobs: Any
    core: Any
    namespace: str

    @classmethod
    def connect(cls) -> "Cluster":
        """As the pod's service account, or by the file KUBECONFIG names. Raises ConfigError outside a cluster."""
        from kubernetes import client, config

        try:
            if file := os.environ.get("KUBECONFIG"):
                config.load_kube_config(file)
                context = config.list_kube_config_contexts(file)[1]["context"]
                return cls(client.CustomObjectsApi(), client.CoreV1Api(), context.get("namespace", "default"))
            config.load_incluster_config()
        except config.ConfigException as error:
            raise ConfigError(f"nodes: needs a Kubernetes cluster, if more than 1 ({error})") from error
        return cls(client.CustomObjectsApi(), client.CoreV1Api(), _NAMESPACE.read_text(encoding="utf-8").strip())

    def own_pod(self) -> dict[str, Any]:
        """Of the component, which Kubeflow Pipelines names in KFP_POD_NAME, as the API writes it."""
        if not (name := os.environ.get("KFP_POD_NAME")):
            raise ConfigError("nodes: needs a pod of Kubeflow Pipelines, if more than 1, which KFP_POD_NAME names")
        pod = self._ask("get pods", self.core.read_namespaced_pod, name, self.namespace)
        return self.core.api_client.sanitize_for_serialization(pod)

    def create(self, body: dict[str, Any]) -> bool:
        """False where one of its name is there. Unknown fields are refused: an older Trainer would drop them silently."""
        what, create = "create trainjobs", self.jobs.create_namespaced_custom_object
        made = self._ask(
            what, create, *JOBS, self.namespace, "trainjobs", body, absent=(409,), field_validation="Strict"
        )
        return made is not None

    def get(self, name: str) -> dict[str, Any] | None:
        get = self.jobs.get_namespaced_custom_object
        return self._ask("get trainjobs", get, *JOBS, self.namespace, "trainjobs", name, absent=(404,))

    def delete(self, name: str, patience_s: float | None = None) -> None:
        """Its pods first: the name is free again when they are gone."""
        from kubernetes.client import V1DeleteOptions

        options = V1DeleteOptions(propagation_policy="Foreground")
        delete = self.jobs.delete_namespaced_custom_object
        given = (*JOBS, self.namespace, "trainjobs", name)
        self._ask("delete trainjobs", delete, *given, body=options, absent=(404,), patience_s=patience_s)

    def delete_at_last(self, name: str) -> None:
        """At the end of a task, which has seconds left: tried three times, and never a new error."""
        for _ in range(3):
            with contextlib.suppress(Exception):
                return self.delete(name, patience_s=0)
            time.sleep(1)

    def pods(self, name: str) -> list[Any]:
        """Of all nodes, the youngest of a node last."""
        select = f"jobset.sigs.k8s.io/jobset-name={name},jobset.sigs.k8s.io/replicatedjob-name=node"
        found = self._ask("list pods", self.core.list_namespaced_pod, self.namespace, label_selector=select).items
        return sorted(found, key=lambda pod: (rank(pod), pod.metadata.creation_timestamp))

    def log(self, pod: str, **options: Any) -> Any:
        return self.core.read_namespaced_pod_log(pod, self.namespace, container="node", **options)

    def _ask(
        self, what: str, call: Callable, *args: Any, absent: tuple[int, ...] = (), patience_s: float | None = None,
        **options: Any,
    ) -> Any:  # fmt: skip
        """The server's answer, None for a status in `absent`; asked again while it gives none."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        patience_s = PATIENCE_S if patience_s is None else patience_s
        until = time.monotonic() + patience_s
        while True:
            try:
                return call(*args, _request_timeout=(5, 30), **options)
            except ApiException as error:
                if error.status in absent:
                    return None
                if error.status and error.status < 500 and error.status != 429:
                    raise self.refused(what, error) from error
                last: Exception = error
            except HTTPError as error:
                last = error
            if time.monotonic() > until:
                raise ArtifactError(
                    f"{what}: no answer from the API server for {patience_s:.0f} s: {_line(last)}"
                ) from last
            time.sleep(PAUSE_S)

    def refused(self, what: str, error: Any) -> ArtifactError:
        if error.status == 403 and "denied the request" not in _line(error):  # as a webhook of Kubeflow Trainer does
            return ArtifactError(
                f"{what}: this pod's service account may not, in namespace {self.namespace}: bind it to the Role xlrm-train-jobs"
            )
        hint = "; Kubeflow Trainer 2.2 or later must be installed" if "trainjobs" in what else ""
        return ArtifactError(f"{what}: the API server says {error.status}: {_line(error)}{hint}")


def _line(error: Any) -> str:
    """What an error says, in one line: of an answer the API's own message."""
    try:
        said = json.loads(error.body)["message"]
    except (AttributeError, KeyError, TypeError, ValueError):
        said = str(error)
    return " ".join(said.split())[:500]


def rank(pod: Any) -> int:
    return int((pod.metadata.labels or {}).get("batch.kubernetes.io/job-completion-index", 0))


def ended(job: dict[str, Any]) -> str:
    """Complete or Failed, or nothing while it goes on."""
    for one in job.get("status", {}).get("conditions", []):
        if one["type"] in ("Complete", "Failed") and one["status"] == "True":
            return one["type"]
    return ""


def start(cluster: Cluster, body: dict[str, Any]) -> None:
    """Makes the job, or takes on the one that a component left which was killed; one that has ended is replaced."""
    name = body["metadata"]["name"]
    while not cluster.create(body):
        job = cluster.get(name)
        going = job and "deletionTimestamp" not in job["metadata"]
        if going and not ended(job):
            progress.say(f"TrainJob {name}: runs already, followed")
            return
        if going:
            cluster.delete(name)
        time.sleep(PAUSE_S)
    progress.say(f"TrainJob {name}: made in namespace {cluster.namespace}")


def follow(cluster: Cluster, name: str, nodes: int) -> None:
    """Returns when the job is complete. Raises ArtifactError when it fails, or is deleted by somebody else."""
    log, said = Log(cluster), ""
    while True:
        job = cluster.get(name)
        if job is None:
            raise ArtifactError(f"TrainJob {name} was deleted before its end")
        pods, end = cluster.pods(name), ended(job)
        if not end and (now := _state(job, pods, nodes)) != said:
            said = now
            progress.say(f"TrainJob {name}: {now}")
        if first := [pod for pod in pods if rank(pod) == 0]:
            log.read(first[-1].metadata.name, follow=not end)
        if end == "Failed":
            raise ArtifactError(_failure(cluster, name, job, pods, log))
        if end:
            return
        time.sleep(PAUSE_S)


def _state(job: dict[str, Any], pods: list[Any], nodes: int) -> str:
    """How many nodes run, and what one waits for."""
    for one in job.get("status", {}).get("conditions", []):
        if one["type"] == "Suspended" and one["status"] == "True":
            return "suspended, until its queue has room"
    running = sum(pod.status.phase in ("Running", "Succeeded") for pod in pods)
    waiting = next((f"; {pod.metadata.name}: {why}" for pod in pods if (why := _waits_for(pod))), "")
    return f"{running} of {nodes} nodes run{waiting}"


def _waits_for(pod: Any) -> str:
    for one in pod.status.container_statuses or []:
        if one.state.waiting:
            return " ".join(filter(None, (one.state.waiting.reason, one.state.waiting.message)))
    for one in pod.status.conditions or []:
        if one.type == "PodScheduled" and one.status == "False":
            return one.message or one.reason or ""
    return ""


def _failure(cluster: Cluster, name: str, job: dict[str, Any], pods: list[Any], log: "Log") -> str:
    """Why a job failed, in one line: its own words, and the last ones of the node that was the first to end badly."""
    why = next(one for one in job["status"]["conditions"] if one["type"] == "Failed")
    said = f"TrainJob {name} failed: {why.get('reason', '')}: {why.get('message', '')}"
    broken = [pod for pod in pods if _bad_end(pod)]
    last = log.last
    if broken:
        pod = min(broken, key=lambda one: _bad_end(one).finished_at)
        said += f"; {pod.metadata.name} ended with status {_bad_end(pod).exit_code}"
        if rank(pod):
            last = _last_lines(cluster, pod.metadata.name)
    return f"{said}: {last}" if last else said


def _bad_end(pod: Any) -> Any:
    """The first end of its container that was not a good one, if any."""
    for one in pod.status.container_statuses or []:
        for state in (one.last_state, one.state):
            if state and state.terminated and state.terminated.exit_code:
                return state.terminated
    return None


def _last_lines(cluster: Cluster, pod: str) -> str:
    """Shows the end of another node's log, and returns the last line of it."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        lines = cluster.log(pod, tail_lines=20, _request_timeout=(5, 30)).splitlines()
    except (ApiException, HTTPError) as error:
        return f"its log cannot be read: {_line(error)}"
    progress.say(f"the last lines of {pod}:")
    print(*lines, sep="\n", flush=True)
    return lines[-1] if lines else ""


@dataclass
class Log:
    """What a pod says, each line once however often the stream breaks. Lines are known by the time the node gave them."""

    cluster: Cluster
    pod: str = ""
    time: str = ""
    """Of the last line shown."""
    count: int = 0
    """Lines shown of that time."""
    last: str = ""
    """The last line shown."""

    def read(self, pod: str, follow: bool) -> None:
        """Shows what is new, and with `follow` what comes until the stream ends, breaks or is quiet."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        if pod != self.pod:
            self.pod, self.time, self.count = pod, "", 0
        since = {"since_seconds": _age_s(self.time) + SKEW_S} if self.time else {}
        options = {"timestamps": True, "follow": follow, "_preload_content": False, "_request_timeout": (5, QUIET_S)}
        try:
            with contextlib.closing(self.cluster.log(pod, **options, **since)) as stream:
                self._show(_lines(stream.stream(decode_content=False), keep_rest=not follow))
        except ApiException as error:
            if error.status == 403:
                raise self.cluster.refused("get pods/log", error) from error
        except HTTPError:
            return  # read on by the next call, from the last whole line

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
