"""Batches without padding, with shared beginnings computed once (docs/adr/0001-packing-by-hooks.md).

Nothing outside knows of segments and masks.
"""
