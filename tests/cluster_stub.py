"""A small Kubernetes API, and a registry beside it, on a free port: it answers in the forms that a real one answers in."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

NAMESPACE = "/api/v1/namespaces/xlrm"


def encoded(values: dict[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}


def secret(name: str, values: dict[str, str], kind: str = "Opaque") -> dict:
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}, "type": kind, "data": encoded(values)}


def node(name: str, gpus: int, product: str | None = "NVIDIA-A100-SXM4-80GB", ready: str = "True") -> dict:
    """As the API of Kubernetes 1.34 describes one of 96 cores and 1 TiB, without what nobody here reads."""
    has = {"cpu": "95690m", "memory": "1048576000Ki", "pods": "110", "ephemeral-storage": "1700000000000"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64"}
    if gpus:
        has["nvidia.com/gpu"] = str(gpus)
    if gpus and product:
        labels["nvidia.com/gpu.product"] = product
    conditions = [
        {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
        {"type": "Ready", "status": ready, "reason": "KubeletReady"},
    ]
    status = {"allocatable": has, "capacity": has, "conditions": conditions, "nodeInfo": None}
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}


def slices_of(service: str, namespace: str = "xlrm") -> tuple[str, str]:
    """What is asked for the pods behind a service."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    return "GET", f"{path}?labelSelector=kubernetes.io%2Fservice-name%3D{service}"


def slices(*ready: bool) -> dict:
    """The pods behind a service, of which there is one slice, as the API has it: without pods its endpoints are null."""
    pods = [
        {"addresses": [f"10.0.0.{i}"], "conditions": {"ready": one, "serving": one, "terminating": False}}
        for i, one in enumerate(ready, 1)
    ]
    one = {"metadata": {"name": "of-it"}, "addressType": "IPv4", "endpoints": pods or None, "ports": None}
    return {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": {}, "items": [one]}


def refusal(code: int, reason: str, message: str) -> tuple[int, dict]:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return code, {**status, "message": message, "reason": reason, "code": code}


def forbidden(what: str) -> tuple[int, dict]:
    return refusal(403, "Forbidden", f'{what} is forbidden: User "alice" cannot get resource in the namespace "xlrm"')


class Cluster:
    """`answers`: (method, path) -> object, (status, object), or a function of the request's body; the path with its query
    goes before the one without."""

    def __init__(self) -> None:
        addresses = {
            "XLRM_STORE": "s3://xlrm/store",
            "AWS_ENDPOINT_URL": "http://store:8333",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        }
        self.allowed: Callable[[dict], bool] = lambda right: True
        self.delay = 0.0
        self.asked: list[tuple[str, str]] = []
        self.registry_user = ("robot", "s3cret")
        access = "/apis/authorization.k8s.io/v1"
        self.answers: dict[tuple[str, str], Any] = {
            ("GET", "/version/"): {
                "major": "1", "minor": "34", "gitVersion": "v1.34.2", "gitCommit": "8cc511e399b929453cd98ae65b419c3cc227ec79",
                "gitTreeState": "clean", "buildDate": "2025-11-11T19:07:05Z", "goVersion": "go1.24.9", "compiler": "gc",
                "platform": "linux/amd64",
            },
            ("GET", f"{NAMESPACE}/configmaps/xlrm-addresses"): {
                "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "xlrm-addresses"}, "data": addresses,
            },
            ("GET", f"{NAMESPACE}/secrets/xlrm-store"): secret(
                "xlrm-store", {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden-value"}
            ),
            ("GET", f"{NAMESPACE}/secrets/xlrm-hub"): secret("xlrm-hub", {"HF_TOKEN": "hf_x"}),
            ("GET", f"{NAMESPACE}/secrets/xlrm-notify"): secret("xlrm-notify", {"XLRM_NOTIFY_URL": "http://chat"}),
            ("GET", f"{NAMESPACE}/serviceaccounts/default-editor"): {
                "kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default-editor"},
            },
            ("POST", f"{access}/namespaces/xlrm/localsubjectaccessreviews"): self.review,
            ("POST", f"{access}/selfsubjectaccessreviews"): self.review,
            ("GET", f"{NAMESPACE}/resourcequotas"): {
                "kind": "ResourceQuotaList", "apiVersion": "v1", "metadata": {},
                "items": [{
                    "metadata": {"name": "xlrm"}, "spec": {"hard": {"requests.nvidia.com/gpu": "32"}},
                    "status": {"hard": {"requests.nvidia.com/gpu": "32"}, "used": {"requests.nvidia.com/gpu": "4"}},
                }],
            },
            ("GET", "/apis/trainer.kubeflow.org/v1alpha1"): {
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "trainer.kubeflow.org/v1alpha1",
                "resources": [{
                    "name": "trainjobs", "singularName": "trainjob", "namespaced": True, "kind": "TrainJob",
                    "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
                }],
            },
            ("GET", "/api/v1/nodes"): {
                "kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": [node("cpu-1", 0), node("gpu-1", 8)],
            },
            slices_of("mlflow"): slices(True, True),
            slices_of("store"): slices(True),
            slices_of("ml-pipeline", "kubeflow"): slices(True),
            # What a store outside says to who brings no key: it is there.
            ("GET", "/"): (403, "<Error><Code>AccessDenied</Code></Error>"),
        }  # fmt: skip

    def review(self, body: dict) -> tuple[int, dict]:
        allowed = self.allowed(body["spec"]["resourceAttributes"])
        return 201, {**body, "status": {"allowed": allowed, **({} if allowed else {"reason": ""})}}

    def answer(self, method: str, path: str, body: dict, login: str) -> tuple[int, Any, dict]:
        asked, path = path, path.partition("?")[0]
        if path.startswith("/v2/") and path != "/v2/token":
            return self.manifest(path, login)
        if path == "/v2/token":
            user = "Basic " + base64.b64encode(":".join(self.registry_user).encode()).decode()
            return (
                (200, {"token": "granted"}, {}) if login == user else (401, {"errors": [{"code": "UNAUTHORIZED"}]}, {})
            )
        found = self.answers.get((method, asked)) or self.answers.get((method, path))
        found = found or refusal(404, "NotFound", f"{path.rsplit('/', 1)[-1]} not found")
        found = found(body) if callable(found) else found
        return (*found, {}) if isinstance(found, tuple) else (200, found, {})

    def manifest(self, path: str, login: str) -> tuple[int, Any, dict]:
        if login != "Bearer granted":
            name = path.removeprefix("/v2/").partition("/manifests")[0]
            asked = f'Bearer realm="{self.address}/v2/token",service="registry",scope="repository:{name}:pull"'
            return 401, "", {"WWW-Authenticate": asked}
        known = path.startswith("/v2/team/xlrm-")
        return (200, "", {"Docker-Content-Digest": f"sha256:{'ab' * 32}"}) if known else (404, "", {})

    @contextmanager
    def serving(self) -> Iterator["Cluster"]:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                time.sleep(cluster.delay)
                size = int(self.headers.get("Content-Length", 0))
                body, login = json.loads(self.rfile.read(size) or b"{}"), self.headers.get("Authorization", "")
                cluster.asked.append((self.command, self.path.partition("?")[0]))
                status, found, headers = cluster.answer(self.command, self.path, body, login)
                payload = (
                    found.encode() if isinstance(found, str) else json.dumps(found, separators=(",", ":")).encode()
                )
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
                self.send_header("Content-Length", str(len(payload)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else payload)

            do_GET = do_POST = do_HEAD = handle_any

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def kubeconfig(address: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "stub", "cluster": {"server": address}}],
            "users": [{"name": "alice", "user": {"token": "t"}}],
            "contexts": [{"name": "here", "context": {"cluster": "stub", "user": "alice", "namespace": "xlrm"}}],
        }
    )  # fmt: skip
