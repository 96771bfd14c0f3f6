"""Attention within segments of a packed row, with the fastest kernel available on the device."""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from xlrm.models.packing.gather import Gather

if TYPE_CHECKING:
    import numpy as np
    import torch

    Heads = torch.Tensor
    """(T, heads, d)"""

Segment = tuple["np.ndarray", "np.ndarray"]
"""Row indices of queries and of their keys. The last query is the last key; each query sees keys up to itself."""

_FILL, _CALL = 1.25, 4096
"""Limits on padding when segments share an attention call: padded products of queries and keys are at most `_FILL`
times the real ones plus `_CALL`, which is about what a further call costs on a CPU."""


class Attention:
    """Attention of each segment's queries to its keys, in a row of T tokens."""

    def __init__(self, segments: list[Segment], tokens: int, device: Any, window: int | None = None):
        """`window`: number of keys, up to itself, that a query sees; None for all. Segments with more keys than that
        have at most `window` queries."""
        self.segments = [segment for segment in segments if len(segment[0])]
        self.tokens, self.device, self.window = tokens, device, window
        self._narrower: dict[int, Attention] = {}

    def within(self, window: int | None) -> "Attention":
        """The same with a sliding window; itself if no segment is longer than the window."""
        if window is None or all(len(seen) <= window for _, seen in self.segments):
            return self
        if window not in self._narrower:
            parts = [part for segment in self.segments for part in _parts(segment, window)]
            self._narrower[window] = Attention(parts, self.tokens, self.device, window)
        return self._narrower[window]

    def __call__(
        self, query: "torch.Tensor", key: "torch.Tensor", value: "torch.Tensor", scale: float, cap: float | None = None
    ) -> "torch.Tensor":
        """(1, heads, T, d) each, key and value with as many or fewer heads -> (1, T, heads, d), zeros if not
        queried. `cap`: soft cap of the scores."""
        import torch

        if query.is_cuda and torch.is_autocast_enabled("cuda"):
            half = torch.get_autocast_dtype("cuda")
            query, key, value = query.to(half), key.to(half), value.to(half)
        query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and cap is None:
            return self._flash(query, key, value, scale)[None]
        return self._by_buckets(query, key, value, scale, cap)[None]

    def _flash(self, query: "Heads", key: "Heads", value: "Heads", scale: float) -> "Heads":
        """FlashAttention, whose mask aligns the last query with the last key, as segments require."""
        import torch
        from torch.nn.attention.varlen import varlen_attn

        (asked, seen, back), (query_starts, key_starts), (queries, keys) = self._ragged
        output = varlen_attn(
            asked(query), seen(key), seen(value), query_starts, key_starts, queries, keys,
            scale=scale, window_size=(self.window - 1 if self.window else -1, 0), enable_gqa=True,
        )  # fmt: skip
        assert isinstance(output, torch.Tensor), "a tuple only if asked for more"
        return back(torch.cat([output.new_zeros(1, *output.shape[1:]), output]))

    @cached_property
    def _ragged(self) -> tuple[tuple[Gather, Gather, Gather], list["torch.Tensor"], list[int]]:
        """Gathers of queries, keys and outputs; start of each segment among queries and keys; largest size of each."""
        import torch

        sizes = torch.tensor([[len(asked), len(seen)] for asked, seen in self.segments])
        starts = torch.nn.functional.pad(sizes.cumsum(0), (0, 0, 1, 0)).int().to(self.device)
        return self._gathers([self.segments]), list(starts.T.contiguous()), sizes.amax(0).tolist()

    def _by_buckets(
        self, query: "Heads", key: "Heads", value: "Heads", scale: float, cap: float | None = None
    ) -> "Heads":
        """One call of SDPA for each bucket of segments, or of `capped`."""
        import torch

        if query.is_cuda and query.shape[1] > key.shape[1]:  # no fast kernel supports grouped heads with a mask
            key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], 1) for tensor in (key, value))
        asked, seen, back = self._gathers_of_buckets
        sizes = [(len(bucket), *_size(bucket)) for bucket in self._buckets]
        queries = asked(query).split([count * size for count, size, _ in sizes])
        keys, values = (seen(tensor).split([count * size for count, _, size in sizes]) for tensor in (key, value))
        outputs = [query.new_zeros(1, *query.shape[1:])]
        for (count, *_), mask, *parts in zip(sizes, self._masks, queries, keys, values, strict=True):
            q, k, v = (tensor.unflatten(0, (count, -1)).transpose(1, 2) for tensor in parts)
            if cap is None:
                out = torch.nn.functional.scaled_dot_product_attention(
                    q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=q.shape[1] > k.shape[1]
                )
            else:
                out = capped(q, k, v, mask, scale, cap)
            outputs.append(out.transpose(1, 2).flatten(0, 1))
        return back(torch.cat(outputs))

    @cached_property
    def _buckets(self) -> list[list[Segment]]:
        """Segments of similar size, those that continue a shared prefix apart from the others. A segment joins a bucket
        if padding it costs less than a further call."""
        buckets: list[list[Segment]] = []
        area = longest = 0
        for segment in sorted(self.segments, key=lambda item: (_continues(item), len(item[0]), len(item[1]))):
            queries, keys = len(segment[0]), len(segment[1])
            if buckets and _continues(buckets[-1][0]) == _continues(segment):
                filled = (len(buckets[-1]) + 1) * queries * max(keys, longest)
                if filled <= _FILL * (area + queries * keys) + _CALL:
                    buckets[-1].append(segment)
                    area, longest = area + queries * keys, max(longest, keys)
                    continue
            buckets.append([segment])
            area, longest = queries * keys, keys
        return buckets

    @cached_property
    def _masks(self) -> list["torch.Tensor | None"]:
        """Mask (segments, 1, queries, keys) of each bucket, true for visible keys. None for segments that continue no
        prefix, for which causal attention is enough. Padding sees what the last query sees, since a query that sees
        nothing has no gradient."""
        import torch

        masks = []
        for bucket in self._buckets:
            queries, keys = torch.arange(_size(bucket)[0]), torch.arange(_size(bucket)[1])
            sizes = torch.tensor([[len(asked), len(seen)] for asked, seen in bucket])[:, :, None]
            until = torch.minimum(sizes[:, 1] - sizes[:, 0] + queries, sizes[:, 1] - 1)[:, None, :, None]
            visible = keys <= until
            if self.window:
                visible &= keys > until - self.window
            masks.append(visible.to(self.device) if _continues(bucket[0]) else None)
        return masks

    @cached_property
    def _gathers_of_buckets(self) -> tuple[Gather, Gather, Gather]:
        filled = []
        for bucket in self._buckets:
            queries, keys = _size(bucket)
            filled.append([(_filled(asked, queries), _filled(seen, keys)) for asked, seen in bucket])
        return self._gathers(filled)

    def _gathers(self, buckets: list[list[Segment]]) -> tuple[Gather, Gather, Gather]:
        """Gathers of queries and keys from the row, and of outputs, preceded by a line of zeros, back into the row."""
        import numpy as np

        asked, seen = (np.concatenate([segment[side] for bucket in buckets for segment in bucket]) for side in (0, 1))
        back = np.zeros(self.tokens, dtype=int)
        real = np.flatnonzero(asked >= 0)
        back[asked[real]] = 1 + real
        queries, keys = (Gather(places, self.tokens, self.device) for places in (asked, seen))
        return queries, keys, Gather(back, len(asked) + 1, self.device)


def capped(
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    mask: "torch.Tensor | None",
    scale: float,
    cap: float,
) -> "torch.Tensor":
    """Attention with the scores cap * tanh(score / cap) of Gemma 2, which SDPA lacks. Shapes and types as there; without
    a mask, each query sees the keys up to itself, and the last query is the last key."""
    import torch

    heads, queries, keys = key.shape[1], query.shape[2], key.shape[2]
    if mask is None:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)[None, None]
    grouped = query.reshape(len(query), heads, -1, query.shape[3])  # the queries of heads that share keys, together
    scores = torch.tanh(grouped @ key.transpose(2, 3) * (scale / cap)).unflatten(2, (-1, queries)) * cap
    unseen = torch.finfo(scores.dtype).min
    weights = scores.masked_fill(~mask[:, :, None], unseen).softmax(-1, dtype=torch.float32).to(query.dtype)
    return (weights.flatten(2, 3) @ value).reshape(query.shape)


def _parts(segment: Segment, window: int) -> Iterator[Segment]:
    """Parts of a segment, of at most `window` queries, with the keys that they see."""
    asked, seen = segment
    if len(seen) <= window:
        yield segment
        return
    before = len(seen) - len(asked)
    for first in range(0, len(asked), window):
        last = before + min(first + window, len(asked))
        yield asked[first : first + window], seen[max(0, before + first + 1 - window) : last]


def _continues(segment: Segment) -> bool:
    return len(segment[0]) < len(segment[1])


def _size(bucket: list[Segment]) -> tuple[int, int]:
    """Largest numbers of (queries, keys) in a bucket."""
    return max(len(asked) for asked, _ in bucket), max(len(seen) for _, seen in bucket)


def _filled(places: "np.ndarray", size: int) -> "np.ndarray":
    import numpy as np

    return np.concatenate([places, np.full(size - len(places), -1)])
