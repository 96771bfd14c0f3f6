"""How a run is followed, and what is said of its end: through kfp's own client, against a server on loopback."""

import re
from pathlib import Path

import pytest
import test_submission
from kubeflow_server import Fault, Kubeflow
from test_submission import Submit, summary

from components._step import errors_in_one_line
from pipelines import following, kubeflow
from xlrm.errors import GateError

packages, server, submit = test_submission.packages, test_submission.server, test_submission.submit  # its fixtures


def test_a_run_is_followed_to_its_end(submit: Submit, server: Kubeflow) -> None:
    server.states = ["PENDING", "PENDING", "RUNNING", "RUNNING", "SUCCEEDED"]
    code, said = submit("--wait")
    assert code == 0 and "the run succeeded" in said
    steps = [line.partition("min: ")[2].partition(" (")[0] for line in said.splitlines() if "min: " in line]
    assert steps == [
        "pending",
        "running, 3 of 6 tasks begun are done, now reward",
        "succeeded, 6 of 6 tasks begun are done",
    ]
    (run,) = server.runs.values()
    assert f"[{run['display_name']}]({server.address}/#/runs/details/{run['run_id']})" in summary()
    assert "| reward | succeeded | 6.0 min |" in summary() and "root" not in summary()
    assert re.findall(r"^\| (\w+) \| succeeded", summary(), re.M) == [
        "configure",
        "curate",
        "translate",
        "reward",
        "evaluate",
        "report",
    ], "in the order in which they began"


@pytest.mark.parametrize(
    ("state", "failing", "code", "said"),
    [
        ("FAILED", {"reward": "FAILED"}, 1, "the run failed in reward: workflow failed"),
        ("FAILED", {"configure": "FAILED"}, 1, "the run failed in configure: workflow failed"),
        ("FAILED", {"report": "FAILED"}, 1, "failed in report (which registers models: where the gate refused one"),
        ("FAILED", {}, 1, "the run failed: workflow failed"),
        ("ERROR", {"reward": "RUNTIME_STATE_UNSPECIFIED"}, 1, "the run failed in reward"),
        ("SKIPPED", {}, 1, "the run failed"),
        ("CANCELED", {}, 4, "the run was cancelled"),
    ],
)
def test_a_run_that_ends_badly_has_its_code(
    submit: Submit, server: Kubeflow, state: str, failing: dict, code: int, said: str
) -> None:
    server.states, server.failing, server.error = ["RUNNING", state], failing, "workflow failed"
    found, output = submit("--wait", "--timeout", "20s")
    assert found == code and said in output
    assert said in summary() and all(f"| {task} | failed |" in summary() for task in failing)


def test_a_run_that_somebody_cancels_is_none_that_failed(submit: Submit, server: Kubeflow) -> None:
    """Argo has no phase for it, and the server says FAILED."""
    server.states = ["RUNNING", "CANCELING", "FAILED"]
    code, said = submit("--wait")
    assert code == 4 and "the run was cancelled" in said


@pytest.mark.parametrize("readable", [True, False])
def test_the_page_says_why_a_task_failed(
    submit: Submit, server: Kubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    """As the task wrote it into the store, where whoever waits may read that; else that it failed."""
    monkeypatch.setenv("XLRM_STORE", (tmp_path / "store").as_uri())
    server.failing, server.states = {"report": "FAILED"}, ["RUNNING", "FAILED"]
    in_s3 = "curate.preferences=[s3://bucket/rows.jsonl]"  # since nothing can be uploaded to this store
    assert submit(in_s3)[0] == 0
    (run,) = server.runs.values()
    failed(
        monkeypatch,
        run["run_id"],
        "report",
        "not better than the champion, which stays: mine-en version 2: ko is worse | more",
    )
    failed(monkeypatch, run["run_id"], "curate", "the Hub was away")
    if not readable:
        monkeypatch.setenv("XLRM_STORE", "nowhere")
    code, said = submit(in_s3, "--if-changed", "--wait")
    assert code == 1 and len(server.runs) == 1, said
    reason = "not better than the champion, which stays: mine-en version 2: ko is worse \\| more"
    assert (f"| report | failed | {reason} |" in summary()) == readable
    assert (f"error: report: {reason.replace(chr(92), '')}" in said) == readable
    assert (said.count("the notes of the tasks in the store cannot be read") == 1) != readable
    assert "the Hub was away" not in said + summary(), "since curate did well when it was tried again"


def failed(monkeypatch: pytest.MonkeyPatch, run_id: str, task: str, why: str) -> None:
    """What a task of a run does that fails."""
    with monkeypatch.context() as patch, pytest.raises(SystemExit), errors_in_one_line(task):
        patch.setenv("KFP_RUN_ID", run_id)
        raise GateError(why)


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ({"exit-handler-1": "FAILED", "reward": "FAILED"}, "the run failed in reward"),
        ({"exit-handler-1": "FAILED"}, "the run failed"),
        ({"report": "FAILED"}, "failed in report"),
        ({"report": "RUNTIME_STATE_UNSPECIFIED"}, "failed in report"),
        ({"reward-driver": "FAILED"}, "failed in the driver of reward"),
    ],
)
def test_a_failure_that_the_server_calls_a_success_is_none(
    submit: Submit, server: Kubeflow, failing: dict, said: str
) -> None:
    """As servers do whose exit handlers end well."""
    server.states, server.failing = ["RUNNING", "SUCCEEDED"], failing
    found, output = submit("--if-changed", "--wait")
    assert found == 1 and said in output
    assert submit("--if-changed")[0] == 0 and len(server.runs) == 2, "it does not count as done"


@pytest.mark.parametrize(("failing", "code"), [({}, 0), ({"report": "FAILED"}, 1)])
def test_tasks_that_the_server_is_late_with_are_waited_for(
    submit: Submit, server: Kubeflow, failing: dict, code: int
) -> None:
    server.states, server.failing, server.lag = ["RUNNING", "SUCCEEDED"], failing, 1
    assert submit("--wait")[0] == code and not server.lag


def test_an_outage_does_not_end_the_watch(submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults = [Fault("GET", "/runs/[^/]+", 503) for _ in range(12)]
    code, said = submit("--wait")
    assert code == 0 and said.count("again in") == 10, "twice given up, and looked again"
    monkeypatch.setattr(following, "OUTAGE_SECONDS", 0)
    server.faults = [Fault("GET", "/runs/[^/]+", 503) for _ in range(12)]
    code, said = submit("--wait")
    assert code == 5 and "the run continues: http" in said


def test_a_run_that_is_deleted_cannot_be_followed(submit: Submit, server: Kubeflow) -> None:
    server.faults = [Fault("GET", "/runs/[^/]+", 404, "Run not found")]
    code, said = submit("--wait")
    assert code == 5 and "404 Run not found; http" in said


def test_a_page_to_log_in_at_ends_the_watch(submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a proxy shows when the token has expired."""
    start = kubeflow.Server.start

    def expired(self: kubeflow.Server, run):
        made = start(self, run)
        server.page = "<html>Log in to Dex</html>"
        return made

    monkeypatch.setattr(kubeflow.Server, "start", expired)
    code, said = submit("--wait", "--timeout", "5s")
    assert code == 5 and "the run can no longer be followed: --host=" in said


def test_time_that_is_up(submit: Submit, server: Kubeflow) -> None:
    server.states = ["RUNNING"]
    code, said = submit("--wait", "--timeout", "0.1s")
    (run,) = server.runs.values()
    assert code == 3 and "it goes on: http" in said and run["left"] == ["RUNNING"]
    code, said = submit("--wait", "--timeout", "0.1s", "--cancel-on-timeout")
    assert code == 3 and "it is being cancelled: http" in said
    assert [one["state"] for one in server.runs.values()] == ["RUNNING", "CANCELING"]
    server.faults = [Fault("POST", "/runs/[^/]+:terminate", 500, done=True)]
    code, said = submit("--wait", "--timeout", "0.1s", "--cancel-on-timeout")
    assert code == 3 and "it is being cancelled: http" in said, "the second try is refused, as it is under way"
    server.faults = [Fault("POST", "/runs/[^/]+:terminate", 403, "may not")]
    code, said = submit("--wait", "--timeout", "0.1s", "--cancel-on-timeout")
    assert code == 3 and "it goes on, and cannot be cancelled" in said and "may not" in said


def test_time_that_is_up_while_the_server_is_down(
    submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(self: kubeflow.Server, run_id: str) -> None:
        server.faults = [Fault("GET", "/runs/[^/]+", 503) for _ in range(9)]
        raise kubeflow.ServerError("it is down")

    monkeypatch.setattr(kubeflow.Server, "terminate", down)
    code, said = submit("--wait", "--timeout", "0s", "--cancel-on-timeout")
    assert code == 3 and "it goes on, and cannot be cancelled (it is down)" in said


def test_a_run_that_ends_while_it_is_cancelled_has_its_own_code(submit: Submit, server: Kubeflow) -> None:
    server.states = ["RUNNING", "SUCCEEDED"]
    server.faults = [Fault("POST", "/runs/[^/]+:terminate", 400, "Invalid input error: Row not found")]
    code, said = submit("--wait", "--timeout", "0s", "--cancel-on-timeout")
    assert code == 0 and "the run succeeded" in said


def test_an_outage_is_not_waited_out_beyond_the_time(submit: Submit, server: Kubeflow) -> None:
    server.faults = [Fault("GET", "/runs/[^/]+", 503) for _ in range(99)]
    code, said = submit("--wait", "--timeout", "0.2s")
    assert code == 3 and "it goes on: http" in said and server.faults
