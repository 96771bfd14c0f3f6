"""Conditions, loops and exit tasks, as the Argo compiler writes them and Argo executes them."""

import re
from collections.abc import Iterator

from pipelines.server.inputs import produced, raw_list
from pipelines.server.package import Document, condition, definitions, inputs, is_exit
from pipelines.server.scopes import Scope

_TAKEN = re.compile(r"inputs\.parameter_values\['([^']+)'\]")


def flow_findings(scope: Scope) -> Iterator[str]:
    if scope.tasks and all(is_exit(task) for task in scope.tasks.values()):
        yield f"{scope.place('')}: nothing but exit tasks (argocompiler/dag.go, DAG)"
    yield from _cycles(scope)
    for key, task in scope.tasks.items():
        yield from _waits(scope, key, task)
        yield from _condition(scope, key, task)
        yield from _loop(scope, key, task)
        if is_exit(task):
            yield from _exit(scope, key, task)
    yield from _exits(scope)


def waits_for(task: Document) -> list[str]:
    """Tasks that a task depends on, explicitly or through its inputs (argocompiler/dag.go, addImplicitDependencies)."""
    return list(dict.fromkeys([*task.get("dependentTasks", ()), *(producer for _, _, producer, _ in produced(task))]))


def _waits(scope: Scope, key: str, task: Document) -> Iterator[str]:
    """Argo's `depends: X.Succeeded` (argocompiler/dag.go, depends): if X is skipped, every task that depends on it
    is omitted."""
    for name in waits_for(task):
        other = scope.tasks.get(name)
        if other is None:
            yield f"{scope.place(key)}: depends on {name}, which is not in its DAG"
        elif is_exit(other):
            # dag.go, DAG: the DAG's template does not list exit tasks.
            yield f"{scope.place(key)}: depends on the exit task {name}, which is not a task of its DAG"
        elif condition(other) and not is_exit(task):
            # Argo, workflow/controller/dag.go, evaluateDependsLogic: Skipped is not Succeeded.
            yield f"{scope.place(key)}: omitted when the condition of {name} does not hold"


def _cycles(scope: Scope) -> Iterator[str]:
    """Argo, workflow/validate/validate.go, sortDAGTasks."""
    left = {key: {name for name in waits_for(task) if name in scope.tasks} for key, task in scope.tasks.items()}
    while ready := [key for key, others in left.items() if not others & left.keys()]:
        for key in ready:
            left.pop(key)
    if left:
        yield f"{scope.place(', '.join(sorted(left)))}: depend on one another"


def _condition(scope: Scope, key: str, task: Document) -> Iterator[str]:
    """driver/dag.go, DAG: the condition is evaluated on the task's own inputs."""
    for name in dict.fromkeys(_TAKEN.findall(condition(task))):
        if name not in inputs(task, "parameters"):
            yield f"{scope.place(key, name)}: the condition names it, and the task does not take it"
        elif inputs(task, "parameters")[name].get("componentInputParameter") in scope.null:
            yield f"{scope.place(key, name)}: the condition names it, and it may be null"
    if condition(task) and "importer" in scope.package.executor(task.get("componentRef", {}).get("name", "")):
        yield f"{scope.place(key)}: a condition on an importer (argocompiler/dag.go, task)"


def _loop(scope: Scope, key: str, task: Document) -> Iterator[str]:
    """argocompiler/dag.go, DAG and iteratorTask; driver/util.go, getItems."""
    if "artifactIterator" in task:
        yield f"{scope.place(key)}: iterates over artifacts, which is not implemented"
    if not (iterator := task.get("parameterIterator")):
        return
    items = iterator.get("items", {})
    if "raw" in items:
        if raw_list(items["raw"]) is None:
            yield f"{scope.place(key)}: what it iterates over is not a list in JSON: {items['raw']}"
    elif (name := items.get("inputParameter", "")) not in inputs(task, "parameters"):
        yield f"{scope.place(key, name)}: the list to iterate over is not an input of the loop"
    else:
        declared = definitions(scope.package.of(task), "input", "parameters").get(name, {})
        if declared.get("parameterType", "LIST") not in ("LIST", "STRING"):
            yield f"{scope.place(key, name)}: a {declared['parameterType']} cannot be iterated over"
    item = iterator.get("itemInput", "")
    if item not in definitions(scope.package.of(task), "input", "parameters"):
        yield f"{scope.place(key, item)}: the loop's component has no such input for the item"


def _exit(scope: Scope, key: str, task: Document) -> Iterator[str]:
    """argocompiler/dag.go, DAG: an exit task becomes the exit hook of each task that it depends on."""
    before = waits_for(task)
    if len(before) != 1:
        yield f"{scope.place(key)}: an exit task after {len(before)} tasks, it runs once after each"
    for _, _, name, _ in produced(task):
        yield f"{scope.place(key)}: an exit task that takes an output of {name}, which may not have any"
    for kind in ("parameterIterator", "artifactIterator"):
        if kind in task:
            yield f"{scope.place(key)}: an exit task that is a loop"
    for name in before:
        other = scope.tasks.get(name, {})
        if condition(other):
            # Argo, workflow/controller/dag.go, executeDAGTask: hooks run for completed tasks, and Skipped is not
            # completed.
            yield f"{scope.place(key)}: an exit task after {name}, and never run when its condition does not hold"
        if "parameterIterator" in other or "importer" in scope.package.executor(
            other.get("componentRef", {}).get("name", "")
        ):
            # dag.go, task: iteratorTask and importerTask get no exit template.
            yield f"{scope.place(key)}: an exit task after {name}, a loop or an importer, which has no exit hook: it never runs"


def _exits(scope: Scope) -> Iterator[str]:
    """dag.go, DAG: a task has one exit hook; of several exit tasks the last one gets it."""
    hooks: dict[str, list[str]] = {}
    for key, task in sorted(scope.tasks.items()):
        for name in waits_for(task) if is_exit(task) else ():
            hooks.setdefault(name, []).append(key)
    for name, keys in hooks.items():
        for key in keys[:-1]:
            yield f"{scope.place(key)}: {keys[-1]} is the exit task of {name} too, and only that one runs"
