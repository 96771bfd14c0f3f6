"""Nodes of a workflow's status, as Argo Workflows 4.0.5 stores them.

A template with a retryStrategy makes a Retry node and a child node, and both hold the inputs
(workflow/controller/operator.go, executeTemplate and initializeExecutableNode). KFP's workflowDefaults give every template
one, DAGs too (mergedTemplateDefaultsInto leaves retryStrategy in, whatever the type).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pipelines.server.package import ROOT, Document, Package, go_json
from pipelines.server.values import Facts


@dataclass(frozen=True)
class Spot:
    """Where and when a template is called."""

    inside: str
    """Name of the DAG's node around it."""
    boundary: str
    """That node's id."""
    start: float
    """Seconds after the run's."""
    parents: tuple[str, ...]
    """Ids of the nodes whose child it becomes."""


@dataclass(frozen=True)
class Done:
    """What came of a call."""

    end: float
    last: tuple[str, ...]
    """Ids of its outbound nodes, whose children are the next ones."""
    status: Document = field(default_factory=dict)
    """What its node's status gets from it."""

    def then(self, spot: Spot) -> Spot:
        """In the same DAG, after this."""
        return replace(spot, start=self.end, parents=self.last)


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
class Called:
    """What a DAG calls a template with."""

    kind: str
    """Of the node: DAG or Pod."""
    parameters: list[Document]
    body: Callable[[Spot], Done]
    """What happens inside the node."""
    retried: bool = False
    hooked: bool = False


@dataclass
class Run:
    """Nodes by id, as they come up."""

    package: Package
    facts: Facts
    defaults: bool
    """Whether KFP's templateDefaults give every template a retryStrategy."""
    workflow: str
    nodes: dict[str, Node] = field(default_factory=dict)
    owner: str = ROOT

    def id(self, name: str) -> str:
        digits = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)  # as long as Argo's, which is FNV-1
        return name if name == self.workflow else f"{self.workflow}-{digits}"

    def node(self, spot: Spot, name: str, kind: str, template: str, more: Document) -> Node:
        """A new node, a child of the spot's parents."""
        status: Document = {
            "id": self.id(name), "name": name, "displayName": name.removeprefix(spot.inside).lstrip("."), "type": kind,
            "templateName": template, "templateScope": f"local/{self.workflow}", "phase": "Succeeded",
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:00Z", "progress": "10/10",
            "resourcesDuration": {"cpu": 10, "memory": 10}, "children": [],
        }  # fmt: skip
        status.update({"boundaryID": spot.boundary} if spot.boundary else {}, **more)
        node = self.nodes[status["id"]] = Node(status, self.owner, spot.start)
        for parent in spot.parents:
            self.nodes[parent].status["children"].append(status["id"])
        return node

    def call(self, spot: Spot, key: str, template: str, called: Called) -> Done:
        """Runs a template as the DAG's task `key` (executeTemplate)."""
        name = f"{spot.inside}.{key}" if spot.inside else key
        flag = {
            one: True for one, on in (("hooked", called.hooked), ("retried", called.retried or self.defaults)) if on
        }
        held = {"inputs": {"parameters": called.parameters}} if called.parameters else {}
        held |= {"nodeFlag": flag} if flag else {}
        if not flag.get("retried"):
            return self._body(spot, name, template, called, held)
        retry = self.node(spot, name, "Retry", template, held)
        below = replace(spot, parents=(retry.status["id"],))
        done = self._body(below, f"{name}(0)", template, called, held)
        retry.end = done.end
        retry.status.update({one: value for one, value in done.status.items() if one == "outputs"})
        return replace(done, last=tuple(retry.status["children"]))

    def _body(self, spot: Spot, name: str, template: str, called: Called, held: Document) -> Done:
        node = self.node(spot, name, called.kind, template, held)
        done = called.body(Spot(name, node.status["id"], spot.start, (node.status["id"],)))
        node.end = done.end
        node.status.update(done.status)
        return done


def pod(run: Run, seconds: float, template: str, outputs: list[Document]) -> Callable[[Spot], Done]:
    """A pod that succeeds, with its log archived as KFP's configuration of Argo has it."""

    def body(spot: Spot) -> Done:
        name = f"{run.workflow}-{template}-{spot.boundary.rsplit('-', 1)[-1]}"
        key = f"private-artifacts/kubeflow/{run.workflow}/2026/01/01/{name}/main.log"
        made = {"parameters": outputs} if outputs else {}
        made |= {"artifacts": [{"name": "main-logs", "s3": {"key": key}}], "exitCode": "0"}
        status = {"outputs": made, "hostNodeName": "node-000", "taskResultSynced": True}
        return Done(spot.start + seconds, (spot.boundary,), status)

    return body


def inside(done: Done) -> Done:
    """Of a DAG whose last tasks these were."""
    return Done(done.end, done.last, {"outboundNodes": list(done.last)})
