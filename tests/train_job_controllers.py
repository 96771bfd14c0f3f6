"""What controllers and nodes do with a TrainJob, for `kube_server`: rules of Kubernetes 1.34, Kubeflow Trainer 2.3.0 and JobSet
0.12.0. Each names the function that it was read from.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

BACKOFF_LIMIT = 6
"""The default of a Kubernetes Job that names none; torch-distributed and JobSet name none."""


class Controllers:
    """`jobs`, `jobsets` and `pods` by name. `runs` says what the nodes of a job do: it is called in a thread of its own whenever
    its JobSet is made."""

    def __init__(self, runs: Callable[[Any, dict], None]):
        self.runs = runs
        self.jobs: dict[str, dict] = {}
        self.jobsets: dict[str, dict] = {}
        self.built: list[str] = []
        """Names of all JobSets that Kubeflow Trainer ever made."""
        self.crowded: list[int] = []
        """Which of them were made while a pod of an earlier one was there: nodes would find that one's by its name."""
        self.pods: dict[str, dict] = {}
        self.logs: dict[str, list[tuple[str, str]]] = {}
        self.previous: dict[str, list[tuple[str, str]]] = {}
        """Logs of pods' containers before the last start."""
        self.grace_s = 0.3
        """Between a pod's deletion and its end."""
        self.collector_s = 0.1
        """Between an owner's end and that of what it owns."""
        self.changed = threading.Condition()
        self.closed = threading.Event()
        threading.Thread(target=self._control, daemon=True).start()

    def _control(self) -> None:
        while not self.closed.wait(0.01):
            with self.changed:
                for job in list(self.jobs.values()):
                    self._reconcile(job)

    def _reconcile(self, job: dict) -> None:
        """Trainer's, in trainjob_controller.go: it looks at no deletionTimestamp, takes back a failure, and applies the JobSet
        of a job that has not ended. Build and Status in jobset.go take any JobSet of the name for the job's own."""
        name = job["metadata"]["name"]
        conditions = job["status"]["conditions"]
        conditions[:] = [one for one in conditions if one["type"] != "Failed"]
        if not conditions and name not in self.jobsets:
            self._build(job)
        for one in self.jobsets.get(name, {}).get("conditions", []):
            if one not in conditions:
                conditions.append(one)

    def _build(self, job: dict) -> None:
        name = job["metadata"]["name"]
        if self.pods_of(name):
            self.crowded.append(len(self.built))
        self.built.append(name)
        self.jobsets[name] = {"uid": str(uuid.uuid4()), "owner": job["metadata"]["uid"], "conditions": []}
        threading.Thread(target=self._run, args=(job, self.jobsets[name]["uid"]), daemon=True).start()

    def _run(self, job: dict, jobset: str) -> None:
        with contextlib.suppress(_Gone):
            _of.jobset = jobset
            self.runs(self, job)

    def add_job(self, body: dict) -> dict:
        body["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": _second()}
        body["status"] = {"conditions": []}
        self.jobs[body["metadata"]["name"]] = body
        return body

    def pods_of(self, name: str) -> list[str]:
        return [pod for pod, one in self.pods.items() if _labels(one).get("jobset.sigs.k8s.io/jobset-name") == name]

    def delete_job(self, name: str, policy: str) -> None:
        """By `Background` the job is gone and the garbage collector ends what it owned; by `Foreground` it is there until its
        JobSet is not."""
        with self.changed:
            if policy == "Background":
                owned = [self.jobs.pop(name)["metadata"]["uid"]]
            else:
                self.jobs[name]["metadata"]["deletionTimestamp"] = _second()
                owned = []
        threading.Thread(target=self._collect, args=(name, owned), daemon=True).start()

    def _collect(self, name: str, owners: list[str]) -> None:
        """Foreground: again and again, for Trainer makes the JobSet of a job that has not ended as soon as it is gone."""
        while not self.closed.wait(self.collector_s):
            with self.changed:
                job, jobset = self.jobs.get(name), self.jobsets.get(name)
                if jobset and (jobset["owner"] in owners or (job and "deletionTimestamp" in job["metadata"])):
                    del self.jobsets[name]
                    self._end_pods(jobset["uid"])
                ended = job and any(one["type"] == "Complete" for one in job["status"]["conditions"])
                if ended and "deletionTimestamp" in job["metadata"] and not self.pods_of(name):
                    del self.jobs[name]
            if not job or "deletionTimestamp" not in job["metadata"]:
                return

    def owner_gone(self, uid: str) -> None:
        """Garbage collection of what the object was the owner of."""
        for name, job in list(self.jobs.items()):
            if [one["uid"] for one in job["metadata"]["ownerReferences"]] == [uid]:
                self.delete_job(name, "Background")

    def _end_pods(self, jobset: str) -> None:
        """SIGTERM, by which they end with 143, and in `grace_s` they are gone with their logs. What runs in them gets `_Gone`
        from all that it does."""
        going = [name for name, pod in self.pods.items() if _labels(pod).get("jobset.sigs.k8s.io/jobset-uid") == jobset]
        for name in going:
            pod = self.pods[name]
            pod["metadata"]["deletionTimestamp"] = _second()
            if pod["status"]["phase"] == "Running":
                last = (pod["status"]["containerStatuses"] or [{"lastState": {}, "restartCount": 0}])[0]
                pod["status"] = {"phase": "Failed"} | _container(
                    {"terminated": _terminated(143, "")}, last["lastState"], last["restartCount"]
                )
        self.changed.notify_all()
        threading.Thread(target=self._remove_pods, args=(going,), daemon=True).start()

    def _remove_pods(self, names: list[str]) -> None:
        if self.closed.wait(self.grace_s):
            return
        with self.changed:
            for name in names:
                del self.pods[name], self.logs[name]
            self.changed.notify_all()

    # What nodes do, as the test says

    def start_pod(self, job: dict, rank: int, phase: str = "Running") -> str:
        name = f"{job['metadata']['name']}-node-0-{rank}-{uuid.uuid4().hex[:5]}"
        # labelAndAnnotateObject in jobset_controller.go, and Kubernetes for an Indexed Job, which JobSet makes by default
        labels = {
            "jobset.sigs.k8s.io/jobset-name": job["metadata"]["name"], "jobset.sigs.k8s.io/replicatedjob-name": "node",
            "jobset.sigs.k8s.io/jobset-uid": _of.jobset, "batch.kubernetes.io/job-completion-index": str(rank),
        }  # fmt: skip
        with self.changed:
            if self.jobsets.get(job["metadata"]["name"], {}).get("uid") != _of.jobset:
                raise _Gone
            self.logs[name] = []
            self.pods[name] = {
                "metadata": {"name": name, "labels": labels, "creationTimestamp": _second()},
                "spec": {"containers": [{"name": "node"}], "nodeName": f"machine-{rank}"},
                "status": {"phase": phase} | (_running() if phase == "Running" else {"containerStatuses": []}),
            }  # fmt: skip
        return name

    def say(self, pod: str, *lines: str) -> None:
        with self.changed:
            self._there(pod)
            self.logs[pod] += [(_now(), line) for line in lines]
            self.changed.notify_all()

    def _there(self, pod: str) -> None:
        if (
            self.closed.is_set()
            or "deletionTimestamp" in self.pods.get(pod, {"metadata": {"deletionTimestamp": ""}})["metadata"]
        ):
            raise _Gone

    def end_pod(self, pod: str, status: int = 0, reason: str = "") -> None:
        """Ends a pod for good: it has ended well, or its runtime says restartPolicy Never."""
        with self.changed:
            self._there(pod)
            status_ = {"phase": "Failed" if status else "Succeeded"}
            self.pods[pod]["status"] = status_ | _container({"terminated": _terminated(status, reason)})
            self.changed.notify_all()

    def crash(self, pod: str, status: int, reason: str = "") -> None:
        """Its container ends and is started again in the pod: JobSet's default is restartPolicy OnFailure."""
        with self.changed:
            self._there(pod)
            before = self.pods[pod]["status"]["containerStatuses"]
            count = before[0]["restartCount"] + 1 if before else 1
            self.pods[pod]["status"] = {"phase": "Running"} | _running(
                {"terminated": _terminated(status, reason)}, count
            )
            self.previous[pod], self.logs[pod] = self.logs[pod], []
            self.changed.notify_all()

    def lose_pod(self, pod: str) -> None:
        """With its machine: nothing is known of its end."""
        with self.changed:
            del self.pods[pod], self.logs[pod]
            self.changed.notify_all()

    def out_of_restarts(self, name: str) -> bool:
        """Whether Kubernetes gives up: restarts in all pods of a Job count together (job_controller.go,
        pastBackoffLimitOnFailure)."""
        statuses = [one for pod in self.pods_of(name) for one in self.pods[pod]["status"]["containerStatuses"]]
        return sum(one["restartCount"] for one in statuses) >= BACKOFF_LIMIT

    def fail_job(self, job: dict) -> None:
        """A Job that is out of restarts ends its pods, and says Failed when they are gone (Kubernetes 1.31 and later); JobSet
        without a failurePolicy takes that on (failure_policy.go, executeFailurePolicy), and Trainer takes it from there."""
        name = job["metadata"]["name"]
        with self.changed:
            self._end_pods(_of.jobset)
        wait_until(lambda: not self.pods_of(name))
        message = f"jobset failed due to one or more job failures (first failed job: {name}-node-0)"
        self.end_job(job, "Failed", "FailedJobs", message)

    def end_job(self, job: dict, how: str, reason: str = "AllJobsCompleted", message: str = "") -> None:
        one = {"type": how, "status": "True", "reason": reason, "message": message, "lastTransitionTime": _second()}
        with self.changed:
            if jobset := self.jobsets.get(job["metadata"]["name"]):
                jobset["conditions"] = [one]


_of = threading.local()
"""`jobset`: whose nodes the thread is."""


class _Gone(Exception):
    """A node's pod was deleted."""


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.01)


def _labels(pod: dict) -> dict[str, str]:
    return pod["metadata"].get("labels", {})


def _terminated(status: int, reason: str) -> dict:
    return {"exitCode": status, "reason": reason or ("Error" if status else "Completed"), "finishedAt": _second()}


def _container(state: dict, last: dict | None = None, restarts: int = 0) -> dict:
    one = {
        "name": "node", "image": "i", "imageID": "i", "ready": "running" in state, "restartCount": restarts,
        "state": state, "lastState": last or {},
    }  # fmt: skip
    return {"containerStatuses": [one]}


def _running(last: dict | None = None, restarts: int = 0) -> dict:
    return _container({"running": {"startedAt": _second()}}, last, restarts)


def _now() -> str:
    """With nine digits of a second that differ from call to call, as a container runtime writes them."""
    nanoseconds = time.time_ns()
    return f"{datetime.fromtimestamp(nanoseconds // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9:09}Z"


def _second() -> str:
    """As the API writes times."""
    return _now()[:19] + "Z"
