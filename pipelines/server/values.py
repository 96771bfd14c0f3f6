"""What a run passes from task to task: parameters by value, artifacts by name, address and metadata."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.server.package import Document, Package, definitions, inputs, proto_json, tasks
from pipelines.server.pod import artifact

UNKNOWN = {
    "STRING": "x" * 24, "NUMBER_INTEGER": 1, "NUMBER_DOUBLE": 0.5, "BOOLEAN": True, "LIST": [], "STRUCT": {},
    "TASK_FINAL_STATUS": {
        "state": "COMPLETE", "pipelineTaskName": "exit-handler-1", "pipelineJobResourceName": "x" * 30, "error": {},
    },
}  # fmt: skip
"""Placeholder values by type, for outputs that Facts do not give."""
_SELECTOR = re.compile(r'parseJson\(string_value\)\["(.+?)"\]')


@dataclass(frozen=True)
class Facts:
    """Facts about a run that its package does not contain."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Argument of the pipeline -> value; for others its default holds."""
    returned: Mapping[str, Any] = field(default_factory=dict)
    """`task.output` -> what the task returns."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Loop -> iterations, for loops whose list no task returned; condition -> 0 if it does not hold."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Metadata that components write into each artifact."""


def root_inputs(package: Package, facts: Facts) -> Document:
    declared = definitions(package.pipeline["root"], "input", "parameters")
    values = {key: definition.get("defaultValue") for key, definition in declared.items()}
    return {"parameters": {**values, **facts.arguments}, "artifacts": {}}


def resolve(package: Package, facts: Facts, dag: Document, task: Document, given: Document) -> Document:
    """Inputs of a task, from the inputs of its DAG and the outputs of its siblings (driver/resolve.go,
    resolveInputs)."""
    known = definitions(package.of(task), "input", "parameters")
    parameters = {
        key: _typed(_parameter(package, facts, dag, source, given), known.get(key, {}))
        for key, source in inputs(task, "parameters").items()
    }
    artifacts = {
        key: _artifacts(package, facts, dag, source, given["artifacts"])
        for key, source in inputs(task, "artifacts").items()
    }
    return {
        "parameters": {key: value for key, value in parameters.items() if value is not None},
        "artifacts": artifacts,
    }


def items(task: Document, resolved: Document, facts: Facts, name: str) -> list[Any]:
    """Items of a loop. If `counts` gives their number, the list is cut to it, or filled up with placeholders."""
    iterator = task["parameterIterator"]["items"]
    given = json.loads(iterator["raw"]) if "raw" in iterator else resolved["parameters"].get(iterator["inputParameter"])
    given = given if isinstance(given, list) else []
    count = facts.counts.get(name, len(given))
    first = given[0] if given else UNKNOWN["STRING"]
    return [*given, *[first] * count][:count]


def _typed(value: Any, definition: Document) -> Any:
    """The value, as its JSON text if a string is declared and it is not one
    (handleParamTypeValidationAndConversion)."""
    kind = definition.get("parameterType")
    return proto_json(value) if kind == "STRING" and value is not None and not isinstance(value, str) else value


def _parameter(package: Package, facts: Facts, dag: Document, source: Document, given: Document) -> Any:
    value = _source(package, facts, dag, source, given)
    if selector := _SELECTOR.fullmatch(source.get("parameterExpressionSelector", "")):
        held = json.loads(value) if isinstance(value, str) and value.startswith("{") else {}
        return held.get(selector[1], UNKNOWN["STRING"])
    return value


def _source(package: Package, facts: Facts, dag: Document, source: Document, given: Document) -> Any:
    if "runtimeValue" in source:
        return source["runtimeValue"].get("constant")
    if "componentInputParameter" in source:
        return given["parameters"].get(source["componentInputParameter"])
    if "taskFinalStatus" in source:
        return UNKNOWN["TASK_FINAL_STATUS"]
    produced = source["taskOutputParameter"]
    return _returned(package, facts, dag, produced["producerTask"], produced["outputParameterKey"])


def _returned(package: Package, facts: Facts, dag: Document, task: str, key: str) -> Any:
    """What a task returns, according to Facts; for a DAG the output of its inner task, for a loop a list."""
    if f"{task}.{key}" in facts.returned:
        return facts.returned[f"{task}.{key}"]
    component = package.of(tasks(dag).get(task, {}))
    if source := component.get("dag", {}).get("outputs", {}).get("parameters", {}).get(key):
        chosen = source.get("valueFromParameter") or source["valueFromOneof"]["parameterSelectors"][0]
        return _returned(package, facts, component, chosen["producerSubtask"], chosen["outputParameterKey"])
    return UNKNOWN.get(definitions(component, "output", "parameters").get(key, {}).get("parameterType", ""))


def _artifacts(package: Package, facts: Facts, dag: Document, source: Document, given: Document) -> Document:
    if "componentInputArtifact" in source:
        held = given.get(source["componentInputArtifact"], {"artifacts": []})["artifacts"]
        return {"artifacts": [{key: value for key, value in stored.items() if key != "type"} for stored in held]}
    produced = source["taskOutputArtifact"]
    return {"artifacts": _made(package, facts, dag, produced["producerTask"], produced["outputArtifactKey"])}


def _made(package: Package, facts: Facts, dag: Document, task: str, key: str) -> list[Document]:
    """Artifacts of a task; for a loop, one of each iteration (resolve.go, CollectInputs)."""
    spec = tasks(dag).get(task, {})
    component = package.of(spec)
    if "dag" not in component:
        return [artifact(package, task, key, dict(facts.metadata))]
    selectors = component["dag"].get("outputs", {}).get("artifacts", {}).get(key, {}).get("artifactSelectors", [])
    made = [
        _made(package, facts, component, selector["producerSubtask"], selector["outputArtifactKey"])
        for selector in selectors[:1]
    ]
    times = facts.counts.get(task, 2) if "parameterIterator" in spec else 1
    return [document for group in made for document in group] * times
