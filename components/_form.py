"""From the few parameters of a form to a whole experiment."""

from typing import Any, NamedTuple

import yaml

from components._address import write
from components._parameters import pack, unpack
from components._stage import errors_in_one_line
from xlrm.errors import ConfigError
from xlrm.experiment import Experiment, build


class Settled(NamedTuple):
    experiment: dict[str, Any]
    """{"name", "stages"}: what every component gets."""
    source: str
    targets: list[str]


def settle(
    presets: dict[str, dict],
    preset: str,
    experiment: dict[str, Any],
    shorthands: dict[str, Any],
    overrides: dict[str, Any],
    summary: Any,
) -> Settled:
    """The experiment as a file has it or else the preset, with on top of it those shorthands (`stage.field` -> value) that
    say anything, then the overrides. Shows it as Markdown. Ends the task with status 2 and one line for a wrong value."""
    said = {name: value for name, value in shorthands.items() if value not in ("", [], 0)}
    with errors_in_one_line("configure"):
        if not experiment and preset not in presets:
            raise ConfigError(f"preset: no preset {preset!r}; there are {', '.join(presets)}")
        chosen, where = (experiment, "experiment") if experiment else (presets[preset], f"preset {preset}")
        found = build(unpack(chosen), said | unpack(overrides), where)
    write(summary, _markdown(found, where))
    return Settled({"name": found.name, "stages": pack(found.stages)}, found.source, list(found.targets))


def _markdown(found: Experiment, where: str) -> str:
    text = yaml.safe_dump(found.as_file(), allow_unicode=True, sort_keys=False)
    return f"# {found.name}\n\nFrom the {where}; what is not named has the stage's default.\n\n```yaml\n{text}```\n"
