"""Why tasks failed: from their own notes, or else from Argo or the log of a driver.

The API's own details of a run's tasks have no messages (backend/src/apiserver/server/api_converter.go,
toApiPipelineTaskDetail). The server keeps the messages in the run's workflow, complete until the run ends.
"""

import base64
import gzip
import json
import re
import zlib
from dataclasses import dataclass, replace
from typing import Any

from components.notes import Notes
from pipelines.standing import UNKNOWN, Task, is_ours, tasks_of
from xlrm import progress
from xlrm.errors import ArtifactError

_DRIVER_SAYS = re.compile(r"KFP driver: (?:driver\.\w+\(.*?\) failed: )?(.*)")
_CHARACTERS = 500
_NO_REASON = re.compile(r"^main: Error \(exit code \d+\)(: |$)")
"""Argo's prefix before the container's termination log, if it wrote one."""


@dataclass(frozen=True)
class Failure:
    """A node of the workflow that failed, with its newest failed pod."""

    name: str
    """Name of the task in the run's details; a driver's is TASK-driver."""
    pod: str
    message: str


def explained(server: Any, run_id: str, notes: Notes, tasks: list[Task]) -> list[Task]:
    """The tasks of a run, each failed one with the reason, including tasks whose failure only Argo knows."""
    failed = {failure.name: failure for failure in failures(server.workflow(run_id)) if is_ours(failure.name)}
    tasks = [replace(task, state="FAILED") if task.state == UNKNOWN and task.name in failed else task for task in tasks]
    names, noted = {task.name for task in tasks}, tasks_of(note.stage for note in notes.tasks.values())
    more = [Task(name, "FAILED") for name in failed if name not in names]
    tasks += [task for task in more if task.driver or task.stage not in noted]
    return [
        replace(task, line=_why(server, run_id, notes, task, failed)) if task.state == "FAILED" else task
        for task in tasks
    ]


def _why(server: Any, run_id: str, notes: Notes, task: Task, failures: dict[str, Failure]) -> str:
    failure = next((failures[name] for name in (task.name, *sorted(tasks_of([task.stage]))) if name in failures), None)
    message = failure.message if failure else ""
    if task.driver:
        return driver_error(server.log(run_id, failure.pod)) or message if failure else task.line
    if task.line:
        return f"{task.line} ({message})" if message else task.line
    try:
        note = notes.tasks.get(task.name)
        return " ".join((notes.why(note) if note else notes.error(task.name)).split()) or message
    except ArtifactError as error:
        progress.say(f"why {task.name} failed cannot be read: {error}")
        return message


def noted_end(notes: Notes) -> list[str]:
    """The line of the task that ends a run, if that task noted a failure."""
    try:
        return [line] if notes.end and notes.end.state == "FAILED" and (line := notes.end.line()) else []
    except ArtifactError:
        return []


def failures(workflow: dict[str, Any]) -> list[Failure]:
    """Failed nodes in the order in which they failed, without those that succeeded when tried again."""
    failed = [node for node in _nodes(workflow) if node.get("phase") in ("Failed", "Error")]
    pods = sorted((node for node in failed if node.get("type") == "Pod"), key=lambda node: node.get("finishedAt") or "")
    by_name = {}
    for pod in pods:
        around = [node for node in failed if f"{pod['name']}.".startswith((f"{node['name']}.", f"{node['name']}("))]
        for name in {node["displayName"] for node in around}:
            by_name[name] = Failure(name, _pod_name(workflow, pod), _NO_REASON.sub("", pod.get("message") or ""))
    return list(by_name.values())


def driver_error(log: str) -> str:
    """The error that ended a driver, from its pod's log and without the stack; empty if there is none."""
    errors = _DRIVER_SAYS.findall(log)
    return errors[-1].strip()[:_CHARACTERS] if errors else ""


def _nodes(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of the workflow; unpacked if Argo compressed them because the workflow would exceed 1 MB
    (workflow/packer/packer.go)."""
    status = workflow.get("status") or {}
    nodes = status.get("nodes")
    if not nodes and status.get("compressedNodes"):
        try:
            nodes = json.loads(gzip.decompress(base64.b64decode(status["compressedNodes"])))
        except (ValueError, OSError, EOFError, zlib.error):  # cut off
            nodes = {}
    return [node for node in (nodes or {}).values() if node.get("name") and node.get("displayName")]


def _pod_name(workflow: dict[str, Any], node: dict[str, Any]) -> str:
    """Name of the node's pod, by the server's rule (backend/src/common/util/workflow.go, RetrievePodName)."""
    metadata = workflow.get("metadata", {})
    if metadata.get("annotations", {}).get("workflows.argoproj.io/pod-name-format") == "v1":
        return node["id"]
    return f"{metadata.get('name')}-{node.get('templateName')}-{node['id'].rpartition('-')[2]}"
