"""Batches without padding, in which shared prefixes are computed once (docs/adr/0004-packing-by-hooks.md).

Segments and masks are internal to this package.
"""
