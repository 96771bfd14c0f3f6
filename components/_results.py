"""What a run shows at its top: the pages of the steps that people look for."""

from typing import Any

from components import _pages, _run
from components._address import write
from xlrm import progress, storage
from xlrm.errors import XlrmError

NOTHING = {
    "register": "No decision: this run has registered no reward model.\n", "report": "This run has written no report.\n",
}  # fmt: skip


def show(label: str, view: Any) -> None:
    """The page of a step's artifact, or of what its gate refused; a sentence where there is neither, which fails nothing."""
    try:
        text = _pages.own(_run.made(label)) or _refused(label)
    except (XlrmError, OSError, ValueError) as error:
        progress.say(f"{label}: its page cannot be shown: {error}")
        text = ""
    write(view, text or NOTHING[label])


def _refused(label: str) -> str:
    uri = _run.refused(label)
    file = _pages.FILES[label]
    return (storage.read_bytes(storage.join(uri, file)) or b"").decode() if uri else ""
