"""How a run's end is told."""

import json
import os
import urllib.request
from typing import Any

from components._address import write
from xlrm import progress

ADDRESS = "XLRM_NOTIFY_URL"
"""Secret address that takes {"text": ...} by POST, as Slack's and Mattermost's incoming webhooks do."""
SECONDS = 10
_SAID = {"COMPLETE": "succeeded", "RUNNING": "ended, how the server does not tell"}
"""Of states that a server writes otherwise: as ML Metadata does, or not to the end, as one that miscounts the tasks of a
loop (kubeflow/pipelines#13321)."""


def report(pipeline: str, status: Any, summary: Any) -> None:
    """Says in the log, as Markdown and to the address of `XLRM_NOTIFY_URL` what KFP says of the tasks before this one."""
    said = _SAID.get(status.state, status.state.lower())
    text = f"{pipeline} {os.environ.get('KFP_RUN_ID', '')}".strip() + f": {said}"
    if status.error_message:
        text += f": {' '.join(status.error_message.split())}"
    progress.say(text)
    write(summary, f"# {said.capitalize()}\n\n{text}\n")
    if address := os.environ.get(ADDRESS):
        _post(address, text)


def _post(address: str, text: str) -> None:
    """A run that ended well is not made a failure by a chat that is down; the address is not shown, being a secret."""
    request = urllib.request.Request(
        address, data=json.dumps({"text": text}).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            pass
    except (OSError, ValueError) as error:
        progress.say(f"{ADDRESS}: nobody could be told: {type(error).__name__}")
