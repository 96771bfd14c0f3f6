"""What a corpus and its translations must hold, row by row, checked by Great Expectations.

A chunk of a file becomes a frame: its own columns and, beside them, measures of each text against its source
(`length:prompt`). An expectation looks at one of these columns, so what failed is a list of rows, each with the value
that failed. `suite` is the door to Great Expectations, `identification` to lingua; `measures` makes the frame, from what
`texts`, `numbers`, `loops` and `lengths` say about a text and its source.
"""

from xlrm.expectations.measures import Plan, bands
from xlrm.expectations.suite import (
    MEANING,
    Expectation,
    Outcome,
    check,
    check_ids,
    failures,
    merged,
    rules,
)

__all__ = [
    "MEANING", "Expectation", "Outcome", "Plan", "bands", "check", "check_ids", "failures", "merged",
    "rules",
]  # fmt: skip
