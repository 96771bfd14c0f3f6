"""Runs one stage. The command line, every component and every test use this."""

import errno
import hashlib
import inspect
import json
import math
import os
import resource
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError, GateError, XlrmError
from xlrm.processes import locks
from xlrm.processes.launch import Nodes
from xlrm.run import pages
from xlrm.run.experiment import stage_config, stage_module
from xlrm.store import addresses, artifacts, fields, objects, outputs, provenance, unfinished
from xlrm.store.artifacts import FileEntry, Input, Record
from xlrm.tracking import named_models

Inputs = Mapping[str, str | list[str]]
_OUTSIDE = ("files", "fingerprint", "destination")
"""Functions of a stage's module that take its config and say what counts from outside the store: digests of local
files, current versions of models or datasets named elsewhere, and the place that the stage writes to."""
MODELS = ("base", "policy", "policies", "model", "reward_model", "reward_models")
"""Inputs of stages that are models."""
_OPEN_RUN = "mlflow.json"
"""File in a working folder that names the MLflow run of the process at work; if that is killed, the next one closes the
run."""


@dataclass(frozen=True)
class Artifact:
    uri: str
    record: Record


@dataclass(frozen=True)
class _Given:
    """One input artifact, and those of its files that the stage reads."""

    uri: str
    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> str:
        return artifacts.digest_files(self.files)


def run_stage(
    name: str, config: Mapping[str, Any], inputs: Inputs, store: str | None = None, experiment: str = "xlrm"
) -> Artifact:
    """Returns the artifact of stage `name` for `config` and the artifact URIs in `inputs`; makes it if it is not
    finished. An input of `MODELS` may be any name of a model (`xlrm.tracking.named_models`): the stage `base` makes it an
    artifact first.

    Its key is a digest of the stage, the fields of its resolved config that count (`xlrm.store.fields`), the input
    files it reads (`reads(config)` in its module, else all), what it uses from outside (`files`, `fingerprint`,
    `destination`), its code by meaning, and the versions of the libraries that this code imports. So an artifact is
    never made twice and never stands for something else. An interrupted stage continues from what is left in its
    working folder; two runs of the same stage wait for each other. Working folders that killed runs left are removed
    once others have finished the work. A training on several nodes runs on each of them, and the first one makes the
    artifact.

    Raises ConfigError, DataError, ArtifactError or GateError, all XlrmError.
    """
    resolved = stage_config(name, dict(config))
    module = stage_module(name)
    _check_names(name, module, inputs)
    inputs = _stored(name, inputs, store, experiment)
    given = _given(name, resolved, inputs)
    version, libraries = provenance.code_version(module.__name__), provenance.versions(module.__name__)
    key = _stage_key(name, resolved, given, version, libraries)
    key, uri = _place(module, store or addresses.store(), name, key)
    label = _label(name, resolved)
    if record := artifacts.find(uri):
        progress.say(f"{label}: finished before, reused")
        return Artifact(uri, record)
    outputs.check_places(store or addresses.store())
    _remove_leftovers(store or addresses.store())
    with _workspace(label, name, key) as work:
        if record := artifacts.find(uri):
            progress.say(f"{label}: finished by another process meanwhile, reused")
            shutil.rmtree(work)
            return Artifact(uri, record)
        progress.say(f"{label}: started")
        if Nodes.from_environment().rank:
            with _disk_space(label, work):
                module.run(resolved, **_local_inputs(given, inputs), output=work / "output")
            record = artifacts.wait(uri)
            shutil.rmtree(work)  # not earlier: a node that restarts meanwhile sees by it that its part is done
            return Artifact(uri, record)
        record = _make(module, resolved, given, inputs, work, uri, label, key, version, libraries, experiment)
    progress.say(f"{label}: finished in {record.seconds:.1f} s{_highlights(record.metrics)}")
    return Artifact(uri, record)


def address(
    name: str, config: Mapping[str, Any], inputs: Inputs, store: str | None = None,
    libraries: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """URI of the artifact that `run_stage` makes or finds for the same arguments. For another machine, pass as
    `libraries` what `provenance.installed()` returns there. Raises the same errors as `run_stage`."""
    resolved, module = stage_config(name, dict(config)), stage_module(name)
    given, versions = _given(name, resolved, inputs), provenance.versions(module.__name__, libraries)
    key = _stage_key(name, resolved, given, provenance.code_version(module.__name__), versions)
    return _place(module, store or addresses.store(), name, key)[1]


def _place(module: Any, store: str, name: str, key: str) -> tuple[str, str]:
    """Key and URI of the artifact. If `stands(record)` of the stage's module says that what it did outside the store is
    gone, the stage runs again, and its artifact gets a key of its own."""
    while True:
        uri = objects.join(store, name, key)
        if not hasattr(module, "stands") or (record := artifacts.find(uri)) is None or module.stands(record):
            return key, uri
        key = _key(key, "again")


def _stage_key(name: str, config: BaseModel, given: dict, version: str, libraries: dict[str, str]) -> str:
    module = stage_module(name)
    outside = {name: getattr(module, name)(config) for name in _OUTSIDE if hasattr(module, name)}
    digests = {k: [artifact.digest for artifact in v] for k, v in given.items()}
    return _key(name, fields.counted(config), digests, outside, version, libraries)


def _make(
    module: Any, config: BaseModel, given: dict[str, list[_Given]], inputs: Inputs, work: Path, uri: str, label: str,
    key: str, version: str, libraries: dict[str, str], experiment: str,
) -> Record:  # fmt: skip
    from xlrm.tracking import mlflow_runs

    name = module.__name__.split(".")[-1]
    params = {f"{name}.{k}": json.dumps(v, allow_nan=False) for k, v in config.model_dump(mode="json").items()}
    tags = {"stage": name, "artifact_uri": uri, "code_version": version}
    started, clock = datetime.now(UTC), time.monotonic()
    with _disk_space(label, work), mlflow_runs.run(experiment, label, params, tags, work / _OPEN_RUN) as run:

        def facts() -> dict[str, Any]:
            return {
                "stage": name, "key": key, "config": config.model_dump(mode="json"),
                "inputs": {k: [Input(uri=item.uri, digest=item.digest) for item in v] for k, v in given.items()},
                "code_version": version, "git_commit": provenance.git_commit(), "image": os.environ.get("XLRM_IMAGE"),
                "versions": libraries, "started": started, "seconds": time.monotonic() - clock,
                "peak_memory_mib": _peak_memory_mib(), "mlflow_run_id": run.id,
            }  # fmt: skip

        local: dict[str, Any] = _local_inputs(given, inputs)
        if "lineage" in inspect.signature(module.run).parameters:
            local["lineage"] = artifacts.lineage(artifact.uri for group in given.values() for artifact in group)
        try:
            metrics = module.run(config, **local, output=work / "output")
        except GateError as error:
            error.kept = artifacts.keep_refused(work / "output", uri, metrics={}, **facts()) or ""
            raise
        _check_metrics(label, metrics)
        record = artifacts.publish(work / "output", uri, metrics=metrics, **facts())
        run.describe(pages.description(name, work / "output"))
        run.log(metrics | {"cost/seconds": record.seconds, "cost/peak_memory_mib": record.peak_memory_mib})
    unfinished.remove(work / "output")
    shutil.rmtree(work)
    return record


def _stored(name: str, inputs: Inputs, store: str | None, experiment: str) -> Inputs:
    """The inputs, with the URI of an artifact in place of every other name of a model."""

    def stored(key: str, entry: str) -> str:
        if key not in MODELS or named_models.is_artifact(entry):
            return entry
        try:
            return run_stage("base", {"model": entry}, {}, store, experiment).uri
        except XlrmError as error:
            error.within(f"{name}.{key}: ")
            raise

    return {
        key: stored(key, given) if isinstance(given, str) else [stored(key, entry) for entry in given]
        for key, given in inputs.items()
    }


def _given(name: str, config: BaseModel, inputs: Inputs) -> dict[str, list[_Given]]:
    """The input artifacts with the files that the stage reads: those that `reads(config)` names, else all."""
    module = stage_module(name)
    reads = module.reads(config) if hasattr(module, "reads") else {}
    result: dict[str, list[_Given]] = {}
    for key, uris in sorted(inputs.items()):
        patterns = reads.get(key, ("*",))
        result[key] = []
        for uri in [uris] if isinstance(uris, str) else uris:
            files = artifacts.load(uri).files
            wanted = tuple(f for f in files if any(fnmatch(f.path, pattern) for pattern in patterns))
            if patterns and not wanted:
                raise ConfigError(f"has none of the files {', '.join(patterns)}", where=f"{name}.{key}", value=uri)
            result[key].append(_Given(uri, wanted))
    return result


def _check_names(name: str, module: Any, inputs: Inputs) -> None:
    """Raises ConfigError for an unknown input and for a missing one."""
    has = {
        key: parameter.default is parameter.empty
        for key, parameter in inspect.signature(module.run).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and key not in ("output", "lineage")
    }
    needed = {key for key, wanted in has.items() if wanted}
    if wrong := [*sorted(inputs.keys() - has), *sorted(needed - inputs.keys())]:
        what = "no such input" if wrong[0] in inputs else "this input is missing"
        raise ConfigError(what, where=f"{name}.{wrong[0]}", hint=f"inputs of {name}: {', '.join(has) or 'none'}")


def _local_inputs(given: dict[str, list[_Given]], inputs: Inputs) -> dict[str, Path | list[Path]]:
    cache = addresses.home() / "cache"
    local = {
        key: [artifacts.fetch(artifact.uri, cache, artifact.files) for artifact in group]
        for key, group in given.items()
    }
    return {key: paths[0] if isinstance(inputs[key], str) else paths for key, paths in local.items()}


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _label(name: str, config: BaseModel) -> str:
    """The stage and what distinguishes this run of it, such as `reward[ko]`."""
    parts = [str(getattr(config, field)) for field in ("language", "labeler") if getattr(config, field, None)]
    return f"{name}[{', '.join(parts)}]" if parts else name


@contextmanager
def _workspace(label: str, name: str, key: str) -> Iterator[Path]:
    """The stage's working folder, for one process at a time; after a killed process, the next one takes it over.

    A stage writes its artifact into `output` there, and beside it what it needs to continue later (checkpoints).
    """
    work = addresses.home() / "work" / name / key
    with locks.alone(work.with_suffix(".lock"), label):
        (work / "output").mkdir(parents=True, exist_ok=True)
        for half in (work / "output").rglob("*.part"):  # left by a killed process
            half.unlink()
        yield work


def _remove_leftovers(store: str) -> None:
    """Removes working folders whose artifact is finished: by a process killed just after that, or by another
    machine."""
    for work in (addresses.home() / "work").glob("*/*/"):
        with locks.if_free(work.with_suffix(".lock")) as free, suppress(ArtifactError):  # of a broken record
            uri = objects.join(store, work.parent.name, work.name)
            if free and (record := artifacts.find(uri)):
                _close_open_run(work, record)
                objects.remove_leftovers(uri)
                shutil.rmtree(work)
                work.with_suffix(".lock").unlink(missing_ok=True)


def _close_open_run(work: Path, record: Record) -> None:
    if (note := work / _OPEN_RUN).exists():
        from xlrm.tracking import mlflow_runs

        mlflow_runs.close_left_open(note, finished=record.mlflow_run_id)


@contextmanager
def _disk_space(label: str, work: Path) -> Iterator[None]:
    """Raises ArtifactError for any failure because the disk is full; each library has its own error for that."""
    try:
        yield
    except XlrmError:
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and shutil.disk_usage(work).free >= 2**20:
            raise
        message = " ".join(str(error).split())[:200]
        raise ArtifactError(
            f"no space left ({message})",
            where=label,
            hint=f"free some and run it again; finished work is kept in {work}",
        ) from error


def _check_metrics(label: str, metrics: dict[str, float]) -> None:
    broken = {key: value for key, value in metrics.items() if not math.isfinite(value)}
    if broken:
        raise ValueError(f"{label}: metrics that are not finite numbers: {broken}")


def _highlights(metrics: dict[str, float]) -> str:
    shown = [f"{key} {value:.4g}" for key, value in metrics.items() if "/" not in key][:3]
    return " · " + " · ".join(shown) if shown else ""


def _peak_memory_mib() -> float:
    """Peak of this process plus that of the largest of its children."""
    return sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
