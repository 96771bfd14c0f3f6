"""Faults to plant in the package of `healthy_pipeline`."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

Document = dict[str, Any]
Change = Callable[[Document, Document], Any]
"""A fault, planted in the pipeline and in the settings of its executors."""


def fields(node: Any) -> Iterator[tuple[Document, str]]:
    """(holder, key) of every field, at any depth."""
    if isinstance(node, dict):
        yield from ((node, key) for key in list(node))
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from fields(child)


def group(pipeline: Document) -> Document:
    """Tasks of the exit handler's DAG, where the pipeline's tasks are."""
    return pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]


def task(name: str, **fields: Any) -> Change:
    return lambda pipeline, _: group(pipeline)[name].update(fields)


def component(name: str, *path: str, **fields: Any) -> Change:
    def plant(pipeline: Document, _: Document) -> None:
        part = pipeline["components"][name]
        for key in path:
            part = part.setdefault(key, {})
        part.update(fields)

    return plant


def setting(**fields: Any) -> Change:
    """Fields of the first task's executor."""
    return lambda _, settings: settings["exec-make"].update(fields)


def container(**fields: Any) -> Change:
    return lambda pipeline, _: pipeline["deploymentSpec"]["executors"]["exec-make"]["container"].update(fields)


def given(name: str, parameter: str, source: Document) -> Change:
    return lambda pipeline, _: group(pipeline)[name]["inputs"].setdefault("parameters", {}).update({parameter: source})


def renamed(old: str, new: str) -> Change:
    return lambda pipeline, _: group(pipeline).update({new: group(pipeline).pop(old)})


def value(constant: Any) -> Document:
    return {"runtimeValue": {"constant": constant}}


def no_literal(pipeline: Document, settings: Document) -> None:
    component("comp-make", "inputDefinitions", "parameters", "size", literals=[1, 2])(pipeline, settings)
    given("make", "size", value(3.0))(pipeline, settings)


def other_exit(pipeline: Document, _: Document) -> None:
    tasks = pipeline["root"]["dag"]["tasks"]
    tasks["zonclude"] = deepcopy(tasks["conclude"])


def exit_task(**fields: Any) -> Change:
    return lambda pipeline, _: pipeline["root"]["dag"]["tasks"]["conclude"].update(fields)


def exit_after(name: str) -> Change:
    """The exit task moved into the group, after one of its tasks."""

    def plant(pipeline: Document, _: Document) -> None:
        moved = pipeline["root"]["dag"]["tasks"].pop("conclude")
        group(pipeline)["conclude"] = moved | {"dependentTasks": [name]}

    return plant


def task_after_an_exit_task(pipeline: Document, settings: Document) -> None:
    exit_after("make")(pipeline, settings)
    group(pipeline)["gather"]["dependentTasks"] = ["conclude"]


def exit_collects(pipeline: Document, _: Document) -> None:
    produced = {"taskOutputArtifact": {"producerTask": "exit-handler-1", "outputArtifactKey": "output"}}
    pipeline["root"]["dag"]["tasks"]["conclude"]["inputs"]["artifacts"] = {"artifact": produced}


def only_exit_tasks(pipeline: Document, _: Document) -> None:
    pipeline["root"]["dag"]["tasks"].pop("exit-handler-1")


def list_in_the_loop(pipeline: Document, _: Document) -> None:
    """What today's `evaluate` did: a task in the loop takes the list that it iterates over."""
    inside = pipeline["components"]["comp-for-loop-5"]["dag"]["tasks"]["take-2"]
    inside["inputs"]["parameters"]["word"] = {"componentInputParameter": "pipelinechannel--listing-Output"}


def list_into_a_dag(pipeline: Document, _: Document) -> None:
    made = group(pipeline)["gather"]["inputs"]["artifacts"]["artifacts"]
    group(pipeline)["inner"]["inputs"]["artifacts"]["artifact"] = made


def collected_from_a_runtime_list(pipeline: Document, _: Document) -> None:
    listed = {"taskOutputParameter": {"producerTask": "listing", "outputParameterKey": "Output"}}
    loop = group(pipeline)["for-loop-3"]
    loop["inputs"]["parameters"]["letters"] = listed
    loop["parameterIterator"]["items"] = {"inputParameter": "letters"}


def collected_from_a_condition(pipeline: Document, _: Document) -> None:
    inside = pipeline["components"]["comp-for-loop-3"]["dag"]["tasks"]["make-2"]
    inside["triggerPolicy"] = {"condition": "true"}


def null_for_a_group(pipeline: Document, _: Document) -> None:
    pipeline["root"]["inputDefinitions"]["parameters"]["word"] = {"parameterType": "STRING", "isOptional": True}


def null_inside_a_dag(pipeline: Document, _: Document) -> None:
    declared = pipeline["components"]["comp-exit-handler-1"]["inputDefinitions"]["parameters"]
    declared["pipelinechannel--word"]["isOptional"] = True
    null_for_a_group(pipeline, {})


def null_for_a_condition(pipeline: Document, _: Document) -> None:
    null_for_a_group(pipeline, {})
    taken = "inputs.parameter_values['pipelinechannel--word'] == 'w'"
    pipeline["root"]["dag"]["tasks"]["exit-handler-1"]["triggerPolicy"] = {"condition": taken}


def loop_over_one_component(pipeline: Document, _: Document) -> None:
    group(pipeline)["for-loop-6"] = deepcopy(group(pipeline)["for-loop-3"])


def equal_containers(pipeline: Document, _: Document) -> None:
    executors = pipeline["deploymentSpec"]["executors"]
    executors["exec-listing"] = deepcopy(executors["exec-gather"])


def long_constant(pipeline: Document, _: Document) -> None:
    group(pipeline)["make"]["inputs"]["parameters"]["note"] = value("x" * 140_000)


def many_components(pipeline: Document, _: Document) -> None:
    for number in range(12):
        group(pipeline)[f"make-{number + 10}"] = deepcopy(group(pipeline)["make"])
        group(pipeline)[f"make-{number + 10}"]["inputs"]["parameters"]["note"] = value("x" * 100_000)


def loop_over_artifacts(pipeline: Document, _: Document) -> None:
    loop = group(pipeline)["for-loop-3"]
    loop["artifactIterator"] = {"itemInput": loop.pop("parameterIterator")["itemInput"]}


def output_of_nobody(pipeline: Document, _: Document) -> None:
    made = pipeline["components"]["comp-for-loop-3"]["dag"]["outputs"]["parameters"]
    made["pipelinechannel--make-2-Output"]["valueFromParameter"]["producerSubtask"] = "nobody"
