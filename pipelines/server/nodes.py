"""Nodes of a workflow's status, as Argo Workflows 4.0.5 stores them.

A template with a retryStrategy makes a Retry node and a child node, and both hold the inputs
(workflow/controller/operator.go, executeTemplate and initializeExecutableNode). KFP's workflowDefaults give every template
one, DAGs too (mergedTemplateDefaultsInto leaves retryStrategy in, whatever the type).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.server.package import ROOT, Document, Package, go_json
from pipelines.server.values import Facts

Body = Callable[[str, str, float], tuple[float, list[str], Document]]
"""(name of the node, its id, start) -> (end, ids of its outbound nodes, more of its status)."""


@dataclass
class Node:
    status: Document
    owner: str
    """DAG and task it belongs to."""
    start: float
    end: float = 0.0

    @property
    def bytes(self) -> int:
        """With its key in status.nodes."""
        held = {key: one for key, one in self.status.items() if one != []}
        return len(go_json(held).encode()) + len(self.status["id"]) + 4


@dataclass
class Run:
    """Nodes by id, as they come up."""

    package: Package
    facts: Facts
    defaults: bool = True
    """Whether KFP's templateDefaults give every template a retryStrategy."""
    nodes: dict[str, Node] = field(default_factory=dict)
    workflow: str = ""
    owner: str = ROOT

    def node(self, name: str, kind: str, template: str, boundary: str, start: float, more: Document) -> Node:
        inside = self.nodes[boundary].status["name"] if boundary else ""
        status: Document = {
            "id": self.id(name), "name": name, "displayName": name.removeprefix(inside).lstrip("."), "type": kind,
            "templateName": template, "templateScope": f"local/{self.workflow}", "phase": "Succeeded",
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:00Z", "progress": "10/10",
            "resourcesDuration": {"cpu": 10, "memory": 10}, "children": [],
        }  # fmt: skip
        status.update({"boundaryID": boundary} if boundary else {}, **more)
        self.nodes[status["id"]] = Node(status, self.owner, start)
        return self.nodes[status["id"]]

    def id(self, name: str) -> str:
        digits = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)  # as long as Argo's, which is FNV-1
        return name if name == self.workflow else f"{self.workflow}-{digits}"

    def template(
        self, name: str, template: str, boundary: str, start: float, task: "Called"
    ) -> tuple[float, list[str]]:
        """Runs a template; returns when it ends and its outbound nodes. See executeTemplate."""
        retry = None
        flag: Document = {"hooked": True} if task.hooked else {}
        held = {"inputs": {"parameters": task.parameters}} if task.parameters else {}
        if task.retried or self.defaults:
            flag["retried"] = True
            retry = self.node(name, "Retry", template, boundary, start, {**held, "nodeFlag": flag})
            name = f"{name}(0)"
        node = self.node(name, task.kind, template, boundary, start, {**held, **({"nodeFlag": flag} if flag else {})})
        node.end, outbound, more = task.body(name, node.status["id"], start)
        node.status.update(more)
        if retry:
            retry.end = node.end
            retry.status["children"] = [node.status["id"]]
            retry.status.update({key: one for key, one in more.items() if key == "outputs"})
            return node.end, [node.status["id"]]
        return node.end, outbound or [node.status["id"]]

    def pod(self, seconds: float, template: str, outputs: list[Document]) -> Body:
        def body(name: str, node: str, start: float) -> tuple[float, list[str], Document]:
            pod = f"{self.workflow}-{template}-{node.rsplit('-', 1)[-1]}"
            key = f"private-artifacts/kubeflow/{self.workflow}/2026/01/01/{pod}/main.log"
            made = {"parameters": outputs} if outputs else {}
            made |= {"artifacts": [{"name": "main-logs", "s3": {"key": key}}], "exitCode": "0"}
            return start + seconds, [node], {"outputs": made, "hostNodeName": "node-000", "taskResultSynced": True}

        return body


@dataclass
class Called:
    """What a DAG calls a template with."""

    kind: str
    """Of the node: DAG or Pod."""
    parameters: list[Document]
    body: Body
    retried: bool = False
    hooked: bool = False
