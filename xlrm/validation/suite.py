"""Expectations on a file, and their validation by Great Expectations, which only this module imports."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from xlrm.data import row_texts
from xlrm.languages import LANGUAGES
from xlrm.validation.frame import SIDES, TURNS, Plan, bands, frame
from xlrm.validation.limits import Limits

MEANING = {
    "schema": "every field is present, is a string and is not blank",
    "unique": "an id occurs only once in its file",
    "parity": "the ids are those of the source, in the same order",
    "turns": "messages, roles, tool calls and other fields are those of the source",
    "pair": "chosen and rejected are still different texts",
    "script": "the letters are those of the language",
    "language": "the text is in the right language, as identified by lingua",
    "length": "the length of the text is plausible for its source",
    "truncated": "the text does not end after the first lines of its source",
    "cut": "the text does not stop in the middle of a sentence",
    "copy": "the text is not an untranslated copy of its source",
    "untranslated": "no sentence or line is left untranslated",
    "code": "the text between backticks is the same as in the source",
    "placeholder": "placeholders, markup and addresses are the same as in the source",
    "number": "no number is lost, however it is written",
    "loop": "no word or phrase is repeated over and over unless the source does so",
}
SHOWN_CHARACTERS = 160
"""Characters kept of a value that failed."""

_FORMAT = {"result_format": "COMPLETE", "return_unexpected_index_query": False}


@dataclass(frozen=True)
class Expectation:
    """One check of one column."""

    name: str
    """Key of `MEANING`."""
    column: str
    """Column of the corpus that is checked."""
    kind: str
    """Class of Great Expectations that checks it, by name."""
    arguments: dict[str, Any]
    rule: str = ""
    """Its limits in words."""

    @property
    def measure(self) -> str:
        """Column of the frame whose values are shown for failed rows."""
        return self.arguments.get("column") or self.arguments["column_A"]


@dataclass(frozen=True)
class Outcome:
    """Result of one expectation on some rows."""

    expectation: Expectation
    checked: int
    """Number of rows that were checked."""
    failed: dict[int, str]
    """Index of a failed row -> its value."""


def failures(
    rows: Sequence[dict],
    source_rows: Sequence[dict],
    columns: tuple[str, ...],
    language: str,
    source_language: str,
    limits: Limits,
) -> list[Outcome]:
    """Outcomes of all checks of some translated rows. A row's index is its position in `rows`; missing source rows
    follow them. Length bands are fitted if there are enough rows."""
    target, source = LANGUAGES[language], LANGUAGES[source_language]
    known = {row.get("id"): row for row in reversed(source_rows)}
    sources = [known.get(row.get("id")) for row in rows]
    both = [(row, original) for row, original in zip(rows, sources, strict=True) if original]
    plan = Plan(columns, target, source, limits, bands(columns, target, source, limits, both))
    ids, wanted = ([_id(row) for row in table] for table in (rows, source_rows))
    return check_ids(ids, wanted) + check(plan, rows, sources)


def _id(row: dict) -> str:
    return row["id"] if isinstance(row.get("id"), str) else ""


def check_ids(ids: list[str], source_ids: list[str] | None = None) -> list[Outcome]:
    """Outcomes of the checks of a whole file's ids; the ids of missing source rows follow its own."""
    known = pd.Index(source_ids or ids).unique()
    lacking = known.difference(pd.Index(ids), sort=False).tolist() if source_ids else []
    column = pd.Series([*ids, *lacking], dtype="str")
    expected = rules_of_ids(translated=bool(source_ids))
    return validate(pd.DataFrame({"id": column, "parity": _parity(column, len(ids), known)}), expected)


def check(plan: Plan, rows: Sequence[dict], sources: Sequence[dict | None] = ()) -> list[Outcome]:
    """Outcomes of the checks of a chunk's texts; `sources` are the source rows with the same ids, None if missing."""
    names = tuple(name for name in plan.columns if name != "id")
    parts = row_texts.parts(list(rows), list(sources), names)
    return [_of_rows(outcome, parts, len(rows)) for outcome in check_parts(plan, parts)]


def check_parts(plan: Plan, parts: Sequence[row_texts.Part]) -> list[Outcome]:
    """Outcomes of the checks of the parts of rows; the index of a failure is that of a part."""
    return validate(frame(plan, parts), rules(plan))


def _of_rows(outcome: Outcome, parts: Sequence[row_texts.Part], rows: int) -> Outcome:
    """The outcome by row; with more than one part, a row fails if one of its parts does."""
    if len(parts) == rows:
        return outcome
    failed: dict[int, str] = {}
    for place, value in outcome.failed.items():
        failed.setdefault(parts[place].row, value)
    return Outcome(outcome.expectation, min(outcome.checked, rows), failed)


def merged(parts: Iterable[tuple[int, list[Outcome]]]) -> list[Outcome]:
    """Outcomes of a file, from (first row, outcomes) of each chunk."""
    checked: dict[int, int] = {}
    failed: dict[int, dict[int, str]] = {}
    wanted: list[Expectation] = []
    for start, outcomes in parts:
        wanted = [outcome.expectation for outcome in outcomes]
        for number, outcome in enumerate(outcomes):
            checked[number] = checked.get(number, 0) + outcome.checked
            failed.setdefault(number, {}).update({start + row: value for row, value in outcome.failed.items()})
    return [Outcome(expectation, checked[number], failed[number]) for number, expectation in enumerate(wanted)]


def rules_of_ids(translated: bool) -> list[Expectation]:
    checks = [
        Expectation("schema", "id", "ExpectColumnValuesToMatchRegex", _on("id", regex=r"\S")),
        Expectation("unique", "id", "ExpectColumnValuesToBeUnique", _on("id")),
    ]
    return [*checks, Expectation("parity", "id", "ExpectColumnValuesToBeNull", _on("parity"))] if translated else checks


def plain_rules(columns: tuple[str, ...], sides: tuple[str, str] = ("rejected", "chosen")) -> list[Expectation]:
    """Expectations that need no measurements. `sides`: columns with the two responses as single texts."""
    names = [name for name in columns if name != "id"]
    checks = [Expectation("schema", name, "ExpectColumnValuesToMatchRegex", _on(name, regex=r"\S")) for name in names]
    both = dict(zip(("column_A", "column_B"), sides, strict=True))
    pair = Expectation("pair", "rejected", "ExpectColumnPairTextsToDiffer", both, "whatever their case")
    return [*checks, pair] if "rejected" in names else checks


def rules(plan: Plan) -> list[Expectation]:
    """Expectations on the texts of a file."""
    checks, share = plain_rules(plan.columns, SIDES), plan.limits.min_script_share
    script_rule = f"at least {share:.0%} of the letters outside code are {plan.language.script}"
    sure = f"{plan.language.name}, from {plan.limits.language_letters} letters on"
    checks += [_between("script", name, share, None, script_rule) for name in plan.texts]
    checks += [_none("language", name, sure) for name in plan.texts]
    if plan.source:
        checks += [_none("turns", name, "") for name in plan.texts if name in TURNS]
    return checks + [_none(name, column, rule) for column in plan.bands for name, rule in _limits(plan, column).items()]


def _limits(plan: Plan, column: str) -> dict[str, str]:
    """Name of each measure of a translation -> its limits in words."""
    limits = plan.limits
    wording = {
        "length": plan.bands[column].rule,
        "untranslated": f"of {limits.untranslated_words} words or more",
        "loop": f"{limits.loop_times} times in a row",
    }
    return {name: wording.get(name, "") for name in plan.measures(column)}


def validate(rows: pd.DataFrame, wanted: list[Expectation]) -> list[Outcome]:
    """Validates the rows with Great Expectations. Raises RuntimeError if an expectation could not be computed."""
    import great_expectations as gx

    kinds = _kinds()
    made = [kinds(rule.kind)(**rule.arguments, meta={"number": number}) for number, rule in enumerate(wanted)]
    batch = _batches().get_batch({"dataframe": rows})
    suite = gx.ExpectationSuite(name="rows", expectations=made)
    outcomes = {}
    for result in batch.validate(suite, result_format=_FORMAT).results:
        number = result.expectation_config.meta["number"]
        if "unexpected_index_list" not in result.result and not result.success:
            raise RuntimeError(f"{wanted[number]}: {result.exception_info}")
        outcomes[number] = _outcome(wanted[number], rows, result.result)
    return [outcomes[number] for number in range(len(wanted))]


def _outcome(expectation: Expectation, rows: pd.DataFrame, result: dict) -> Outcome:
    shown = rows[expectation.measure]
    failed = result.get("unexpected_index_list") or []
    # For a column that should be empty, GX counts the empty rows, which pass, as missing.
    missing = 0 if expectation.kind == "ExpectColumnValuesToBeNull" else result.get("missing_count") or 0
    return Outcome(expectation, result["element_count"] - missing, {row: _shown(shown[row]) for row in failed})


@cache
def _batches() -> Any:
    """Batch definition for a frame, in an in-memory context without files, analytics and progress bars."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("corpus").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("all")


@cache
def _kinds() -> Callable[[str], type]:
    """Function from a name to the class of an expectation: Great Expectations' own, and one of this project."""
    from great_expectations import expectations as core
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation import ColumnPairMapExpectation
    from great_expectations.expectations.metrics.map_metric_provider import (
        ColumnPairMapMetricProvider,
        column_pair_condition_partial,
    )

    class TextsDiffer(ColumnPairMapMetricProvider):
        condition_metric_name = "column_pair_values.texts_differ"

        @column_pair_condition_partial(engine=PandasExecutionEngine)
        def _pandas(cls, column_A: pd.Series, column_B: pd.Series, **_: Any) -> pd.Series:
            return column_A.str.strip().str.casefold() != column_B.str.strip().str.casefold()

    class ExpectColumnPairTextsToDiffer(ColumnPairMapExpectation):
        """Expect two columns to hold different texts in each row, not only in case or in space around them."""

        ignore_row_if: str = "either_value_is_missing"
        map_metric = "column_pair_values.texts_differ"
        success_keys = ("column_A", "column_B", "ignore_row_if", "mostly")

    ours = {"ExpectColumnPairTextsToDiffer": ExpectColumnPairTextsToDiffer}
    return lambda name: ours.get(name) or getattr(core, name)


def _on(column: str, **arguments: Any) -> dict[str, Any]:
    return {"column": column, **arguments}


def _between(name: str, column: str, least: float, most: float | None, rule: str) -> Expectation:
    limits = _on(f"{name}:{column}", min_value=least, max_value=most)
    return Expectation(name, column, "ExpectColumnValuesToBeBetween", limits, rule)


def _none(name: str, column: str, rule: str) -> Expectation:
    return Expectation(name, column, "ExpectColumnValuesToBeNull", _on(f"{name}:{column}"), rule)


def _parity(ids: pd.Series, present: int, known: pd.Index) -> pd.Series:
    """Defect of each id, or NaN; ids from row `present` on are in the source only."""
    place = pd.Series(known.get_indexer(pd.Index(ids)), dtype=float)
    place[place < 0] = np.nan
    wrong = pd.Series(None, place.index, dtype="str")
    wrong[place.ffill().diff() < 0] = "out of order"
    wrong[place.isna()] = "not in the source"
    wrong[present:] = "missing"
    return wrong


def _shown(value: Any) -> str:
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
