"""Turns the few parameters of a form into a whole experiment, and finds the steps that are left to do."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from components import _run, component_of, estimate, hardware
from components._address import write
from components._finished import finished
from components._step import errors_in_one_line
from components.hardware import Hardware
from components.notes import FAILED, NOTHING_LEFT, SUCCEEDED, note_ended, note_started
from xlrm import progress
from xlrm.errors import ConfigError
from xlrm.run import endpoints
from xlrm.run.experiment import Experiment, build, parse
from xlrm.run.steps import Steps


class Left(NamedTuple):
    Output: str
    """Number of steps left, in digits. KFP's local runner finds the value of a condition only by the name `Output`."""
    translate: list[str]
    reward: list[str]
    sample: list[str]
    evaluate: list[str]
    align: list[str]
    answer: list[str]


LOOPS = Left._fields[1:]
"""Components that run in a loop over the steps left."""


def settle(
    pipeline: str, placement: dict[str, Any], preset: str, experiment: str, shorthands: dict[str, Any],
    overrides: dict[str, Any], page: Any,
) -> Left:  # fmt: skip
    """Settles the experiment, stores it for the run's tasks, and finds the steps that are left to do.

    It begins with `experiment`, the text of a file, or with the preset if that is empty; `shorthands` (`stage.field` ->
    value) that are not empty apply to it, then `overrides`. `page` shows the result as Markdown. Ends the task with
    status 2 and one line for a wrong value or for what cannot work on the placement.
    """
    with _noted("configure"):
        settings = {name: value for name, value in shorthands.items() if value not in ("", [], 0)}
        resolved, where = _settled(pipeline, preset, experiment, settings | overrides)
        run = _run.Run(pipeline=pipeline, experiment=resolved, hardware=Hardware(**placement))
        made = run.steps()
        hardware.check(made, run.hardware, where)
        _run.begin(run)
        done = finished(made)
        for label, uri in done.items():
            _run.note_made(label, uri)
        todo = {label: made[label] for label in made if label not in done}
        endpoints.check(todo.values())
        write(page, _markdown(resolved, where, made, done, estimate.table(resolved, pipeline, run.hardware)))
    progress.say(f"configure: {len(done)} of {len(made)} steps were already finished")
    note_ended("configure", SUCCEEDED, "" if todo else NOTHING_LEFT)
    return Left(str(len(todo)), **shared_out(todo, run.hardware))


@contextlib.contextmanager
def _noted(label: str) -> Iterator[None]:
    """For a task without steps: notes its start, and its failure if there is one."""
    note_started(label)
    try:
        with errors_in_one_line(label):
            yield
    except BaseException:
        note_ended(label, FAILED)
        raise


def _settled(pipeline: str, preset: str, experiment: str, overrides: dict[str, Any]) -> tuple[Experiment, str]:
    """The experiment, and where its settings come from."""
    from configs import PRESETS

    if experiment:
        return build(parse(experiment, "experiment"), overrides, "experiment", pipeline), "experiment"
    if preset not in PRESETS:
        raise ConfigError("no such preset", where="preset", value=preset, hint=f"there are {', '.join(PRESETS)}")
    raw = {"name": preset} | yaml.safe_load(Path(PRESETS[preset]).read_text(encoding="utf-8"))
    return build(raw, overrides, f"preset {preset}", pipeline), f"preset {preset}"


def shared_out(todo: Steps, hardware: Hardware) -> dict[str, list[str]]:
    """Component of a loop -> comma-separated labels of its steps, one text for each pod that it may have. A step runs in
    the pod of the step whose artifact it reads, if the component runs both."""
    chains: dict[str, list[list[str]]] = defaultdict(list)
    for label, step in todo.items():
        others = chains[component_of(step)]
        before = next((chain for chain in others if step.reads & set(chain)), None)
        if before is None:
            others.append([label])
        else:
            before.append(label)
    shares = {}
    for component in LOOPS:
        pods = hardware.share(component).pods
        parts = [chains[component][place::pods] for place in range(pods)]
        shares[component] = [",".join(label for chain in part for label in chain) for part in parts if part]
    return shares


def _markdown(experiment: Experiment, where: str, made: Steps, done: dict[str, str], estimate: str) -> str:
    text = yaml.safe_dump(experiment.as_file(), allow_unicode=True, sort_keys=False)
    left = [label for label in made if label not in done]
    lines = [
        f"# {experiment.name}",
        "",
        f"From the {where}; settings that are not listed have the stage's defaults.",
        "",
    ]
    lines += [f"{len(done)} of {len(made)} steps are already finished; to do: {', '.join(left) or 'none'}.", ""]
    lines += ["```yaml", f"{text}```", "", "## Estimate", "", "For all steps, as if none were finished.", ""]
    return "\n".join([*lines, estimate])
