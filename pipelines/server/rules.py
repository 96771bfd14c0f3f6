"""Whether a Kubeflow Pipelines 2.17.0 server and Argo Workflows 4.0.5 run a package: what they would refuse or leave out.

A server parses a package when it is uploaded, looks at references when a run is made of it, and resolves values when each
task's driver starts, hours later; a finding here is one line that names the package, the DAG, the task and the input.
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
    """What stands in the way of a run, one line each; empty for a package that runs.

    `never_empty` names loops over lists that are known only in a run, and that never are empty: from others nothing may be
    collected.
    """
    package = Package(without_nulls(package.pipeline), without_nulls(package.platform))
    if found := [*parse_findings(package)]:
        return found  # the other rules take types for granted
    found = [*compile_findings(package)]
    full = frozenset(never_empty)
    for scope in scopes(package):
        found += [*task_findings(scope), *input_findings(scope, full), *flow_findings(scope), *setting_findings(scope)]
    return list(dict.fromkeys(found))


def size_findings(package: Package, facts: Facts, *, defaults: bool = True) -> list[str]:
    """Whether the nodes of a run fit in a workflow: above `LIMIT` Argo compresses them, and Kubeflow's pages stand still."""
    spec, status = spec_bytes(package), status_bytes(package, facts, defaults=defaults)
    if spec + status <= LIMIT:
        return []
    kind = "with" if defaults else "without"
    return [
        f"{package.name}: {status:,} bytes of status {kind} templateDefaults, {spec:,} of spec, and {LIMIT:,} at most"
    ]
