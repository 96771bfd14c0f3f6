"""Batches without padding, and what their sequences have in common computed once. Only here does anybody know of masks.

A model that `enable` has prepared takes padded batches as before and gives what it gave before. Inside, the tokens of all
sequences stand one after another in a single row. Sequences that begin alike, as chosen and rejected or the candidates of
one prompt do, share the tokens of their beginning, and of the last layer only those states are computed that are read.

    sequences   [a b c d]  [a b c e f]  [g h]
    row          a b c | d | e f | g h               segments; positions 0 1 2 | 3 | 3 4 | 0 1
    attention    d sees a b c d; e f see a b c e f   a segment's keys: the beginning it goes on from, and its own

Linear layers see one dense row. Attention is computed segment by segment: by FlashAttention for variable lengths on a GPU in
half precision, else by PyTorch's scaled dot product, segments of like size together.
"""

from xlrm.packing.model import FAMILIES, enable, enabled
from xlrm.packing.sharing import batches

__all__ = ["FAMILIES", "batches", "enable", "enabled"]
