"""The Argo workflow that the server compiles a package into, as far as its size depends on it
(backend/src/v2/compiler/argocompiler)."""

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
"""Approximate bytes of name, labels, annotations and managedFields."""
SYSTEM = {
    "entrypoint": 600, "system-dag-driver": 2_100, "system-container-driver": 2_300, "system-container-executor": 390,
    "system-container-impl": 1_920, "retry-system-container-executor": 940, "retry-system-container-impl": 2_360,
}  # fmt: skip
"""Bytes of the templates that tasks share (written by argo.go, dag.go and container.go)."""
INJECT = len('"annotations":{"sidecar.istio.io/inject":"false"}')
"""Bytes that the server adds to each template (apiserver/template/v2_template.go, RunWorkflow)."""


def spec_bytes(package: Package) -> int:
    """Size of the workflow before it runs; together with its status it has to stay below the size at which nodes are
    compressed."""
    templates, arguments = list(_templates(package)), _arguments(package)
    parameters = [{"name": name, "value": value} for name, value in arguments.items()]
    shared = {name: size for name, size in SYSTEM.items() if "retry" not in name or _retried(package)}
    return (
        METADATA
        + sum(shared.values())
        + INJECT * (len(templates) + len(shared))
        + _bytes(parameters)
        + _bytes(templates)
    )


def _bytes(value: Any) -> int:
    return len(go_json(value).encode())


def _retried(package: Package) -> bool:
    return any("retryPolicy" in task for name in reachable(package) for task in tasks(package.component(name)).values())


def reachable(package: Package, name: str = ROOT, seen: set[str] | None = None) -> list[str]:
    """Components that the server visits, each once and the innermost first (compiler/visitor.go, dfs)."""
    seen = set() if seen is None else seen
    if name in seen or not package.component(name):
        return []
    seen.add(name)
    inner = [
        component for key in sorted(tasks(package.component(name))) for component in _below(package, name, key, seen)
    ]
    return [*inner, name]


def _below(package: Package, name: str, key: str, seen: set[str]) -> list[str]:
    return reachable(package, component_name(tasks(package.component(name))[key]), seen)


def argument_key(package: Package, name: str) -> str:
    """Key of a component's spec in the workflow: components with equal containers share one (argo.go,
    hashComponentContainer)."""
    container = package.executor(name).get("container")
    return hashlib.sha256(go_json(container).encode()).hexdigest() if container else name


def _arguments(package: Package) -> dict[str, str]:
    """Workflow parameters; the first spec with a key is kept (argo.go, saveProtoToArguments)."""
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
            inside = list(_calls(package, "iteration-item" if "parameterIterator" in task else key, key, task))
            if is_exit(task):
                yield _template(f"exit-hook-{name}-{key}", inside)
            elif "parameterIterator" in task:
                yield from _loop(package, key, task, inside)
                calls.append(
                    _call(key, f"{component_name(task)}-{key}-iterator", {"parent-dag-id": PARENT}, _depends(task))
                )
            else:
                inside[0] |= _depends(task)
                calls += inside
        yield _template(name, calls)


PARENT = "{{inputs.parameters.parent-dag-id}}"


def _template(name: str, calls: list[Document]) -> Document:
    inputs = {"parameters": [{"name": "parent-dag-id"}]}
    return {"name": name, "inputs": inputs, "outputs": {}, "metadata": {}, "dag": {"tasks": calls}}


def _loop(package: Package, key: str, task: Document, inside: list[Document]) -> Iterator[Document]:
    """The two templates of a loop: one for the loop and one for an iteration (dag.go, iteratorTask and
    iterationItemTask)."""
    name = component_name(task)
    held = {"component": _workflow(package, "components", name), "task": go_json(task), "task-name": key}
    again = {
        "parent-dag-id": "{{tasks.iteration-driver.outputs.parameters.execution-id}}",
        "iteration-index": "{{item}}",
    }
    count = {"withSequence": {"count": "{{tasks.iteration-driver.outputs.parameters.iteration-count}}"}}
    driver = _call("iteration-driver", "system-dag-driver", {**held, "parent-dag-id": PARENT})
    each = _call("iteration-iterations", f"{name}-iteration", again, {"depends": "iteration-driver.Succeeded", **count})
    yield _template(f"{name}-iteration", inside)
    yield _template(f"{name}-{key}-iterator", [driver, each])


def _calls(package: Package, key: str, task_name: str, task: Document) -> Iterator[Document]:
    """Calls of a task's driver and of what it starts (dag.go, task)."""
    name = component_name(task)
    given: dict[str, Any] = {
        "component": _workflow(package, "components", name), "task": go_json(task), "task-name": task_name,
        "parent-dag-id": PARENT,
    }  # fmt: skip
    if "importer" in package.executor(name):
        yield _call(key, "system-importer", {**given, "importer": _workflow(package, "implementations", name)})
        return
    inside = "dag" in package.component(name)
    if not inside:
        given["container"] = _workflow(package, "implementations", name)
        if package.settings(name):
            given["kubernetes-config"] = f"{{{{workflow.parameters.kubernetes-{name}}}}}"
    yield _call(f"{key}-driver", "system-dag-driver" if inside else "system-container-driver", given)
    after = {"depends": f"{key}-driver.Succeeded"}
    after |= {"when": f"{_output(key, 'condition')} != false"} if condition(task) else {}
    if inside:
        yield _call(
            key, name, {"parent-dag-id": _output(key, "execution-id"), "condition": _output(key, "condition")}, after
        )
        return
    retry = {f"retry-backoff-{number}": "000000" for number in range(4)} if "retryPolicy" in task else {}
    patch = {output: _output(key, output) for output in ("pod-spec-patch", "cached-decision")}
    yield _call(key, "system-container-executor", {**patch, **retry}, after)


def _output(key: str, name: str) -> str:
    return f"{{{{tasks.{key}-driver.outputs.parameters.{name}}}}}"


def _depends(task: Document) -> Document:
    waits = " && ".join(f"{name}.Succeeded" for name in task.get("dependentTasks", ()))
    return {"depends": waits} if waits else {}


def _call(key: str, template: str, given: Document, more: Document | None = None) -> Document:
    parameters = [{"name": name, "value": value} for name, value in given.items()]
    return {"name": key, "template": template, "arguments": {"parameters": parameters}, **(more or {})}


def _workflow(package: Package, kind: str, name: str) -> str:
    return f"{{{{workflow.parameters.{kind}-{argument_key(package, name)}}}}}"
