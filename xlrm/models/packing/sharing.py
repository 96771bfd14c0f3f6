"""Grouping sequences into batches and by shared prefixes."""

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Tokens = Sequence[int]
_MIN_SHARED = 8
"""Tokens; a shorter common prefix, such as the start of a chat template, is not worth a segment."""


def batches(
    sequences: Sequence[Tokens], batch_tokens: int, packed: bool, kinds: Sequence[Hashable] | None = None
) -> Iterator[list[int]]:
    """Indices of the sequences of each batch, from short to long. A batch has at most `batch_tokens` tokens, or is a
    single sequence. If `packed`, shared prefixes count once; else padding counts too, and a batch has sequences of one
    of the `kinds`."""
    lengths = [len(sequence) for sequence in sequences]
    groups = shared_beginnings(sequences) if packed else [([place], 0) for place in range(len(sequences))]
    kinds = [0] * len(sequences) if packed or kinds is None else kinds
    batch: list[int] = []
    used = 0
    for members, shared in sorted(groups, key=lambda group: (max(lengths[i] for i in group[0]), group[0])):
        for part in _parts(members, shared, lengths, batch_tokens):
            cost = shared + sum(lengths[i] - shared for i in part)
            full = (used + cost if packed else cost * (len(batch) + 1)) > batch_tokens
            if batch and (full or kinds[part[0]] != kinds[batch[0]]):
                yield batch
                batch, used = [], 0
            batch, used = batch + part, used + cost
    if batch:
        yield batch


def _parts(members: list[int], shared: int, lengths: list[int], batch_tokens: int) -> Iterator[list[int]]:
    """Splits a group into parts that fit into a batch."""
    part: list[int] = []
    used = shared
    for place in members:
        own = lengths[place] - shared
        if part and used + own > batch_tokens:
            yield part
            part, used = [], shared
        part.append(place)
        used += own
    yield part


def shared_beginnings(sequences: Sequence[Tokens]) -> list[tuple[list[int], int]]:
    """Groups as (indices of sequences, length of their common prefix). In lexicographic order, each sequence joins the
    group before it if that saves more tokens than the group loses by a shorter common prefix."""
    import numpy as np

    groups: list[tuple[list[int], int]] = []
    before = None
    for place in sorted(range(len(sequences)), key=lambda place: tuple(sequences[place])):
        tokens = np.asarray(sequences[place])
        if before is not None:
            members, shared = groups[-1]
            common = _common(before, tokens) if len(members) == 1 else min(shared, _common(before, tokens))
            if common >= _MIN_SHARED and common * len(members) > shared * (len(members) - 1):
                groups[-1] = ([*members, place], common)
                before = tokens
                continue
        groups.append(([place], 0))
        before = tokens
    return groups


def _common(one: "np.ndarray", other: "np.ndarray") -> int:
    size = min(len(one), len(other))
    differ = one[:size] != other[:size]
    return int(differ.argmax()) if differ.any() else size
