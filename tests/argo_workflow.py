"""The Argo workflow of a run in which tasks failed, as a Kubeflow Pipelines server keeps it (Argo 4.0: node status, messages
of operator.go's inferFailedReason, nodes compressed as by packer.go)."""

import base64
import gzip
import json
import zlib
from typing import Any

Json = dict[str, Any]
NAME = "retrain-x7k2p"


def workflow(failed: list[str], messages: dict[str, str], compressed: bool) -> Json:
    """`messages`: task -> what is said of its pod beside how it ended; `compressed`: for more than 1 MB."""
    nodes = [
        node(f"{NAME}.exit-handler-1", "DAG", "Failed"),
        node(f"{NAME}.exit-handler-1.configure", "DAG", "Succeeded"),
    ]
    for name in failed:
        nodes += task(name, messages.get(name, "main: Error (exit code 2)"))
    status: Json = {"phase": "Failed", "nodes": {one["id"]: one for one in nodes}}
    if compressed:
        packed = gzip.compress(json.dumps(status.pop("nodes")).encode())
        status["compressedNodes"] = base64.b64encode(packed).decode()
    return {"metadata": {"name": NAME}, "spec": {}, "status": status}


def task(name: str, message: str) -> list[Json]:
    """A driver is a pod; another task is a DAG around what is tried, whose tries are pods."""
    path = f"{NAME}.exit-handler-1.{name}"
    if name.endswith("-driver"):
        return [node(path, "Pod", "Failed", "system-container-driver") | {"message": message}]
    first = {"message": "main: Error (exit code 1): a first try", "finishedAt": "2026-11-22T05:20:00Z"}
    return [
        node(path, "DAG", "Failed"),
        node(f"{path}.executor", "Retry", "Failed") | {"message": "No more retries left"},
        node(f"{path}.executor(1)", "Pod", "Failed") | {"message": message},
        node(f"{path}.executor(0)", "Pod", "Failed") | first,
    ]


def node(path: str, kind: str, phase: str, template: str = "system-container-impl") -> Json:
    """The id ends in a digest of the name."""
    return {
        "id": f"{NAME}-{zlib.crc32(path.encode())}", "name": path, "displayName": path.rpartition(".")[2], "type": kind,
        "phase": phase, "templateName": template, "finishedAt": "2026-11-22T05:30:00Z",
    }  # fmt: skip


def driver_pod(name: str) -> str:
    return f"{NAME}-system-container-driver-{zlib.crc32(f'{NAME}.exit-handler-1.{name}'.encode())}"
