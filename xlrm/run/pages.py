"""The page of an artifact: the file in it that is made for people to read, also if a gate refused it."""

import html
import re

from xlrm.errors import GateError
from xlrm.store import artifacts, objects

FILES = {"curate": "curation.md", "validate": "data_docs.html", "register": "gate.md", "report": "report.html"}
"""Stage -> name of that file."""
REMEDIES = {
    "translate": "choose another translator, or allow more repairs (translate.max_repair_share)",
    "validate": "mend the translations or the data or, if the page shows that they are correct, relax the limits "
    "(validate.limits, validate.max_reject_share)",
    "register": "train a better model, or promote the refused one despite the gate: xlrm promote models:/NAME/VERSION",
}
"""Stage -> what to do when its gate refuses."""


def refused(error: GateError) -> str | None:
    """URI of the page of the refused artifact; None if the stage writes none."""
    file = FILES.get(_stage(error.kept))
    return objects.join(error.kept, file) if file else None


def remedy(error: GateError) -> str:
    return REMEDIES.get(_stage(error.kept), "")


def with_reason(page: str, title: str, reason: str) -> str:
    """The page, Markdown or HTML, with a title and a reason at its top."""
    if not page.lstrip().startswith("<"):
        return f"# {title}\n\n{reason}\n\n{page}"
    heading = f"<h1>{html.escape(title)}</h1>\n<p><strong>{html.escape(reason)}</strong></p>\n"
    return re.sub(r"<body[^>]*>|$", lambda start: f"{start[0]}\n{heading}", page, count=1)


def _stage(kept: str) -> str:
    """STAGE of the URI STORE/STAGE/KEY of a refused artifact; empty if nothing was kept."""
    return artifacts.place(kept).split("/")[-2] if kept else ""
