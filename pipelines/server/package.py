"""A compiled package as the server reads it: components, DAGs, executors and Kubernetes settings."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
ROOT = "root"
EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"
"""Trigger strategy of a task that runs after other tasks have ended, whether they succeeded or not."""

VALUES = ("constant", "defaultValue", "literals")
"""Fields that may hold any value, including null."""
DUMMY_IMAGES = ("argostub/createpvc", "argostub/deletepvc")
"""Images of tasks that a driver executes itself (argocompiler/argo.go, dummyImages)."""


@dataclass(frozen=True)
class Package:
    pipeline: Document
    platform: Document

    @property
    def name(self) -> str:
        """Name of the pipeline; empty if the package has none."""
        info = self.pipeline.get("pipelineInfo")
        return str(info.get("name") or "") if isinstance(info, dict) else ""

    def component(self, name: str) -> Document:
        """The component of this name; empty if there is none."""
        return self.pipeline.get(ROOT, {}) if name == ROOT else self.pipeline.get("components", {}).get(name, {})

    def of(self, task: Document) -> Document:
        return self.component(component_name(task))

    def executor(self, component: str) -> Document:
        """The executor of a component: container, importer or resolver."""
        executors = self.pipeline.get("deploymentSpec", {}).get("executors", {})
        return executors.get(self.component(component).get("executorLabel", ""), {})

    def settings(self, component: str) -> Document:
        """The Kubernetes settings of a component's executor."""
        kubernetes = self.platform.get("platforms", {}).get("kubernetes", {})
        executors = kubernetes.get("deploymentSpec", {}).get("executors", {})
        return executors.get(self.component(component).get("executorLabel", ""), {})


def without_nulls(document: Any) -> Any:
    """The document as protojson reads it: a null counts as absent, except in a field that may hold any value."""
    if isinstance(document, dict):
        kept = {key: value for key, value in document.items() if value is not None or key in VALUES}
        return {key: value if key in VALUES else without_nulls(value) for key, value in kept.items()}
    return [without_nulls(entry) for entry in document] if isinstance(document, list) else document


def load(path: Path) -> Package:
    """Loads a package that `python -m pipelines compile` wrote; without Kubernetes settings it has a single YAML
    document."""
    documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
    return Package(documents[0], documents[1] if len(documents) > 1 else {})


def tasks(component: Document) -> dict[str, Document]:
    return component.get("dag", {}).get("tasks", {})


def component_name(task: Document) -> str:
    return task.get("componentRef", {}).get("name", "")


def inputs(task: Document, kind: str) -> dict[str, Document]:
    """Inputs of a task; `kind` is parameters or artifacts."""
    return task.get("inputs", {}).get(kind, {})


def definitions(component: Document, side: str, kind: str) -> dict[str, Document]:
    """Inputs or outputs that a component declares; `side` is input or output."""
    return component.get(f"{side}Definitions", {}).get(kind, {})


def condition(task: Document) -> str:
    return task.get("triggerPolicy", {}).get("condition", "")


def is_exit(task: Document) -> bool:
    return task.get("triggerPolicy", {}).get("strategy") == EXIT


def go_json(value: Any) -> str:
    """JSON as Go's encoding/json writes it: no spaces, and <, > and & as escapes, six bytes each."""
    text = proto_json(value)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def proto_json(value: Any) -> str:
    """JSON as protojson writes it: no escapes, and whole numbers without a fraction."""
    return json.dumps(_whole(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
