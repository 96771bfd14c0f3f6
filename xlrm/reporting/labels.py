"""Places the labels of a scatter plot so that they do not overlap."""

from dataclasses import dataclass

GAP = 1.0
"""Space between two labels, and between a label and the upper edge."""


@dataclass(frozen=True)
class Box:
    """A rectangle by its left and lower edge, in any unit."""

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


def spread(boxes: list[Box], low: float, high: float) -> list[Box]:
    """Moves the boxes up or down, as little as possible, until they do not overlap: between `low` and `high` if they
    all fit there, else from `low` upwards. Returns them in the order of `boxes`."""
    moved = list(boxes)
    for group in _overlapping(boxes):
        group.sort(key=lambda i: boxes[i].low)
        for i, place in zip(group, _places([boxes[i] for i in group], low, high), strict=True):
            moved[i] = Box(boxes[i].left, place, boxes[i].width, boxes[i].height)
    return moved


def _overlapping(boxes: list[Box]) -> list[list[int]]:
    """Indices of the boxes, in groups that share no x with each other."""
    groups: list[list[int]] = []
    reach = float("-inf")
    for i in sorted(range(len(boxes)), key=lambda i: boxes[i].left):
        if not groups or boxes[i].left >= reach:
            groups.append([])
        groups[-1].append(i)
        reach = max(reach, boxes[i].right)
    return groups


def _places(boxes: list[Box], low: float, high: float) -> list[float]:
    """Lower edges of a pile of boxes in this order, with the least sum of squared moves: isotonic regression (pool
    adjacent violators) of the edges minus the heights of all boxes below."""
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
