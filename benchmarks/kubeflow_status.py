"""Size of a workflow's status, and the time its pods take to start, of the compiled packages: computed, without a cluster.

    python -m benchmarks.kubeflow_status [--tasks] [--count LOOP=N ...] [FOLDER]

FOLDER holds packages (tests/golden). Of each package and preset: pods, bytes of status.nodes with and without KFP's
templateDefaults, the share of both with the spec in the size above which Argo compresses nodes and Kubeflow's pages stand
still, and the longest chain of pods at 10 s each, loops' iterations side by side. `--tasks` adds what each task costs.
`--count LOOP=N` says how many iterations a loop has, or with 0 that a condition does not hold, as in a run of which the
store has everything.
"""

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace

from components._form import settle
from pipelines.presets import PRESETS
from pipelines.server.costs import by_task, unit_costs
from pipelines.server.nodes import Node
from pipelines.server.package import Package, load
from pipelines.server.status import DRIVER_SECONDS, LIMIT, pods, simulate
from pipelines.server.values import Facts
from pipelines.server.workflow import spec_bytes

FOLDER = Path(__file__).parents[1] / "tests" / "golden"
STORED = {"artifact": "s3://xlrm/artifacts/reward/" + "0" * 16, "digest": "0" * 64, "mlflow_run_id": "0" * 32}
"""Metadata that components give their artifacts, as long as they are."""
SHARDS = 1
"""Of each language's translation."""


def facts(preset: str, counts: dict[str, int] | None = None) -> Facts:
    """What a run of a preset passes from task to task."""
    with tempfile.TemporaryDirectory() as folder:
        settled = settle(PRESETS, preset, {}, {}, {}, SimpleNamespace(path=f"{folder}/summary.md"))
    parts = [{"language": one, "shard": shard} for one in settled.targets for shard in range(SHARDS)]
    returned = {
        "configure.experiment": settled.experiment, "configure.source": settled.source,
        "configure.targets": settled.targets, "plan.Output": parts,
    }  # fmt: skip
    loops = {f"for-loop-{number}": len(settled.targets) for number in (1, 2)} | (counts or {})
    return Facts({"preset": preset}, returned, loops, STORED)


def line(package: Package, preset: str, counts: dict[str, int]) -> str:
    runs = [simulate(package, facts(preset, counts), defaults=defaults) for defaults in (True, False)]
    sizes = [sum(node.bytes for node in run) for run in runs]
    seconds = max(node.end for node in runs[0])
    spec = spec_bytes(package)
    shares = " ".join(f"{size:>10,} {(spec + size) / LIMIT:>6.0%}" for size in sizes)
    chain = f"{seconds / DRIVER_SECONDS:>6.0f} {seconds:>6.0f} s"
    return f"{package.name:24} {preset:14} {len(pods(runs[0])):>5} {spec:>9,} {shares} {chain}"


def task_lines(nodes: list[Node]) -> list[str]:
    costs = sorted(by_task(nodes).items(), key=lambda one: -one[1].bytes)
    head = f"{'task':44} {'pods':>4} {'bytes':>9} {'driver':>9} {'patches':>9} {'copies':>6} {'rest':>8}"
    return [head] + [
        f"{name:44} {one.pods:>4} {one.bytes:>9,} {one.driver:>9,} {one.patch:>9,} {one.copies:>6} {one.rest:>8,}"
        for name, one in costs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--tasks", action="store_true", help="what each task costs, with KFP's templateDefaults")
    parser.add_argument("--count", action="append", default=[], metavar="LOOP=N", help="iterations of a loop")
    options = parser.parse_args()
    counts = {name: int(number) for name, number in (one.split("=") for one in options.count)}
    head = f"{'package':24} {'preset':14} {'pods':>5} {'spec':>9} {'with':>10} {'':>6} {'without':>10} {'':>6} {'chain':>6}"
    print(head)
    for file in sorted(options.folder.glob("*.yaml")):
        package = load(file)
        for preset in PRESETS:
            print(line(package, preset, counts))
            if options.tasks:
                print(*task_lines(simulate(package, facts(preset, counts))), sep="\n")
    print("\none more of each thing, bytes with and without templateDefaults")
    for (name, more), less in zip(unit_costs(defaults=True).items(), unit_costs(defaults=False).values(), strict=True):
        print(f"{name:64} {more:>8,} {less:>8,}")


if __name__ == "__main__":
    main()
