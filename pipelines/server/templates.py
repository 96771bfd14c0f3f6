"""What the Argo compiler makes of components and tasks: templates, their names, retry strategies and sizes."""

import re
from collections import Counter
from collections.abc import Iterator

from pipelines.server.package import ROOT, Document, Package, component_name, definitions, go_json, is_exit, tasks
from pipelines.server.scopes import Scope
from pipelines.server.workflow import argument_key, reachable, spec_bytes

FIELD = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
PARAMETER = re.compile(r"[-a-zA-Z0-9_]+")
FIELD_LENGTH, NAME_LENGTH = 128, 128
"""Argo, workflow/validate/validate.go, isValidWorkflowFieldName; apiserver/common/utils.go, ValidatePipelineName."""
PIPELINE = re.compile(r"[a-z0-9][a-z0-9-]*")
WORDS = {"and", "or", "not", "in", "true", "false", "nil", "matches", "contains"}
"""Words of Argo's depends expressions; a task with such a name would be read as the operator."""
SHARED = ("entrypoint", "system-dag-driver", "system-container-driver", "system-container-executor", "system-container-impl",
          "retry-system-container-executor", "retry-system-container-impl", "system-importer")  # fmt: skip
VARIABLE = re.compile(r"\{\{\s*((?:item|steps|inputs|outputs|pod|workflow|tasks)[.}]|=)")
"""Expressions that Argo would substitute or refuse (validate.go, resolveAllVariables); KFP's own begin with {{$."""
SPEC_LIMIT = 1024 * 1024
"""Argo, workflow/packer/packer.go: a workflow that is larger even without nodes cannot be stored; etcd accepts 1.5
MiB."""
ARGUMENT_LIMIT = 128 * 1024
"""Linux, MAX_ARG_STRLEN: maximum length of one process argument. Drivers receive specs as arguments, launchers
inputs."""


def compile_findings(package: Package) -> Iterator[str]:
    if not package.component(ROOT):
        yield f"{package.name}: root component is empty"
    yield from _pipeline_name(package)
    yield from _template_names(package)
    yield from _shared_specs(package)
    yield from _lengths(package)
    for name in reachable(package):
        yield from _implementation(package, name)


def task_findings(scope: Scope) -> Iterator[str]:
    """Findings for the tasks of one DAG."""
    calls: Counter[str] = Counter()
    for key, task in scope.tasks.items():
        name = component_name(task)
        if not scope.package.component(name):
            yield f"{scope.place(key)}: component spec for {name!r} not found"
        if not task.get("taskInfo", {}).get("name"):
            yield f"{scope.place(key)}: no taskInfo.name: the driver takes it for no task spec"
        yield from _name(scope, key)
        yield from retry_findings(scope, key, task)
        drives = "parameterIterator" not in task and "importer" not in scope.package.executor(name)
        calls.update([] if is_exit(task) else [key, f"{key}-driver"] if drives else [key])
    for name, times in calls.items():
        if times > 1:
            yield f"{scope.place(name)}: {times} tasks of this name in Argo's DAG (a task's driver is called TASK-driver)"


def _name(scope: Scope, key: str) -> Iterator[str]:
    """Argo, validate.go, validateDAG and isValidWorkflowFieldName."""
    if not FIELD.fullmatch(key):
        yield f"{scope.place(key)}: a task's name has letters, digits and hyphens"
    elif key[0].isdigit():
        yield f"{scope.place(key)}: a task's name cannot begin with a digit"
    if len(f"{key}-driver") > FIELD_LENGTH:
        yield f"{scope.place(key)}: {len(key)} characters, and with -driver more than {FIELD_LENGTH}"
    if key in WORDS:
        yield f"{scope.place(key)}: the name is a word of Argo's depends expressions"


def retry_findings(scope: Scope, key: str, task: Document) -> Iterator[str]:
    """argocompiler/container.go, getTaskRetryParametersWithValues: whole seconds, and "0" for a missing field.

    All tasks with a policy share one template, with the values as its parameters, so values of different tasks do not
    mix.
    """
    policy = task.get("retryPolicy")
    if not policy or not policy.get("maxRetryCount"):
        return
    wait, most = (_seconds(policy.get(field)) for field in ("backoffDuration", "backoffMaxDuration"))
    if most < 1:
        # Argo, operator.go, processNodeRetries: a maximum of 0 is valid and is reached at once.
        yield f"{scope.place(key)}: no backoffMaxDuration of a second or more: never tried again"
    elif wait > most:
        yield f"{scope.place(key)}: backoffDuration {wait} s is over backoffMaxDuration {most} s: never tried again"
    if (factor := policy.get("backoffFactor", 0)) != int(factor):
        yield f"{scope.place(key)}: backoffFactor {factor}, and Argo takes whole numbers"


def _seconds(duration: str | None) -> int:
    return int(float((duration or "0s").removesuffix("s")))


def _pipeline_name(package: Package) -> Iterator[str]:
    """apiserver/common/utils.go, ValidatePipelineName."""
    if not PIPELINE.fullmatch(package.name):
        yield f"{package.name}: a pipeline's name has lower-case letters, digits and hyphens"
    if len(package.name) > NAME_LENGTH:
        yield f"{package.name}: {len(package.name)} characters, and a pipeline's name has at most {NAME_LENGTH}"


def template_names(package: Package) -> list[str]:
    """Names of the templates (argocompiler/dag.go: DAG, iteratorTask and iterationItemTask)."""
    names = list(SHARED)
    for name in reachable(package):
        inside = tasks(package.component(name))
        names += [name] if inside else []
        for key, task in inside.items():
            if "parameterIterator" in task:
                names += [f"{component_name(task)}-{key}-iterator", f"{component_name(task)}-iteration"]
            if is_exit(task):
                names.append(f"exit-hook-{name}-{key}")
    return names


def _template_names(package: Package) -> Iterator[str]:
    """argo.go, addTemplate; Argo, validate.go, validateWorkflowFieldNames."""
    for name, times in Counter(template_names(package)).items():
        if times > 1:
            yield f"{package.name}: {name}: template already exists (two tasks loop over one component, or a name is taken)"
        if len(name) > FIELD_LENGTH or not FIELD.fullmatch(name):
            yield f"{package.name}: {name}: a template's name has at most {FIELD_LENGTH} letters, digits and hyphens"


def _shared_specs(package: Package) -> Iterator[str]:
    """argo.go, hashComponentContainer and saveProtoToArguments: components with equal containers share the first
    one's spec."""
    first: dict[str, str] = {}
    for name in reachable(package):
        held = first.setdefault(argument_key(package, name), name)
        specs = [{**package.component(component), "executorLabel": ""} for component in (held, name)]
        if specs[0] != specs[1]:
            yield f"{package.name}: {name}: its container is that of {held}, whose inputs and outputs it gets too"


def _implementation(package: Package, name: str) -> Iterator[str]:
    """compiler/visitor.go, dfs, and argocompiler/dag.go, task."""
    component = package.component(name)
    if tasks(component):
        return
    if label := component.get("executorLabel"):
        executor = package.executor(name)
        if not executor:
            yield f"{package.name}: {name}: executor(label={label}) not found in deployment config"
        elif not {"container", "importer"} & executor.keys():
            yield f"{package.name}: {name}: executors of the kind {', '.join(executor)} are not implemented"
    elif name == ROOT or "dag" in component:
        yield f"{package.name}: {name}: a DAG without tasks"
    else:
        yield f"{package.name}: {name}: neither an executor nor a DAG"


def _lengths(package: Package) -> Iterator[str]:
    if (size := spec_bytes(package)) > SPEC_LIMIT:
        yield f"{package.name}: the workflow has some {size:,} bytes before it runs, and Argo stores at most {SPEC_LIMIT:,}"
    for name in reachable(package):
        for what, text in _arguments(package, name):
            if (size := len(text.encode())) >= ARGUMENT_LIMIT:
                yield f"{package.name}: {name}: {what} has {size:,} bytes; a driver's argument has less than {ARGUMENT_LIMIT:,}"
            if variable := VARIABLE.search(text):
                yield f"{package.name}: {name}: {what} has {variable[0]}, which Argo takes for a variable of its own"
    for name in definitions(package.component(ROOT), "input", "parameters"):
        if not PARAMETER.fullmatch(name):
            yield f"{package.name}: {name}: a parameter's name has letters, digits, hyphens and underscores"


def _arguments(package: Package, name: str) -> Iterator[tuple[str, str]]:
    """The arguments that drivers get for a component (dag.go, dagDriverTask; container.go, containerDriverTask)."""
    yield "component", go_json(package.component(name))
    yield "container", go_json(package.executor(name))
    yield "kubernetes-config", go_json(package.settings(name))
    yield from ((f"task {key}", go_json(task)) for key, task in tasks(package.component(name)).items())
