"""What the result of a run depends on: an experiment with its Hub revisions pinned to commits, and one key for
everything.

A run with the key of an earlier successful run is unnecessary.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from xlrm.data import catalog, hub_sets
from xlrm.errors import ArtifactError
from xlrm.run.experiment import Experiment, stage_config, stage_module
from xlrm.run.steps import steps
from xlrm.store import fields, hub, provenance
from xlrm.tracking import named_models

T = TypeVar("T")


@dataclass(frozen=True)
class Content:
    experiment: Experiment
    """The experiment in which each Hub branch that could be looked up is replaced by its commit, so that the run
    uses that commit."""
    key: str
    """Digest of all that the result depends on, in 64 hexadecimal digits."""
    names: str
    """The same digest without the contents of the Hub, for comparisons when the Hub does not answer."""
    unknown: tuple[str, ...]
    """Errors for what could not be looked up."""
    commits: tuple[str, ...] = ()
    """Commits of the Hub that the experiment names."""


def content(loaded: Experiment, package: Path) -> Content:
    """Content of a run of the compiled `package`. The key covers the package, such as images and resources, and for
    each step the settings that count, the code, and what it takes from outside: local files and commits of the Hub."""
    unknown: list[str] = []
    pipeline = _pipeline(package)
    pinned = _pin(loaded, pipeline, unknown)
    whole = [_documents(package), loaded.source, loaded.targets]
    strict = [*whole, _contents(pinned, pipeline, ("files", "fingerprint"), unknown)]
    loose = [*whole, _contents(loaded, pipeline, ("files",), unknown)]
    commits = tuple(re.findall(r"\b[0-9a-f]{40}\b", json.dumps(pinned.as_file(), allow_nan=False)))
    return Content(pinned, _digest(strict), _digest(loose), tuple(dict.fromkeys(unknown)), commits)


def sections(package: Path, loaded: Experiment) -> list[str]:
    """The sections of an experiment that a compiled pipeline reads: those of its stages, and `policy` if it is set."""
    return sorted({step.section or step.stage for step in steps(_pipeline(package), loaded).values()})


def _pipeline(package: Path) -> str:
    return _documents(package)[0]["pipelineInfo"]["name"]


def _documents(package: Path) -> list[dict]:
    return list(yaml.load_all(package.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))


def _digest(parts: list) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _contents(
    loaded: Experiment, pipeline: str, outside: tuple[str, ...], unknown: list[str]
) -> dict[str, dict[str, Any]]:
    """Step -> what its result depends on. `outside`: names of optional functions of a stage that say what it takes
    from elsewhere; `destination` is not one of them, because it depends on the cluster."""
    contents = {}
    for label, step in steps(pipeline, loaded).items():
        config, module = stage_config(step.stage, step.config), stage_module(step.stage)
        functions = [getattr(module, name) for name in outside if hasattr(module, name)]
        contents[label] = {
            "settings": fields.counted(config), "code": provenance.code_version(module.__name__),
            "outside": [_look_up(partial(function, config), unknown, "") for function in functions],
        }  # fmt: skip
    return contents


def _pin(loaded: Experiment, pipeline: str, unknown: list[str]) -> Experiment:
    """The experiment with commits in place of branches. A curated corpus is found again by the names of its sets, so
    the commit has to differ after a branch has moved."""
    changed, corpora = dict(loaded.stages), dict(loaded.corpora)
    by_section = {
        (step.section or step.stage, step.of[0] if step.stage == "curate" and step.of else ""): step
        for step in steps(pipeline, loaded).values()
    }
    for (section, corpus), step in by_section.items():
        config = stage_config(step.stage, step.config)
        before = config.model_dump(mode="json")
        pinned = {name: value for name, value in _pins(config, unknown).items() if value and value != before[name]}
        if corpus:
            corpora[corpus] = corpora[corpus] | pinned
        elif pinned:
            changed[section] = changed.get(section, {}) | pinned
    return loaded.model_copy(update={"stages": changed, "corpora": corpora})


def _pins(config: BaseModel, unknown: list[str]) -> dict[str, Any]:
    """Fields that name datasets and revisions on the Hub -> their values with commits."""
    pins: dict[str, Any] = {}
    for name in fields.marked(type(config), fields.Sets):
        value = getattr(config, name)
        if isinstance(value, str):
            pins[name] = _pinned(value, unknown)
        elif value:
            pins[name] = [_pinned(entry, unknown) for entry in value]
    for name, mark in fields.marked(type(config), fields.RevisionOf).items():
        model, revision = getattr(config, mark.model), getattr(config, name)
        if model not in mark.made_here:
            pins[mark.model], pins[name] = _look_up(
                partial(named_models.pinned, model, revision), unknown, (model, revision)
            )
    return pins


def _pinned(entry: str, unknown: list[str]) -> str:
    """The entry as NAME[=OWNER/NAME]@COMMIT if it comes from the Hub and the Hub knows the commit; else the entry
    itself."""
    if catalog.is_file(entry):
        return entry
    name, repository, revision = hub.parse_entry(entry)
    if name.startswith(catalog.HUB):
        where = (name.removeprefix(catalog.HUB).split(":")[0], revision or "main")
    elif name in hub_sets.SOURCES:
        row = hub_sets.SOURCES[name].at(repository, revision)
        where = (row.repository, row.revision)
    else:
        return entry
    commit = "" if Path(where[0]).is_dir() else _look_up(lambda: hub.dataset_commit(*where), unknown, "")
    return f"{name}{f'={repository}' if repository else ''}@{commit}" if commit else entry


def _look_up(lookup: Callable[[], T], unknown: list[str], otherwise: T) -> T:
    try:
        return lookup()
    except ArtifactError as error:
        unknown.append(str(error))
    except ModuleNotFoundError as error:
        unknown.append(f"{error.name} is not installed, so revisions on the Hub cannot be looked up")
    return otherwise
