"""Sources of task inputs: what the driver resolves, converts and refuses (backend/src/v2/driver/resolve.go)."""

import json
from collections.abc import Iterator
from typing import Any

from pipelines.server.package import Document, condition, definitions, inputs, is_exit, tasks
from pipelines.server.scopes import Scope, constant

NUMBERS = ("NUMBER_INTEGER", "NUMBER_DOUBLE")
LATE = ("TASK_CONFIG", "TASK_FINAL_STATUS")
"""Types that the driver itself fills in."""


def input_findings(scope: Scope, never_empty: frozenset[str]) -> Iterator[str]:
    for key, task in scope.tasks.items():
        if not scope.package.of(task):
            continue  # compile_findings reports it
        for name, source in inputs(task, "parameters").items():
            yield from _parameter(scope, key, task, name, source)
        for name, source in inputs(task, "artifacts").items():
            yield from _artifact(scope, key, task, name, source)
        yield from _lacking(scope, key, task)
        yield from _collected(scope, key, task, never_empty)


def _parameter(scope: Scope, key: str, task: Document, name: str, source: Document) -> Iterator[str]:
    """resolveInputParameter."""
    place = scope.place(key, name)
    known = definitions(scope.package.of(task), "input", "parameters")
    declared = known.get(name, {})
    if name in known and not declared.get("parameterType"):
        yield f"{place}: the component declares no parameterType, and no value is of none"
    if "componentInputParameter" in source:
        yield from _from_dag(scope, place, declared, source["componentInputParameter"])
    elif "taskOutputParameter" in source:
        produced = source["taskOutputParameter"]
        yield from _from_task(
            scope, key, place, "parameters", produced.get("producerTask", ""), produced.get("outputParameterKey", "")
        )
    elif "runtimeValue" in source:
        if "constant" not in source["runtimeValue"]:
            yield f"{place}: a runtime value that is not a constant, which the driver does not take"
    elif "taskFinalStatus" in source:
        if not is_exit(task):
            yield f"{place}: a final status, which only an exit task gets"
    else:
        yield f"{place}: from nowhere"
    if "parameterExpressionSelector" not in source:
        yield from _mismatch(place, declared, _kind(scope, source), source)


def _from_dag(scope: Scope, place: str, declared: Document, name: str) -> Iterator[str]:
    if name in scope.null:
        if not declared.get("isOptional"):
            yield f"{place}: {name} may be null, and the component needs a value"
    elif name not in scope.given:
        reason = f": it is {scope.missing[name]}" if name in scope.missing else ""
        yield f"{place}: parent DAG does not have input parameter {name}{reason}"


def _artifact(scope: Scope, key: str, task: Document, name: str, source: Document) -> Iterator[str]:
    """resolveInputArtifact."""
    place = scope.place(key, name)
    if "componentInputArtifact" in source:
        if (wanted := source["componentInputArtifact"]) not in scope.artifacts:
            yield f"{place}: parent DAG does not have input artifact {wanted}"
    elif "taskOutputArtifact" in source:
        produced = source["taskOutputArtifact"]
        yield from _from_task(
            scope, key, place, "artifacts", produced.get("producerTask", ""), produced.get("outputArtifactKey", "")
        )
        listed = bool(
            loops(
                scope.tasks, scope, produced.get("producerTask", ""), "artifacts", produced.get("outputArtifactKey", "")
            )
        )
        if listed and tasks(scope.package.of(task)):
            # metadata/client.go, GetInputArtifactsByExecutionID: one artifact of each name.
            yield f"{place}: of a list of artifacts only one arrives inside a DAG"
    else:
        yield f"{place}: from nowhere"


def _from_task(scope: Scope, key: str, place: str, kind: str, producer: str, output: str) -> Iterator[str]:
    """argocompiler/dag.go, addImplicitDependencies; resolveUpstreamParameters and resolveUpstreamArtifacts."""
    if producer not in scope.tasks:
        yield f"{place}: unknown producer task {producer}"
    elif producer == key:
        yield f"{place}: an output of the task itself"
    else:
        yield from _made(scope, place, kind, scope.tasks[producer], producer, output)


def _made(scope: Scope, place: str, kind: str, task: Document, name: str, output: str) -> Iterator[str]:
    """Whether a task makes an output; for a DAG, whether the inner task that the output names makes it
    (GetProducerTask)."""
    component = scope.package.of(task)
    if output not in definitions(component, "output", kind):
        yield f"{place}: task {name} has no output {output}"
    elif inside := tasks(component):
        chosen = _selected(component, kind, output)
        if not chosen:
            yield f"{place}: task {name} declares an output {output}, and no task inside makes it"
        for subtask, subkey in chosen:
            if subtask not in inside:
                yield f"{place}: task {name} has its output {output} from {subtask}, which is not inside"
            else:
                yield from _made(scope, place, kind, inside[subtask], subtask, subkey)


def _lacking(scope: Scope, key: str, task: Document) -> Iterator[str]:
    """handleParamTypeValidationAndConversion: required inputs of a component that get no value."""
    item = task.get("parameterIterator", {}).get("itemInput")
    for name, definition in definitions(scope.package.of(task), "input", "parameters").items():
        if name in inputs(task, "parameters") or name == item or definition.get("parameterType") in LATE:
            continue
        if not definition.get("isOptional") and definition.get("defaultValue") is None:
            yield f"{scope.place(key, name)}: neither value nor default, and not optional"
        elif not definition.get("isOptional"):
            yield f"{scope.place(key, name)}: a default without isOptional, which the driver does not give"
    for name, definition in definitions(scope.package.of(task), "input", "artifacts").items():
        if name not in inputs(task, "artifacts") and not definition.get("isOptional"):
            yield f"{scope.place(key, name)}: no artifact, and not optional"


def _kind(scope: Scope, source: Document) -> str:
    """The declared type of a source; empty if it has none."""
    if "componentInputParameter" in source:
        declared = definitions(scope.component, "input", "parameters")
        kind = declared.get(source["componentInputParameter"], {}).get("parameterType", "")
        return "STRUCT" if kind in LATE else kind
    if "taskOutputParameter" in source:
        producer, output = _maker(source, "Parameter")
        declared = definitions(scope.package.of(scope.tasks.get(producer, {})), "output", "parameters")
        return declared.get(output, {}).get("parameterType", "")
    return _kind_of(constant(source)) if "constant" in source.get("runtimeValue", {}) else ""


def _kind_of(value: Any) -> str:
    kinds = ((bool, "BOOLEAN"), (int | float, "NUMBER_DOUBLE"), (str, "STRING"), (list, "LIST"), (dict, "STRUCT"))
    return next((kind for type_, kind in kinds if isinstance(value, type_)), "NULL")


def _mismatch(place: str, declared: Document, kind: str, source: Document) -> Iterator[str]:
    """handleParamTypeValidationAndConversion: every type is converted to a string; no other conversion exists."""
    wanted = declared.get("parameterType", "")
    if not wanted or not kind or wanted in ("STRING", *LATE):
        return
    if kind == "NULL":
        yield f"{place}: got null for a {wanted}"
    elif kind != wanted and not (kind in NUMBERS and wanted in NUMBERS):
        yield f"{place}: type mismatch: expect {wanted}, got {kind}"
    literals = declared.get("literals")
    if literals and constant(source) is not None and constant(source) not in literals:
        yield f"{place}: {constant(source)!r} is not among {json.dumps(literals, allow_nan=False)}"


# Loops


def loops(
    siblings: dict[str, Document], scope: Scope, producer: str, kind: str, key: str
) -> list[tuple[str, Document, bool]]:
    """Loops that an output is collected from: (task, its spec, whether the task inside is conditional).

    resolve.go, CollectInputs and GetProducerTask follow the outputs of nested DAGs down to a loop.
    """
    task = siblings.get(producer, {})
    inside = tasks(scope.package.of(task))
    chosen = _selected(scope.package.of(task), kind, key)
    if "parameterIterator" in task:
        return [(producer, task, any(condition(inside.get(subtask, {})) for subtask, _ in chosen))]
    nested = [loops(inside, scope, subtask, kind, output) for subtask, output in chosen]
    return [loop for group in nested for loop in group]


def _selected(component: Document, kind: str, key: str) -> list[tuple[str, str]]:
    """(task, output) pairs that an output of a DAG comes from."""
    source = component.get("dag", {}).get("outputs", {}).get(kind, {}).get(key, {})
    if kind == "artifacts":
        return [
            (selector.get("producerSubtask", ""), selector.get("outputArtifactKey", ""))
            for selector in source.get("artifactSelectors", ())
        ]
    several = source.get("valueFromOneof", {}).get("parameterSelectors", ())
    chosen = [source["valueFromParameter"]] if "valueFromParameter" in source else several
    return [(selector.get("producerSubtask", ""), selector.get("outputParameterKey", "")) for selector in chosen]


def _collected(scope: Scope, key: str, task: Document, never_empty: frozenset[str]) -> Iterator[str]:
    """resolveUpstreamArtifacts: a loop without iterations (getParallelForIterationCount) is handled like a DAG of
    one task."""
    for kind, name, producer, output in produced(task):
        for loop, spec, conditional in loops(scope.tasks, scope, producer, kind, output):
            if conditional:
                yield f"{scope.place(key, name)}: collected from {loop}, where a condition may leave out what makes it"
            if loop not in never_empty and may_be_empty(spec):
                yield f"{scope.place(key, name)}: collected from {loop}, whose task is not in tasks if it has no iterations"


def produced(task: Document) -> Iterator[tuple[str, str, str, str]]:
    """(kind, input, producing task, output) of each input that another task makes."""
    for kind, suffix in (("parameters", "Parameter"), ("artifacts", "Artifact")):
        for name, source in inputs(task, kind).items():
            if f"taskOutput{suffix}" in source:
                yield kind, name, *_maker(source, suffix)


def _maker(source: Document, kind: str) -> tuple[str, str]:
    """(task, output) that an input comes from; `kind` is Parameter or Artifact."""
    made = source[f"taskOutput{kind}"]
    return made.get("producerTask", ""), made.get(f"output{kind}Key", "")


def may_be_empty(loop: Document) -> bool:
    """Whether a loop's list is empty, or not known before a run."""
    items = loop["parameterIterator"].get("items", {})
    if "raw" in items:
        return not raw_list(items["raw"])
    source = inputs(loop, "parameters").get(items.get("inputParameter", ""), {})
    return not constant(source)


def raw_list(raw: str) -> list | None:
    """The list that a loop over constants iterates over; None if `raw` is not a JSON list."""
    try:
        value = json.loads(raw)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, list) else None
