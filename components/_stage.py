"""What every component does: runs its steps and shows in Kubeflow Pipelines what they made."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from components import _pages, _run, _warm
from components._address import tell, write
from components._step import PASSING, WRONG, errors_in_one_line
from components._warm import Warm
from components.notes import FAILED, SUCCEEDED, note_ended, note_started
from xlrm import progress
from xlrm.errors import ArtifactError, XlrmError
from xlrm.processes import launch
from xlrm.store import addresses, objects, provenance

PAUSES_S = (60, 120)
"""Seconds between the tries of a step that failed for a reason that may pass. The retries are made here because a
package cannot say which failures to retry (RetryPolicy of kubeflow/pipelines' pipeline_spec.proto), Kubeflow's own
configuration only replaces lost pods, and a new pod begins with an empty disk, whereas here a step continues from
its checkpoints."""
TRIES = "XLRM_TRIES"
"""Environment variable with the number of tries. The local runner sets it to 1, so that a user who waits sees the
error at once."""


def run(steps: str, output: Any, page: Any) -> None:
    """Runs steps, given as comma-separated labels or names of stages, one after the other. `output` and `page` are
    the component's KFP artifacts: `output` gets the addresses of what the steps made, `page` shows it. If a step
    fails, the task ends with its status; if a gate refused, with the page of what it refused."""
    with errors_in_one_line(steps.split(",")[0]):
        at_work = _run.read()
        labels, wired = at_work.labels(steps), at_work.steps()
        made = {label: _run.made(label) for label in labels}
        warm = _warm.begin([wired[label] for label in labels if not made[label]], _environment())
    failed = 0
    for label in labels:
        if made[label]:
            progress.say(f"{label}: finished before, reused")
        elif not failed or wired[label].shows_refusals:
            ended = _to_the_end(label, warm)
            failed = ended or failed
            if ended and not _show_refused(label, page):
                break
    if warm:
        warm.end()
    if failed:
        sys.exit(failed)
    with errors_in_one_line(labels[0]):
        uris = {label: _run.made(label) or "" for label in labels}
        tell(output, uris)
        write(page, _pages.page(uris))
    _note_libraries()


def _show_refused(label: str, page: Any) -> bool:
    """Whether the step's gate refused what it made; if so, writes its page. The local runner keeps the page of a
    failed task; on Kubeflow `conclude` shows the same page."""
    try:
        if text := _pages.refused(label):
            write(page, text)
        return bool(text)
    except (XlrmError, OSError, ValueError) as error:
        progress.say(f"{label}: its page cannot be shown: {error}")
        return False


def _to_the_end(label: str, warm: Warm | None = None) -> int:
    """Exit status of the step's last try: 0; 2 if the user can fix the error, or if a failure that may pass lasted
    through all tries; otherwise that of a crash."""
    note_started(label)
    pauses = PAUSES_S[: int(os.environ.get(TRIES, len(PAUSES_S) + 1)) - 1]
    for pause in (*pauses, None):
        status = _in_process(label, warm)
        if status in (0, WRONG) or pause is None:
            break
        progress.say(f"{label}: ended with status {status}; trying again in {pause} s")
        time.sleep(pause)
    if status == 0:
        note_ended(label, SUCCEEDED)
        return status
    # A killed process could not note anything; a failure noted before has priority over this line.
    killed = _killed(status - 128) if status > 128 else ""
    if killed:
        progress.say(f"error: {label}: {killed}")
    note_ended(label, FAILED, killed)
    return WRONG if status == PASSING else status


def _killed(number: int) -> str:
    """Error text for a step that a signal ended and that therefore noted no error."""
    name = next((entry.name for entry in signal.Signals if entry == number), f"signal {number}")
    return f"killed by {name}" + (", as the system does where memory runs out" if number == signal.SIGKILL else "")


def _in_process(label: str, warm: Warm | None = None) -> int:
    """Exit status of the step; 128 plus the signal's number if it was killed. A task that is ended ends its step and
    waits for it, because the step may have a job to delete. `warm`: the process that makes it, while it lives."""
    command = [sys.executable, "-m", "components._step", label]
    asked: list[int] = []
    started: list[subprocess.Popen] = []

    def end(number: int, _: Any) -> None:
        asked.append(number)
        for process in started:
            process.terminate()

    before = signal.signal(signal.SIGTERM, end)  # before the step starts, so that no signal is missed
    try:
        if warm and warm.process.poll() is None:
            started.append(warm.process)
            if asked:
                warm.process.terminate()
            status = warm.make(label)
        else:
            started.append(subprocess.Popen(command, env=_environment(), preexec_fn=launch.die_with_parent))
            if asked:
                started[0].terminate()
            status = started[0].wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    if asked:
        sys.exit(128 + asked[0])
    return status if status >= 0 else 128 - status


def _environment() -> dict[str, str]:
    """Environment of a step. The step has its own MLflow run, below the one that Kubeflow's plug-in gives to the
    task. It shows no progress bars because its output goes to a log."""
    environment = dict(os.environ) | progress.NO_BARS
    if injected := environment.pop("MLFLOW_RUN_ID", None):
        environment["XLRM_PARENT_RUN"] = injected
    return environment


def _note_libraries() -> None:
    """Notes the libraries installed in this image, replacing older notes for its name and commit, so that
    `configure`, which runs in another image, can find finished steps. An error here is only logged: the steps are
    done."""
    if where := libraries_uri(os.environ.get("XLRM_IMAGE")):
        try:
            objects.write(where, json.dumps(provenance.installed(), allow_nan=False).encode())
        except ArtifactError as error:
            progress.say(f"the library versions of this image cannot be stored: {error}")


def libraries_uri(image: str | None) -> str | None:
    """URI of the note with the libraries of an image built from this commit; None if the image or the commit is not
    known."""
    commit = os.environ.get("XLRM_GIT_COMMIT", "unknown")
    if not image or commit == "unknown":
        return None
    return objects.join(addresses.store(), "images", commit, hashlib.sha256(image.encode()).hexdigest()[:16])
