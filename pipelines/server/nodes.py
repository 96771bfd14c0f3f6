"""Nodes of a workflow's status, as Argo Workflows 4.0.5 stores them.

A template with a retryStrategy makes a Retry node and a child node, and both contain the inputs
(workflow/controller/operator.go, executeTemplate and initializeExecutableNode). KFP's workflowDefaults give every
template a retryStrategy, including DAGs (mergedTemplateDefaultsInto keeps retryStrategy for every type).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pipelines.server.package import ROOT, Document, Package, go_json
from pipelines.server.values import Facts


@dataclass(frozen=True)
class Spot:
    """Place and time at which a template is called."""

    inside: str
    """Name of the enclosing DAG's node."""
    boundary: str
    """Id of that node."""
    start: float
    """Seconds since the start of the run."""
    parents: tuple[str, ...]
    """Ids of the nodes that become its parents."""


@dataclass(frozen=True)
class Done:
    """The result of a call."""

    end: float
    last: tuple[str, ...]
    """Ids of its outbound nodes, whose children are the next nodes."""
    status: Document = field(default_factory=dict)
    """Fields that the call adds to its node's status."""

    def then(self, spot: Spot) -> Spot:
        """The place after this call, in the same DAG."""
        return replace(spot, start=self.end, parents=self.last)


@dataclass
class Node:
    status: Document
    owner: str
    """DAG.task that it belongs to."""
    start: float
    end: float = 0.0

    @property
    def bytes(self) -> int:
        """Size in bytes, including its key in status.nodes."""
        held = {key: value for key, value in self.status.items() if value != []}
        return len(go_json(held).encode()) + len(self.status["id"]) + 4


@dataclass
class Called:
    """A call of a template by a DAG."""

    kind: str
    """Type of the node: DAG or Pod."""
    parameters: list[Document]
    body: Callable[[Spot], Done]
    """Produces what happens inside the node."""
    retried: bool = False
    hooked: bool = False


@dataclass
class Run:
    """A simulated run: nodes by id, in the order of their creation."""

    package: Package
    facts: Facts
    defaults: bool
    """Whether KFP's templateDefaults give every template a retryStrategy."""
    workflow: str
    nodes: dict[str, Node] = field(default_factory=dict)
    owner: str = ROOT

    def id(self, name: str) -> str:
        digits = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)  # a number as long as Argo's FNV-1 hash
        return name if name == self.workflow else f"{self.workflow}-{digits}"

    def node(self, spot: Spot, name: str, kind: str, template: str, more: Document) -> Node:
        """Adds a node as a child of the spot's parents."""
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
        """Calls a template as the DAG's task `key` (executeTemplate)."""
        name = f"{spot.inside}.{key}" if spot.inside else key
        flag = {
            mark: True for mark, on in (("hooked", called.hooked), ("retried", called.retried or self.defaults)) if on
        }
        held: Document = {"inputs": {"parameters": called.parameters}} if called.parameters else {}
        held |= {"nodeFlag": flag} if flag else {}
        if not flag.get("retried"):
            return self._body(spot, name, template, called, held)
        retry = self.node(spot, name, "Retry", template, held)
        below = replace(spot, parents=(retry.status["id"],))
        done = self._body(below, f"{name}(0)", template, called, held)
        retry.end = done.end
        retry.status.update({part: value for part, value in done.status.items() if part == "outputs"})
        return replace(done, last=tuple(retry.status["children"]))

    def _body(self, spot: Spot, name: str, template: str, called: Called, held: Document) -> Done:
        node = self.node(spot, name, called.kind, template, held)
        done = called.body(Spot(name, node.status["id"], spot.start, (node.status["id"],)))
        node.end = done.end
        node.status.update(done.status)
        return done


def pod(run: Run, seconds: float, template: str, outputs: list[Document]) -> Callable[[Spot], Done]:
    """Body of a pod that succeeds and whose log is archived, as in KFP's configuration of Argo."""

    def body(spot: Spot) -> Done:
        name = f"{run.workflow}-{template}-{spot.boundary.rsplit('-', 1)[-1]}"
        key = f"private-artifacts/kubeflow/{run.workflow}/2026/01/01/{name}/main.log"
        made: Document = {"parameters": outputs} if outputs else {}
        made |= {"artifacts": [{"name": "main-logs", "s3": {"key": key}}], "exitCode": "0"}
        status = {"outputs": made, "hostNodeName": "node-000", "taskResultSynced": True}
        return Done(spot.start + seconds, (spot.boundary,), status)

    return body


def inside(done: Done) -> Done:
    """Result of a DAG whose last tasks ended with `done`."""
    return Done(done.end, done.last, {"outboundNodes": list(done.last)})
