"""The pages that a run shows first: the register decision and the report."""

from typing import Any

from components import _pages, _run
from components._address import write
from xlrm import progress
from xlrm.errors import XlrmError

NOTHING = {
    "register": "No decision: this run has registered no reward model.\n", "report": "This run has written no report.\n",
}  # fmt: skip


def show(label: str, view: Any, *gates: str) -> None:
    """Writes the page of a step's artifact, or of the run's report, into `view`, or else the page of what its gate or one of
    `gates` refused, or else a sentence; raises nothing. Kubeflow keeps no page of a task that failed (uploadOutputArtifacts in
    its launcher_v2.go)."""
    try:
        text = _pages.own(_run.report() if label == "report" else _run.made(label))
        text = text or next(filter(None, map(_pages.refused, (label, *gates))), "")
    except (XlrmError, OSError, ValueError) as error:
        progress.say(f"{label}: its page cannot be shown: {error}")
        text = ""
    write(view, text or NOTHING[label])
