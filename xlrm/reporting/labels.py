"""Where the labels of a scatter plot go, so that none lies on another."""

from dataclasses import dataclass

GAP = 1.0
"""Between two labels, and between a label and the edge."""


@dataclass(frozen=True)
class Box:
    """From its left and lower edge, in any unit."""

    left: float
    low: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def high(self) -> float:
        return self.low + self.height

    def meets(self, other: "Box") -> bool:
        apart = self.right <= other.left or other.right <= self.left or self.high <= other.low or other.high <= self.low
        return not apart


def spread(boxes: list[Box], low: float, high: float) -> list[Box]:
    """The boxes moved up and down, as little as can be, until no two meet, between `low` and `high` if all fit there; a
    higher pile begins at `low`. In the order of `boxes`."""
    moved = list(boxes)
    for group in _overlapping(boxes):
        group.sort(key=lambda i: boxes[i].low)
        for i, place in zip(group, _places([boxes[i] for i in group], low, high), strict=True):
            moved[i] = Box(boxes[i].left, place, boxes[i].width, boxes[i].height)
    return moved


def _overlapping(boxes: list[Box]) -> list[list[int]]:
    """Numbers of the boxes, in groups that share no x with one another."""
    groups: list[list[int]] = []
    reach = float("-inf")
    for i in sorted(range(len(boxes)), key=lambda i: boxes[i].left):
        if not groups or boxes[i].left >= reach:
            groups.append([])
        groups[-1].append(i)
        reach = max(reach, boxes[i].right)
    return groups


def _places(boxes: list[Box], low: float, high: float) -> list[float]:
    """Lower edges of a pile in this order: what isotonic regression gives for the edges less the heights of all below (pool
    adjacent violators), which is the least sum of squared moves."""
    below = [0.0]
    for box in boxes:
        below.append(below[-1] + box.height + GAP)
    blocks: list[list[float]] = []
    for box, offset in zip(boxes, below, strict=False):
        blocks.append([box.low - offset])
        while len(blocks) > 1 and _mean(blocks[-2]) >= _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    highest = max(low, high - below[-1])
    edges = [min(max(_mean(block), low), highest) for block in blocks for _ in block]
    return [edge + offset for edge, offset in zip(edges, below, strict=False)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
