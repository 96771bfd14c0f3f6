"""Artifacts that a report was made from: by stage, with what each cost, and how they depend on each other."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from xlrm.reporting.wording import shown
from xlrm.store.artifacts import Record

COLUMN, LEVEL = 132, 58
"""Pixels from one box of the drawing to the next, across and down."""
BOX_WIDTH, BOX_HEIGHT = 104, 40

COLUMNS = "number stage run made_from seconds peak_memory_mib digest mlflow_run uri"
"""Columns of the table of artifacts."""

Place = tuple[int, str]
"""Depth and stage; a stage that runs at two depths (sample) has two places."""


@dataclass(frozen=True)
class Made:
    """An artifact as the page shows it."""

    uri: str
    record: Record
    label: str
    number: int
    """Position in the order of making, from 1."""
    depth: int
    """Number of stages before it on the longest path."""

    @property
    def place(self) -> Place:
        return self.depth, self.record.stage


@dataclass(frozen=True)
class Box:
    """Artifacts of one place in the drawing. (`x`, `y`) is the upper left corner."""

    stage: str
    x: int
    y: int
    labels: list[str]


@dataclass(frozen=True)
class Drawing:
    boxes: list[Box]
    edges: list[tuple[int, int, int, int]]
    """From the middle of a box's right side to the middle of another's left side: x, y, x, y."""
    width: int
    height: int


def made(lineage: dict[str, Record]) -> list[Made]:
    """The artifacts in the order of `lineage`: inputs before the artifacts that use them."""
    artifacts: dict[str, Made] = {}
    for number, (uri, record) in enumerate(lineage.items(), 1):
        before = [artifacts[given].depth for given in input_uris(record) if given in artifacts]
        artifacts[uri] = Made(uri, record, label(record), number, max(before, default=-1) + 1)
    return list(artifacts.values())


def input_uris(record: Record) -> list[str]:
    return [given.uri for inputs in record.inputs.values() for given in inputs]


def label(record: Record) -> str:
    """What distinguishes this run of the stage: `ko`, or `ko, labeled by en`; empty for a stage that ran once."""
    language, labeler = record.config.get("language"), record.config.get("labeler")
    parts = [language] if language else list(record.config.get("languages") or [])
    return ", ".join(parts) + (f", labeled by {labeler}" if labeler else "")


def of(artifacts: list[Made], stage: str, **config: str) -> list[Made]:
    """Artifacts of a stage whose config has these values."""
    return [
        artifact for artifact in artifacts
        if artifact.record.stage == stage and all(artifact.record.config.get(name) == value for name, value in config.items())
    ]  # fmt: skip


def by_stage(artifacts: list[Made]) -> dict[str, list[Made]]:
    stages: dict[str, list[Made]] = {}
    for artifact in artifacts:
        stages.setdefault(artifact.record.stage, []).append(artifact)
    return stages


def configs(artifacts: list[Made]) -> dict[str, dict[str, list[Any]]]:
    """Stage -> field -> the distinct values in its runs."""
    stages: dict[str, dict[str, list[Any]]] = {}
    for artifact in artifacts:
        fields = stages.setdefault(artifact.record.stage, {})
        for name, value in artifact.record.config.items():
            values = fields.setdefault(name, [])
            if value not in values:
                values.append(value)
    return stages


def software(artifacts: list[Made]) -> dict[str, list[str]]:
    """Library -> its versions, and `git commit` -> the commits that the artifacts were made at."""
    versions: dict[str, set[str]] = {}
    for artifact in artifacts:
        commit = {"git commit": artifact.record.git_commit} if artifact.record.git_commit else {}
        for name, version in (commit | artifact.record.versions).items():
            versions.setdefault(name, set()).add(version)
    return {name: sorted(versions[name]) for name in sorted(versions)}


def drawing(artifacts: list[Made]) -> Drawing:
    """One box for the artifacts of a stage at one depth, to the left of those that use them."""
    labels: dict[Place, list[str]] = {}
    for artifact in artifacts:
        labels.setdefault(artifact.place, []).append(artifact.label)
    steps = _nearest_steps(artifacts)
    columns = _columns(list(labels), steps)
    boxes, rows = {}, Counter[int]()
    for place, texts in labels.items():
        column = columns[place]
        boxes[place] = Box(place[1], column * COLUMN + 1, rows[column] * LEVEL + 1, texts)
        rows[column] += 1
    edges = [_edge(boxes[before], boxes[after]) for before, after in steps]
    width = max(columns.values(), default=0) * COLUMN + BOX_WIDTH + 2
    return Drawing(list(boxes.values()), edges, width, max(rows.values(), default=1) * LEVEL)


def _nearest_steps(artifacts: list[Made]) -> list[tuple[Place, Place]]:
    """Steps from a place to one that uses it, except those that longer paths imply, which would tangle the drawing."""
    places = {artifact.uri: artifact.place for artifact in artifacts}
    before: dict[Place, set[Place]] = {
        artifact.place: set() for artifact in sorted(artifacts, key=lambda artifact: artifact.depth)
    }
    for artifact in artifacts:
        before[artifact.place] |= {places[uri] for uri in input_uris(artifact.record) if uri in places}
    above: dict[Place, set[Place]] = {}
    steps = []
    for place, direct in before.items():
        farther = set().union(*(above[source] for source in direct))
        above[place] = direct | farther
        steps += [(source, place) for source in direct - farther]
    return sorted(steps)


def _columns(places: list[Place], steps: list[tuple[Place, Place]]) -> dict[Place, int]:
    """Columns as near as possible to the places that use them, so that few lines pass other boxes."""
    columns: dict[Place, int] = {}
    for place in sorted(places, reverse=True):
        columns[place] = min((columns[after] - 1 for before, after in steps if before == place), default=place[0])
    return columns


def _edge(before: Box, after: Box) -> tuple[int, int, int, int]:
    return before.x + BOX_WIDTH, before.y + BOX_HEIGHT // 2, after.x, after.y + BOX_HEIGHT // 2


def context(artifacts: list[Made]) -> dict[str, Any]:
    """What the template of a page's part on provenance takes."""
    stages = by_stage(artifacts)
    seconds = [artifact.record.seconds for artifact in artifacts]
    totals = [sum(artifact.record.seconds for artifact in group) for group in stages.values()]
    return {
        "stages": stages,
        "configs": configs(artifacts),
        "software": software(artifacts),
        "drawing": drawing(artifacts),
        "of": partial(of, artifacts),
        "numbers": {artifact.uri: artifact.number for artifact in artifacts},
        "input_uris": input_uris,
        "seconds": sum(seconds),
        "longest": max([*seconds, 0.001]),  # never 0: bars are shares of it
        "longest_stage": max([*totals, 0.001]),
        "peak": max([*(artifact.record.peak_memory_mib for artifact in artifacts), 0.001]),
    }


def rows(artifacts: list[Made]) -> Iterator[tuple]:
    """Rows of the table of artifacts, with `COLUMNS`."""
    numbers = {made.uri: made.number for made in artifacts}
    for made in artifacts:
        record = made.record
        inputs = " ".join(str(numbers.get(uri, shown(uri))) for uri in input_uris(record))
        cost = (round(record.seconds, 3), round(record.peak_memory_mib, 1))
        origin = (record.digest, record.mlflow_run_id or "", shown(made.uri))
        yield made.number, record.stage, made.label, inputs, *cost, *origin
