"""Check of texts during translation, with those expectations of `validate` that concern texts."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from xlrm.data.corpus_schema import TEXTS
from xlrm.languages import Language
from xlrm.validation.limits import Limits

if TYPE_CHECKING:
    from xlrm.validation.frame import Plan


def fit(
    target: Language, source: Language, limits: Limits, translated: Sequence[dict], sources: Sequence[dict]
) -> Callable[[Sequence[dict], Sequence[dict]], list[tuple[int, str, str]]]:
    """Function that checks rows translated into `target` against their source rows, in the same order and with the same
    columns. It returns row index, column and expectation of each text that fails. Its length bands are fitted once,
    from the rows given here."""
    from xlrm.validation.frame import Plan, bands

    columns = ("id", *(column for column in TEXTS if column in sources[0]))
    held = (columns, target, source, limits)
    plan = Plan(*held, bands(*held, zip(translated, sources, strict=True)))
    return lambda rows, originals: _failed(plan, rows, originals)


def _failed(plan: "Plan", rows: Sequence[dict], sources: Sequence[dict]) -> list[tuple[int, str, str]]:
    from xlrm.validation.suite import check

    outcomes = [outcome for outcome in check(plan, rows, sources) if outcome.expectation.column in plan.texts]
    return [
        (row, outcome.expectation.column, outcome.expectation.name) for outcome in outcomes for row in outcome.failed
    ]
