"""What a corpus and its translations must hold, row by row, checked by Great Expectations.

A chunk of a file becomes a frame: its own columns and, beside them, measures of each text against its source
(`length:prompt`). An expectation looks at one of these columns, so what failed is a list of rows, each with the value
that failed. `suite` is the door to Great Expectations, `identification` to lingua; `measures` makes the frame, from what
`texts`, `numbers`, `loops` and `lengths` say about a text and its source. `alarms` knows what right translations fail by.
"""

from xlrm.expectations.alarms import Verdict, amounts, expected, judge, shares_by_kind
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
    "MEANING", "Expectation", "Outcome", "Plan", "Verdict", "amounts", "bands", "check", "check_ids", "expected",
    "failures", "judge", "merged", "rules", "shares_by_kind",
]  # fmt: skip
