"""How many bytes each part of a package adds to a workflow's status: by task, and for one more of each thing."""

from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pipelines.server.nodes import Node
from pipelines.server.package import Document, Package, go_json
from pipelines.server.status import pods, status_bytes
from pipelines.server.values import Facts

DRIVER = ("component", "task", "container", "kubernetes-config", "runtime-config")
"""Inputs of a driver that hold parts of the package."""


@dataclass
class Cost:
    """Size in bytes of a task's nodes, all iterations together."""

    pods: int = 0
    driver: int = 0
    """Bytes of the driver's inputs."""
    patch: int = 0
    """Bytes of all copies of the pod-spec-patch."""
    copies: int = 0
    rest: int = 0

    @property
    def bytes(self) -> int:
        return self.driver + self.patch + self.rest


def by_task(nodes: list[Node]) -> dict[str, Cost]:
    """DAG.task -> cost."""
    costs: dict[str, Cost] = defaultdict(Cost)
    for node in nodes:
        cost = costs[node.owner]
        driver, patch = _held(node, DRIVER), _held(node, ("pod-spec-patch",))
        cost.driver += sum(driver)
        cost.patch += sum(patch)
        cost.copies += len(patch)
        cost.rest += node.bytes - sum(driver) - sum(patch)
        cost.pods += len(pods([node]))
    return dict(costs)


def _held(node: Node, names: tuple[str, ...]) -> list[int]:
    """Sizes in bytes of the node's inputs and outputs with these names."""
    sides = [node.status.get(side, {}).get("parameters", []) for side in ("inputs", "outputs")]
    return [len(go_json(parameter).encode()) for side in sides for parameter in side if parameter["name"] in names]


# The cost of one more of a thing

SOURCE = "x" * 300
"""Placeholder as long as the source of a thin component."""
COMMAND = [
    "sh",
    "-ec",
    'program_path=$(mktemp -d)\n\nprintf "%s" "$0" > "$program_path/ephemeral_component.py"\n_KFP_RUNTIME=true python3 -m '
    "kfp.dsl.executor_main                         --component_module_path                         "
    '"$program_path/ephemeral_component.py"                         "$@"\n',
    SOURCE,
]
"""Command that KFP's compiler writes for a Python component."""


def smallest() -> Package:
    """A package with one task: a string input, an artifact from another task, a Markdown output, and no Kubernetes
    settings."""
    artifact = {"artifactType": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}
    markdown = {"artifactType": {"schemaTitle": "system.Markdown", "schemaVersion": "0.0.1"}}
    component = {
        "executorLabel": "exec-task",
        "inputDefinitions": {"parameters": {"name": {"parameterType": "STRING"}}, "artifacts": {"input": artifact}},
        "outputDefinitions": {"artifacts": {"output": artifact, "summary": markdown}},
    }
    container = {
        "image": "ghcr.io/xlrm/xlrm-data:0.1.0", "command": COMMAND,
        "args": ["--executor_input", "{{$}}", "--function_to_execute", "task"],
    }  # fmt: skip
    task = {
        "cachingOptions": {}, "componentRef": {"name": "comp-task"}, "taskInfo": {"name": "task"},
        "dependentTasks": ["before"],
        "inputs": {
            "parameters": {"name": {"runtimeValue": {"constant": "x" * 24}}},
            "artifacts": {"input": {"taskOutputArtifact": {"outputArtifactKey": "output", "producerTask": "before"}}},
        },
    }  # fmt: skip
    before = {"cachingOptions": {}, "componentRef": {"name": "comp-before"}, "taskInfo": {"name": "before"}}
    pipeline = {
        "pipelineInfo": {"name": "cross-lingual-transfer"},
        "root": {"dag": {"tasks": {"task": task, "before": before}}},
        "components": {
            "comp-task": component,
            "comp-before": {"executorLabel": "exec-before", "outputDefinitions": {"artifacts": {"output": artifact}}},
        },
        "deploymentSpec": {"executors": {key: {"container": dict(container)} for key in ("exec-task", "exec-before")}},
    }
    return Package(pipeline, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-task": {}}}}}})


def _task(package: Package) -> Document:
    return package.pipeline["root"]["dag"]["tasks"]["task"]


def _settings(package: Package) -> Document:
    return package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-task"]


def _without_artifact(package: Package) -> None:
    _task(package)["inputs"]["artifacts"].clear()
    package.component("comp-task")["inputDefinitions"]["artifacts"].clear()


def _without(key: str) -> Callable[[Package], None]:
    return lambda package: package.component("comp-task")["outputDefinitions"]["artifacts"].pop(key) and None


def _parameter(package: Package) -> None:
    package.component("comp-task")["inputDefinitions"]["parameters"]["other"] = {"parameterType": "STRING"}
    _task(package)["inputs"]["parameters"]["other"] = {"componentInputParameter": "pipelinechannel--other"}
    package.pipeline["root"]["inputDefinitions"] = {
        "parameters": {"pipelinechannel--other": {"parameterType": "STRING", "defaultValue": "x" * 24}}
    }


def _secret(package: Package) -> None:
    name = {"runtimeValue": {"constant": "xlrm-store"}}
    key = {"envVar": "AWS_ACCESS_KEY_ID", "secretKey": "AWS_ACCESS_KEY_ID"}
    _settings(package)["secretAsEnv"] = [
        {"keyToEnv": [key], "optional": True, "secretName": "xlrm-store", "secretNameParameter": name}
    ]


def _second_key(package: Package) -> None:
    _secret(package)
    key = {"envVar": "AWS_SECRET_ACCESS_KEY", "secretKey": "AWS_SECRET_ACCESS_KEY"}
    _settings(package)["secretAsEnv"][0]["keyToEnv"].append(key)


def _variable(package: Package) -> None:
    env = [{"name": "SOME_VARIABLE_NAME", "value": "x" * 24}]
    package.executor("comp-task")["container"]["env"] = env


def _retry(package: Package) -> None:
    policy = {"backoffDuration": "60s", "backoffFactor": 2.0, "backoffMaxDuration": "172800s", "maxRetryCount": 2}
    _task(package)["retryPolicy"] = policy


def _source(package: Package) -> None:
    package.executor("comp-task")["container"]["command"] = [*COMMAND[:3], SOURCE + "y" * 100]


def _value(text: str) -> Callable[[Package], None]:
    def change(package: Package) -> None:
        _task(package)["inputs"]["parameters"]["name"]["runtimeValue"]["constant"] += text

    return change


def _source_lines(package: Package) -> None:
    package.executor("comp-task")["container"]["command"] = [*COMMAND[:3], SOURCE[:-100] + '"\n' * 50]


MORE: dict[str, tuple[Callable[[Package], None], Callable[[Package], None] | None]] = {
    "an input artifact": (lambda package: None, _without_artifact),
    "an output artifact": (lambda package: None, _without("output")),
    "a Markdown output": (lambda package: None, _without("summary")),
    "a string parameter of 24 characters": (_parameter, None),
    "100 characters of a constant parameter": (_value("y" * 100), None),
    "100 quotes in a constant parameter": (_value('"' * 100), None),
    "100 characters of a component's source": (_source, None),
    "50 quotes and 50 line ends in a source instead of 100 letters": (_source_lines, None),
    "a variable of 24 characters": (_variable, None),
    "a secret with one key": (_secret, None),
    "a second key of a secret": (_second_key, _secret),
    "a retry policy": (_retry, None),
}
"""Thing -> (a package with it, the same package without it)."""


def unit_costs(*, defaults: bool) -> dict[str, int]:
    """Bytes of the smallest task, and of one more of each thing."""
    plain = status_bytes(smallest(), Facts(), defaults=defaults)
    alone = deepcopy(smallest())
    alone.pipeline["root"]["dag"]["tasks"].pop("task")
    costs = {"the smallest task": plain - status_bytes(alone, Facts(), defaults=defaults)}
    for name, (more, less) in MORE.items():
        costs[name] = _sized(more, defaults) - (_sized(less, defaults) if less else plain)
    return costs


def _sized(change: Callable[[Package], Any], defaults: bool) -> int:
    package = deepcopy(smallest())
    change(package)
    return status_bytes(package, Facts(), defaults=defaults)
