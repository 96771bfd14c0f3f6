"""Size of a run's status and start-up time of its pods, for every package, preset and placement: computed without a
cluster.

    python -m benchmarks.kubeflow_status [--tasks] [--languages es,it,ko,zh,...] [--json FILE]

Prints for each: number of pods; bytes of status.nodes with and without KFP's templateDefaults; the share that each,
with the spec, takes of the size above which Argo compresses nodes and Kubeflow's pages stop updating; and the longest
chain of pods at 10 s each, with a loop's iterations side by side. Pods and chain are given for a run with nothing
finished, and for one with everything finished. `--tasks` adds the cost of each task.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import record
from components import hardware
from components.form import LOOPS, shared_out
from configs import PRESETS, presets
from pipelines import placement, submission
from pipelines.server.costs import by_task, unit_costs
from pipelines.server.nodes import Node
from pipelines.server.package import Package, load
from pipelines.server.status import DRIVER_SECONDS, LIMIT, pods, simulate
from pipelines.server.values import Facts
from pipelines.server.workflow import spec_bytes
from xlrm.errors import ConfigError
from xlrm.run import experiment
from xlrm.run.sections import REUSE
from xlrm.run.steps import steps

NINE = ("es", "it", "ko", "zh", "de", "ru", "tr", "vi")
"""All languages except English."""
MADE = {"reward-es": "s3://bucket/prefix/reward/" + "0" * 24}
"""Metadata of artifacts, with values as long as those that components write."""
WORK = "condition-2"
"""The group that contains everything except the first and the last task."""


def facts(package: Package, preset: str, on: placement.Placement, targets: tuple[str, ...], left: bool = True) -> Facts:
    """Values that a run of a preset passes from task to task if all steps are left to do, or none. `targets`: other languages
    than the preset's; those of reuse-rewards keep theirs."""
    spoken = f"[{','.join(targets)}]"
    if package.name == REUSE:  # whose experiments have data of their own in each language
        targets = ()
    more = {
        "demo": [f"base.pretraining.languages=[en,{spoken[1:]}"], "own": ["translate.translator=OWNER/NAME"],
        "real": ["translate.translator=OWNER/NAME"], "paper": ["sample.eval_prompts=null"],
    }  # fmt: skip
    others = [line for start, lines in more.items() if preset.startswith(start) for line in lines]
    loaded = experiment.load(PRESETS[preset], (f"targets={spoken}", *others) if targets else ())
    made = steps(package.name, loaded) if left else {}
    shares = shared_out(made, on.hardware())
    returned = {f"configure.{name}": shares[name] for name in LOOPS} | {"configure.Output": str(len(made))}
    return Facts({"preset": preset}, returned, {} if left else {WORK: 0}, MADE)


def measure(package: Package, preset: str, on: placement.Placement, targets: tuple[str, ...]) -> dict:
    """Bytes of the spec, and of the status with and without templateDefaults; number of pods and seconds of the
    longest chain, for a run with nothing finished and for one with everything finished."""
    known = facts(package, preset, on, targets)
    runs = [simulate(package, known, defaults=defaults) for defaults in (True, False)]
    finished = simulate(package, facts(package, preset, on, targets, left=False))
    return {
        "package": package.name, "preset": preset, "placement": on.name, "spec_bytes": spec_bytes(package),
        "status_bytes": [sum(node.bytes for node in run) for run in runs],
        "pods": [len(pods(run)) for run in (runs[0], finished)],
        "chain_seconds": [max(one.end for one in run) for run in (runs[0], finished)],
    }  # fmt: skip


def line(found: dict) -> str:
    spec = found["spec_bytes"]
    shares = " ".join(f"{size:>9,} {(spec + size) / LIMIT:>5.0%}" for size in found["status_bytes"])
    chains = " ".join(
        f"{count:>5} {seconds / DRIVER_SECONDS:>5.0f} {seconds:>4.0f} s"
        for count, seconds in zip(found["pods"], found["chain_seconds"], strict=True)
    )
    return f"{found['package']:23} {found['preset']:14} {found['placement']:17} {spec:>8,} {shares} {chains}"


def refused(pipeline: str, preset: str, on: placement.Placement) -> str:
    """Why the experiment cannot work on the placement; empty if it can."""
    try:
        hardware.check(steps(pipeline, experiment.load(PRESETS[preset])), on.hardware(), preset)
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


def show(options: argparse.Namespace, on: placement.Placement, folder: Path) -> Iterator[dict]:
    """Prints the lines of a placement, and yields their figures."""
    targets = tuple(filter(None, options.languages.split(",")))
    for name in submission.PIPELINES:
        package = load(submission.compile_package(name, folder, on))
        for preset in presets(package.name):
            if said := refused(package.name, preset, on):
                print(said)
            else:
                found = measure(package, preset, on, targets)
                print(line(found))
                yield found
            if options.tasks:
                print(*task_lines(simulate(package, facts(package, preset, on, targets))), sep="\n")


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("--tasks", action="store_true", help="show the size of each task, with KFP's templateDefaults")
    found.add_argument("--languages", default=",".join(NINE), help="target languages; empty: those of the preset")
    found.add_argument("--placement", action="append", help="placement to measure (default: all shipped ones)")
    return found


def main() -> None:
    options = parser().parse_args()
    runs: list[dict] = []
    print(
        f"{'package':23} {'preset':14} {'placement':17} {'spec':>8} {'with':>9} {'':5} {'without':>9} {'':5}", end=" "
    )
    print(f"{'pods':>5} {'chain':>5} {'cold':>6} {'pods':>5} {'chain':>5} {'finished':>8}")
    for name in options.placement or placement.CLUSTERS:
        with tempfile.TemporaryDirectory() as folder:
            runs += show(options, placement.load(name), Path(folder))
    print("\none more of each thing, bytes with and without templateDefaults")
    leaner = unit_costs(defaults=False)
    costs = {name: [more, leaner[name]] for name, more in unit_costs(defaults=True).items()}
    for name, (more, less) in costs.items():
        print(f"{name:64} {more:>8,} {less:>8,}")
    record.write(__spec__.name, options, {"runs": runs, "one_more_bytes": costs})


if __name__ == "__main__":
    main()
