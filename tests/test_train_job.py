"""A stage on several nodes: the TrainJob as Kubeflow Trainer's API takes it, and its life, against a server on loopback."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from kube_server import NAMESPACE, OWN_POD, Kube, check
from kubernetes.utils import parse_quantity
from refusals import refused
from test_artifacts import FACTS
from test_training import TRAINING, apart, pairs, weights
from test_training import train as in_one_process
from train_job_controllers import wait_until
from typer.testing import CliRunner

from components import _cluster, _nodes, _step, _train_job
from components._train_job import Node, train_job, train_on_nodes
from components.hardware import Hardware
from xlrm import cli
from xlrm.errors import ConfigError, JobError
from xlrm.processes import launch
from xlrm.run import runner
from xlrm.run.experiment import parse_value
from xlrm.run.steps import Step
from xlrm.store import artifacts
from xlrm.store.jsonl import write_jsonl
from xlrm.tracking import mlflow_client

EXPERIMENT = {"name": "paper", "stages": {"reward": {
    "learning_rate": 1e-05, "batch_size": 128.0, "warmup": 0.1, "optimizer": "adamw_torch", "margin": True,
}}}  # fmt: skip
"""As Kubeflow Pipelines hands it over: every number a float."""


@pytest.fixture
def kube(tmp_path, monkeypatch):
    server = Kube()
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
    monkeypatch.setenv("KFP_POD_NAME", OWN_POD["metadata"]["name"])
    monkeypatch.setenv("XLRM_STORE", f"file://{tmp_path}/store")
    monkeypatch.setattr(_cluster, "PAUSE_S", 0.02)
    monkeypatch.setattr(_nodes, "QUIET_S", 0.5)
    yield server
    server.close()


@pytest.fixture
def given(kube, tmp_path) -> dict[str, str]:
    """Inputs of the stage, and of a stage that nothing reads."""
    inputs = {name: f"file://{tmp_path}/store/{name}/key" for name in ("base", "corpora")}
    for name, uri in inputs.items():
        write_jsonl(tmp_path / name / "en" / "preferences.jsonl", [{"prompt": "p", "chosen": "c", "rejected": name}])
        write_jsonl(tmp_path / name / "ko.jsonl", [{"prompt": "p"}])
        artifacts.publish(tmp_path / name, uri, **FACTS)
    return inputs


def address(given: dict[str, str]) -> str:
    return runner.address("reward", EXPERIMENT["stages"]["reward"] | {"language": "en"}, given)


def publish(given: dict[str, str]) -> None:
    """What the first node does at its end."""
    artifacts.publish(Path(given["base"].removeprefix("file://")).parents[2] / "base", address(given), **FACTS)


def on(**node) -> Hardware:
    """Two nodes, each of this kind."""
    has = {"gpus": 4.0, "cores": "16", "memory": "256Gi"} | node
    return Hardware(nodes=2.0, tasks=dict.fromkeys(("reward", "align"), has))


def step(section: dict | None = None) -> Step:
    return Step("reward", ("en",), EXPERIMENT["stages"]["reward"] | (section or {}) | {"language": "en"})


def train(given: dict[str, str], section: dict | None = None, **node) -> None:
    """As a step of a run does."""
    with _step.errors_in_one_line("reward"):
        train_on_nodes(on(**node), step(section), given, "paper")


def fails(capsys, given: dict[str, str], **node) -> str:
    """The one line that the task ends with."""
    with pytest.raises(SystemExit) as ended:
        train(given, **node)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("xlrm │ error: reward: ")
    return said


# The object


def a_job(**node) -> dict:
    return train_job("xlrm-reward-0123", ["stage", "reward", "language=en", "text=$(HOME)"], 2, Node(**node), OWN_POD)


def test_the_job_is_one_of_kubeflow_trainer(monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "run-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "must-not-be-copied")
    job = a_job(gpu_product="NVIDIA-A100-SXM4-80GB")
    check(job)
    trainer = job["spec"]["trainer"]
    assert (trainer["image"], trainer["numNodes"]) == ("registry.lab/xlrm-train:1@sha256:0123", 2)
    assert trainer["args"][-1] == "text=$$(HOME)", "Kubernetes would put the variable in"
    assert trainer["resourcesPerNode"]["limits"] == {"memory": "256Gi", "nvidia.com/gpu": 4}
    variables = {one["name"]: one for one in trainer["env"]}
    assert variables["AWS_SECRET_ACCESS_KEY"] == OWN_POD["spec"]["containers"][1]["env"][2]
    assert variables["MLFLOW_RUN_ID"] == {"name": "MLFLOW_RUN_ID", "value": "run-1"}
    assert "must-not-be-copied" not in str(job) and "KFP_POD_NAME" not in variables
    assert "XLRM_NOTIFY_URL" not in str(job)
    assert job["metadata"]["ownerReferences"] == [
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "paper-x", "uid": "uid-of-workflow"}
    ]
    patch = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    pod = patch["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    assert pod["imagePullSecrets"] == [{"name": "xlrm-registry"}]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}} in pod["volumes"]
    token = [one for one in pod["containers"][0]["volumeMounts"] if one["mountPath"].endswith("/serviceaccount")]
    assert len(token) == 1 and {"name": token[0]["name"], "emptyDir": {}} in pod["volumes"]
    check(a_job(gpus=0))
    assert "nvidia" not in str(a_job(gpus=0))


def test_a_pod_on_its_own_owns_the_job() -> None:
    pod = OWN_POD | {"metadata": {"name": "reward-abc", "uid": "uid-1"}}
    job = train_job("xlrm-reward-0123", [], 2, Node(), pod)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "reward-abc", "uid": "uid-1"}
    assert job["metadata"]["ownerReferences"] == [owner]


@pytest.mark.parametrize(
    "path",
    [
        "spec.trainer.numNode",
        "spec.runtimePatches.0.trainingRuntimeSpec.template.spec.replicatedJobs.0.template.spec.template.spec.nodeSelectors",
        "spec.podTemplateOverrides",
    ],
)
def test_a_misspelled_field_is_found(path) -> None:
    *parts, field = path.split(".")
    job = held = a_job()
    for part in parts:
        held = held[int(part)] if part.isdigit() else held[part]
    held[field] = 2
    with pytest.raises(ValueError, match="unknown field"):
        check(job)


def test_a_number_that_is_a_text_is_found() -> None:
    job = a_job()
    job["spec"]["trainer"]["numNodes"] = "2"
    with pytest.raises(ValueError, match="numNodes"):
        check(job)


AWKWARD = [
    *(1e-05, 8.0, 3, True, None, "null", "no", "1e-05", "a: b", "=", "x\ny", " 'a' \"b\" ", "한국어 😀", ""),
    *([1, "a, b"], {"a": {"b": 1e-7}}),
]


@pytest.mark.parametrize("value", AWKWARD)
def test_a_field_comes_back_from_the_command_line_as_it_was(value) -> None:
    text = _train_job._in_yaml(value)
    assert parse_value("field", text) == value and type(parse_value("field", text)) is type(value)


def test_a_node_runs_the_very_stage_that_the_component_would(given) -> None:
    """By the real command: it finds the artifact at the key that the component computes, and makes nothing."""
    publish(given)
    config = EXPERIMENT["stages"]["reward"] | {"language": "en"}
    arguments = _train_job.stage_arguments("reward", config, given, "paper")
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.stdout == f"{address(given)}\n" and result.stderr == "xlrm │ reward[en]: finished before, reused\n"
    assert runner.run_stage("reward", config, given).uri == address(given)


@pytest.mark.parametrize("name", ["reward", "align"])
def test_names_of_pods_fit_for_a_thousand_nodes(name) -> None:
    uri = f"s3://store/{name}/{'f' * 24}"
    check(train_job(_train_job.job_name(uri), [], 1000, Node(), OWN_POD))
    with pytest.raises(ValueError, match="no DNS label"):
        check(train_job(f"xlrm-{name}-{'f' * 40}", [], 2, Node(), OWN_POD))


# Its life


def test_a_complete_job_and_its_log(kube, given, capsys, monkeypatch) -> None:
    def runs(kube: Kube, job: dict) -> None:
        first = kube.start_pod(job, 0, "Pending")
        kube.pods[first]["status"]["conditions"] = [
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: no nvidia.com/gpu"}
        ]
        time.sleep(0.2)
        kube.pods[first]["status"] = {"phase": "Running"}
        second = kube.start_pod(job, 1)
        kube.say(second, "of the other node")
        for line in ("xlrm │ step 1", "", "  Unicode: 한국어"):
            kube.say(first, line)
            time.sleep(0.05)
        kube.say(first, "the end")
        publish(given)
        kube.end_pod(first)
        kube.end_pod(second)
        kube.end_job(job, "Complete")

    kube.runs = runs
    train(given)
    lines = capsys.readouterr().err.splitlines()
    name = _train_job.job_name(address(given))
    assert lines[0] == f"xlrm │ TrainJob {name}: created in namespace {NAMESPACE}"
    assert any("0 of 2 nodes run; " in line and "no nvidia.com/gpu" in line for line in lines)
    assert [line for line in lines if "TrainJob" not in line] == ["xlrm │ step 1", "", "  Unicode: 한국어", "the end"]
    assert name in kube.jobs, "a complete job stays, to be looked at"
    before = len(kube.asked)
    train(given)
    assert len(kube.asked) == before, "the artifact is there: nothing is asked of the cluster"


def test_one_node_is_no_business_of_the_cluster(kube, given) -> None:
    train_on_nodes(Hardware(), step(), given, "paper")
    train_on_nodes(on(), Step("evaluate", ("en",), {"language": "en"}), given, "paper")
    assert not kube.asked


@pytest.mark.parametrize("name", ["reward", "align"])
def test_what_is_asked_of_the_nodes_is_what_the_step_looks_for(kube, given, name) -> None:
    """The artifact at the address of the one is found by both: no job is made, and nothing is trained here."""
    fields = {"language": "en"} | ({"labeler": "ko"} if name == "align" else {})
    inputs = dict(zip(("policy", "ranked") if name == "align" else ("base", "corpora"), given.values(), strict=True))
    uri = runner.address(name, fields, inputs)
    artifacts.publish(Path(given["base"].removeprefix("file://")).parents[2] / "base", uri, **FACTS)
    train_on_nodes(on(), Step(name, ("en",), fields), inputs, "paper")
    assert runner.run_stage(name, fields, inputs).uri == uri and not kube.asked


def fails_for_good(kube: Kube, job: dict, last_words: tuple[str, ...], status: int, reason: str = "") -> None:
    """The second node ends badly again and again, and the first as often for want of it, a second later."""
    pods = [kube.start_pod(job, rank) for rank in (0, 1)]
    kube.say(pods[0], "xlrm │ step 1")
    while not kube.out_of_restarts(job["metadata"]["name"]):
        kube.say(pods[1], *last_words)
        kube.crash(pods[1], status, reason)
        time.sleep(1)
        kube.say(pods[0], "RuntimeError: Connection closed by peer")
        kube.crash(pods[0], 1)
    kube.fail_job(job)


TORCHRUN = (
    "W1129 03:02:37.846000 21731 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 21794 closing signal "
    "SIGTERM",
    "E1129 03:02:37.848000 21731 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 2) local_rank: 1 (pid: "
    "21795) of binary: /usr/bin/python",
    "Traceback (most recent call last):",
    '  File "<frozen runpy>", line 198, in _run_module_as_main',
    '  File "torch/distributed/launcher/api.py", line 383, in launch_agent',
    "    raise ChildFailedError(",
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
    "============================================================",
    "xlrm.processes.launch FAILED",
    "------------------------------------------------------------",
    "Failures:",
    "[1]:",
    "  time      : 2026-11-29_03:02:37",
    "  host      : localhost",
    "  rank      : 0 (local_rank: 0)",
    "  exitcode  : -15 (pid: 21794)  (SIGTERM)",
    "  error_file: <N/A>",
    "  traceback : Signal 15 (SIGTERM) received by PID 21794",
    "============================================================",
)
"""What a training in two processes ended with, of which one failed: without some frames, and with short paths."""
KILLED = (
    *TORCHRUN,
    "error: training in 2 processes: ended with status 1: the log above says why",
)
ONE_LINE = (
    "xlrm │ error: preferences.jsonl: row 3: 'chosen' is empty",
    *TORCHRUN,
    "error: training in 2 processes: ended with status 1: preferences.jsonl: row 3: 'chosen' is empty",
)
TRACEBACK = (
    "[rank1]: Traceback (most recent call last):",
    '[rank1]:   File "xlrm/processes/launch.py", line 232, in _work',
    "[rank1]:     _call(function, folder)",
    "[rank1]: torch.OutOfMemoryError: CUDA out of memory",
    "[rank0]: RuntimeError: [gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1946.",
    *KILLED,
)


@pytest.mark.parametrize(
    ("last_words", "status", "reason", "said"),
    [
        (TRACEBACK, 1, "", "status 1: torch.OutOfMemoryError: CUDA out of memory"),
        (ONE_LINE, 2, "", "status 2: error: preferences.jsonl: row 3: 'chosen' is empty"),
        (KILLED, 2, "", "status 2: error: training in 2 processes: ended with status 1: the log above says why"),
        (("error: reward.max_length: 9 is too much",), 2, "", "status 2: error: reward.max_length: 9 is too much"),
        (("xlrm │ step 2",), 137, "OOMKilled", "status 137 (OOMKilled): xlrm │ step 2"),
    ],
    ids=["in a process", "one line of a process", "of a process nothing", "one line", "killed"],
)
def test_a_failed_job_says_why_in_one_line_and_is_deleted(
    kube, given, capsys, last_words, status, reason, said
) -> None:
    """Its pods are gone when it says that it failed. The first node's end, which came of the other's, is not the reason."""
    kube.runs = lambda kube, job: fails_for_good(kube, job, last_words, status, reason)
    log = fails(capsys, given)
    name = _train_job.job_name(address(given))
    line = log.splitlines()[-1]
    assert line.startswith(
        f"xlrm │ error: reward: TrainJob {name}: failed: FailedJobs: jobset failed due to one or more job failures (first failed "
        f"job: {name}-node-0); after 4 earlier failure(s), node 1 ({name}-node-0-1-"
    )
    assert line.endswith(f" on machine-1) ended with {said}")
    assert "xlrm │ step 1" in log and last_words[0] in log
    assert not kube.jobs and len(kube.built) == 1


@pytest.mark.parametrize("replaced", [False, True], ids=["both started again", "the other's pod replaced"])
def test_an_end_that_the_job_went_on_from_is_not_the_reason_of_a_later_one(kube, given, capsys, replaced) -> None:
    def runs(kube: Kube, job: dict) -> None:
        pods = [kube.start_pod(job, rank) for rank in (0, 1)]
        kube.say(pods[1], "ValueError: of the first day")
        kube.crash(pods[1], 1)
        time.sleep(1.1)  # times of the API have whole seconds
        if replaced:
            kube.lose_pod(pods[0])
            pods[0] = kube.start_pod(job, 0)
        else:
            kube.say(pods[0], "RuntimeError: Connection closed by peer")
            kube.crash(pods[0], 1)
        time.sleep(1.1)
        kube.say(pods[0], "torch.OutOfMemoryError: of the third day")
        kube.crash(pods[0], 1)
        time.sleep(1.1)
        kube.say(pods[1], "RuntimeError: Connection closed by peer")
        kube.crash(pods[1], 1)
        kube.fail_job(job)

    kube.runs = runs
    line = fails(capsys, given).splitlines()[-1]
    assert f"; after {1 if replaced else 2} earlier failure(s), node 0 (" in line
    assert line.endswith(" on machine-0) ended with status 1: torch.OutOfMemoryError: of the third day")


def test_pods_that_are_not_started_again_say_why_too(kube, given, capsys) -> None:
    """The pods of a runtime with restartPolicy Never stay."""

    def runs(kube: Kube, job: dict) -> None:
        pods = [kube.start_pod(job, rank) for rank in (0, 1)]
        kube.say(pods[1], "ValueError: no")
        kube.end_pod(pods[1], 1)
        kube.end_pod(pods[0], 143)
        kube.end_job(job, "Failed", "FailedJobs", "jobset failed")

    kube.runs = runs
    assert fails(capsys, given).splitlines()[-1].endswith(" on machine-1) ended with status 1: ValueError: no")


def test_a_log_that_breaks_goes_on_without_a_line_twice(kube, given, capsys, monkeypatch) -> None:
    """Cut in the middle of lines, and after a quiet time; also two lines of one moment."""
    kube.cut = [3, 5, 0]

    def runs(kube: Kube, job: dict) -> None:
        first = kube.start_pod(job, 0)
        kube.start_pod(job, 1)
        for number in range(12):
            kube.say(first, f"line {number}")
            time.sleep(0.7 if number == 8 else 0.03)
        at = kube.logs[first][-1][0]
        with kube.changed:
            kube.logs[first] += [(at, "twin 1"), (at, "twin 2")]
        time.sleep(0.1)
        publish(given)
        kube.end_pod(first)
        kube.end_job(job, "Complete")

    kube.runs = runs
    train(given)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("line ", "twin "))]
    assert lines == [*(f"line {number}" for number in range(12)), "twin 1", "twin 2"]
    assert not kube.cut and len(kube.streams) >= 5
    assert all("sinceSeconds" in one for one in kube.streams[2:]), "a long log is not sent whole each time"


def test_a_line_is_known_by_all_digits_of_its_time() -> None:
    assert _nodes._comparable("2026-01-01T00:00:00.12Z") == "2026-01-01T00:00:00.120000000Z"
    assert _nodes._comparable("2026-01-01T00:00:00.09Z") < _nodes._comparable("2026-01-01T00:00:00.1Z")
    assert _nodes._comparable("unable") == ""


def steps_for_ever(kube: Kube, job: dict) -> None:
    first = kube.start_pod(job, 0)
    kube.start_pod(job, 1)
    while True:
        kube.say(first, "xlrm │ step 1")
        time.sleep(0.05)


def a_task(given: dict[str, str]) -> subprocess.Popen:
    """A real process that follows a job."""
    script = f"""
from components._train_job import train_on_nodes
from components.hardware import Hardware
from xlrm.run.steps import Step
train_on_nodes(Hardware(**{on().model_dump()!r}), Step("reward", ("en",), {step().config!r}), {given!r}, "paper")
"""
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(task: subprocess.Popen, number: int) -> str:
    try:
        task.send_signal(number)
        return task.communicate(timeout=20)[0]
    finally:
        task.kill()


def test_a_cancelled_run_leaves_no_job_and_no_pods(kube, given) -> None:
    kube.runs = steps_for_ever
    task = a_task(given)
    wait_until(lambda: kube.streams)
    name, before = _train_job.job_name(address(given)), len(kube.asked)
    said = end(task, signal.SIGTERM)
    asked = [method for method, resource in kube.asked[before:] if resource == "trainjobs"]
    assert asked == ["DELETE"], "the container may end within a second"
    assert task.returncode == 128 + signal.SIGTERM
    assert said.splitlines()[-1] == f"xlrm │ TrainJob {name}: deleted"
    assert not kube.jobs
    wait_until(lambda: not kube.pods_of(name))
    time.sleep(3 * kube.collector_s)
    assert kube.built == [name], "its JobSet is not made again"


def test_a_job_that_was_never_made_is_not_said_to_be_deleted(kube, given, capsys) -> None:
    kube.refused[("POST", "trainjobs")] = [400]
    assert "deleted" not in fails(capsys, given)


def test_a_job_that_cannot_be_deleted_is_not_said_to_be(kube, given, capsys) -> None:
    kube.refused[("DELETE", "trainjobs")] = [403] * 9
    kube.runs = lambda kube, job: kube.end_job(job, "Failed")
    said = fails(capsys, given)
    name = _train_job.job_name(address(given))
    assert f"TrainJob {name}: not deleted: delete trainjobs: forbidden" in said
    assert kube.jobs


def test_a_failed_job_of_the_try_before_is_waited_for(kube, given, capsys) -> None:
    """The next try asks for the same name while nodes of the last are ending."""
    kube.grace_s = 1.0

    def runs(kube: Kube, job: dict) -> None:
        if len(kube.built) == 1:
            kube.start_pod(job, 1)
            kube.end_pod(kube.start_pod(job, 0), 1)
            return kube.end_job(job, "Failed", "FailedJobs", "jobset failed")
        return finished_by(given, kube, job)

    kube.runs = runs
    fails(capsys, given)
    name = _train_job.job_name(address(given))
    assert not kube.jobs and kube.pods_of(name)
    train(given)
    assert kube.built == [name] * 2 and not kube.crowded


def test_pods_that_stay_are_named(kube, given, capsys, monkeypatch) -> None:
    """The pods of a machine that answers no more."""
    monkeypatch.setattr(_cluster, "PATIENCE_S", 0.3)
    kube.grace_s = 3600.0

    def runs(kube: Kube, job: dict) -> None:
        kube.start_pod(job, 0)
        kube.end_job(job, "Failed")

    kube.runs = runs
    fails(capsys, given)
    name = _train_job.job_name(address(given))
    line = fails(capsys, given).splitlines()[-1]
    assert f"TrainJob {name}: " in line and f"{name}-node-0-0-" in line
    assert not kube.jobs


def finished_by(given: dict[str, str], kube: Kube, job: dict) -> None:
    first = kube.start_pod(job, 0)
    kube.say(first, f"run of {job['metadata'].get('mark', 'the new one')}")
    time.sleep(0.2)
    publish(given)
    kube.end_pod(first)
    kube.end_job(job, "Complete")


def left_behind(given: dict[str, str], kube: Kube, runs) -> dict:
    """A job that an earlier try made."""
    kube.runs = runs
    job = train_job(_train_job.job_name(address(given)), [], 2, Node(), OWN_POD)
    job["metadata"]["mark"] = "the old one"
    return kube.add_job(job)


def test_a_job_that_a_killed_task_left_is_followed_by_the_next_try(kube, given, capsys) -> None:
    """The killed pod is collected in between: the workflow, and with it the job, stays."""
    go = threading.Event()

    def runs(kube: Kube, job: dict) -> None:
        pods = [kube.start_pod(job, rank) for rank in (0, 1)]
        go.wait(30)
        kube.say(pods[0], "run of the old one")
        publish(given)
        for pod in pods:
            kube.end_pod(pod)
        kube.end_job(job, "Complete")

    kube.runs = runs
    task = a_task(given)
    wait_until(lambda: kube.streams)
    end(task, signal.SIGKILL)
    kube.owner_gone("uid-1")
    time.sleep(3 * kube.collector_s)
    threading.Timer(0.5, go.set).start()
    train(given)
    said = capsys.readouterr().err
    assert "already running" in said and "run of the old one" in said
    assert len(kube.built) == 1


@pytest.mark.parametrize("away", [("GET", "trainjobs", 401), ("GET", "pods/log", 403), ("GET", "trainjobs", 500)])
def test_a_job_that_cannot_be_followed_goes_on_and_is_followed_by_the_next_try(
    kube, given, capsys, monkeypatch, away
) -> None:
    monkeypatch.setattr(_cluster, "PATIENCE_S", 0.1)
    *request_, status = away
    go = threading.Event()

    def runs(kube: Kube, job: dict) -> None:
        kube.refused[tuple(request_)] = [status] * 99
        kube.say(kube.start_pod(job, 0), "of the first try")
        go.wait(30)
        finished_by(given, kube, job)

    kube.runs = runs
    said = fails(capsys, given)
    name = _train_job.job_name(address(given))
    assert f"TrainJob {name}: keeps running" in said and f"kubectl delete trainjob {name} -n {NAMESPACE}" in said
    assert name in kube.jobs and kube.pods_of(name)
    kube.refused.clear()
    go.set()
    train(given)
    assert "already running" in capsys.readouterr().err
    assert kube.built == [name]


def test_a_job_goes_with_its_workflow(kube, given, capsys) -> None:
    kube.runs = steps_for_ever
    threading.Timer(0.5, kube.owner_gone, ["uid-of-workflow"]).start()
    assert "deleted before its end" in fails(capsys, given)
    wait_until(lambda: not kube.pods_of(_train_job.job_name(address(given))))


def test_the_job_of_another_run_is_left_to_it(kube, given, capsys) -> None:
    """Two runs of one experiment: the second follows the first one's job, and ends without it. Who is its owner is said: that
    one may have ended before."""
    job = left_behind(given, kube, steps_for_ever)
    job["metadata"]["ownerReferences"][0] |= {"uid": "uid-of-another", "name": "paper-y"}
    task = a_task(given)
    wait_until(lambda: kube.streams)
    said, name = end(task, signal.SIGTERM), job["metadata"]["name"]
    assert "already running" in said
    line = said.splitlines()[-1]
    assert "left to Workflow paper-y" in line and f"kubectl delete trainjob {name} -n {NAMESPACE}" in line
    assert kube.jobs


@pytest.mark.parametrize("how", ["Failed", "Complete"])
def test_a_job_that_has_ended_is_replaced(kube, given, capsys, how) -> None:
    """Complete without its artifact too: somebody deleted that. Its JobSet outlives it by a moment, in which Trainer takes it
    for the new one's."""
    kube.collector_s = 1.5
    job = left_behind(given, kube, lambda kube, job: kube.end_job(job, how))
    wait_until(lambda: job["status"]["conditions"])
    kube.runs = lambda kube, job: finished_by(given, kube, job)
    time.sleep(1.1)  # times of the API have whole seconds
    train(given)
    assert "run of the new one" in capsys.readouterr().err
    assert len(kube.built) == 2


def test_a_job_that_is_deleted_in_the_foreground_is_replaced(kube, given, capsys) -> None:
    """By hand, or by an older version: Trainer makes its JobSet anew until somebody deletes it in the background."""
    job = left_behind(given, kube, lambda kube, job: kube.start_pod(job, 0))
    kube.delete_job(job["metadata"]["name"], "Foreground")
    wait_until(lambda: len(kube.built) > 2)
    kube.runs = lambda kube, job: finished_by(given, kube, job)
    train(given)
    assert "run of the new one" in capsys.readouterr().err
    assert len(kube.built) - 1 not in kube.crowded


@pytest.mark.parametrize("request_", [("POST", "trainjobs"), ("GET", "pods"), ("GET", "pods/log")])
def test_a_missing_right_names_the_role(kube, given, capsys, request_) -> None:
    kube.refused[request_] = [403] * 9
    kube.runs = lambda kube, job: kube.start_pod(job, 0)
    line = fails(capsys, given).splitlines()[-1]
    assert "namespace lab" in line and "the Role xlrm-train-jobs" in line


def test_what_trainer_refuses_is_no_missing_right(kube, given, capsys) -> None:
    """Its webhook answers with the status of one."""
    kube.refused[("POST", "trainjobs")] = [403]
    kube.why = (
        'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: spec.RuntimeRef: Invalid value: '
        "specified clusterTrainingRuntime must be created before the TrainJob is created"
    )
    line = fails(capsys, given).splitlines()[-1]
    assert "clusterTrainingRuntime must be created" in line and "xlrm-train-jobs" not in line


def test_a_server_that_is_away_for_a_while(kube, given) -> None:
    kube.refused |= {
        ("POST", "trainjobs"): [503, 500],
        ("GET", "trainjobs"): [500, 429],
        ("GET", "pods/log"): [500, 502],
    }
    kube.runs = lambda kube, job: finished_by(given, kube, job)
    train(given)
    assert not any(kube.refused.values())


def test_a_server_that_stays_away(kube, given, capsys, monkeypatch) -> None:
    monkeypatch.setattr(_cluster, "PATIENCE_S", 0.1)
    kube.refused[("GET", "trainjobs")] = [500] * 99
    assert "get trainjobs: no answer from the API server for 0 s" in fails(capsys, given)
    assert not kube.jobs


def test_an_older_trainer_is_told_from_one_that_takes_the_job(kube, given, capsys, monkeypatch) -> None:
    monkeypatch.setattr(_train_job, "train_job", lambda *args: train_job(*args) | {"spec": {"runtimePatchez": []}})
    said = fails(capsys, given)
    assert "the API server answers 400: strict decoding error" in said and "Kubeflow Trainer 2.2 or later" in said


@pytest.mark.parametrize("how", ["Background", "Foreground"])
def test_a_job_deleted_by_somebody_else(kube, given, capsys, how) -> None:
    """Who does not want it made again a minute later: of the errors the one that is not tried again."""
    kube.runs = steps_for_ever
    name = _train_job.job_name(address(given))
    threading.Timer(0.5, kube.delete_job, [name, how]).start()
    with refused(JobError, f"TrainJob {name}"):
        train_on_nodes(on(), step(), given, "paper")
    assert not kube.jobs
    assert (f"TrainJob {name}: deleted" in capsys.readouterr().err) == (how == "Foreground")


def test_a_complete_job_without_an_artifact_is_no_success(kube, given, capsys) -> None:
    """Else the component would train the model itself, on its CPU."""
    kube.runs = lambda kube, job: kube.end_job(job, "Complete")
    assert f"TrainJob {_train_job.job_name(address(given))}='{address(given)}': " in fails(capsys, given)


@pytest.mark.parametrize(
    ("section", "node", "said"),
    [
        ({"learning_rate": -1.0}, {}, "reward.learning_rate=-1.0: "),
        ({"batch_size": 12.0}, {}, "reward.batch_size=12: "),
        ({"batch_size": 8.0}, {"gpus": 3.0}, "reward.batch_size=8: "),
        ({"processes": 5.0}, {}, "reward.processes=5: "),
        ({}, {"memory": "256GB"}, "tasks.reward.memory='256GB': "),
        ({}, {"cores": "many"}, "tasks.reward.cores='many': "),
        ({}, {"cores": "0"}, "tasks.reward.cores='0': "),
    ],
)
def test_what_can_be_known_before_is_no_matter_for_the_cluster(kube, given, capsys, section, node, said) -> None:
    with pytest.raises(SystemExit) as ended:
        train(given, section, **node)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not kube.asked


def test_an_input_that_is_not_there_is_no_matter_for_the_cluster(kube, given, capsys) -> None:
    given["base"] = given["base"].replace("/key", "/other")
    assert "/other" in fails(capsys, given).splitlines()[-1]
    assert not kube.asked


@pytest.mark.parametrize(
    "text", ["16", "0.5", "500m", "256Gi", "1e3", "64G", "256GB", "16 Gi", "1_000", "Gi", "", "0Gi", "0E3", "-1"]
)
def test_quantities_are_those_that_kubernetes_reads(text) -> None:
    """As its client does, which would let some pass that the server does not."""
    try:
        fine = parse_quantity(text) > 0 and not {" ", "_"} & set(text)
    except ValueError:
        fine = False
    if fine:
        assert Node(cpu=text, memory=text).memory == text
    else:
        with pytest.raises(ValueError, match="a Kubernetes quantity above 0"):
            Node(memory=text)


def test_outside_a_cluster(kube, given, capsys, monkeypatch) -> None:
    monkeypatch.delenv("KFP_POD_NAME")
    assert "nodes: " in fails(capsys, given)
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    with refused(ConfigError, "nodes"):
        _cluster.Cluster.connect()


# A node


def children_of(pid: int) -> list[int]:
    """And theirs."""
    with contextlib.suppress(OSError):
        own = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return own + [two for one in own for two in children_of(one)]
    return []


def in_a_container(command: list[str]) -> list[str]:
    """As its first process."""
    contained = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", *command]
    tried = subprocess.run([*contained[:6], "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine lets nobody make a PID namespace: {tried.stderr}")
    return contained


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict[str, str]:
    """Where DeepSpeed's operators are compiled: whoever is killed meanwhile leaves a lock there, for which all others wait."""
    return {"TORCH_EXTENSIONS_DIR": str(tmp_path_factory.mktemp("compiled"))}


GRACE_S = 30
"""Seconds that Kubernetes gives a pod between SIGTERM and SIGKILL."""


@pytest.mark.slow
@pytest.mark.parametrize("contained", [True, False], ids=["of a container", "of a machine"])
def test_sigterm_ends_a_training_in_several_processes(tiny_base, home, tmp_path, compiled, contained) -> None:
    """The real command, with two training processes under `accelerate launch`; status 143 as a shell has it."""
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", pairs(64))
    inputs = {name: f"file://{tmp_path}/store/{name}/key" for name in ("base", "corpora")}
    artifacts.publish(tiny_base, inputs["base"], **FACTS)
    artifacts.publish(tmp_path / "corpora", inputs["corpora"], **FACTS)
    config = TRAINING | {"processes": 2, "epochs": 1000, "log_steps": 1, "save_steps": 1}
    command = [sys.executable, "-m", "xlrm.cli", *_train_job.stage_arguments("reward", config, inputs, "paper")]
    node = subprocess.Popen(in_a_container(command) if contained else command, env=os.environ | compiled)
    try:
        wait_until(lambda: [*home.glob("work/reward/*/checkpoints/checkpoint-*")], 400)
        stage = children_of(node.pid)[0] if contained else node.pid
        processes = children_of(stage)
        assert len(processes) >= 3, "accelerate, and what it started"
        begun = time.monotonic()
        os.kill(stage, signal.SIGTERM)
        assert node.wait(GRACE_S) == 128 + signal.SIGTERM
        wait_until(lambda: not [pid for pid in processes if Path(f"/proc/{pid}").exists()], GRACE_S)
        assert time.monotonic() - begun < GRACE_S
    finally:
        for pid in (*children_of(node.pid), node.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# All of it, but the cluster


def nodes_of(kube: Kube, processes: list[subprocess.Popen], folder: Path):
    """Does what the controllers do: a process for each node, with the variables of torchrun."""

    def runs(_kube: Kube, job: dict) -> None:
        trainer = job["spec"]["trainer"]
        command = [sys.executable, "-m", "xlrm.cli", *(one.replace("$$", "$") for one in trainer["args"])]
        given = {one["name"]: one["value"] for one in trainer["env"] if "value" in one} | {
            "PET_NNODES": str(trainer["numNodes"]), "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(launch._free_port()),
        }  # fmt: skip
        outside = {key: value for key, value in os.environ.items() if not key.startswith(("XLRM_", "MLFLOW_"))}
        for rank in range(trainer["numNodes"]):
            own = {"PET_NODE_RANK": str(rank), "XLRM_HOME": str(folder / f"node{rank}")}
            processes.append(
                subprocess.Popen(
                    command, env=outside | given | own, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
            )
        pods = [kube.start_pod(job, rank) for rank in range(len(processes))]
        threads = [threading.Thread(target=follow, args=one) for one in zip(pods, processes, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bad = any(process.returncode for process in processes)
        kube.end_job(job, "Failed" if bad else "Complete", message="a node failed")

    def follow(pod: str, process: subprocess.Popen) -> None:
        for line in process.stdout:
            kube.say(pod, line.rstrip("\n"))
        kube.end_pod(pod, process.wait())

    return runs


@pytest.mark.slow
def test_a_step_trains_on_two_nodes(kube, tiny_base, home, tmp_path, monkeypatch, capsys) -> None:
    """A step of a pipeline; its job is the command in two processes, told apart by torchrun's variables alone. The model is the
    one that one process trains; the first node joins the component's MLflow run."""
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", pairs(64))
    inputs = {name: f"file://{tmp_path}/store/{name}/key" for name in ("base", "corpora")}
    artifacts.publish(tiny_base, inputs["base"], **FACTS)
    artifacts.publish(tmp_path / "corpora", inputs["corpora"], **FACTS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    client = mlflow_client.client()
    run = client.create_run(client.create_experiment("paper"), run_name="of Kubeflow Pipelines").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run)
    monkeypatch.setitem(OWN_POD["spec"]["containers"][1], "env", [])  # addresses by value, from this process
    processes: list[subprocess.Popen] = []
    kube.runs = nodes_of(kube, processes, tmp_path)
    section = {key: value for key, value in TRAINING.items() if key != "language"} | {"processes": 1.0}
    trained = Step("reward", ("en",), section | {"language": "en"})
    try:
        train_on_nodes(on(gpus=0.0), trained, inputs, "paper")
        model = runner.run_stage("reward", trained.config, inputs, experiment="paper")
    finally:
        for process in processes:
            process.kill()
    said = capsys.readouterr().err
    assert "training with DeepSpeed ZeRO-3 in 1 processes on each of 2 node(s)" in said
    assert "xlrm │ reward[en]: started" in said, "by the first node"
    assert said.splitlines()[-1] == "xlrm │ reward[en]: finished before, reused"
    record = model.record
    assert record.metrics["steps"] == client.get_run(run).data.metrics["steps"] == 8
    assert record.mlflow_run_id == run
    published = artifacts.fetch(model.uri, tmp_path / "cache")
    _, alone = in_one_process(tiny_base, tmp_path / "corpora", tmp_path / "one", device_batch_size=8)
    assert apart(weights(alone), weights(published)) < 1e-3
