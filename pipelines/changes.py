"""What the result of a run depends on: revisions of the Hub pinned to commits, and all of it as one key.

A run that succeeded with the same key need not be made again.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from xlrm import datasets, hub, provenance, sources
from xlrm.base_models import TINY
from xlrm.errors import ArtifactError
from xlrm.experiment import Experiment, stage_config, stage_module, stage_of
from xlrm.runner import what_counts
from xlrm.steps import steps

# Fields that name sets, by stage.
_ENTRIES = {
    "curate": ("preferences", "benchmark", "prompts", "eval_prompt_set", "decontaminate", "parallel"),
    "evaluate": ("benchmarks",),
    "represent": ("parallel",),
}
_LOCAL = ("curate", "evaluate")  # stages whose `fingerprint` is of files of this machine alone
_WHERE_NOT_WHAT = ("register",)  # its fingerprint is the MLflow server's address, and the cluster's is not ours


@dataclass(frozen=True)
class Content:
    experiment: Experiment
    """With each branch of the Hub that could be looked up replaced by the commit it is at, so that the run gets that."""
    key: str
    """Digest in 64 hexadecimal digits."""
    names: str
    """The same without what is on the Hub, to go by where the Hub cannot be asked."""
    unknown: tuple[str, ...]
    """What could not be looked up."""
    commits: tuple[str, ...] = ()
    """Of the Hub, that the experiment names."""


def content(loaded: Experiment, package: Path) -> Content:
    """Of a run of the compiled `package`. The key holds what is in it, such as images and resources, and for each of its
    stages the resolved settings, the code, and what it takes from outside: local files, and commits of the Hub."""
    unknown: list[str] = []
    names = sections(package, loaded)
    pinned = _pin(loaded, names, unknown)
    whole = [_documents(package), loaded.source, loaded.targets]
    strict = [*whole, {name: _stage(name, pinned, True, unknown) for name in names}]
    loose = [*whole, {name: _stage(name, loaded, False, unknown) for name in names}]
    commits = tuple(re.findall(r"\b[0-9a-f]{40}\b", json.dumps(pinned.as_file())))
    return Content(pinned, _digest(strict), _digest(loose), tuple(dict.fromkeys(unknown)), commits)


def sections(package: Path, loaded: Experiment) -> list[str]:
    """The sections of an experiment that a compiled pipeline reads: of its stages, and of the policy where that has one."""
    return sorted(
        {step.section or step.stage for step in steps(_documents(package)[0]["pipelineInfo"]["name"], loaded).values()}
    )


def _documents(package: Path) -> list[dict]:
    return list(yaml.load_all(package.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))


def _digest(parts: list) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _stage(name: str, loaded: Experiment, ask_hub: bool, unknown: list[str]) -> dict[str, Any]:
    config, module = _config(name, loaded), stage_module(stage_of(name))
    outside = ""
    if hasattr(module, "fingerprint") and name not in _WHERE_NOT_WHAT and (ask_hub or name in _LOCAL):
        outside = _look_up(lambda: module.fingerprint(config), unknown)
    return {"settings": what_counts(config), "code": provenance.code_version(module.__name__), "outside": outside}


def _config(name: str, loaded: Experiment) -> BaseModel:
    """The section's settings, with the fields that a pipeline gives as it does for one of the languages."""
    given = {
        "language": loaded.targets[0] if name == "translate" else loaded.source,
        "languages": list(loaded.languages), "targets": list(loaded.targets),
        "labeler": loaded.source, "labelers": [loaded.source, loaded.targets[0]],
    }  # fmt: skip
    stage = stage_of(name)
    fields = stage_module(stage).Config.model_fields
    return stage_config(stage, loaded.stages.get(name, {}) | {k: v for k, v in given.items() if k in fields})


def _pin(loaded: Experiment, names: list[str], unknown: list[str]) -> Experiment:
    """A curated corpus is found again by the names of its sets: where a name's branch has moved, the commit has to differ."""
    sections = dict(loaded.stages)
    for name in names:
        config, pinned = _config(name, loaded), {}
        for field in _ENTRIES.get(name, ()):
            value = getattr(config, field)
            if isinstance(value, str):
                pinned[field] = _pinned(value, unknown)
            elif value:
                pinned[field] = [_pinned(entry, unknown) for entry in value]
        if stage_of(name) == "base" and config.model != TINY and not Path(config.model).is_dir():
            pinned["revision"] = _look_up(lambda c=config: hub.model_commit(c.model, c.revision), unknown)
        changed = {k: v for k, v in pinned.items() if v and v != config.model_dump(mode="json")[k]}
        if changed:
            sections[name] = sections.get(name, {}) | changed
    return loaded.model_copy(update={"stages": sections})


def _pinned(entry: str, unknown: list[str]) -> str:
    """NAME[=OWNER/NAME]@COMMIT of an entry that is taken from the Hub, where the Hub says which; else the entry."""
    if datasets.is_file(entry):
        return entry
    name, repository, revision = sources.parse(entry)
    if name.startswith(datasets.HUB):
        where = (name.removeprefix(datasets.HUB).split(":")[0], revision or "main")
    elif name in sources.SOURCES:
        row = sources.SOURCES[name].at(repository, revision)
        where = (row.repository, row.revision)
    else:
        return entry
    commit = "" if Path(where[0]).is_dir() else _look_up(lambda: hub.dataset_commit(*where), unknown)
    return f"{name}{f'={repository}' if repository else ''}@{commit}" if commit else entry


def _look_up(lookup: Callable[[], str], unknown: list[str]) -> str:
    try:
        return lookup()
    except ArtifactError as error:
        unknown.append(str(error))
    except ModuleNotFoundError as error:
        unknown.append(f"{error.name} is not installed, so revisions on the Hub cannot be looked up")
    return ""
