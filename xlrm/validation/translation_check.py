"""Check of texts during translation, with those expectations of `validate` that concern texts."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from xlrm.data import row_texts
from xlrm.data.corpus_schema import TEXTS
from xlrm.languages import Language
from xlrm.validation.limits import Limits

if TYPE_CHECKING:
    from xlrm.validation.frame import Plan


def fit(
    target: Language, source: Language, limits: Limits, translated: Sequence[dict], sources: Sequence[dict]
) -> Callable[[Sequence[dict], Sequence[dict]], list[tuple[str, str]]]:
    """Function that checks rows translated into `target` against their source rows, in the same order and with the same
    columns. It returns source text and expectation of each text that fails. Its length bands are fitted once, from the
    rows given here."""
    from xlrm.validation.frame import Plan, bands

    columns = ("id", *(column for column in TEXTS if column in sources[0]))
    held = (columns, target, source, limits)
    plan = Plan(*held, bands(*held, zip(translated, sources, strict=True)))
    return lambda rows, originals: _failed(plan, rows, originals)


def _failed(plan: "Plan", rows: Sequence[dict], sources: Sequence[dict]) -> list[tuple[str, str]]:
    from xlrm.validation.suite import check_parts

    parts = row_texts.parts(list(rows), list(sources), plan.columns[1:])
    outcomes = [outcome for outcome in check_parts(plan, parts) if outcome.expectation.column in plan.texts]
    failures = [(parts[place].sources, outcome.expectation) for outcome in outcomes for place in outcome.failed]
    return [(text, failed.name) for texts, failed in failures if texts and (text := texts[failed.column])]
