"""The nodes in the workflow status of a run, and their size.

Templates and their parameters follow backend/src/v2/compiler/argocompiler; values are those that the driver resolves.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipelines.server.nodes import Called, Done, Node, Run, Spot, inside, pod
from pipelines.server.package import (
    DUMMY_IMAGES,
    ROOT,
    Document,
    Package,
    component_name,
    condition,
    go_json,
    is_exit,
    tasks,
)
from pipelines.server.pod import pod_spec_patch
from pipelines.server.values import Facts, items, resolve, root_inputs

LIMIT = 1024 * 1024
"""Bytes of the whole workflow (spec and status) above which Argo compresses its nodes (workflow/packer/packer.go)."""
DRIVER_SECONDS = EXECUTOR_SECONDS = 10.0
"""Measured seconds of a pod, without the component's own work."""
DAG_DRIVER = {
    "component": None, "runtime-config": "", "task": "", "task-name": "", "parent-dag-id": "0", "iteration-index": "-1",
    "driver-type": "DAG",
}  # fmt: skip
"""Parameter -> default (dag.go, addDAGDriverTemplate)."""
CONTAINER_DRIVER = {
    "component": None, "task": None, "container": None, "task-name": None, "parent-dag-id": None, "iteration-index": "-1",
    "kubernetes-config": "",
}  # fmt: skip
"""container.go, addContainerDriverTemplate."""


def simulate(package: Package, facts: Facts, *, defaults: bool = True) -> list[Node]:
    """Every node of a run in which all tasks succeed, in the order of their start."""
    run = Run(package, facts, defaults, workflow=f"{package.name.rsplit('/', 1)[-1]}-xxxxx")
    given = root_inputs(package, facts)
    driven = {
        "component": package.component(ROOT), "driver-type": "ROOT_DAG",
        "runtime-config": {"parameterValues": given["parameters"]},
    }  # fmt: skip

    def entry(spot: Spot) -> Done:
        driver = _dag_driver(run, spot, "root-driver", driven)
        return inside(run.call(driver.then(spot), "root", ROOT, _called(_dag(run, ROOT, given))))

    run.call(Spot("", "", 0.0, ()), run.workflow, "entrypoint", Called("DAG", [], entry))
    return sorted(run.nodes.values(), key=lambda node: node.start)


def status_bytes(package: Package, facts: Facts, *, defaults: bool = True) -> int:
    """Size of status.nodes as JSON."""
    return sum(node.bytes for node in simulate(package, facts, defaults=defaults))


def pods(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if node.status["type"] == "Pod"]


# DAGs


def _called(body: Callable[[Spot], Done], *more: Document, hooked: bool = False) -> Called:
    return Called("DAG", [_parameter("parent-dag-id", "000"), *more], body, hooked=hooked)


def _dag(run: Run, name: str, given: Document) -> Callable[[Spot], Done]:
    """Body of a component that is a DAG (argocompiler/dag.go, DAG)."""
    all_tasks = tasks(run.package.component(name))

    def body(spot: Spot) -> Done:
        done: dict[str, Done] = {}
        without: set[str] = set()
        for key, task in _ordered(all_tasks):
            run.owner = f"{name}.{key}"
            before = [other for other in task.get("dependentTasks", ()) if other in done]
            omitted = bool(without.intersection(before))
            here = _joined([done[other] for other in before]).then(spot) if before else spot
            done[key] = _omitted(run, here, key) if omitted else _task(run, name, key, given, here)
            without.update([key] if omitted or _not_triggered(run, key, task) else [])
        return inside(
            _joined([done[key] for key in _last(all_tasks) if key in done], [result.end for result in done.values()])
        )

    return body


def _joined(parts: list[Done], ends: list[float] | None = None) -> Done:
    last = tuple(dict.fromkeys(node_id for done in parts for node_id in done.last))
    return Done(max(ends or [done.end for done in parts]), last)


def _last(all_tasks: Mapping[str, Document]) -> list[str]:
    """Tasks that no other task waits for (Argo, workflow/controller/dag.go, findLeafTaskNames)."""
    awaited = {name for task in all_tasks.values() if not is_exit(task) for name in task.get("dependentTasks", ())}
    return [key for key in all_tasks if key not in awaited]


def _ordered(all_tasks: Mapping[str, Document]) -> Iterator[tuple[str, Document]]:
    """Tasks without exit tasks, each after the tasks it depends on."""
    left = {key: task for key, task in all_tasks.items() if not is_exit(task)}
    while left:
        ready = [key for key, task in left.items() if not set(task.get("dependentTasks", ())) & left.keys()]
        if not ready:
            raise ValueError(f"tasks that depend on one another: {', '.join(left)}")
        yield from ((key, left.pop(key)) for key in ready)


def _not_triggered(run: Run, key: str, task: Document) -> bool:
    return bool(condition(task)) and run.facts.counts.get(key) == 0


def _omitted(run: Run, spot: Spot, key: str) -> Done:
    """A task omitted because it depends on a skipped one (Argo, workflow/controller/dag.go, executeDAGTask)."""
    return _skipped(run, spot, key, "system-dag-driver", "Omitted", "omitted: depends condition not met")


def _skipped(run: Run, spot: Spot, key: str, template: str, phase: str, message: str) -> Done:
    node = run.node(spot, f"{spot.inside}.{key}", "Skipped", template, {"phase": phase, "message": message})
    node.end = spot.start
    return Done(spot.start, (node.status["id"],))


# Tasks


def _task(run: Run, dag: str, key: str, given: Document, spot: Spot) -> Done:
    """A task of a DAG, and the exit task after it (argocompiler/dag.go, task and iteratorTask)."""
    siblings = tasks(run.package.component(dag))
    task = siblings[key]
    resolved = resolve(run.package, run.facts, run.package.component(dag), task, given)
    if "parameterIterator" in task:
        template = f"{component_name(task)}-{key}-iterator"
        done = run.call(spot, key, template, _called(_iterator(run, key, task, resolved)))
    else:
        done = _single(run, key, key, task, resolved, spot)
    for name, sibling in siblings.items():
        if is_exit(sibling) and key in sibling.get("dependentTasks", ()):
            done = _hook(run, dag, name, given, key, done.then(spot))
    return done


def _single(run: Run, key: str, name: str, task: Document, resolved: Document, spot: Spot, index: int = -1) -> Done:
    """A task without a loop, called `name` in the package and `key` in Argo: a driver, and what it starts."""
    component = component_name(task)
    held: Document = {"component": run.package.component(component), "task": task, "task-name": name}
    held |= {"iteration-index": str(index)} if index >= 0 else {}
    executor = run.package.executor(component)
    if "importer" in executor:
        return _importer(run, spot, key, {**held, "importer": executor["importer"]})
    if executor.get("container", {}).get("image") in DUMMY_IMAGES:
        return _container_driver(run, spot, key, held, component, "")
    patch = ""
    if tasks(run.package.component(component)):
        driver = _dag_driver(run, spot, f"{key}-driver", held)
    else:
        patch = pod_spec_patch(run.package, name, component, resolved)
        driver = _container_driver(run, spot, f"{key}-driver", held, component, patch)
    here = driver.then(spot)
    if _not_triggered(run, name, task):
        return _skipped(run, here, key, component, "Skipped", "when 'false != false' evaluated false")
    if patch:
        return _executor(run, here, key, patch, task.get("retryPolicy"))
    return run.call(here, key, component, _called(_dag(run, component, resolved)))


def _hook(run: Run, dag: str, key: str, given: Document, after: str, spot: Spot) -> Done:
    """An exit task, which is the exit lifecycle hook of the task before it (dag.go, DAG; common.go, addExitTask)."""
    run.owner = f"{dag}.{key}"
    task = tasks(run.package.component(dag))[key]
    resolved = resolve(run.package, run.facts, run.package.component(dag), task, given)
    hooked = Spot(spot.inside, spot.boundary, spot.start, (run.id(f"{spot.inside}.{after}"),))
    body = _called(lambda here: inside(_single(run, key, key, task, resolved, here)), hooked=True)
    done = run.call(hooked, f"{after}.onExit", f"exit-hook-{dag}-{key}", body)
    return Done(done.end, spot.parents)


# Loops


def _iterator(run: Run, key: str, task: Document, resolved: Document) -> Callable[[Spot], Done]:
    """A loop: one driver, then an iteration DAG for each item (dag.go, iterationItemTask)."""
    each, owner = items(task, resolved, run.facts, key), run.owner
    held = {"component": run.package.of(task), "task": task, "task-name": key}
    template, group = f"{component_name(task)}-iteration", "iteration-iterations"

    def body(spot: Spot) -> Done:
        here = _dag_driver(run, spot, "iteration-driver", held, len(each)).then(spot)
        if not each:
            return inside(_skipped(run, here, group, template, "Skipped", "Skipped, empty params"))
        top = run.node(here, f"{spot.inside}.{group}", "TaskGroup", template, {})
        here = Spot(spot.inside, spot.boundary, here.start, (top.status["id"],))
        done = []
        for index, item in enumerate(each):
            run.owner = owner
            called = _called(
                _iteration(run, key, task, resolved, item, index), _parameter("iteration-index", str(index))
            )
            done.append(run.call(here, f"{group}({index}:{index})", template, called))
        return inside(_joined(done))

    return body


def _iteration(run: Run, key: str, task: Document, resolved: Document, item: Any, index: int) -> Callable[[Spot], Done]:
    iterator = task["parameterIterator"]
    parameters = {**resolved["parameters"], iterator["itemInput"]: item if isinstance(item, str) else go_json(item)}
    parameters.pop(iterator["items"].get("inputParameter", ""), None)  # driver/resolve.go, resolveInputs
    inner = {"parameters": parameters, "artifacts": resolved["artifacts"]}
    return lambda spot: inside(_single(run, "iteration-item", key, task, inner, spot, index))


# Templates of pods


def _dag_driver(run: Run, spot: Spot, key: str, given: Document, count: int = 0) -> Done:
    outputs = [
        _output("execution-id", "000", None), _output("iteration-count", str(count), "0"),
        _output("condition", "nil", "true"),
    ]  # fmt: skip
    return _driver(run, spot, key, "system-dag-driver", _inputs(DAG_DRIVER, given), outputs)


def _container_driver(run: Run, spot: Spot, key: str, given: Document, component: str, patch: str) -> Done:
    held = {**given, "container": run.package.executor(component)["container"]}
    if settings := run.package.settings(component):
        held["kubernetes-config"] = settings
    cached = {**_output("cached-decision", "false", "false"), "default": "false"}
    outputs = [_output("pod-spec-patch", patch, ""), cached, _output("condition", "nil", "true")]
    return _driver(run, spot, key, "system-container-driver", _inputs(CONTAINER_DRIVER, held), outputs)


def _driver(run: Run, spot: Spot, key: str, template: str, given: list[Document], outputs: list[Document]) -> Done:
    return run.call(spot, key, template, Called("Pod", given, pod(run, DRIVER_SECONDS, template, outputs)))


def _importer(run: Run, spot: Spot, key: str, given: Document) -> Done:
    """importer.go, addImporterTemplate: a pod without a driver."""
    names = ("task", "component", "importer")
    held = [*(_parameter(name, given[name]) for name in names), _parameter("parent-dag-id", "000")]
    return run.call(
        spot, key, "system-importer", Called("Pod", held, pod(run, EXECUTOR_SECONDS, "system-importer", []))
    )


def _executor(run: Run, spot: Spot, key: str, patch: str, retry: Document | None) -> Done:
    """container.go, addContainerExecutorTemplate: a DAG with one pod; both contain all inputs."""
    name = f"{'retry-' if retry else ''}system-container"
    held = _parameter("pod-spec-patch", patch)
    outer = [held, _parameter("cached-decision", "false", "false"), *_retries(retry, "0")]
    executor = pod(run, EXECUTOR_SECONDS, f"{name}-impl", [])
    called = Called("Pod", [held, *_retries(retry)], executor, retried=bool(retry))
    body = Called("DAG", outer, lambda here: inside(run.call(here, "executor", f"{name}-impl", called)))
    return run.call(spot, key, f"{name}-executor", body)


def _retries(policy: Document | None, default: str | None = None) -> list[Document]:
    """container.go, getTaskRetryParametersWithValues."""
    if not policy:
        return []
    names = {"max-count": "maxRetryCount", "backoff-duration": "backoffDuration", "backoff-factor": "backoffFactor",
             "backoff-max-duration": "backoffMaxDuration"}  # fmt: skip
    values = {name: str(policy.get(key) or 0).removesuffix("s").removesuffix(".0") for name, key in names.items()}
    return [_parameter(f"retry-{name}", value, default) for name, value in values.items()]


def _inputs(order: Mapping[str, str | None], given: Document) -> list[Document]:
    held = {"parent-dag-id": "000", **given}
    return [_parameter(name, held.get(name, default), default) for name, default in order.items()]


def _parameter(name: str, value: Any, default: str | None = None) -> Document:
    text = value if isinstance(value, str) else go_json(value)
    return {"name": name, **({} if default is None else {"default": default}), "value": text}


def _output(name: str, value: str, default: str | None) -> Document:
    source = {"path": f"/tmp/outputs/{name}", **({} if default is None else {"default": default})}
    return {"name": name, "value": value, "valueFrom": source}
