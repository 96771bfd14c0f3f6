"""Lists what the store and the home hold and what refers to it, and removes the rest.

The rule: a registered model stays, with all artifacts it was made from. A run stays for a number of days after its last
change, with all artifacts it made or reused. An artifact of no run, and unfinished work of a stage, stay for the same
number of days. A file that was uploaded for a run stays as long as a run or an artifact that names it, and for the same
number of days after it was uploaded. Answers of models (the store's memories), MLflow's database and files, and reports
are never removed.
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from urllib.parse import unquote

from xlrm.errors import ConfigError
from xlrm.processes import locks
from xlrm.run.experiment import STAGES
from xlrm.store import addresses, artifacts, objects
from xlrm.store.artifacts import RECORD, Record

ARTIFACT, LEFTOVER, RUN, UNFINISHED, NOTES, INPUT, MEMORY = (
    "artifact", "without a record", "run", "unfinished", "notes on images", "input", "memory",
)  # fmt: skip
"""Kinds of items in a store."""
WORK, CACHE, LOCAL_RUN, LOG = "work", "cache", "local run", "log"
"""Kinds of items in the home that may be removed."""
_DEPTHS = {"runs": 2, "unfinished": 3, "images": 2}
INPUTS = "inputs"
"""Folder of a store with files that were uploaded for runs, each in a folder named by its digest."""
_KINDS = {"runs": RUN, "unfinished": UNFINISHED, "images": NOTES, INPUTS: INPUT}
_INPUT = re.compile(rf"\b{INPUTS}/[0-9a-f]{{64}}\b")
_FIRST = {ARTIFACT: (RECORD,), RUN: ("run.json",)}
"""Kind -> files that make a folder one of that kind; they are removed before its other files."""
DAY = 86_400


@dataclass(frozen=True)
class Item:
    """A folder or log file, kept or removed as a whole."""

    kind: str
    name: str
    """Path below the store or the home, such as `reward/KEY` for an artifact."""
    uri: str
    size: int
    """Bytes."""
    changed: float
    """When its newest file was written, in seconds since 1970."""
    files: frozenset[str] = frozenset()
    """Paths of the files in a folder of a store, relative to the folder."""
    why: str = ""
    """Reason for its removal; empty if it stays."""


@dataclass
class Store:
    """The items of a store, and what refers to its artifacts."""

    uri: str
    items: list[Item]
    records: dict[str, Record]
    """Name of an artifact -> its record."""
    runs: dict[str, set[str]]
    """Run -> names of the artifacts it made or reused, refused ones included."""
    registered: dict[str, set[str]] = field(default_factory=dict)
    """models:/NAME/VERSION -> names of the artifacts that its tags refer to."""
    inputs: dict[str, set[str]] = field(default_factory=dict)
    """Run -> names of the inputs that its experiment names."""

    def of(self, kind: str) -> list[Item]:
        return [item for item in self.items if item.kind == kind]

    def lineage(self, names: Iterable[str]) -> set[str]:
        """`names`, and the names of all artifacts they were made from."""
        reached, left = set(), list(names)
        while left:
            name = left.pop()
            if name not in reached:
                reached.add(name)
                inputs = self.records[name].inputs.values() if name in self.records else ()
                left += [_name(entry.uri) for group in inputs for entry in group]
        return reached

    @cached_property
    def models(self) -> dict[str, set[str]]:
        """models:/NAME/VERSION -> names of all artifacts it was made from."""
        return {uri: self.lineage(names) for uri, names in self.registered.items()}

    def used_by(self, name: str) -> tuple[list[str], list[str]]:
        """Runs that made or reused an artifact, and registered versions that were made from it."""
        runs = [run for run, names in self.runs.items() if name in names]
        return sorted(runs), sorted(uri for uri, names in self.models.items() if name in names)


def look(uri: str) -> Store:
    """Reads a store. Raises ArtifactError if the store or MLflow does not answer, or a record cannot be read."""
    items = _items(uri)
    named = {item.name: item for item in items if item.kind == ARTIFACT}
    with ThreadPoolExecutor(objects.PARALLEL_FILES) as pool:
        results = pool.map(artifacts.find, [item.uri for item in named.values()])
        records = {name: record for name, record in zip(named, results, strict=True) if record}
        runs = {item.name.partition("/")[2]: item for item in items if item.kind == RUN}
        noted = dict(zip(runs, pool.map(_noted, runs.values()), strict=True))
        inputs = dict(zip(runs, pool.map(_inputs_of_run, runs.values()), strict=True))
    return Store(uri, items, records, noted, _registered(records), inputs)


def _items(uri: str) -> list[Item]:
    folders: dict[str, list[objects.Stored]] = {}
    for file in objects.list_files(uri):
        parts = file.uri.removeprefix(uri).strip("/").split("/")
        depth = _DEPTHS.get(parts[0], 2)
        if len(parts) > depth:
            folders.setdefault("/".join(parts[:depth]), []).append(file)
    return [_item(uri, name, files) for name, files in folders.items()]


def _item(store: str, name: str, files: list[objects.Stored]) -> Item:
    where = f"{store.rstrip('/')}/{name}"
    paths = frozenset(unquote(file.uri.removeprefix(f"{where}/")) for file in files)
    kind = _KINDS.get(name.split("/")[0]) or _kind(name, paths)
    return Item(
        kind, unquote(name), where, sum(file.size for file in files), max(file.changed for file in files), paths
    )


def _kind(name: str, paths: frozenset[str]) -> str:
    if RECORD in paths:
        return ARTIFACT
    return LEFTOVER if name.split("/")[0] in STAGES else MEMORY


def _noted(run: Item) -> set[str]:
    """Names of the artifacts that a run's tasks noted in made/LABEL and refused/LABEL."""
    files = [path for path in run.files if path.split("/")[0] in ("made", "refused")]
    texts = [(objects.read_bytes(objects.join(run.uri, path)) or b"").decode() for path in files]
    return {_name(json.loads(text)["uri"] if text.startswith("{") else text) for text in texts}


def _inputs_of_run(run: Item) -> set[str]:
    data = objects.read_bytes(objects.join(run.uri, "run.json")) if "run.json" in run.files else None
    return _inputs((data or b"").decode())


def _inputs(text: str) -> set[str]:
    """Names of the inputs whose URIs are in a text."""
    return set(_INPUT.findall(text))


def _name(uri: str) -> str:
    """`stage/key` from an artifact's URI, also if its store has moved since the URI was written."""
    return unquote("/".join(artifacts.place(uri).split("/")[-2:]))


def _registered(records: Mapping[str, Record]) -> dict[str, set[str]]:
    """Versions registered in this MLflow, and artifacts of `register` whose versions are in another MLflow."""
    from xlrm.tracking import mlflow_registry, mlflow_runs

    by_digest: dict[str, set[str]] = {}
    for name, record in records.items():
        by_digest.setdefault(record.digest, set()).add(name)
    versions = {}
    for version in mlflow_registry.models():
        tags = version.tags.items()
        named = {_name(value) for key, value in tags if key.endswith("_uri")}
        versions[version.uri] = named.union(
            *(by_digest.get(value, ()) for key, value in tags if key.endswith("digest"))
        )
    for name, record in records.items():
        if record.stage == "register" and not (record.mlflow_run_id and mlflow_runs.knows_run(record.mlflow_run_id)):
            versions[f"another MLflow, by {name}"] = {name}
    return versions


def plan(store: Store, older_than_days: float, named_runs: Iterable[str] = ()) -> list[Item]:
    """All items of store and home, with the reason set on those to remove; 0 days means that everything is old. While a
    stage runs in this home, nothing in the store or the cache is removed, because the stage may use it.

    Raises ConfigError for a run that does not exist or has not ended.
    """
    end = time.time() - older_than_days * DAY if older_than_days else math.inf  # S3's times are rounded up to seconds
    named = [_run_to_remove(store, name, end) for name in named_runs]
    home, busy = addresses.home(), at_work(addresses.home())
    kept = store.items if busy else _judged(store, end, frozenset(named))
    return [*kept, *_work(home, end, store), *_cache(home, 0 if busy else end), *_of_runs(home, end, named)]


def _run_to_remove(store: Store, name: str, end: float) -> str:
    run = next((item for item in store.of(RUN) if item.name == f"runs/{name}"), None)
    if run is None:
        raise ConfigError(
            f"no such run in {store.uri}",
            where="--run", value=name, hint=f"there are {', '.join(sorted(store.runs)) or 'none'}",
        )  # fmt: skip
    if run.changed > end and "run.json" in run.files and not any(path.startswith("end/") for path in run.files):
        raise ConfigError(
            "this run has not ended; a run that was killed is removed once it is older than --older-than",
            where="--run", value=name,
        )  # fmt: skip
    return name


def _judged(store: Store, end: float, named: frozenset[str]) -> list[Item]:
    """The store's items, with the reason set on those to remove."""
    going = {item.name.partition("/")[2] for item in store.of(RUN) if item.changed < end} | named
    noted = set().union(*store.runs.values())
    stay = set().union(*store.models.values(), *(store.lineage(store.runs[run]) for run in store.runs.keys() - going))
    of_runs = store.lineage(noted)
    stay |= store.lineage(item.name for item in store.of(ARTIFACT) if item.name not in of_runs and item.changed >= end)
    for name in stay & store.records.keys():
        stay = stay | _inputs(store.records[name].model_dump_json(include={"config"}))
    stay = stay.union(*(store.inputs.get(run, ()) for run in store.runs.keys() - going))
    gone = {f"runs/{run}" for run in going} | (noted - stay)
    return [replace(item, why="" if item.name in stay else _why(item, gone, end)) for item in store.items]


def _why(item: Item, gone: set[str], end: float) -> str:
    """Reason to remove an item that nothing keeps; empty if it stays anyway."""
    if item.kind == ARTIFACT:
        return "no kept run or registered model uses it"
    if item.kind == MEMORY or (item.kind == RUN and item.name not in gone):
        return ""
    return "old" if item.changed < end else "named, or of a run that is" if item.name in gone else ""


def at_work(home: Path) -> list[str]:
    """`stage/key` of each stage that a process in this home is running."""
    held = filter(locks.is_held, sorted((home / "work").glob("*/*.lock")))
    return [f"{lock.parent.name}/{lock.stem}" for lock in held]


def _work(home: Path, end: float, store: Store) -> Iterator[Item]:
    for path in sorted((home / "work").glob("*/*/")):
        item = _local(WORK, path, home)
        finished = item.name.partition("/")[2] in store.records
        yield replace(item, why="" if locks.is_held(_lock_of(path)) else _if_old(item, end) or "finished" * finished)


def _cache(home: Path, end: float) -> Iterator[Item]:
    """Fetched artifacts, in folders named by a digest, and registered models. All of it can be fetched again."""
    fetched = [path for path in (home / "cache").glob("*/") if len(path.name) == 64]
    for path in [*fetched, *(home / "cache" / "models").glob("*/*/*/*/")]:
        item = _local(CACHE, path, home)
        yield replace(item, why="" if locks.is_held(_lock_of(path)) else _if_old(item, end))


def _of_runs(home: Path, end: float, named: list[str]) -> Iterator[Item]:
    """Folders and logs of `python -m pipelines run`; the name of a run begins with the name of its log and folder."""
    for kind, pattern in ((LOCAL_RUN, "kfp/*"), (LOG, "logs/*.log")):
        for path in sorted(home.glob(pattern)):
            item = _local(kind, path, home)
            is_named = any(run.startswith(f"{path.stem}-") for run in named)
            yield replace(item, why=_if_old(item, end) or "named" * is_named)


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _if_old(item: Item, end: float) -> str:
    return "old" if item.changed < end else ""


def _local(kind: str, path: Path, home: Path) -> Item:
    files = [file.stat() for file in [path, *path.rglob("*")] if file.is_file()]
    changed = max((stat.st_mtime for stat in files), default=path.stat().st_mtime)
    return Item(kind, path.relative_to(home).as_posix(), str(path), sum(stat.st_size for stat in files), changed)


def remove(store: Store, items: Iterable[Item], report: Callable[[Item], None] = lambda _: None) -> None:
    """Removes the items that have a reason, and calls `report` after each. Artifacts go before those they were made from,
    a record before its files, and runs last, since they name the artifacts: after an interruption, every artifact that
    is left is complete, with all it was made from."""
    going = [item for item in items if item.why]
    for item in sorted(going, key=_order(store)):
        if item.kind in (WORK, CACHE, LOCAL_RUN, LOG):
            _remove_local(Path(item.uri))
        else:
            objects.remove_directory(item.uri, _FIRST.get(item.kind, ()))
        report(item)


def _order(store: Store) -> Callable[[Item], tuple[int, int]]:
    """Sort key: artifacts with a larger lineage first, since they use those with a smaller one; runs last."""
    ranks = {ARTIFACT: 0, RUN: 2}
    return lambda item: (ranks.get(item.kind, 1), -len(store.lineage([item.name])))


def _remove_local(path: Path) -> None:
    with locks.unless_held(_lock_of(path)) as free:
        if free and path.is_dir():
            rmtree(path)
        elif free:
            path.unlink(missing_ok=True)


def shown_size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return ""
