"""Whether a Kubeflow Pipelines 2.17.0 server and Argo Workflows 4.0.5 run a package: what they would refuse or leave
out.

A server parses a package at its upload, checks references when a run is created, and resolves values when each task's
driver starts, hours later. A finding here is one line that names the package, the DAG, the task and the input.
"""

from collections.abc import Iterable

from pipelines.server.flow import flow_findings
from pipelines.server.inputs import input_findings
from pipelines.server.package import Package, without_nulls
from pipelines.server.parsing import parse_findings
from pipelines.server.scopes import scopes
from pipelines.server.settings import setting_findings
from pipelines.server.status import LIMIT, status_bytes
from pipelines.server.templates import compile_findings, task_findings
from pipelines.server.values import Facts
from pipelines.server.workflow import spec_bytes


def findings(package: Package, never_empty: Iterable[str] = ()) -> list[str]:
    """What prevents a run, one line each; empty for a package that runs.

    `never_empty` names loops whose lists are only known in a run but are never empty; outputs of other such loops may
    not be collected.
    """
    package = Package(without_nulls(package.pipeline), without_nulls(package.platform))
    if lines := [*parse_findings(package)]:
        return lines  # the other rules rely on the types
    lines = [*compile_findings(package)]
    full = frozenset(never_empty)
    for scope in scopes(package):
        lines += [*task_findings(scope), *input_findings(scope, full), *flow_findings(scope), *setting_findings(scope)]
    return list(dict.fromkeys(lines))


def size_findings(package: Package, facts: Facts, *, defaults: bool = True) -> list[str]:
    """Whether the nodes of a run fit in a workflow: above `LIMIT` Argo compresses them, and Kubeflow's pages stop
    updating."""
    spec, status = spec_bytes(package), status_bytes(package, facts, defaults=defaults)
    if spec + status <= LIMIT:
        return []
    kind = "with" if defaults else "without"
    return [
        f"{package.name}: {status:,} bytes of status {kind} templateDefaults, {spec:,} of spec, and {LIMIT:,} at most"
    ]
