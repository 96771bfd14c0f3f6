"""Layout of several sequences in one packed row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xlrm.models.packing.attention import Attention, Segment
from xlrm.models.packing.gather import Gather, on
from xlrm.models.packing.sharing import Tokens, shared_beginnings

if TYPE_CHECKING:
    import numpy as np
    import torch

Span = tuple[int, int]


@dataclass
class Layout:
    """Sequences packed into one row of T tokens. Tokens that are read are those whose last state the caller needs."""

    ids: "torch.Tensor"
    """Token ids (1, T)."""
    positions: "torch.Tensor"
    """Position of each token in its sequence (1, T)."""
    inner: Attention
    """Attention of all layers except the last."""
    last: Attention
    """Attention of the last layer, whose queries are only the tokens that are read."""
    taken: Gather
    """Gathers the tokens that are read from the row, sequence by sequence."""
    trim: Gather | None
    """Gathers the tokens that are read from the row, each once; None if all are read."""
    fill: Gather | None
    """Inverse of `trim`: from its tokens, preceded by a line of zeros, back to the row; other tokens get zeros."""
    shape: tuple[int, int] | None
    """Shape in which the head takes the states that are read; None for that of the padded batch."""
    lines: int
    width: int
    unpad: "np.ndarray"
    """Indices of the tokens that are read in the flattened padded batch of `lines` x `width`."""


def lay_out(
    sequences: Sequence[Tokens], spans: Sequence[Span] | None, shape: tuple[int, int] | None, width: int, device: Any
) -> Layout:
    """Packs `sequences` into a row, with shared prefixes once. `spans`: for each sequence, the range (from, to) of
    tokens whose last state is read; None for all."""
    import numpy as np

    row: list[int] = []
    positions: list[np.ndarray] = []
    places: dict[int, np.ndarray] = {}
    inner: list[Segment] = []
    last: list[Segment] = []
    read = spans or [(0, len(sequence)) for sequence in sequences]
    for members, shared in shared_beginnings(sequences):
        begin = np.arange(len(row), len(row) + shared)
        row += sequences[members[0]][:shared]
        positions.append(np.arange(shared))
        inner.append((begin, begin))
        last.append(_read(begin, 0, _around([read[i] for i in members])))
        for i in members:
            own = np.arange(len(row), len(row) + len(sequences[i]) - shared)
            row += sequences[i][shared:]
            positions.append(np.arange(shared, len(sequences[i])))
            places[i] = np.concatenate([begin, own])
            inner.append((own, places[i]))
            last.append(_read(places[i], shared, read[i]))
    taken = np.concatenate([places[i][first:stop] for i, (first, stop) in enumerate(read)])
    once = np.unique(taken)
    back = np.zeros(len(row), dtype=int)
    back[once] = 1 + np.arange(len(once))
    attention = Attention(inner, len(row), device)
    return Layout(
        ids=on(device, np.asarray(row))[None], positions=on(device, np.concatenate(positions))[None], inner=attention,
        last=Attention(last, len(row), device) if spans else attention, taken=Gather(taken, len(row), device),
        trim=Gather(once, len(row), device) if spans else None,
        fill=Gather(back, len(once) + 1, device) if spans else None, shape=shape, lines=len(sequences), width=width,
        unpad=np.concatenate([line * width + np.arange(*span) for line, span in enumerate(read)]),
    )  # fmt: skip


def _read(places: "np.ndarray", begin: int, span: Span) -> Segment:
    """Segment of the queries in a span that are not before `begin`, and their keys."""
    first, stop = span
    return places[max(begin, first) : stop], places[:stop]


def _around(spans: list[Span]) -> Span:
    some = [span for span in spans if span[0] < span[1]]
    return min((first for first, _ in some), default=0), max((stop for _, stop in some), default=0)
