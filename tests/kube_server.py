"""A Kubernetes API server for the tests, on loopback: pods, their logs and TrainJobs, as far as `components._cluster` asks.

What is posted goes through Kubeflow Trainer's own models, strictly. What a job's nodes do is up to the test, which gives
`runs`: a function that is called with the server and the job; `train_job_controllers` does the rest.
"""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from train_job_controllers import Controllers

NAMESPACE = "lab"
OWN_POD = {
    "metadata": {"name": "reward-abc", "uid": "uid-1", "namespace": NAMESPACE, "ownerReferences": [{
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "paper-x", "uid": "uid-of-workflow",
        "controller": True, "blockOwnerDeletion": True,
    }]},
    "spec": {
        "imagePullSecrets": [{"name": "xlrm-registry"}],
        "containers": [
            {"name": "wait", "image": "argoexec:1"},
            {
                "name": "main", "image": "registry.lab/xlrm-train:1@sha256:0123",
                "env": [
                    {"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "XLRM_STORE", "valueFrom": {"configMapKeyRef": {"name": "xlrm-addresses", "key": "XLRM_STORE"}}},
                    {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {
                        "name": "xlrm-store", "key": "AWS_SECRET_ACCESS_KEY", "optional": True}}},
                    {"name": "XLRM_NOTIFY_URL", "valueFrom": {"secretKeyRef": {
                        "name": "xlrm-notify", "key": "XLRM_NOTIFY_URL", "optional": True}}},
                ],
            },
        ],
    },
}  # fmt: skip
"""The component's, as Kubeflow Pipelines and Argo make it: its owner is the workflow (createWorkflowPod)."""


def unknown_fields(body: Any, known: Any, path: str = "") -> list[str]:
    """What Kubeflow Trainer's models did not keep of an object."""
    if isinstance(body, dict):
        known = known if isinstance(known, dict) else {}
        return [
            one
            for key, value in body.items()
            for one in (unknown_fields(value, known[key], f"{path}.{key}") if key in known else [f"{path}.{key}"])
        ]
    if isinstance(body, list):
        return [f for i, one in enumerate(body) for f in unknown_fields(one, known[i], f"{path}[{i}]")]
    return [] if body == known else [path]


def check(body: dict[str, Any]) -> None:
    """Raises ValueError for an object that is no TrainJob of Kubeflow Trainer's API to the last field, or whose name is none
    for a JobSet (jobset_webhook.go, ValidateCreate: those of its pods are DNS labels)."""
    known = TrainerV1alpha1TrainJob.from_dict(body).to_dict()
    if found := unknown_fields(body, known):
        raise ValueError(f"unknown field {', '.join(found)}")
    longest = f"{body['metadata']['name']}-node-0-{body['spec']['trainer']['numNodes'] - 1}-abcde"
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", longest):
        raise ValueError(f"pod name {longest}: no DNS label")


class Kube(Controllers):
    """`refused`: (method, resource) -> statuses the next requests are answered with, saying `why`."""

    def __init__(self, runs: Callable[["Kube", dict], None] = lambda kube, job: None):
        super().__init__(runs)
        self.pods[OWN_POD["metadata"]["name"]] = OWN_POD
        self.refused: dict[tuple[str, str], list[int]] = {}
        self.why = "the test says so"
        self.asked: list[tuple[str, str]] = []
        self.cut: list[int] = []
        """After how many lines, and most of one, the next streams of a log end: every other one as if all were well."""
        self.streams: list[dict[str, str]] = []
        """Parameters of all requests for logs."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"kube": self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def kubeconfig(self, path: Path) -> Path:
        cluster = {"server": f"http://127.0.0.1:{self.server.server_port}"}
        path.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab", "users": [{"name": "u", "user": {}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
        }))  # fmt: skip
        return path

    def close(self) -> None:
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    kube: Kube
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        *_, namespaces, namespace, resource = (
            url.path.split("/")[:6] if "/api/" in url.path else url.path.split("/")[:7]
        )
        name, *sub = url.path.split(f"/{resource}")[1].strip("/").split("/")
        resource = "/".join([resource, *sub])
        assert (namespaces, namespace) == ("namespaces", NAMESPACE), self.path
        self.kube.asked.append((method, resource))
        if statuses := self.kube.refused.get((method, resource)):
            return self._status(statuses.pop(0), self.kube.why)
        return getattr(self, f"{method}_{resource.replace('/', '_')}")(name, query, body)

    def GET_pods(self, name: str, query: dict, _body: dict) -> None:
        if name:
            return self._json(self.kube.pods[name])
        wanted = dict(part.split("=") for part in query["labelSelector"].split(","))
        with self.kube.changed:
            found = [p for p in self.kube.pods.values() if wanted.items() <= p["metadata"].get("labels", {}).items()]
            return self._json({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": found})

    def GET_trainjobs(self, name: str, _query: dict, _body: dict) -> None:
        with self.kube.changed:
            job = self.kube.jobs.get(name)
            self._json(job) if job else self._status(404, f'trainjobs "{name}" not found')

    def DELETE_trainjobs(self, name: str, _query: dict, body: dict) -> None:
        job = self.kube.jobs.get(name)
        if not job:
            return self._status(404, f'trainjobs "{name}" not found')
        self.kube.delete_job(name, body["propagationPolicy"])
        return self._json(job)

    def POST_trainjobs(self, _name: str, query: dict, body: dict) -> None:
        assert query["fieldValidation"] == "Strict"
        name = body["metadata"]["name"]
        if name in self.kube.jobs:
            return self._status(409, f'trainjobs "{name}" already exists')
        try:
            check(body)
        except ValueError as error:
            return self._status(400, f"strict decoding error: {error}")
        with self.kube.changed:
            self.kube.add_job(body)
        return self._json(body, 201)

    def GET_pods_log(self, name: str, query: dict, _body: dict) -> None:
        kube = self.kube
        assert query["container"] == "node"
        kube.streams.append(query)
        if name not in kube.pods:
            return self._status(404, f'pods "{name}" not found')
        if query.get("previous") == "True":
            return self._text("".join(f"{line}\n" for _, line in kube.previous.get(name, [])))
        if kube.pods[name]["status"]["phase"] == "Pending":
            return self._status(400, 'container "node" is waiting to start')
        follow, stamped = query.get("follow") == "True", query.get("timestamps") == "True"
        cut = kube.cut.pop(0) if kube.cut and follow else None
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for count, (at, line) in enumerate(self._logged(name, follow)):
            text = f"{at} {line}\n" if stamped else f"{line}\n"
            if count == cut:
                self._chunk(text[:-3])
                if len(kube.cut) % 2:
                    break
                self.close_connection = True
                return self.connection.shutdown(2)
            self._chunk(text)
        self.wfile.write(b"0\r\n\r\n")
        return None

    def _logged(self, pod: str, follow: bool):
        """Its lines, and with `follow` those that come until it ends or is gone."""
        kube, shown = self.kube, 0
        log = kube.logs.get(pod, [])
        while True:
            with kube.changed:
                new = log[shown:]
                going = kube.logs.get(pod) is log and kube.pods[pod]["status"]["phase"] == "Running"
                if not new and follow and going:
                    kube.changed.wait(0.05)
                    continue
            yield from new
            shown += len(new)
            if not (follow and going):
                return

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _json(self, value: dict, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _text(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def _status(self, code: int, message: str) -> None:
        self._json({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}, code)
