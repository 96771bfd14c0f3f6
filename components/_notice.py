"""Reports how a run ended."""

import json
import os
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from components import _pages, _run
from components._address import write
from components.notes import FAILED, NOTHING_LEFT, RUN_ID, SUCCEEDED, Notes, note_end, notes
from xlrm import progress
from xlrm.errors import ArtifactError, XlrmError
from xlrm.run import pages

ADDRESS = "XLRM_NOTIFY_URL"
"""Variable with the secret address that accepts {"text": ...} by POST, as Slack's and Mattermost's incoming webhooks
do."""
SECONDS = 10
_UNSEEN = "a task's driver, or a pod that was killed: the server's page says which"


@dataclass(frozen=True)
class End:
    state: str
    """SUCCEEDED, FAILED or CANCELED."""
    line: str = ""
    failed: dict[str, str] = field(default_factory=dict)
    """Task -> why it failed."""


def report(pipeline: str, status: Any, summary: Any) -> None:
    """Reports the end of a run: as its last note, as Markdown, in the log, and to the address in `XLRM_NOTIFY_URL`."""
    end = _ended(status)
    text = f"{pipeline} {os.environ.get(RUN_ID, '')}".strip() + f": {end.state.lower()}"
    text += f": {end.line}" if end.line else ""
    note_end(end.state, end.line)
    write(summary, _page(end, text) + _results())
    progress.say(text)
    if address := os.environ.get(ADDRESS):
        _post(address, text)


def ended(status: Any, noted: Notes) -> End:
    """How a run ended, from the status that KFP gives for the tasks before this one and from their own notes.

    KFP takes the status from ML Metadata (backend/src/v2/driver/resolve.go, TaskFinalStatus): COMPLETE means success.
    After a driver's failure, or if the tasks of a loop are miscounted (kubeflow/pipelines#13321), it stays at RUNNING;
    in the second case it also stays at FAILED if a first try failed (metadata/client.go, UpdateDAGExecutionsState). The
    notes therefore decide about RUNNING and FAILED.
    """
    well = status.state in ("COMPLETE", SUCCEEDED)
    failed = noted.failed() if well else noted.failed() | noted.lost()
    failed = {name: _one_line(why) for name, why in failed.items()}
    line = "; ".join(f"{name}: {why}" if why else name for name, why in failed.items())
    line = line or _one_line(status.error_message or "")
    if status.state.startswith("CANCEL"):
        return End("CANCELED", line, failed)
    if not failed and (well or _finished(noted)):
        return End(SUCCEEDED)
    return End(FAILED, line or (_UNSEEN if os.environ.get(RUN_ID) else ""), failed)


def _finished(noted: Notes) -> bool:
    """Whether the last task succeeded, or the first task found that no other was needed."""
    last = next(filter(None, map(noted.tasks.get, pages.REPORTS)), None)
    first = noted.tasks.get("configure")
    if last:
        return last.state == SUCCEEDED
    return first is not None and first.state == SUCCEEDED and first.line() == NOTHING_LEFT


def _ended(status: Any) -> End:
    run = os.environ.get(RUN_ID)
    try:
        return ended(status, notes(run) if run else Notes())
    except ArtifactError as error:
        progress.say(f"the notes of the tasks cannot be read: {error}")
        return ended(status, Notes())


def _page(end: End, text: str) -> str:
    """The end as Markdown, the failed tasks first."""
    rows = [f"- **{name}**: {why}" for name, why in end.failed.items()]
    return "\n".join([f"# {end.state.capitalize()}", "", *rows, *([""] if rows else []), text, ""])


def _results() -> str:
    """The run's report in Markdown; empty if there is none. An error is only logged."""
    try:
        text = _pages.description(_run.report() if os.environ.get(RUN_ID) else None)
        return f"\n{text}" if text else ""
    except (XlrmError, OSError, ValueError) as error:
        progress.say(f"report: its tables cannot be shown: {error}")
        return ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _post(address: str, text: str) -> None:
    """Sends the text. Errors are only logged, so an unreachable chat does not fail a run; the address is a secret
    and not shown."""
    request = urllib.request.Request(
        address, data=json.dumps({"text": text}, allow_nan=False).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            pass
    except (OSError, ValueError) as error:
        progress.say(f"{ADDRESS}: the message could not be sent: {type(error).__name__}")
