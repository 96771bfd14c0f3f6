"""The Argo workflow that the server compiles a package into, as far as its size goes (backend/src/v2/compiler/argocompiler)."""

import hashlib
from collections.abc import Iterator
from typing import Any

from pipelines.server.package import (
    ROOT,
    Document,
    Package,
    component_name,
    condition,
    go_json,
    is_exit,
    tasks,
)  # fmt: skip

METADATA = 3_000
"""Bytes of name, labels, annotations and managedFields, about."""
SYSTEM = {
    "system-dag-driver": 3_300, "system-container-driver": 3_400, "system-container-impl": 2_600,
    "system-container-executor": 700, "retry-system-container-impl": 3_000, "retry-system-container-executor": 1_300,
}  # fmt: skip
"""Bytes of the templates that all tasks share, about: argo.go, dag.go and container.go write them out."""


def spec_bytes(package: Package) -> int:
    """Size of the workflow before it runs; with its status it has to stay below the size at which nodes are compressed."""
    held = [*_arguments(package).items(), *_templates(package)]
    return METADATA + sum(SYSTEM.values()) + sum(len(go_json(one).encode()) for one in held)


def reachable(package: Package, name: str = ROOT, seen: set[str] | None = None) -> list[str]:
    """Components that the server visits, once each, the innermost first (compiler/visitor.go, dfs)."""
    seen = set() if seen is None else seen
    if name in seen or not package.component(name):
        return []
    seen.add(name)
    inner = [one for key in sorted(tasks(package.component(name))) for one in _below(package, name, key, seen)]
    return [*inner, name]


def _below(package: Package, name: str, key: str, seen: set[str]) -> list[str]:
    return reachable(package, component_name(tasks(package.component(name))[key]), seen)


def argument_key(package: Package, name: str) -> str:
    """Under which a component's spec is kept: components of equal containers share one (argo.go, hashComponentContainer)."""
    container = package.executor(name).get("container")
    return hashlib.sha256(go_json(container).encode()).hexdigest() if container else name


def _arguments(package: Package) -> dict[str, str]:
    """Workflow parameters; the first spec of a key stays (argo.go, saveProtoToArguments)."""
    kept: dict[str, str] = {}
    for name in reachable(package):
        key = argument_key(package, name)
        kept.setdefault(f"components-{key}", go_json(package.component(name)))
        if container := package.executor(name).get("container"):
            kept.setdefault(f"implementations-{key}", go_json(container))
        if settings := package.settings(name):
            kept.setdefault(f"kubernetes-{name}", go_json(settings))
    return kept


def _templates(package: Package) -> Iterator[Document]:
    for name in reachable(package):
        if not tasks(package.component(name)):
            continue
        calls = []
        for key, task in tasks(package.component(name)).items():
            calls += list(_calls(package, key, task))
            if "parameterIterator" in task:
                yield _template(f"{component_name(task)}-{key}-iterator", [_call(key, task, {"task": go_json(task)})])
                yield _template(f"{component_name(task)}-iteration", list(_calls(package, "iteration-item", task)))
            if is_exit(task):
                yield _template(f"exit-hook-{name}-{key}", [])
        yield _template(name, calls)


def _template(name: str, calls: list[Document]) -> Document:
    """With the metadata that the server sets on each."""
    metadata = {
        "annotations": {"sidecar.istio.io/inject": "false"},
        "labels": {"pipelines.kubeflow.org/cache_enabled": "true"},
    }
    inputs = {"parameters": [{"name": "parent-dag-id"}]}
    return {"name": name, "inputs": inputs, "outputs": {}, "metadata": metadata, "dag": {"tasks": calls}}


def _calls(package: Package, key: str, task: Document) -> Iterator[Document]:
    """The driver of a task and what it drives (dag.go, task)."""
    name = component_name(task)
    given: dict[str, Any] = {
        "component": _workflow(package, "components", name),
        "task": go_json(task),
        "task-name": key,
    }
    if "dag" not in package.component(name):
        given["container"] = _workflow(package, "implementations", name)
    if package.settings(name):
        given["kubernetes-config"] = f"{{{{workflow.parameters.kubernetes-{name}}}}}"
    yield _call(f"{key}-driver", task, given)
    patch = f"{{{{tasks.{key}-driver.outputs.parameters.pod-spec-patch}}}}"
    held = f"{{{{tasks.{key}-driver.outputs.parameters.cached-decision}}}}"
    retry = {f"retry-{number}": "000000" for number in range(4)} if "retryPolicy" in task else {}
    yield {
        **_call(key, task, {"pod-spec-patch": patch, "cached-decision": held, **retry}),
        "depends": f"{key}-driver.Succeeded",
    }


def _call(key: str, task: Document, given: Document) -> Document:
    waits = " && ".join(f"{one}.Succeeded" for one in task.get("dependentTasks", ()))
    parameters = [{"name": name, "value": value} for name, value in {**given, "parent-dag-id": "x" * 40}.items()]
    when = {"when": "x" * 60} if condition(task) else {}
    called = {"name": key, "template": "system-container-driver", "arguments": {"parameters": parameters}}
    return {**called, **({"depends": waits} if waits else {}), **when}


def _workflow(package: Package, kind: str, name: str) -> str:
    return f"{{{{workflow.parameters.{kind}-{argument_key(package, name)}}}}}"
