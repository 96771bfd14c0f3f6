"""What a report was made from: artifacts by stage, what each cost, and how they follow from one another."""

from dataclasses import dataclass, field
from typing import Any

from xlrm.artifacts import Record

COLUMN, LEVEL = 132, 58
"""Pixels from one box of the drawing to the next, across and down."""
BOX_WIDTH, BOX_HEIGHT = 104, 40


@dataclass(frozen=True)
class Made:
    """An artifact, as the page tells of it."""

    uri: str
    record: Record
    label: str
    number: int
    """Place in the order of making, from 1."""
    depth: int
    """Stages before it, on the longest way."""


@dataclass
class Box:
    """Artifacts of one stage and depth, in the drawing. `x` and `y` are its upper left corner."""

    stage: str
    x: int
    y: int
    labels: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Drawing:
    boxes: list[Box]
    edges: list[tuple[int, int, int, int]]
    """From the right middle of a box to the left middle of another: x, y, x, y."""
    width: int
    height: int


def made(lineage: dict[str, Record]) -> list[Made]:
    """In the order of `lineage`: inputs before what uses them."""
    found: dict[str, Made] = {}
    for number, (uri, record) in enumerate(lineage.items(), 1):
        before = [found[one].depth for one in input_uris(record) if one in found]
        found[uri] = Made(uri, record, label(record), number, max(before, default=-1) + 1)
    return list(found.values())


def input_uris(record: Record) -> list[str]:
    return [one.uri for many in record.inputs.values() for one in many]


def label(record: Record) -> str:
    """What sets this run of the stage apart: `ko`, or `ko, labeled by en`; empty for a stage that ran once."""
    language, labeler = record.config.get("language"), record.config.get("labeler")
    parts = [language] if language else list(record.config.get("languages") or [])
    return ", ".join(parts) + (f", labeled by {labeler}" if labeler else "")


def by_stage(artifacts: list[Made]) -> dict[str, list[Made]]:
    found: dict[str, list[Made]] = {}
    for one in artifacts:
        found.setdefault(one.record.stage, []).append(one)
    return found


def configs(artifacts: list[Made]) -> dict[str, dict[str, list[Any]]]:
    """Stage -> field -> the different values that its runs had."""
    found: dict[str, dict[str, list[Any]]] = {}
    for one in artifacts:
        fields = found.setdefault(one.record.stage, {})
        for name, value in one.record.config.items():
            values = fields.setdefault(name, [])
            if value not in values:
                values.append(value)
    return found


def software(artifacts: list[Made]) -> dict[str, list[str]]:
    """Library -> its versions, and `git commit` -> those the artifacts were made at."""
    found: dict[str, set[str]] = {}
    for one in artifacts:
        commit = {"git commit": one.record.git_commit} if one.record.git_commit else {}
        for name, version in (commit | one.record.versions).items():
            found.setdefault(name, set()).add(version)
    return {name: sorted(found[name]) for name in sorted(found)}


def drawing(artifacts: list[Made]) -> Drawing:
    """One box for the artifacts of a stage at one depth, inputs on the left of what uses them."""
    boxes: dict[tuple[int, str], Box] = {}
    columns: dict[int, int] = {}
    for one in artifacts:
        place = (one.depth, one.record.stage)
        if place not in boxes:
            boxes[place] = Box(one.record.stage, one.depth * COLUMN + 1, columns.get(one.depth, 0) * LEVEL + 1)
            columns[one.depth] = columns.get(one.depth, 0) + 1
        boxes[place].labels.append(one.label)
    places = {one.uri: (one.depth, one.record.stage) for one in artifacts}
    pairs = {(places[uri], places[one.uri]) for one in artifacts for uri in input_uris(one.record) if uri in places}
    edges = [_edge(boxes[before], boxes[after]) for before, after in sorted(pairs)]
    width = max(columns, default=0) * COLUMN + BOX_WIDTH + 2
    return Drawing(list(boxes.values()), edges, width, max(columns.values(), default=1) * LEVEL)


def _edge(before: Box, after: Box) -> tuple[int, int, int, int]:
    return before.x + BOX_WIDTH, before.y + BOX_HEIGHT // 2, after.x, after.y + BOX_HEIGHT // 2
