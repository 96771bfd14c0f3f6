"""The page of an artifact: the file in it that is made for people to read, also if a gate refused it."""

import html
import re
from pathlib import Path

from xlrm.errors import ConfigError, GateError
from xlrm.store import artifacts, objects

REPORTS = ("report", "reuse_report")
"""Stages whose artifact is the report of a run; a pipeline has one of them, its last step."""
FILES = {
    "curate": "curation.md", "validate": "data_docs.html", "register": "gate.md", **dict.fromkeys(REPORTS, "report.html"),
}  # fmt: skip
"""Stage -> name of that file."""
MARKDOWN = {"curate": "curation.md", "register": "gate.md", **dict.fromkeys(REPORTS, "report.md")}
"""Stage -> name of the same in Markdown, for pages that show no HTML."""
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


def description(stage: str, folder: Path) -> str:
    """The Markdown of what a stage wrote into a folder; empty if it writes none."""
    path = folder / MARKDOWN.get(stage, "")
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def report_file(output: Path) -> str:
    """Name of the report's file in the form that `output` ends in. Raises ConfigError for another ending."""
    forms = {Path(name).suffix: name for name in ("report.html", "report.md", "report.tex")}
    if output.suffix not in forms:
        raise ConfigError("no such form", where="OUTPUT", value=str(output), hint=f"there are {', '.join(forms)}")
    return forms[output.suffix]


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
