"""The page of a task in the Kubeflow UI, with the stage's own page if it writes one."""

import json

from components import _run
from xlrm import markdown_table
from xlrm.run import pages
from xlrm.store import addresses, artifacts, objects
from xlrm.store.artifacts import Record


def page(made: dict[str, str]) -> str:
    """The page for label -> URI of the steps' artifacts: Markdown, or the HTML page of the one stage that writes
    such a page."""
    parts = []
    for label, uri in made.items():
        record = artifacts.load(uri)
        own = _own(uri, record)
        if own.lstrip().startswith("<"):
            return own
        parts += [own, markdown(label, uri, record)]
    return "\n".join(filter(None, parts))


def own(uri: str | None) -> str:
    """The file of a step's artifact that is written for display; empty if there is none."""
    return _own(uri, artifacts.load(uri)) if uri else ""


def description(uri: str | None) -> str:
    """The Markdown of a step's artifact that is written for display; empty if there is none."""
    if not uri:
        return ""
    record = artifacts.load(uri)
    wanted = tuple(file for file in record.files if file.path == pages.MARKDOWN.get(record.stage))
    return pages.description(record.stage, artifacts.fetch(uri, addresses.home() / "cache", wanted)) if wanted else ""


def refused(label: str) -> str:
    """The page of what a step's gate refused, with the reason first; empty if it refused nothing or there is no
    page."""
    refusal, file = _run.refused(label), pages.FILES.get(label.split("-")[0])
    if not refusal or not file or _run.made(label):  # a later try of the run has made it
        return ""
    page = objects.read_bytes(objects.join(refusal.uri, file)) or b""
    return pages.with_reason(page.decode(), f"{label}: refused", refusal.reason)


def _own(uri: str, record: Record) -> str:
    wanted = tuple(file for file in record.files if file.path == pages.FILES.get(record.stage))
    return "".join(
        (artifacts.fetch(uri, addresses.home() / "cache", wanted) / file.path).read_text(encoding="utf-8")
        for file in wanted
    )


def markdown(label: str, uri: str, record: Record) -> str:
    """An artifact's record as Markdown, metrics first."""
    facts = {
        "artifact": f"`{uri}`", "made": f"{record.started:%Y-%m-%d %H:%M} UTC, in {record.seconds:,.0f} s",
        "memory": f"{record.peak_memory_mib:,.0f} MiB at the peak", "MLflow run": record.mlflow_run_id or "none",
        "git commit": record.git_commit or "unknown", "image": record.image or "none",
    }  # fmt: skip
    metrics = [markdown_table.row((key, f"{value:,.4g}")) for key, value in record.metrics.items()]
    given = [f"- {name}: `{item.uri}`" for name, items in record.inputs.items() for item in items] or ["- nothing"]
    text = json.dumps(record.config, indent=2, ensure_ascii=False, allow_nan=False)
    return "\n".join(
        [
            f"# {label}", "", "| | |", "|---|---:|", *metrics, "",
            "## Made", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items()), "",
            "## Made from", "", *given, "", "## Settings", "", "```json", text, "```", "",
        ]
    )  # fmt: skip
