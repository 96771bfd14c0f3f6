"""What a run's tasks note in the store, and what the task that concludes it makes of that."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from components import _notice
from components import notes as kept
from components.notes import FAILED, NOTHING_LEFT, RUNNING, SUCCEEDED
from xlrm.errors import ArtifactError
from xlrm.store import objects


def leave(label: str, state: str, line: str = "") -> None:
    if label == "end":
        kept.note_end(state, line)
    elif state == RUNNING:
        kept.note_started(label)
    else:
        kept.note_started(label)
        kept.note_ended(label, state, line)


def test_notes_are_found_in_any_store(store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLRM_STORE", store.uri)
    monkeypatch.setenv("KFP_RUN_ID", "run-1")
    leave("configure", SUCCEEDED, "2 stages\nare left")
    leave("reward-es", FAILED, "the Hub was away")
    leave("reward-es", RUNNING)
    kept.note_failure("curate", "no such set")
    leave("end", FAILED, "curate")
    found = kept.notes("run-1")
    assert [(one.label, one.state) for one in found.tasks.values()] == [
        ("configure", SUCCEEDED),
        ("reward-es", RUNNING),
    ]
    assert found.tasks["configure"].line() == "2 stages are left" and found.end.line() == "curate"
    assert found.tasks["reward-es"].started > found.tasks["configure"].changed >= found.tasks["configure"].started
    assert found.failed() == {} and found.lost().keys() == {"reward-es", "curate"}
    assert found.lost()["curate"] == "no such set" and not kept.notes("run-2").tasks
    leave("reward-es", SUCCEEDED)
    assert kept.notes("run-1").lost().keys() == {"curate"} and kept.notes("run-1").end is None


def test_without_a_run_of_kubeflow_nothing_is_noted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFP_RUN_ID", raising=False)
    leave("curate", FAILED, "x")
    leave("end", FAILED)
    kept.note_failure("curate", "x")
    assert not list(home.glob("**/runs"))


def test_a_store_that_takes_no_note_stops_no_task(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("KFP_RUN_ID", "run-1")

    def refuse(uri: str, data: bytes) -> bool:
        raise ArtifactError(f"{uri}: AccessDenied")

    monkeypatch.setattr(objects, "write_new", refuse)
    leave("curate", SUCCEEDED)
    assert capsys.readouterr().err.count("AccessDenied") == 2


def test_kubernetes_gets_the_line_of_a_failure(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "termination-log"
    monkeypatch.setattr(kept, "TERMINATION_LOG", log)
    monkeypatch.setenv("KFP_RUN_ID", "run-1")
    leave("curate", FAILED, "no such set")
    assert not log.exists(), "where there is no Kubernetes"
    log.touch()
    leave("curate", SUCCEEDED)
    assert log.read_text() == ""
    leave("curate", FAILED, "ü" * 5000)
    assert log.read_text(encoding="utf-8") == "ü" * 2048


# How the run ended

ALL = {"configure": SUCCEEDED, "curate": SUCCEEDED, "reward-es": SUCCEEDED, "register": SUCCEEDED, "report": SUCCEEDED}
UNSEEN = _notice._UNSEEN


@pytest.fixture
def concluded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """State, line and page of a run that `conclude` sees in this state, after these notes."""
    monkeypatch.setenv("KFP_RUN_ID", "run-1")

    def conclude(state: str, notes: dict, pipeline: str = "retrain") -> tuple[str, str, str]:
        for label, change in notes.items():
            leave(label, *([change] if isinstance(change, str) else change))
        view = SimpleNamespace(path=str(tmp_path / "page"))
        _notice.report(pipeline, SimpleNamespace(state=state, error_message=""), view)
        end = kept.notes("run-1").end
        return end.state, end.line(), Path(view.path).read_text(encoding="utf-8")

    return conclude


@pytest.mark.parametrize("state", ["RUNNING", "UNKNOWN", "FAILED"])
@pytest.mark.parametrize("notes", [ALL, {"configure": (SUCCEEDED, NOTHING_LEFT)}], ids=["all", "nothing left"])
def test_a_run_whose_last_task_ended_well_has_succeeded(concluded, state: str, notes: dict) -> None:
    """Whatever ML Metadata says, which miscounts the tasks of loops."""
    assert concluded(state, notes) == (SUCCEEDED, "", "# Succeeded\n\nretrain run-1: succeeded\n")


def test_a_retry_is_no_failure(concluded) -> None:
    leave("curate", FAILED, "the Hub was away")
    kept.note_failure("curate", "the Hub was away")
    assert concluded("RUNNING", ALL)[0] == SUCCEEDED


@pytest.mark.parametrize("state", ["RUNNING", "UNKNOWN", "FAILED"])
@pytest.mark.parametrize(
    "notes", [{"configure": SUCCEEDED, "curate": SUCCEEDED}, {"configure": (SUCCEEDED, "2 stages are left")}, {}]
)
def test_a_run_that_stopped_before_its_last_task_has_failed(concluded, state: str, notes: dict) -> None:
    """As after a driver's failure, which no task can note."""
    assert concluded(state, notes)[:2] == (FAILED, UNSEEN)


def test_the_report_is_the_last_task(concluded) -> None:
    before = {label: state for label, state in ALL.items() if label != "report"}
    assert concluded("RUNNING", before)[:2] == (FAILED, UNSEEN)
    assert concluded("RUNNING", {"report": SUCCEEDED})[0] == SUCCEEDED


@pytest.mark.parametrize("state", ["COMPLETE", "SUCCEEDED", "RUNNING", "FAILED"])
def test_the_page_begins_with_the_tasks_that_failed(concluded, state: str, capsys) -> None:
    notes = ALL | {"reward-es": (FAILED, "no room\non the disk"), "register": (FAILED, "ko is worse")}
    line = "reward-es: no room on the disk; register: ko is worse"
    page = (
        "# Failed\n\n- **reward-es**: no room on the disk\n- **register**: ko is worse\n\nretrain run-1: failed: "
        + line
        + "\n"
    )
    assert concluded(state, notes) == (FAILED, line, page)
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"retrain run-1: failed: {line}")


def test_a_task_that_began_and_did_not_end_was_killed(concluded) -> None:
    state, line, page = concluded("RUNNING", {"configure": SUCCEEDED, "reward-es": RUNNING})
    assert state == FAILED and line.startswith("reward-es: began at ") and "- **reward-es**: began" in page
    assert concluded("COMPLETE", {})[0] == SUCCEEDED, "where KFP knows better, only its note is missing"


def test_an_error_without_more_notes_is_a_failure(concluded) -> None:
    kept.note_failure("external", "no endpoint")
    assert concluded("RUNNING", ALL)[:2] == (FAILED, "external: no endpoint")


def test_a_cancelled_run_is_called_so(concluded) -> None:
    assert concluded("CANCELED", {"configure": SUCCEEDED})[0] == "CANCELED"


def test_an_unreadable_store_leaves_kfps_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("KFP_RUN_ID", "run-1")
    monkeypatch.setenv("XLRM_STORE", "nowhere")
    view = SimpleNamespace(path=str(tmp_path / "page"))
    _notice.report("retrain", SimpleNamespace(state="COMPLETE", error_message=""), view)
    assert "cannot be read: 'nowhere/" in capsys.readouterr().err
    assert Path(view.path).read_text(encoding="utf-8").startswith("# Succeeded")
