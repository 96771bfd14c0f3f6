"""Size of a run's status, and the time its pods take to start, of every package, preset and placement: computed, without a
cluster.

    python -m benchmarks.kubeflow_status [--tasks] [--languages es,it,ko,zh,...]

Of each: pods, bytes of status.nodes with and without KFP's templateDefaults, the share of both with the spec in the size above
which Argo compresses nodes and Kubeflow's pages stand still, and the longest chain of pods at 10 s each, loops' iterations
side by side; of a run of which nothing is finished, and of one of which all is. `--tasks` adds what each task costs.
"""

import argparse
import tempfile
from pathlib import Path

from components import _hardware
from components._form import LOOPS, shared_out
from configs import PRESETS
from pipelines import placement, submission
from pipelines.server.costs import by_task, unit_costs
from pipelines.server.nodes import Node
from pipelines.server.package import Package, load
from pipelines.server.status import DRIVER_SECONDS, LIMIT, pods, simulate
from pipelines.server.values import Facts
from pipelines.server.workflow import spec_bytes
from xlrm import experiment
from xlrm.errors import ConfigError
from xlrm.steps import steps

NINE = ("es", "it", "ko", "zh", "de", "ru", "tr", "vi")
"""Beside English: all languages there are."""
MADE = {"reward-es": "s3://bucket/prefix/reward/" + "0" * 24}
"""Metadata that components give their artifacts, as long as they are."""
WORK = "condition-2"
"""The group with everything but the first task and the last."""


def facts(package: Package, preset: str, on: placement.Placement, targets: tuple[str, ...], left: bool = True) -> Facts:
    """What a run of a preset passes from task to task, where all is left to do, or nothing."""
    spoken = f"[{','.join(targets)}]"
    made_here = () if preset.startswith("paper") else (f"base.pretraining.languages=[en,{spoken[1:]}",)
    loaded = experiment.load(PRESETS[preset], (f"targets={spoken}", *made_here) if targets else ())
    made = steps(package.name, loaded) if left else {}
    shares = shared_out(made, on.hardware())
    returned = {f"configure.{name}": shares[name] for name in LOOPS} | {"configure.Output": str(len(made))}
    return Facts({"preset": preset}, returned, {} if left else {WORK: 0}, MADE)


def line(package: Package, preset: str, on: placement.Placement, targets: tuple[str, ...]) -> str:
    known = facts(package, preset, on, targets)
    runs = [simulate(package, known, defaults=defaults) for defaults in (True, False)]
    spec, sizes = spec_bytes(package), [sum(node.bytes for node in run) for run in runs]
    shares = " ".join(f"{size:>9,} {(spec + size) / LIMIT:>5.0%}" for size in sizes)
    finished = simulate(package, facts(package, preset, on, targets, left=False))
    chains = " ".join(
        f"{len(pods(run)):>5} {max(one.end for one in run) / DRIVER_SECONDS:>5.0f} {max(one.end for one in run):>4.0f} s"
        for run in (runs[0], finished)
    )
    return f"{package.name:23} {preset:14} {on.name:17} {spec:>8,} {shares} {chains}"


def refused(pipeline: str, preset: str, on: placement.Placement) -> str:
    """Why the experiment cannot work on the placement, if it cannot."""
    try:
        _hardware.check(steps(pipeline, experiment.load(PRESETS[preset])), on.hardware(), preset)
    except ConfigError as error:
        return str(error)
    return ""


def task_lines(nodes: list[Node]) -> list[str]:
    costs = sorted(by_task(nodes).items(), key=lambda one: -one[1].bytes)
    head = f"{'task':44} {'pods':>4} {'bytes':>9} {'driver':>9} {'patches':>9} {'copies':>6} {'rest':>8}"
    return [head] + [
        f"{name:44} {one.pods:>4} {one.bytes:>9,} {one.driver:>9,} {one.patch:>9,} {one.copies:>6} {one.rest:>8,}"
        for name, one in costs
    ]


def show(options: argparse.Namespace, on: placement.Placement, folder: Path) -> None:
    targets = tuple(filter(None, options.languages.split(",")))
    for name in submission.PIPELINES:
        package = load(submission.compile_package(name, folder, on))
        for preset in PRESETS:
            print(refused(package.name, preset, on) or line(package, preset, on, targets))
            if options.tasks:
                print(*task_lines(simulate(package, facts(package, preset, on, targets))), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", action="store_true", help="what each task costs, with KFP's templateDefaults")
    parser.add_argument("--languages", default=",".join(NINE), help="beside the source; none: those of the preset")
    parser.add_argument("--placement", action="append", help="all that ship, if none is named")
    options = parser.parse_args()
    print(
        f"{'package':23} {'preset':14} {'placement':17} {'spec':>8} {'with':>9} {'':5} {'without':>9} {'':5}", end=" "
    )
    print(f"{'pods':>5} {'chain':>5} {'cold':>6} {'pods':>5} {'chain':>5} {'finished':>8}")
    for name in options.placement or placement.CLUSTERS:
        with tempfile.TemporaryDirectory() as folder:
            show(options, placement.load(name), Path(folder))
    print("\none more of each thing, bytes with and without templateDefaults")
    for (name, more), less in zip(unit_costs(defaults=True).items(), unit_costs(defaults=False).values(), strict=True):
        print(f"{name:64} {more:>8,} {less:>8,}")


if __name__ == "__main__":
    main()
