"""The rules of a real Kubeflow server: each planted fault is found, and a package without any has no finding."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from healthy_pipeline import healthy
from kfp.compiler import Compiler
from planting import (
    Change,
    collected_from_a_condition,
    collected_from_a_runtime_list,
    component,
    container,
    equal_containers,
    exit_after,
    exit_collects,
    exit_task,
    fields,
    given,
    group,
    list_in_the_loop,
    list_into_a_dag,
    long_constant,
    loop_over_artifacts,
    loop_over_one_component,
    many_components,
    no_literal,
    null_for_a_condition,
    null_for_a_group,
    null_inside_a_dag,
    only_exit_tasks,
    other_exit,
    output_of_nobody,
    renamed,
    setting,
    task,
    task_after_an_exit_task,
    value,
)
from test_pipeline import holders

from pipelines.server.package import Package, load
from pipelines.server.rules import findings

GOLDEN = Path(__file__).parent / "golden"
Documents = tuple[dict, dict]
"""The pipeline's and the platform's."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    file = tmp_path_factory.mktemp("healthy") / "package.yaml"
    Compiler().compile(healthy, str(file))
    return load(file)


def test_a_healthy_package_has_no_finding(package: Package) -> None:
    assert findings(package) == []


WAIT = {"backoffDuration": "60s", "maxRetryCount": 2}
FAULTS: dict[str, tuple[Change, str]] = {
    # Inputs
    "iterated list inside the loop": (
        list_in_the_loop,
        "comp-for-loop-5.take-2.word: parent DAG does not have input parameter pipelinechannel--listing-Output",
    ),
    "parameter that the DAG lacks": (
        given("make", "note", {"componentInputParameter": "nothing"}),
        "make.note: parent DAG does not have input parameter nothing",
    ),
    "null for a group": (null_for_a_group, "pipelinechannel--word: word may be null"),
    "null inside a DAG": (null_inside_a_dag, "it is null in root.exit-handler-1"),
    "constant null": (given("make", "size", value(None)), "make.size: got null for a NUMBER_INTEGER"),
    "constant of another type": (given("make", "size", value("1")), "expect NUMBER_INTEGER, got STRING"),
    "output of another type": (
        given("make", "size", {"taskOutputParameter": {"producerTask": "listing", "outputParameterKey": "Output"}}),
        "make.size: type mismatch: expect NUMBER_INTEGER, got LIST",
    ),
    "value that is no literal": (
        no_literal,
        "make.size: 3.0 is not among [1, 2]",
    ),
    "runtime value that is no constant": (
        given("make", "note", {"runtimeValue": {"runtimeParameter": "x"}}),
        "make.note: a runtime value that is not a constant",
    ),
    "default without isOptional": (
        component("comp-make", "inputDefinitions", "parameters", "size", isOptional=False),
        "make.size: a default without isOptional",
    ),
    "parameter that nobody gives": (
        component("comp-listing", "inputDefinitions", "parameters", word={"parameterType": "STRING"}),
        "listing.word: neither value nor default",
    ),
    "artifact from nowhere": (
        lambda pipeline, _: group(pipeline)["inner"]["inputs"]["artifacts"].update(artifact={}),
        "inner.artifact: from nowhere",
    ),
    "final status of a task that is none": (
        given("make", "note", {"taskFinalStatus": {"producerTask": "listing"}}),
        "make.note: a final status, which only an exit task gets",
    ),
    "output of the task itself": (
        given("make", "note", {"taskOutputParameter": {"producerTask": "make", "outputParameterKey": "Output"}}),
        "make.note: an output of the task itself",
    ),
    "list of artifacts into a DAG": (list_into_a_dag, "inner.artifact: of a list of artifacts only one arrives"),
    "parameter without a type": (
        lambda pipeline, _: pipeline["components"]["comp-make"]["inputDefinitions"]["parameters"]["name"].clear(),
        "make.name: the component declares no parameterType",
    ),
    "output that no task inside makes": (
        lambda pipeline, _: pipeline["components"]["comp-for-loop-3"]["dag"]["outputs"]["artifacts"].clear(),
        "gather.artifacts: task for-loop-3 declares an output pipelinechannel--make-2-output, and no task",
    ),
    "output of a task that is not inside": (
        output_of_nobody,
        "gather.words: task for-loop-3 has its output pipelinechannel--make-2-Output from nobody",
    ),
    # Loops and conditions
    "collected from a loop that may be empty": (
        collected_from_a_runtime_list,
        "gather.artifacts: collected from for-loop-3, whose task is not in tasks",
    ),
    "collected from a loop that is empty": (
        lambda pipeline, _: group(pipeline)["for-loop-3"]["parameterIterator"].update(items={"raw": "[]"}),
        "gather.words: collected from for-loop-3",
    ),
    "collected from a conditional task": (collected_from_a_condition, "for-loop-3, where a condition may leave out"),
    "dependent of a condition": (
        task("make", triggerPolicy={"condition": "true"}),
        "inner: omitted when the condition of make does not hold",
    ),
    "condition on what is not taken": (
        task("make", triggerPolicy={"condition": "inputs.parameter_values['flag'] == true"}),
        "make.flag: the condition names it",
    ),
    "condition on what may be null": (
        null_for_a_condition,
        "exit-handler-1.pipelinechannel--word: the condition names it, and it may be null",
    ),
    "condition on an importer": (task("importer", triggerPolicy={"condition": "true"}), "a condition on an importer"),
    "loop over artifacts": (loop_over_artifacts, "for-loop-3: iterates over artifacts"),
    "loop over what is no list": (
        lambda pipeline, _: group(pipeline)["for-loop-3"]["parameterIterator"].update(items={"raw": '{"a": 1}'}),
        "for-loop-3: what it iterates over is not a list",
    ),
    "loop over what is no JSON": (
        lambda pipeline, _: group(pipeline)["for-loop-3"]["parameterIterator"].update(items={"raw": "a, b"}),
        "for-loop-3: what it iterates over is not a list in JSON: a, b",
    ),
    "loop over what is no input": (
        lambda pipeline, _: group(pipeline)["for-loop-3"]["parameterIterator"].update(items={"inputParameter": "list"}),
        "for-loop-3.list: the list to iterate over is not an input of the loop",
    ),
    "loop over a number": (
        component(
            "comp-for-loop-5",
            "inputDefinitions",
            "parameters",
            "pipelinechannel--listing-Output",
            parameterType="STRUCT",
        ),
        "a STRUCT cannot be iterated over",
    ),
    "two loops over one component": (loop_over_one_component, "comp-for-loop-3-iteration: template already exists"),
    "tasks that wait for one another": (task("listing", dependentTasks=["for-loop-5"]), "depend on one another"),
    # Exit tasks
    "exit task after none": (exit_task(dependentTasks=[]), "root.conclude: an exit task after 0 tasks"),
    "two exit tasks of one task": (other_exit, "root.conclude: zonclude is the exit task of exit-handler-1 too"),
    "exit task that takes an output": (exit_collects, "root.conclude: an exit task that takes an output"),
    "exit task after a loop": (exit_after("for-loop-3"), "a loop or an importer, which has no exit hook"),
    "exit task after a condition": (
        lambda pipeline, _: pipeline["root"]["dag"]["tasks"]["exit-handler-1"].update(
            triggerPolicy={"condition": "true"}
        ),
        "root.conclude: an exit task after exit-handler-1, and never run",
    ),
    "exit task that is a loop": (
        exit_task(parameterIterator={"items": {"raw": '["a"]'}, "itemInput": "status"}),
        "root.conclude: an exit task that is a loop",
    ),
    "task after an exit task": (
        task_after_an_exit_task,
        "gather: depends on the exit task conclude",
    ),
    "nothing but exit tasks": (only_exit_tasks, "nothing but exit tasks"),
    # Names and sizes
    "driver of another task": (renamed("listing", "make-driver"), "make-driver: 2 tasks of this name"),
    "name that begins with a digit": (renamed("make", "1-make"), "1-make: a task's name cannot begin with a digit"),
    "name with a dot": (renamed("make", "make.it"), "make.it: a task's name has letters"),
    "name that is too long": (renamed("make", "m" * 125), "125 characters, and with -driver more than 128"),
    "name that is an operator": (renamed("make", "not"), "not: the name is a word"),
    "task without a name": (task("make", taskInfo={}), "make: no taskInfo.name"),
    "pipeline's name that is too long": (lambda p, _: p["pipelineInfo"].update(name="p" * 129), "129 characters"),
    "pipeline's name in capitals": (
        lambda p, _: p["pipelineInfo"].update(name="Healthy"),
        "Healthy: a pipeline's name",
    ),
    "name of a template": (renamed("for-loop-3", "l" * 110), "comp-for-loop-3-lll"),
    "parameter's name": (
        lambda p, _: p["root"]["inputDefinitions"]["parameters"].update({"a b": {"parameterType": "STRING"}}),
        "healthy: a b: a parameter's name",
    ),
    "DAG without tasks": (component("comp-inner", "dag", tasks={}), "comp-inner: a DAG without tasks"),
    "component of nothing": (
        lambda pipeline, _: pipeline["components"]["comp-make"].pop("executorLabel"),
        "comp-make: neither an executor nor a DAG",
    ),
    "equal containers of unlike components": (equal_containers, "comp-listing: its container is that of comp-gather"),
    "argument that is too long": (long_constant, "task make has 140,"),
    "workflow that is too large": (many_components, "before it runs, and Argo stores at most 1,048,576"),
    "variable of Argo's": (
        given("make", "note", value("{{workflow.name}}")),
        "task make has {{workflow., which Argo takes",
    ),
    "expression of Argo's": (given("make", "note", value("{{=1 + 1}}")), "task make has {{=, which Argo takes"),
    "executor that is not implemented": (
        lambda p, _: p["deploymentSpec"]["executors"].update({"exec-make": {"customJob": {}}}),
        "executors of the kind customJob are not implemented",
    ),
    # Retries
    "retry without a maximum": (task("make", retryPolicy=WAIT), "make: no backoffMaxDuration"),
    "retry with half a second": (
        task("make", retryPolicy=WAIT | {"backoffMaxDuration": "0.5s"}),
        "make: no backoffMaxDuration",
    ),
    "retry that waits too long": (
        task("make", retryPolicy=WAIT | {"backoffMaxDuration": "30s"}),
        "make: backoffDuration 60 s is over backoffMaxDuration 30 s",
    ),
    "retry with half a factor": (
        task("make", retryPolicy=WAIT | {"backoffMaxDuration": "90s", "backoffFactor": 1.5}),
        "make: backoffFactor 1.5",
    ),
    # Pods
    "container without an image": (container(image=""), "make: a container without an image"),
    "container without a command": (container(command=[], args=[]), "make: neither command nor arguments"),
    "volume without a path": (setting(emptyDirMounts=[{"volumeName": "shm"}]), "make: a volume without a mount path"),
    "pull policy": (setting(imagePullPolicy="Sometimes"), "make: imagePullPolicy 'Sometimes'"),
    "volume without a size": (
        setting(emptyDirMounts=[{"volumeName": "shm", "mountPath": "/dev/shm", "sizeLimit": "1 GB"}]),
        "volume shm: size '1 GB' is not a quantity",
    ),
    "mount path of the launcher": (
        setting(emptyDirMounts=[{"volumeName": "shm", "mountPath": "/minio"}]),
        "make: mount path /minio is taken",
    ),
    "volume mounted twice": (
        setting(emptyDirMounts=[{"volumeName": "shm", "mountPath": "/a"}, {"volumeName": "shm", "mountPath": "/b"}]),
        "make: volume name shm is taken",
    ),
    "secret without a name": (setting(secretAsEnv=[{"keyToEnv": []}]), "make: a secret without a name"),
    "secret named by nobody": (
        setting(secretAsEnv=[{"secretNameParameter": {"componentInputParameter": "nothing"}, "keyToEnv": []}]),
        "make: secretNameParameter: parent DAG does not have input parameter nothing",
    ),
    "secret named by no task": (
        setting(
            secretAsEnv=[{"secretNameParameter": {"taskOutputParameter": {"producerTask": "nobody"}}, "keyToEnv": []}]
        ),
        "make: secretNameParameter: unknown producer task nobody",
    ),
    "secret with an empty name": (
        setting(secretAsEnv=[{"secretNameParameter": value(""), "keyToEnv": []}]),
        "make: secretNameParameter is empty",
    ),
    "needed secret without a timeout": (
        setting(secretAsEnv=[{"secretName": "key", "keyToEnv": []}]),
        "make: needs key, and without a timeout",
    ),
    "variable that is set twice": (container(env=[{"name": "KEY", "value": ""}]), "make: variable KEY is set 2 times"),
    "variable without a name": (
        setting(secretAsEnv=[{"secretName": "secret", "optional": True, "keyToEnv": [{"secretKey": "KEY"}]}]),
        "make: a variable without a name",
    ),
    "package without a root": (lambda pipeline, _: pipeline.pop("root"), "healthy: root component is empty"),
    "variable of the launcher": (
        container(env=[{"name": "KFP_POD_NAME", "value": ""}]),
        "KFP_POD_NAME is the launcher's",
    ),
    "label that is too long": (setting(podMetadata={"labels": {"run": "x" * 64}}), "make: label run: 'xxx"),
    "node without a name": (setting(nodeSelector={"labels": {"gpu": "an A100"}}), "make: label gpu: 'an A100'"),
    "root that is not root": (
        setting(securityContext={"runAsNonRoot": True, "runAsUser": "0"}),
        "make: runs as user 0 and not as root",
    ),
    "memory that is not a quantity": (
        container(resources={"resourceMemoryLimit": "2 GiB"}),
        "resourceMemoryLimit '2 GiB'",
    ),
    "request over the limit": (
        container(resources={"memoryRequest": 4.0, "memoryLimit": 2.0}),
        "make: asks for more memory than its limit",
    ),
    "placeholder of what is not given": (
        container(args=["{{$.inputs.parameters['note']}}"]),
        "make.note: args of the container names it, and the task does not take it",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(package: Package, fault: str) -> None:
    plant, expected = FAULTS[fault]
    faulty = deepcopy(package)
    plant(faulty.pipeline, faulty.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
    assert any(expected in one for one in findings(faulty)), f"{expected!r} is not among {findings(faulty)}"


def test_the_list_of_a_loop_may_be_said_to_be_never_empty(package: Package) -> None:
    faulty = deepcopy(package)
    collected_from_a_runtime_list(faulty.pipeline, {})
    assert findings(faulty, never_empty=["for-loop-3"]) == []


def put(key: str, value: Any, document: int = 0) -> Callable[[Documents], None]:
    """A fault: the first `key` that has any value gets this one."""
    return lambda documents: next(holders(documents[document], key)).update({key: value})


def misspell(key: str, wrong: str, document: int = 0) -> Callable[[Documents], None]:
    def plant(documents: Documents) -> None:
        holder = next(holders(documents[document], key))
        holder[wrong] = holder.pop(key)

    return plant


OF_THE_PACKAGE: dict[str, tuple[Callable[[Documents], None], str]] = {
    "misspelled field": (misspell("dependentTasks", "dependantTasks"), 'no field named "dependantTasks"'),
    "misspelled field of an executor": (misspell("image", "imago"), 'no field named "imago"'),
    "wrong schema version": (lambda documents: documents[0].update(schemaVersion="2.0.0"), "2.0.0"),
    "name that is no name": (lambda documents: documents[0]["pipelineInfo"].update(name="Two_Step!"), "Two_Step!"),
    "misspelled platform key": (misspell("nodeSelector", "nodeSelecter", 1), 'no field named "nodeSelecter"'),
    "misspelled key of a secret": (misspell("secretKey", "secretkey", 1), 'no field named "secretkey"'),
    "misspelled platform": (misspell("deploymentSpec", "deployment", 1), "deployment"),
    "missing producer task": (put("producerTask", "nobody"), "nobody"),
    "missing component": (put("componentRef", {"name": "comp-nobody"}), "comp-nobody"),
    "missing executor": (put("executorLabel", "exec-nobody"), "exec-nobody"),
    "parameter of nobody": (put("componentInputParameter", "nothing"), "nothing"),
    "dependency on nobody": (put("dependentTasks", ["nobody"]), "nobody"),
    "loop over nothing": (
        lambda documents: next(holders(documents[0], "parameterIterator"))["parameterIterator"].update(
            itemInput="nothing"
        ),
        "nothing",
    ),
}


@pytest.mark.parametrize("fault", OF_THE_PACKAGE)
def test_a_fault_of_the_shipped_package_is_found_too(fault: str) -> None:
    plant, expected = OF_THE_PACKAGE[fault]
    faulty = load(GOLDEN / "cross_lingual_transfer.yaml")
    assert findings(faulty) == []
    plant((faulty.pipeline, faulty.platform))
    assert any(expected in one for one in findings(faulty)), findings(faulty)


@pytest.mark.parametrize("start", range(10))
def test_a_package_that_lacks_anything_raises_nothing(package: Package, start: int) -> None:
    for number in range(start, len(list(fields(package.pipeline))), 60):
        faulty = deepcopy(package)
        holder, key = list(fields(faulty.pipeline))[number]
        holder.pop(key)
        assert isinstance(findings(faulty), list), f"without {key}"
