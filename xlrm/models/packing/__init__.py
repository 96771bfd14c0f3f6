"""Batches without padding, with shared beginnings computed once (docs/adr/0004-packing-by-hooks.md).

Nothing outside knows of segments and masks.
"""
