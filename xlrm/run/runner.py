"""Runs one stage: the path that the command line, every component and every test take."""

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
from xlrm.run.experiment import stage_config, stage_module
from xlrm.store import addresses, artifacts, fields, objects, provenance, unfinished
from xlrm.store.artifacts import FileEntry, Input, Record

Inputs = Mapping[str, str | list[str]]
_OUTSIDE = ("files", "fingerprint", "destination")
"""Functions of a stage's module, of its config, that say what outside the store counts: digests of files of this machine,
what names of models or sets elsewhere stand for now, and the place it writes to."""
_OPEN_RUN = "mlflow.json"
"""In a working folder: the MLflow run of the process at work, for the next one to close where that is killed."""


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
        return hashlib.sha256(json.dumps([(f.path, f.sha256) for f in self.files]).encode()).hexdigest()


def run_stage(
    name: str, config: Mapping[str, Any], inputs: Inputs, store: str | None = None, experiment: str = "xlrm"
) -> Artifact:
    """The artifact of stage `name` for `config` and the artifact URIs in `inputs`, made now or found finished.

    Its key is a digest of the stage, what counts of its resolved config (`xlrm.store.fields`), the input files it reads
    (`reads(config)` in its module, else all), what it uses from outside (`files`, `fingerprint`, `destination`), what its
    code does and the versions of the libraries that code imports: an artifact that exists is never made again and never
    stands for something else.
    An interrupted stage goes on from what it left in its working folder; two runs of the same stage wait for each other. What
    killed ones left of work that others have finished since is removed.
    A training on several nodes is run on each of them, and the first one makes the artifact.

    Raises ConfigError, DataError, ArtifactError or GateError, all XlrmError.
    """
    resolved = stage_config(name, dict(config))
    module = stage_module(name)
    _check_names(name, module, inputs)
    given = _given(name, resolved, inputs)
    version, libraries = provenance.code_version(module.__name__), provenance.versions(module.__name__)
    key = _stage_key(name, resolved, given, version, libraries)
    key, uri = _place(module, store or addresses.store(), name, key)
    label = _label(name, resolved)
    if record := artifacts.find(uri):
        progress.say(f"{label}: finished before, reused")
        return Artifact(uri, record)
    _remove_leftovers(store or addresses.store())
    with _workspace(label, name, key) as work:
        if record := artifacts.find(uri):
            progress.say(f"{label}: finished by the process that was waited for, reused")
            shutil.rmtree(work)
            return Artifact(uri, record)
        progress.say(f"{label}: started")
        if Nodes.from_environment().rank:
            with _disk_space(label, work):
                module.run(resolved, **_local_inputs(given, inputs), output=work / "output")
            record = artifacts.wait(uri)
            shutil.rmtree(work)  # not before: a node that is started again meanwhile knows by it that its part is done
            return Artifact(uri, record)
        record = _make(module, resolved, given, inputs, work, uri, label, key, version, libraries, experiment)
    progress.say(f"{label}: finished in {record.seconds:.1f} s{_highlights(record.metrics)}")
    return Artifact(uri, record)


def address(
    name: str, config: Mapping[str, Any], inputs: Inputs, store: str | None = None,
    libraries: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """URI of the artifact that `run_stage` with the same arguments makes or finds; on another machine, with what
    `provenance.installed()` is there as `libraries`. Raises as `run_stage` does."""
    resolved, module = stage_config(name, dict(config)), stage_module(name)
    given, versions = _given(name, resolved, inputs), provenance.versions(module.__name__, libraries)
    key = _stage_key(name, resolved, given, provenance.code_version(module.__name__), versions)
    return _place(module, store or addresses.store(), name, key)[1]


def _place(module: Any, store: str, name: str, key: str) -> tuple[str, str]:
    """Key and URI of the artifact. A stage that does something elsewhere says by `stands(record)` whether that is still so;
    where it is not, it is done again, as an artifact of its own."""
    while True:
        uri = objects.join(store, name, key)
        if not hasattr(module, "stands") or (record := artifacts.find(uri)) is None or module.stands(record):
            return key, uri
        key = _key(key, "again")


def _stage_key(name: str, config: BaseModel, given: dict, version: str, libraries: dict[str, str]) -> str:
    module = stage_module(name)
    outside = {name: getattr(module, name)(config) for name in _OUTSIDE if hasattr(module, name)}
    digests = {k: [one.digest for one in v] for k, v in given.items()}
    return _key(name, fields.counted(config), digests, outside, version, libraries)


def _make(
    module, config: BaseModel, given, inputs: Inputs, work: Path, uri: str, label, key, version, libraries, experiment
) -> Record:
    from xlrm.tracking import mlflow_runs

    name = module.__name__.split(".")[-1]
    params = {f"{name}.{k}": json.dumps(v) for k, v in config.model_dump(mode="json").items()}
    tags = {"stage": name, "artifact_uri": uri, "code_version": version}
    started, clock = datetime.now(UTC), time.monotonic()
    with _disk_space(label, work), mlflow_runs.run(experiment, label, params, tags, work / _OPEN_RUN) as run:

        def facts() -> dict[str, Any]:
            return {
                "stage": name, "key": key, "config": config.model_dump(mode="json"),
                "inputs": {k: [Input(uri=one.uri, digest=one.digest) for one in v] for k, v in given.items()},
                "code_version": version, "git_commit": provenance.git_commit(), "image": os.environ.get("XLRM_IMAGE"),
                "versions": libraries, "started": started, "seconds": time.monotonic() - clock,
                "peak_memory_mib": _peak_memory_mib(), "mlflow_run_id": run.id,
            }  # fmt: skip

        local: dict[str, Any] = _local_inputs(given, inputs)
        if "lineage" in inspect.signature(module.run).parameters:
            local["lineage"] = artifacts.lineage(one.uri for many in given.values() for one in many)
        try:
            metrics = module.run(config, **local, output=work / "output")
        except GateError as error:
            kept = artifacts.keep_refused(work / "output", uri, metrics={}, **facts())
            refused = GateError(f"{error}; see {kept}" if kept else str(error))
            refused.kept = kept or ""
            raise refused from error
        _check_metrics(label, metrics)
        record = artifacts.publish(work / "output", uri, metrics=metrics, **facts())
        run.log(metrics | {"cost/seconds": record.seconds, "cost/peak_memory_mib": record.peak_memory_mib})
    unfinished.remove(work / "output")
    shutil.rmtree(work)
    return record


def _given(name: str, config: BaseModel, inputs: Inputs) -> dict[str, list[_Given]]:
    """The input artifacts with the files that matter: a stage may name them by `reads(config)`, else all do."""
    module = stage_module(name)
    reads = module.reads(config) if hasattr(module, "reads") else {}
    found = {}
    for key, uris in sorted(inputs.items()):
        patterns = reads.get(key, ("*",))
        found[key] = []
        for uri in [uris] if isinstance(uris, str) else uris:
            files = artifacts.load(uri).files
            wanted = tuple(f for f in files if any(fnmatch(f.path, pattern) for pattern in patterns))
            if patterns and not wanted:
                raise ConfigError(f"{name}.{key}: {uri} has none of the files {', '.join(patterns)}")
            found[key].append(_Given(uri, wanted))
    return found


def _check_names(name: str, module: Any, inputs: Inputs) -> None:
    """Raises ConfigError for an input that the stage does not have, and without one that it needs."""
    has = {
        key: one.default is one.empty
        for key, one in inspect.signature(module.run).parameters.items()
        if one.kind is one.KEYWORD_ONLY and key not in ("output", "lineage")
    }
    needed = {key for key, wanted in has.items() if wanted}
    if wrong := [*sorted(inputs.keys() - has), *sorted(needed - inputs.keys())]:
        what = "no such input" if wrong[0] in inputs else "this input is missing"
        raise ConfigError(f"{name}.{wrong[0]}: {what}; inputs of {name}: {', '.join(has) or 'none'}")


def _local_inputs(given: dict[str, list[_Given]], inputs: Inputs) -> dict[str, Path | list[Path]]:
    cache = addresses.home() / "cache"
    local = {key: [artifacts.fetch(one.uri, cache, one.files) for one in many] for key, many in given.items()}
    return {key: paths[0] if isinstance(inputs[key], str) else paths for key, paths in local.items()}


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _label(name: str, config: BaseModel) -> str:
    """`reward[ko]`: the stage, and what sets this run of it apart."""
    parts = [str(getattr(config, field)) for field in ("language", "labeler") if getattr(config, field, None)]
    return f"{name}[{', '.join(parts)}]" if parts else name


@contextmanager
def _workspace(label: str, name: str, key: str) -> Iterator[Path]:
    """The stage's own folder, for one process at a time; a killed one's place goes to the next.

    A stage writes its artifact into `output` there, and what it needs to go on later (checkpoints) beside it.
    """
    work = addresses.home() / "work" / name / key
    with locks.alone(work.with_suffix(".lock"), label):
        (work / "output").mkdir(parents=True, exist_ok=True)
        for half in (work / "output").rglob("*.part"):  # written when the last one was killed
            half.unlink()
        yield work


def _remove_leftovers(store: str) -> None:
    """Working folders of stages that were killed after their artifact was whole, or that another machine has finished."""
    for work in (addresses.home() / "work").glob("*/*/"):
        with locks.if_free(work.with_suffix(".lock")) as free, suppress(ArtifactError):  # of another's broken record
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
    """Raises ArtifactError for what fails because there is none left: each library has its own error for that."""
    try:
        yield
    except XlrmError:
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and shutil.disk_usage(work).free >= 2**20:
            raise
        said = " ".join(str(error).split())[:200]
        raise ArtifactError(
            f"{label}: no space left ({said}): make some and run it again; what is done is kept in {work}"
        ) from error


def _check_metrics(label: str, metrics: dict[str, float]) -> None:
    broken = {key: value for key, value in metrics.items() if not math.isfinite(value)}
    if broken:
        raise ValueError(f"{label}: metrics that are not finite numbers: {broken}")


def _highlights(metrics: dict[str, float]) -> str:
    shown = [f"{key} {value:.4g}" for key, value in metrics.items() if "/" not in key][:3]
    return " · " + " · ".join(shown) if shown else ""


def _peak_memory_mib() -> float:
    """Of this process and of the largest of its children."""
    return sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
