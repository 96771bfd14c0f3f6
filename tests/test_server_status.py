"""The size of a workflow's status: which nodes a run has, what each holds, and how often."""

import gzip
import json
from collections import Counter
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from healthy_pipeline import healthy
from kfp.compiler import Compiler
from refusals import refused

from benchmarks import kubeflow_status
from configs import presets
from pipelines import placement, submission
from pipelines.server.costs import by_task, smallest, unit_costs
from pipelines.server.nodes import Node
from pipelines.server.package import Package, go_json, load
from pipelines.server.rules import findings, size_findings
from pipelines.server.status import LIMIT, pods, simulate, status_bytes
from pipelines.server.values import Facts
from pipelines.server.workflow import spec_bytes
from xlrm.errors import ConfigError

SAMPLE = Path(__file__).parent / "samples" / "measured_package.yaml.gz"
"""A package that ran on a real server, with two loops and every task given the whole experiment by value."""
EXPERIMENT = {
    "name": "xlrm-demo-short",
    "stages": {
        "base": {"model": "phrasebook-tiny", "pretraining": {"languages": ["en", "es", "ko"], "documents": 600}},
        "curate": {"pairs": 320, "benchmark_items": 140, "train_prompts": 40, "eval_prompts": 20, "parallel_texts": 40},
        "reward": {"learning_rate": 0.0005, "batch_size": 8, "device_batch_size": 8, "gradient_checkpointing": False},
        "sample": {"samples": 4, "max_new_tokens": 24, "batch_size": 64},
        "align": {"learning_rate": 0.0001, "batch_size": 8, "device_batch_size": 8, "gradient_checkpointing": False},
        "register": {"prefix": "xlrm-demo-short"},
    },
}
STORED = {"artifact": "s3://xlrm/artifacts/reward/" + "0" * 16, "digest": "0" * 64, "mlflow_run_id": "0" * 32}
RETURNED = {
    "configure.experiment": EXPERIMENT, "configure.source": "en", "configure.targets": ["es", "ko"],
    "plan.Output": [{"language": "es", "shard": 0}, {"language": "ko", "shard": 0}],
}  # fmt: skip
RUN = Facts({"preset": "demo_short"}, RETURNED, {"for-loop-1": 2, "for-loop-2": 2}, STORED)
MEASURED, MEASURED_PODS = 2_460_000, 69
"""Bytes and pods of its finished run, with KFP's templateDefaults."""
PARTIAL, PARTIAL_PODS = 1_060_000, 52
"""Bytes and pods of another, without templateDefaults, when its nodes were compressed."""


def retried(package: Package) -> Package:
    package = deepcopy(package)
    package.pipeline["root"]["dag"]["tasks"]["task"]["retryPolicy"] = {
        "backoffDuration": "60s", "backoffMaxDuration": "3600s", "maxRetryCount": 2,
    }  # fmt: skip
    return package


def looped(count: int) -> Package:
    """The smallest task in a loop over as many strings."""
    package = deepcopy(smallest())
    task = package.pipeline["root"]["dag"]["tasks"].pop("task")
    task["dependentTasks"], task["inputs"]["artifacts"] = [], {"input": {"componentInputArtifact": "input"}}
    declared = {"artifacts": {"input": {}}, "parameters": {"item": {"parameterType": "STRING"}}}
    package.pipeline["components"]["comp-loop"] = {"dag": {"tasks": {"task": task}}, "inputDefinitions": declared}
    made = {"taskOutputArtifact": {"outputArtifactKey": "output", "producerTask": "before"}}
    package.pipeline["root"]["dag"]["tasks"]["loop"] = {
        "componentRef": {"name": "comp-loop"}, "taskInfo": {"name": "loop"}, "inputs": {"artifacts": {"input": made}},
        "dependentTasks": ["before"],
        "parameterIterator": {"itemInput": "item", "items": {"raw": json.dumps(["x"] * count)}},
    }  # fmt: skip
    return package


def types(nodes: list[Node]) -> dict[str, int]:
    return dict(Counter(node.status["type"] for node in nodes))


@pytest.mark.parametrize(
    ("defaults", "again", "copies"), [(True, False, 6), (False, False, 3), (False, True, 4), (True, True, 6)]
)
def test_the_pod_spec_patch_is_held_so_many_times(defaults: bool, again: bool, copies: int) -> None:
    package = retried(smallest()) if again else smallest()
    assert by_task(simulate(package, Facts(), defaults=defaults))["root.task"].copies == copies


def test_every_node_of_two_tasks() -> None:
    # entrypoint, root driver, root, and twice a driver, an executor and its pod
    assert types(simulate(smallest(), Facts(), defaults=False)) == {"Pod": 5, "DAG": 4}
    assert types(simulate(smallest(), Facts(), defaults=True)) == {"Pod": 5, "DAG": 4, "Retry": 9}


def test_pods_of_conditions_loops_importers_and_exit_tasks(tmp_path: Path) -> None:
    Compiler().compile(healthy, str(tmp_path / "package.yaml"))
    package, facts = load(tmp_path / "package.yaml"), Facts(counts={"for-loop-5": 3, "condition-8": 0})
    templates = Counter(node.status["templateName"] for node in pods(simulate(package, facts)))
    assert templates["system-importer"] == 1
    # make, make and take of two iterations, left, gather, what was chosen, three in the other loop, two in inner, listing,
    # speak, conclude
    assert templates["system-container-driver"] == 1 + 2 * 2 + 1 + 1 + 1 + 3 + 2 + 1 + 1 + 1
    # root, exit handler, inner, two loops and their iterations, a condition in each of two, the branches and both conditions
    assert templates["system-dag-driver"] == 1 + 1 + 1 + 3 + 4 + 2 + 3


@pytest.mark.parametrize("count", [1, 3])
def test_a_loop_has_a_driver_and_another_for_each_iteration(count: int) -> None:
    nodes = simulate(looped(count), Facts(), defaults=False)
    drivers = [node.status["displayName"] for node in pods(nodes) if node.status["templateName"] == "system-dag-driver"]
    assert sorted(drivers) == sorted(["root-driver", "iteration-driver", *["iteration-item-driver"] * count])
    assert len(pods(nodes)) == 1 + 2 + 1 + 3 * count


def test_iterations_run_side_by_side() -> None:
    one, three = (max(node.end for node in simulate(looped(count), Facts())) for count in (1, 3))
    assert one == three == 10 + 20 + 10 + 10 + 20


def test_a_loop_of_no_iterations_is_skipped() -> None:
    nodes = simulate(looped(0), Facts(), defaults=False)
    assert [node.status["displayName"] for node in nodes if node.status["type"] == "Skipped"] == [
        "iteration-iterations"
    ]
    assert len(pods(nodes)) == 4


def test_what_depends_on_a_condition_that_does_not_hold_is_omitted() -> None:
    package = deepcopy(smallest())
    package.pipeline["root"]["dag"]["tasks"]["before"]["triggerPolicy"] = {"condition": "false"}
    nodes = simulate(package, Facts(counts={"before": 0}), defaults=False)
    assert [node.status["phase"] for node in nodes if node.status["type"] == "Skipped"] == ["Skipped", "Omitted"]
    assert len(pods(nodes)) == 2


def test_a_retry_node_holds_inputs_and_outputs_of_its_child() -> None:
    nodes = {node.status["name"]: node.status for node in simulate(smallest(), Facts())}
    name = "cross-lingual-transfer-xxxxx(0).root(0).task-driver"
    assert nodes[name]["type"] == "Retry"
    assert all(nodes[name][part] == nodes[f"{name}(0)"][part] for part in ("inputs", "outputs"))


def test_the_patch_is_the_pod_that_the_driver_writes() -> None:
    driver = next(node for node in simulate(smallest(), Facts()) if node.status["displayName"] == "task-driver")
    patch = json.loads(driver.status["outputs"]["parameters"][0]["value"])
    command = patch["containers"][0]["command"]
    given = json.loads(command[command.index("--executor_input") + 1])["inputs"]
    assert given["parameterValues"] == {"name": "x" * 24}
    assert set(given["artifacts"]["input"]["artifacts"][0]["metadata"]) == {"display_name", "store_session_info"}


def test_go_writes_three_characters_as_escapes() -> None:
    assert go_json({"a": "<&>", "b": 2.0}) == '{"a":"\\u003c\\u0026\\u003e","b":2}'


def test_each_more_of_a_thing_costs_more_with_defaults() -> None:
    with_defaults, without = unit_costs(defaults=True), unit_costs(defaults=False)
    assert all(without[name] > 0 for name in without)
    # Of a task that is tried again anyway, templateDefaults double the driver and the executor only.
    assert all(
        with_defaults[name] == 2 * without[name]
        for name in without
        if name not in ("the smallest task", "a retry policy")
    )


def test_a_run_that_does_not_fit_is_found() -> None:
    package, fits = looped(60), looped(2)
    assert size_findings(fits, Facts()) == []
    assert len(size_findings(package, Facts())) == 1
    assert spec_bytes(package) < LIMIT


@pytest.fixture(scope="module")
def measured() -> Package:
    return Package(*yaml.load_all(gzip.decompress(SAMPLE.read_bytes()), Loader=yaml.CSafeLoader))


def test_the_size_is_that_of_a_measured_run(measured: Package) -> None:
    nodes = simulate(measured, RUN)
    assert len(pods(nodes)) == MEASURED_PODS
    assert sum(node.bytes for node in nodes) == pytest.approx(MEASURED, rel=0.05)


def test_the_size_is_that_of_a_measured_run_without_template_defaults(measured: Package) -> None:
    nodes = simulate(measured, RUN, defaults=False)
    start = sorted(node.start for node in pods(nodes))[PARTIAL_PODS]
    assert sum(node.bytes for node in nodes if node.start < start) == pytest.approx(PARTIAL, rel=0.05)


BUDGET, LIMIT_SECONDS = 800_000, 120
"""Bytes of a run's status, with KFP's templateDefaults; seconds that a run takes of which all is finished."""


@pytest.fixture(scope="module", params=placement.CLUSTERS)
def packages(request, tmp_path_factory) -> tuple[placement.Placement, list[Package]]:
    on, folder = placement.load(request.param), tmp_path_factory.mktemp(request.param)
    return on, [load(submission.compile_package(name, folder, on)) for name in submission.PIPELINES]


def test_a_server_runs_and_shows_every_package_in_nine_languages(packages) -> None:
    on, compiled = packages
    for package in compiled:
        assert findings(package) == [], package.name
        for preset in presets(package.name):
            facts = kubeflow_status.facts(package, preset, on, kubeflow_status.NINE)
            assert size_findings(package, facts) == [], f"{package.name} {preset} on {on.name}"
            assert status_bytes(package, facts) < BUDGET, f"{package.name} {preset} on {on.name}"


def test_a_run_of_which_all_is_finished_starts_two_tasks_and_takes_less_than_two_minutes(packages) -> None:
    on, compiled = packages
    for package in compiled:
        nodes = simulate(package, kubeflow_status.facts(package, presets(package.name)[-1], on, (), left=False))
        started = {one.status["displayName"] for one in pods(nodes) if not one.status["displayName"].endswith("driver")}
        assert len(pods(nodes)) == 7 and max(one.end for one in nodes) < LIMIT_SECONDS, started


def test_a_package_that_ran_into_a_rule_is_refused(measured: Package) -> None:
    """It was stopped by a server after 57 of its tasks, and its status had outgrown what a server shows."""
    assert any("pipelinechannel--targets" in one for one in findings(measured))
    assert size_findings(measured, RUN)


def test_more_pods_than_a_server_can_show_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("tasks: {reward: {pods: 12}}")
    with refused(ConfigError, "placement mine"):
        submission.compile_package("cross_lingual_transfer", tmp_path, placement.load(str(tmp_path / "mine.yaml")))


def test_the_command_prints_each_package(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["kubeflow_status", "--tasks", "--placement", "cpu"])
    kubeflow_status.main()
    printed = capsys.readouterr().out
    wanted = (
        "cross-lingual-transfer",
        "retrain",
        "root.conclude",
        "a secret with one key",
        "translate.engine: vllm needs a GPU",
    )
    assert all(name in printed for name in wanted)
