"""How a run has ended: by its own state and what its tasks noted in the store, whatever the server's details have stopped at."""

import re
from collections.abc import Callable

import pytest
import test_submission
from kubeflow_server import Fault, Kubeflow
from test_notes import leave
from test_submission import Submit, summary

from components.notes import FAILED, RUNNING, SUCCEEDED
from pipelines import following, reasons

packages, server, submit = test_submission.packages, test_submission.server, test_submission.submit  # its fixtures
Noted = Callable[..., None]
AFTER_CURATE = ("translate", "reward", "evaluate", "report")


@pytest.fixture
def noted(server: Kubeflow, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> Noted:
    """Writes notes of the newest run, as its tasks do: `label=state`, `label=(state, line)`, in this order."""

    def write(**notes: str | tuple[str, str]) -> None:
        with monkeypatch.context() as patch:
            patch.setenv("KFP_RUN_ID", list(server.runs)[-1])
            for label, change in notes.items():
                leave(label.replace("_", "-"), *([change] if isinstance(change, str) else change))

    return write


def goes_on(server: Kubeflow, *states: str) -> None:
    list(server.runs.values())[-1]["left"] = list(states)


# What the details have stopped at


def test_a_run_that_succeeded_has_succeeded_where_its_details_have_stopped(submit: Submit, server: Kubeflow) -> None:
    server.states, server.frozen = ["RUNNING", "RUNNING", "SUCCEEDED"], True
    code, said = submit("--wait")
    assert code == 0 and "the run succeeded: http" in said
    assert "| reward | unknown |" in summary() and "| report | unknown |" in summary()
    code, said = submit("--wait", "--if-changed")
    assert code == 0 and "nothing has changed" in said and len(server.runs) == 1


def test_a_run_whose_tasks_were_all_finished_before_has_succeeded(submit: Submit, server: Kubeflow) -> None:
    server.states, server.omitted = ["RUNNING", "SUCCEEDED"], ("curate", *AFTER_CURATE)
    assert submit("--wait")[0] == 0
    assert submit("--if-changed")[0] == 0 and len(server.runs) == 1


def test_what_was_omitted_has_not_failed(submit: Submit, server: Kubeflow) -> None:
    server.states, server.failing, server.omitted = ["RUNNING", "FAILED"], {"curate": "FAILED"}, AFTER_CURATE
    code, said = submit("--wait")
    assert code == 1 and "the run failed in curate: http" in said
    assert "| curate | failed |" in summary() and all(f"| {name} | omitted |" in summary() for name in AFTER_CURATE)


def test_an_argo_error_of_a_server_without_a_word_for_it_is_a_failure(submit: Submit, server: Kubeflow) -> None:
    server.states, server.failing = ["RUNNING", "SUCCEEDED"], {"reward": "RUNTIME_STATE_UNSPECIFIED"}
    code, said = submit("--wait")
    assert code == 1 and "the run failed in reward" in said


# What the tasks noted


def test_notes_fill_in_what_the_details_lack(submit: Submit, server: Kubeflow, noted: Noted) -> None:
    server.states, server.frozen = ["RUNNING"], True
    submit()
    noted(configure=SUCCEEDED, curate=SUCCEEDED, reward_es=SUCCEEDED, evaluate_es=RUNNING, reward_ko=RUNNING)
    goes_on(server, "RUNNING", "SUCCEEDED")
    code, said = submit("--wait", "--if-changed")
    assert code == 0 and len(server.runs) == 1
    # Of the details remain translate, which is done, and report; evaluate and reward are told by notes.
    assert re.search(r"running, 4 of 7 tasks begun are done, now evaluate-es \(0 min\), reward-ko \(0 min\)", said)
    assert "| reward-es | succeeded |" in summary() and not re.search(
        r"^\| reward \| [a-z]+ \| [^|]*\|$", summary(), re.M
    )


@pytest.mark.parametrize(
    ("notes", "code", "said"),
    [
        (
            {"register": (FAILED, "ko is worse"), "end": (FAILED, "register: ko is worse")},
            1,
            "failed in register: ko is worse: http",
        ),
        ({"reward-es": (FAILED, "no room on the disk")}, 1, "failed in reward-es: no room on the disk: http"),
        ({"register": SUCCEEDED, "end": (FAILED, "a task's driver")}, 1, "the run failed: a task's driver: http"),
        ({"register": SUCCEEDED, "end": SUCCEEDED}, 0, "the run succeeded"),
        ({"curate": RUNNING}, 0, "the run succeeded"),
    ],
)
def test_a_success_that_a_note_denies_is_none(
    submit: Submit, server: Kubeflow, noted: Noted, notes: dict, code: int, said: str
) -> None:
    server.states, server.frozen = ["RUNNING"], True
    submit()
    noted(**notes)
    goes_on(server, "RUNNING", "SUCCEEDED")
    found, output = submit("--wait", "--if-changed")
    assert found == code and said in output
    assert submit("--if-changed")[0] == 0 and len(server.runs) == 1 + code, (
        "a failure is started again, a success is not"
    )


def test_the_last_try_counts(submit: Submit, server: Kubeflow, noted: Noted) -> None:
    """A task, and a run, that the server tries again, which concludes nothing the second time."""
    server.states = ["RUNNING"]
    submit()
    noted(curate=(FAILED, "the Hub was away"), end=(FAILED, "curate: the Hub was away"))
    noted(curate=SUCCEEDED, register=SUCCEEDED)
    goes_on(server, "RUNNING", "SUCCEEDED")
    code, said = submit("--wait", "--if-changed")
    assert code == 0 and "the Hub was away" not in said + summary()


def test_a_task_that_was_killed_is_named(submit: Submit, server: Kubeflow, noted: Noted) -> None:
    """It notes no end, and Argo knows of what it died."""
    server.states, server.failing = ["RUNNING"], {"reward": "FAILED"}
    server.messages = {"reward": "main: OOMKilled (exit code 137)"}
    submit()
    noted(configure=SUCCEEDED, reward_es=RUNNING)
    goes_on(server, "RUNNING", "FAILED")
    code, said = submit("--wait", "--if-changed")
    assert code == 1 and "the run failed in reward-es: began at" in said and "OOMKilled (exit code 137)" in said


def test_a_run_that_is_cancelled_has_no_failed_tasks(submit: Submit, server: Kubeflow, noted: Noted) -> None:
    server.states = ["RUNNING"]
    submit()
    noted(reward_es=RUNNING)
    goes_on(server, "RUNNING", "CANCELING", "FAILED")
    code, said = submit("--wait", "--if-changed")
    assert code == 4 and "the run was cancelled: http" in said and "| reward-es | unknown |" in summary()


def test_a_failure_before_a_task_began_is_told_beside_the_notes(submit: Submit, server: Kubeflow, noted: Noted) -> None:
    """As of an image that is not there: such a task notes nothing."""
    server.states, server.failing = ["RUNNING"], {"reward": "FAILED"}
    server.messages = {"reward": "Pod was active on the node longer than the specified deadline"}
    submit()
    noted(configure=SUCCEEDED, curate=SUCCEEDED, reward_es=SUCCEEDED)
    goes_on(server, "RUNNING", "FAILED")
    code, said = submit("--wait", "--if-changed")
    assert code == 1 and "the run failed in reward: Pod was active on the node longer" in said


def test_what_a_container_left_for_kubernetes_is_told_without_a_store(submit: Submit, server: Kubeflow) -> None:
    server.states, server.failing = ["RUNNING", "FAILED"], {"curate": "FAILED"}
    server.messages = {"curate": "main: Error (exit code 2): no such set: 'helpsteer9'"}
    code, said = submit("--wait")
    assert code == 1 and "the run failed in curate: no such set: 'helpsteer9': http" in said


# Drivers

DRIVER_LOG = """I1129 01:00:00.000000       1 main.go:130] Setting log level to: '1'
F1129 01:00:01.000000       1 main.go:119] KFP driver: driver.Container(pipelineName=retrain, runID=1, taskDisplayName="reward", \
dagExecutionID=7, componentSpec) failed: resolving inputs: parameter "part" is not in the iteration
"""
WHY = 'resolving inputs: parameter "part" is not in the iteration'


@pytest.mark.parametrize("frozen", [False, True], ids=["details", "details that have stopped"])
def test_a_driver_that_failed_is_named_with_its_message(submit: Submit, server: Kubeflow, frozen: bool) -> None:
    server.states, server.failing, server.frozen = ["RUNNING", "FAILED"], {"reward-driver": "FAILED"}, frozen
    server.omitted, server.logs = ("reward", "evaluate", "report"), {"reward-driver": DRIVER_LOG}
    code, said = submit("--wait")
    assert code == 1 and f"the run failed in the driver of reward: {WHY}: http" in said
    assert f"error: the driver of reward: {WHY}\n" in said and f"| reward-driver | failed | {WHY} |" in summary()


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [Fault("GET", "/apis/v1.*", 404)] * 2,
        [Fault("GET", "/apis/v1.*", 503)] * 2,
        [Fault("GET", "/apis/v1.*")] * 2,
    ],
    ids=["pod gone", "404", "503", "reset"],
)
def test_a_driver_whose_log_cannot_be_read_is_named(submit: Submit, server: Kubeflow, faults: list[Fault]) -> None:
    server.states, server.failing = ["RUNNING", "FAILED"], {"reward-driver": "FAILED"}
    server.omitted, server.faults = ("reward", "evaluate", "report"), list(faults)
    code, said = submit("--wait")
    assert code == 1 and "the run failed in the driver of reward: http" in said and "error_message" not in said


def test_what_a_driver_says_is_found_in_its_log() -> None:
    assert reasons.driver_error(DRIVER_LOG) == WHY
    assert (
        reasons.driver_error("F1129 KFP driver: argument --type must be specified")
        == "argument --type must be specified"
    )
    assert reasons.driver_error('{"error_message": "not found"}') == ""


@pytest.mark.parametrize("text", ["H4sIAAAA", "bm90IGd6aXA=", "x"])
def test_a_workflow_that_is_cut_off_has_no_reasons(text: str) -> None:
    assert reasons.failures({"status": {"compressedNodes": text}}) == reasons.failures({}) == []


# Progress


def spoken(said: str) -> list[str]:
    return [line for line in said.splitlines() if re.match(r"xlrm │ \d+ min: ", line)]


def test_each_minute_has_a_line(submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SAY_SECONDS", 0.2)
    server.states = ["RUNNING"]
    code, said = submit("--wait", "--timeout", "1.5s")
    lines = spoken(said)
    assert code == 3 and 6 <= len(lines) <= 20
    standing = r"running, 3 of 6 tasks begun are done, now reward \([\d.]+ (min|h)\)$"
    assert len([one for one in lines if re.search(standing, one)]) >= 6


def test_a_silent_server_is_told_each_minute(submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also during one request that hangs for longer."""
    monkeypatch.setattr(following, "SAY_SECONDS", 0.2)
    server.states, server.faults = ["RUNNING"], [Fault("GET", "/runs/[^/]+", seconds=1.5)]
    code, said = submit("--wait", "--timeout", "0.1s")
    assert code == 3 and len([line for line in spoken(said) if "no answer" in line]) >= 5


def test_a_store_that_cannot_be_read_is_told_once_and_stops_nothing(
    submit: Submit, server: Kubeflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLRM_STORE", "nowhere")
    server.states = ["RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    code, said = submit("curate.preferences=[s3://bucket/rows.jsonl]", "--wait")
    assert code == 0 and said.count("cannot be read: 'nowhere/") == 1
