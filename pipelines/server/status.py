"""The nodes that a run of a package has in its workflow's status, and their size.

Templates and their parameters are those of backend/src/v2/compiler/argocompiler, values those that the driver resolves.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.server.nodes import Body, Called, Node, Run
from pipelines.server.package import ROOT, Document, Package, component_name, condition, go_json, is_exit, tasks
from pipelines.server.pod import pod_spec_patch
from pipelines.server.values import Facts, items, resolve, root_inputs

LIMIT = 1024 * 1024
"""Bytes of the whole workflow, spec and status, above which Argo compresses its nodes (workflow/packer/packer.go)."""
DRIVER_SECONDS = EXECUTOR_SECONDS = 10.0
"""Of a pod, measured; without what the component itself takes."""


def simulate(package: Package, facts: Facts, *, defaults: bool = True) -> list[Node]:
    """Every node of a run in which all does well, in the order of their start."""
    run = Run(package, facts, defaults, workflow=f"{package.name.rsplit('/', 1)[-1]}-xxxxx")
    given = root_inputs(package, facts)

    def entry(name: str, node: str, start: float) -> tuple[float, list[str], Document]:
        constants = {"component": package.component(ROOT), "driver-type": "ROOT_DAG"}
        settings = {"runtime-config": {"parameterValues": given["parameters"]}}
        end, outbound = _dag_driver(run, f"{name}.root-driver", node, start, {**constants, **settings})
        _connect(run, [node], f"{name}.root-driver")
        body = _dag(run, package.component(ROOT), ROOT, given)
        task = Called("DAG", [_parameter("parent-dag-id", "000")], body)
        end, last = run.template(f"{name}.root", "root", node, end, task)
        _connect(run, outbound, f"{name}.root")
        return end, last, {"outboundNodes": last}

    run.template(run.workflow, "entrypoint", "", 0.0, Called("DAG", [], entry))
    return sorted(run.nodes.values(), key=lambda one: one.start)


def status_bytes(package: Package, facts: Facts, *, defaults: bool = True) -> int:
    """Size of status.nodes as JSON."""
    return sum(one.bytes for one in simulate(package, facts, defaults=defaults))


def pods(nodes: list[Node]) -> list[Node]:
    return [one for one in nodes if one.status["type"] == "Pod"]


# Templates as argocompiler makes them


def _dag(run: Run, component: Document, name: str, given: Document) -> Body:
    """A component that is a DAG (argocompiler/dag.go, DAG)."""

    def body(node_name: str, node: str, start: float) -> tuple[float, list[str], Document]:
        ends: dict[str, float] = {}
        outbound: dict[str, list[str]] = {}
        without: set[str] = set()
        for key, task in _ordered(tasks(component)):
            run.owner = f"{name}.{key}"
            before = [one for one in task.get("dependentTasks", ()) if one in ends]
            begin = max((ends[one] for one in before), default=start)
            parents = [one for many in before for one in outbound[many]] or [node]
            if without.intersection(before):
                ends[key], outbound[key] = _omitted(run, f"{node_name}.{key}", node, begin, parents)
            else:
                ends[key], outbound[key] = _task(run, component, name, key, given, node_name, node, begin, parents)
            if without.intersection(before) or not_triggered(run, key, task):
                without.add(key)
        needed = {one for task in tasks(component).values() for one in task.get("dependentTasks", ())}
        last = [one for key in outbound if key not in needed for one in outbound[key]]
        return max(ends.values(), default=start), last, {"outboundNodes": last}

    return body


def not_triggered(run: Run, key: str, task: Document) -> bool:
    return bool(condition(task)) and run.facts.counts.get(key) == 0


def _omitted(run: Run, name: str, boundary: str, start: float, parents: list[str]) -> tuple[float, list[str]]:
    """What depends on a task that was skipped (Argo, workflow/controller/dag.go, executeDAGTask)."""
    more = {"phase": "Omitted", "message": "omitted: depends condition not met"}
    node = run.node(name, "Skipped", "system-container-driver", boundary, start, more)
    _connect(run, parents, name)
    return start, [node.status["id"]]


def _ordered(all_tasks: Mapping[str, Document]) -> Iterator[tuple[str, Document]]:
    """Without exit tasks, each after those it depends on."""
    left = {key: task for key, task in all_tasks.items() if not is_exit(task)}
    while left:
        ready = [key for key, task in left.items() if not set(task.get("dependentTasks", ())) & left.keys()]
        if not ready:
            raise ValueError(f"tasks that depend on one another: {', '.join(left)}")
        yield from ((key, left.pop(key)) for key in ready)


def _task(
    run: Run, dag: Document, dag_name: str, key: str, given: Document, inside: str, boundary: str, start: float,
    parents: list[str],
) -> tuple[float, list[str]]:  # fmt: skip
    """One task of a DAG: a loop, a DAG or a container (argocompiler/dag.go, task and iteratorTask)."""
    task = tasks(dag)[key]
    resolved = resolve(run.package, run.facts, dag, task, given)
    if "parameterIterator" in task:
        body = _iterator(run, dag_name, key, task, resolved)
        name = f"{component_name(task)}-{key}-iterator"
        end, outbound = run.template(
            f"{inside}.{key}", name, boundary, start, Called("DAG", [_parameter("parent-dag-id", "000")], body)
        )
        _connect(run, parents, f"{inside}.{key}")
    else:
        end, outbound = _single(run, key, key, task, resolved, inside, boundary, start, parents)
    for exit_key, one in tasks(dag).items():
        if is_exit(one) and key in one.get("dependentTasks", ()):
            end = _hook(run, dag, dag_name, exit_key, given, f"{inside}.{key}", boundary, end)
    return end, outbound


def _single(
    run: Run, key: str, task_name: str, task: Document, resolved: Document, inside: str, boundary: str, start: float,
    parents: list[str], index: int = -1,
) -> tuple[float, list[str]]:  # fmt: skip
    """A driver, and after it what it drives; an importer needs none."""
    name = component_name(task)
    component = run.package.component(name)
    if importer := run.package.executor(name).get("importer"):
        held = {"task": task, "component": component, "importer": importer, "parent-dag-id": "000"}
        called = Called(
            "Pod", [_parameter(*one) for one in held.items()], run.pod(EXECUTOR_SECONDS, "system-importer", [])
        )
        ended = run.template(f"{inside}.{key}", "system-importer", boundary, start, called)
        _connect(run, parents, f"{inside}.{key}")
        return ended
    constants: Document = {"component": component, "task": task, "task-name": task_name}
    if index >= 0:
        constants["iteration-index"] = str(index)
    is_dag, driver = "dag" in component, f"{inside}.{key}-driver"
    if is_dag:
        end, outbound = _dag_driver(run, driver, boundary, start, constants)
    else:
        patch = pod_spec_patch(run.package, task_name, name, resolved)
        end, outbound = _container_driver(run, driver, boundary, start, constants, name, patch)
    _connect(run, parents, driver)
    if not_triggered(run, task_name, task):
        more = {"phase": "Skipped", "message": "when 'false != false' evaluated false"}
        skipped = run.node(f"{inside}.{key}", "Skipped", name, boundary, end, more)
        _connect(run, outbound, f"{inside}.{key}")
        return end, [skipped.status["id"]]
    if is_dag:
        called = Called("DAG", [_parameter("parent-dag-id", "000")], _dag(run, component, name, resolved))
        end, last = run.template(f"{inside}.{key}", name, boundary, end, called)
    else:
        end, last = _executor(run, f"{inside}.{key}", boundary, end, patch, task.get("retryPolicy"))
    _connect(run, outbound, f"{inside}.{key}")
    return end, last


def _iterator(run: Run, dag_name: str, key: str, task: Document, resolved: Document) -> Body:
    """A loop: one driver, then an iteration DAG for each item (dag.go, iterationItemTask)."""
    owner = f"{dag_name}.{key}"
    each = items(task, resolved, run.facts, key)

    def body(name: str, node: str, start: float) -> tuple[float, list[str], Document]:
        constants = {"component": run.package.of(task), "task": task, "task-name": key}
        end, outbound = _dag_driver(run, f"{name}.iteration-driver", node, start, constants, len(each))
        _connect(run, [node], f"{name}.iteration-driver")
        group = f"{name}.iteration-iterations"
        kind = "TaskGroup" if each else "Skipped"
        more = {} if each else {"phase": "Skipped", "message": "Skipped, empty params"}
        top = run.node(group, kind, f"{component_name(task)}-iteration", node, end, more)
        _connect(run, outbound, group)
        ends, last = [end], []
        for index, item in enumerate(each):
            run.owner = owner
            called = Called("DAG", _iteration_inputs(index), _iteration(run, key, task, resolved, item, index))
            one = f"{group}({index}:{index})"
            done, out = run.template(one, f"{component_name(task)}-iteration", node, end, called)
            _connect(run, [top.status["id"]], one)
            ends.append(done)
            last += out
        return max(ends), last or [top.status["id"]], {"outboundNodes": last or [top.status["id"]]}

    return body


def _iteration_inputs(index: int) -> list[Document]:
    return [_parameter("parent-dag-id", "000"), _parameter("iteration-index", str(index))]


def _iteration(run: Run, key: str, task: Document, resolved: Document, item: Any, index: int) -> Body:
    iterator = task["parameterIterator"]
    value = item if isinstance(item, str) else go_json(item)
    parameters = {**resolved["parameters"], iterator["itemInput"]: value}
    parameters.pop(iterator["items"].get("inputParameter", ""), None)  # resolve.go, resolveInputs
    inner = {"parameters": parameters, "artifacts": resolved["artifacts"]}

    def body(name: str, node: str, start: float) -> tuple[float, list[str], Document]:
        end, last = _single(run, "iteration-item", key, task, inner, name, node, start, [node], index)
        return end, last, {"outboundNodes": last}

    return body


def _hook(
    run: Run, dag: Document, dag_name: str, key: str, given: Document, after: str, boundary: str, start: float
) -> float:
    """An exit task: the exit lifecycle hook of the task before it (dag.go, DAG; common.go, addExitTask)."""
    task, run.owner = tasks(dag)[key], f"{dag_name}.{key}"
    resolved = resolve(run.package, run.facts, dag, task, given)

    def body(name: str, node: str, begin: float) -> tuple[float, list[str], Document]:
        end, last = _single(run, key, key, task, resolved, name, node, begin, [node])
        return end, last, {"outboundNodes": last}

    called = Called("DAG", [_parameter("parent-dag-id", "000")], body, hooked=True)
    end, _ = run.template(f"{after}.onExit", f"exit-hook-{dag_name}-{key}", boundary, start, called)
    _connect(run, [run.id(after)], f"{after}.onExit")
    return end


def _dag_driver(
    run: Run, name: str, boundary: str, start: float, given: Document, count: int = 0
) -> tuple[float, list[str]]:
    """dag.go, addDAGDriverTemplate."""
    order = {
        "component": None, "runtime-config": "", "task": "", "task-name": "", "parent-dag-id": "0",
        "iteration-index": "-1", "driver-type": "DAG",
    }  # fmt: skip
    held = {"parent-dag-id": "000", **given}
    parameters = [_parameter(key, held.get(key, default), default) for key, default in order.items()]
    outputs = [
        _output("execution-id", "000", None), _output("iteration-count", str(count), "0"),
        _output("condition", "true", "true"),
    ]  # fmt: skip
    return _driver(run, name, "system-dag-driver", boundary, start, parameters, outputs)


def _container_driver(
    run: Run, name: str, boundary: str, start: float, given: Document, component: str, patch: str
) -> tuple[float, list[str]]:
    """container.go, addContainerDriverTemplate."""
    order = {
        "component": None, "task": None, "container": None, "task-name": None, "parent-dag-id": None,
        "iteration-index": "-1", "kubernetes-config": "",
    }  # fmt: skip
    container = run.package.executor(component)["container"]
    held = {"container": container, "parent-dag-id": "000", **given}
    if settings := run.package.settings(component):
        held["kubernetes-config"] = settings
    parameters = [_parameter(key, held.get(key, default), default) for key, default in order.items()]
    cached = {**_output("cached-decision", "false", "false"), "default": "false"}
    outputs = [_output("pod-spec-patch", patch, ""), cached, _output("condition", "nil", "true")]
    return _driver(run, name, "system-container-driver", boundary, start, parameters, outputs)


def _driver(
    run: Run, name: str, template: str, boundary: str, start: float, parameters: list[Document], outputs: list[Document]
) -> tuple[float, list[str]]:
    called = Called("Pod", parameters, run.pod(DRIVER_SECONDS, template, outputs))
    return run.template(name, template, boundary, start, called)


def _executor(
    run: Run, name: str, boundary: str, start: float, patch: str, retry: Document | None
) -> tuple[float, list[str]]:
    """container.go, addContainerExecutorTemplate: a DAG of one pod, and all inputs in both."""
    prefix = "retry-" if retry else ""
    again = _retries(retry, "0") if retry else []
    outer = [_parameter("pod-spec-patch", patch), _parameter("cached-decision", "false", "false"), *again]
    inner = [_parameter("pod-spec-patch", patch), *(_retries(retry) if retry else [])]
    template = f"{prefix}system-container-impl"

    def body(inside: str, node: str, begin: float) -> tuple[float, list[str], Document]:
        called = Called("Pod", inner, run.pod(EXECUTOR_SECONDS, template, []), retried=bool(retry))
        end, last = run.template(f"{inside}.executor", template, node, begin, called)
        _connect(run, [node], f"{inside}.executor")
        return end, last, {"outboundNodes": last}

    return run.template(name, f"{prefix}system-container-executor", boundary, start, Called("DAG", outer, body))


def _retries(policy: Document, default: str | None = None) -> list[Document]:
    values = {
        "max-count": policy.get("maxRetryCount"), "backoff-duration": policy.get("backoffDuration"),
        "backoff-factor": policy.get("backoffFactor"), "backoff-max-duration": policy.get("backoffMaxDuration"),
    }  # fmt: skip
    return [
        _parameter(f"retry-{key}", str(one or "0").removesuffix("s").removesuffix(".0"), default)
        for key, one in values.items()
    ]


def _connect(run: Run, parents: list[str], child: str) -> None:
    for parent in parents:
        run.nodes[parent].status["children"].append(run.id(child))


def _parameter(name: str, value: Any, default: str | None = None) -> Document:
    text = value if isinstance(value, str) else go_json(value)
    return {"name": name, **({} if default is None else {"default": default}), "value": text}


def _output(name: str, value: str, default: str | None) -> Document:
    source = {"path": f"/tmp/outputs/{name}", **({} if default is None else {"default": default})}
    return {"name": name, "value": value, "valueFrom": source}
