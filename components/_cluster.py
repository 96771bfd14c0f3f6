"""A TrainJob in the cluster: creates or adopts it, shows the first node's log on standard error until it ends, deletes
it.

The only module of a task that imports kubernetes. Its assumptions on controllers hold for Kubeflow Trainer 2.3.0,
JobSet 0.12.0 and Kubernetes 1.34.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components._nodes import BadEnds, Log, NoLog, rank
from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError, JobError

JOBS = ("trainer.kubeflow.org", "v1alpha1")
PAUSE_S = 5.0
"""Seconds between two looks at a job."""
PATIENCE_S = 600.0
"""Seconds to wait for an API server that does not answer: an upgrade of a control plane takes minutes, a training
takes days."""
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Cluster:
    """One namespace of the cluster that the component runs in."""

    jobs: Any
    core: Any
    namespace: str

    @classmethod
    def connect(cls) -> "Cluster":
        """Connects as the pod's service account, or with the file that KUBECONFIG names. Raises ConfigError outside
        a cluster."""
        from kubernetes import client, config

        try:
            if file := os.environ.get("KUBECONFIG"):
                config.load_kube_config(file)
                context = config.list_kube_config_contexts(file)[1]["context"]
                return cls(client.CustomObjectsApi(), client.CoreV1Api(), context.get("namespace", "default"))
            config.load_incluster_config()
        except config.ConfigException as error:
            raise ConfigError(f"more than 1 needs a Kubernetes cluster ({error})", where="nodes") from error
        return cls(client.CustomObjectsApi(), client.CoreV1Api(), _NAMESPACE.read_text(encoding="utf-8").strip())

    def own_pod(self) -> dict[str, Any]:
        """The component's own pod, as the API writes it; KFP_POD_NAME names it. Raises ConfigError without that
        variable."""
        if not (name := os.environ.get("KFP_POD_NAME")):
            raise ConfigError("more than 1 needs a pod of Kubeflow Pipelines, which KFP_POD_NAME names", where="nodes")
        pod = self._ask("get pods", self.core.read_namespaced_pod, name, self.namespace)
        return self.core.api_client.sanitize_for_serialization(pod)

    def create(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The created job; None if a job of this name exists. Unknown fields are refused: an older Trainer would
        drop them silently."""
        create, given = self.jobs.create_namespaced_custom_object, (*JOBS, self.namespace, "trainjobs", body)
        return self._ask("create trainjobs", create, *given, absent=(409,), field_validation="Strict")

    def get(self, name: str, patience_s: float | None = None) -> dict[str, Any] | None:
        get, given = self.jobs.get_namespaced_custom_object, (*JOBS, self.namespace, "trainjobs", name)
        return self._ask("get trainjobs", get, *given, absent=(404,), patience_s=patience_s)

    def delete(self, name: str, policy: str = "Background", patience_s: float | None = None) -> bool:
        """Deletes the job; returns False if there is none. With `Background` the job is gone at once and the garbage
        collector sends its nodes SIGTERM; with `Foreground` it is gone after them.

        Use `Foreground` only for a complete job: for any other, Trainer applies the JobSet again as long as the job
        exists, even while it is being deleted (Reconcile in trainjob_controller.go).
        """
        from kubernetes.client import V1DeleteOptions

        delete, given = self.jobs.delete_namespaced_custom_object, (*JOBS, self.namespace, "trainjobs", name)
        options = V1DeleteOptions(propagation_policy=policy)
        answer = self._ask("delete trainjobs", delete, *given, body=options, absent=(404,), patience_s=patience_s)
        return answer is not None

    def delete_at_last(self, body: dict[str, Any], job: dict[str, Any] | None) -> str:
        """Deletes the job at the end of a task and says what became of it; empty if there is no job. Raises nothing. A
        job of another run, which this run only followed, is not deleted.

        `job`: what `start` returned. Without it the server is asked first, and a task that is being ended may not have
        time for that.
        """
        name, why = body["metadata"]["name"], ""
        for _ in range(3):
            try:
                if not (job := job or self.get(name, patience_s=0)):
                    return ""
                if not _owners(body).keys() <= _owners(job).keys():
                    return f"left to {', '.join(_owners(job).values())}; if that has ended too: {self.by_hand(name)}"
                return "deleted" if self.delete(name, patience_s=0) else ""
            except Exception as error:  # noqa: BLE001 - the error that ends the task is shown instead
                why = str(error)
            time.sleep(1)
        return f"not deleted: {why}; to delete it: {self.by_hand(name)}"

    def by_hand(self, name: str) -> str:
        return f"kubectl delete trainjob {name} -n {self.namespace}"

    def pods(self, name: str) -> list[Any]:
        """Pods of all nodes, sorted by rank; of several pods of a node the newest comes last."""
        select = f"jobset.sigs.k8s.io/jobset-name={name},jobset.sigs.k8s.io/replicatedjob-name=node"
        pods = self._ask("list pods", self.core.list_namespaced_pod, self.namespace, label_selector=select).items
        return sorted(pods, key=lambda pod: (rank(pod), pod.metadata.creation_timestamp))

    def log(self, pod: str, **options: Any) -> Any:
        """The log of a pod. Raises NoLog while it has none, ArtifactError if access is refused, and urllib3's
        HTTPError."""
        from kubernetes.client import ApiException

        try:
            return self.core.read_namespaced_pod_log(pod, self.namespace, container="node", **options)
        except ApiException as error:
            if error.status == 403:
                raise self.refused("get pods/log", error) from error
            raise NoLog(_line(error)) from error

    def _ask(
        self, what: str, call: Callable, *args: Any, absent: tuple[int, ...] = (), patience_s: float | None = None,
        **options: Any,
    ) -> Any:  # fmt: skip
        """The server's answer; None for a status in `absent`. Asks again for `patience_s` seconds if the server does
        not answer."""
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
                    f"no answer from the API server for {patience_s:.0f} s: {_line(last)}", where=what
                ) from last
            time.sleep(PAUSE_S)

    def refused(self, what: str, error: Any) -> ArtifactError:
        if error.status == 403 and "denied the request" not in _line(error):  # as a webhook of Kubeflow Trainer does
            return ArtifactError(
                f"forbidden for this pod's service account in namespace {self.namespace}",
                where=what, hint="bind it to the Role xlrm-train-jobs",
            )  # fmt: skip
        hint = "Kubeflow Trainer 2.2 or later must be installed" if "trainjobs" in what else ""
        return ArtifactError(f"the API server answers {error.status}: {_line(error)}", where=what, hint=hint)


def _line(error: Any) -> str:
    """An error in one line of at most 500 characters: the API's own message if there is one."""
    try:
        message = json.loads(error.body)["message"]
    except (AttributeError, KeyError, TypeError, ValueError):
        message = str(error)
    return " ".join(message.split())[:500]


def _owners(job: dict[str, Any]) -> dict[str, str]:
    """uid -> kind and name of each owner of the job."""
    return {owner["uid"]: f"{owner['kind']} {owner['name']}" for owner in job["metadata"].get("ownerReferences") or []}


def ended(job: dict[str, Any]) -> str:
    """Complete or Failed; empty while the job runs.

    A failure from before the job was created belongs to an earlier job: Trainer takes any JobSet of the same name for
    the job's own, and withdraws the failure when the garbage collector has removed the earlier one (Status in
    jobset.go, removeFailedCondition).
    """
    for condition in job.get("status", {}).get("conditions", []):
        of_another = (
            condition["type"] == "Failed" and condition["lastTransitionTime"] < job["metadata"]["creationTimestamp"]
        )
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True" and not of_another:
            return condition["type"]
    return ""


def going(job: dict[str, Any]) -> bool:
    return not ended(job) and "deletionTimestamp" not in job["metadata"]


def start(cluster: Cluster, body: dict[str, Any]) -> dict[str, Any]:
    """Creates the job, or adopts the one that an earlier try left running, and returns it; a job that has ended is
    replaced.

    Waits until the pods of an earlier job are gone, because the nodes find one another by names that these pods share.
    Raises ArtifactError if they are still there after PATIENCE_S.
    """
    name, until = body["metadata"]["name"], time.monotonic() + PATIENCE_S
    while True:
        job = cluster.get(name)
        if job and going(job):
            progress.say(f"TrainJob {name}: already running, following it")
            return job
        pods = cluster.pods(name)
        if job:
            cluster.delete(name, "Foreground" if ended(job) == "Complete" else "Background")
        elif not pods and (job := cluster.create(body)):
            progress.say(f"TrainJob {name}: created in namespace {cluster.namespace}")
            return job
        if time.monotonic() > until:
            held = ", ".join(pod.metadata.name for pod in pods) or "the job itself"
            raise ArtifactError(
                f"an earlier job of this name still exists after {PATIENCE_S:.0f} s, because of {held}",
                where=f"TrainJob {name}",
            )
        time.sleep(PAUSE_S)


def follow(cluster: Cluster, name: str, nodes: int) -> None:
    """Returns when the job is complete. Raises JobError if it fails or someone else deletes it (so it is not created
    again), and ArtifactError if it cannot be followed."""
    log, state = Log(cluster), ""
    with BadEnds(cluster, name, nodes).gathered(PAUSE_S) as bad:
        while True:
            job = cluster.get(name)
            if job is None or not (going(job) or ended(job)):
                raise JobError("deleted before its end", where=f"TrainJob {name}")
            pods, end = cluster.pods(name), ended(job)
            if not end and (now := _state(job, pods, nodes)) != state:
                state = now
                progress.say(f"TrainJob {name}: {now}")
            if first := [pod for pod in pods if rank(pod) == 0]:
                log.read(first[-1].metadata.name, follow=not end)
            if end == "Failed":
                bad.note(pods)
                raise JobError(_failure(job, bad, log), where=f"TrainJob {name}")
            if end:
                return
            time.sleep(PAUSE_S)


def _state(job: dict[str, Any], pods: list[Any], nodes: int) -> str:
    """How many nodes run, and what the first waiting node waits for."""
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] == "Suspended" and condition["status"] == "True":
            return "suspended, until its queue has room"
    running = sum(pod.status.phase in ("Running", "Succeeded") for pod in pods)
    waiting = next((f"; {pod.metadata.name}: {why}" for pod in pods if (why := _waits_for(pod))), "")
    return f"{running} of {nodes} nodes run{waiting}"


def _waits_for(pod: Any) -> str:
    for entry in pod.status.container_statuses or []:
        if entry.state.waiting:
            return " ".join(filter(None, (entry.state.waiting.reason, entry.state.waiting.message)))
    for entry in pod.status.conditions or []:
        if entry.type == "PodScheduled" and entry.status == "False":
            return entry.message or entry.reason or ""
    return ""


def _failure(job: dict[str, Any], bad: BadEnds, log: Log) -> str:
    """Why a job failed, in one line: the job's own message, and how the first node of the last round ended."""
    why = next(condition for condition in job["status"]["conditions"] if condition["type"] == "Failed")
    message = f"failed: {why.get('reason', '')}: {why.get('message', '')}"
    if ends := bad.summary():
        return f"{message}; {ends}"
    return f"{message}: {log.last}" if log.last else message
