"""What a file of a corpus must hold, row by row, checked by Great Expectations, which only this module imports.

A file becomes a frame: its own columns and, beside them, measures of each text against its source (`length:prompt`).
An expectation looks at one of these columns, so what failed is a list of rows, each with the value that failed.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

MEANING = {
    "schema": "every field is there, is a string and is not blank",
    "unique": "an id stands once in its file",
    "parity": "the ids are those of the source, in its order",
    "pair": "chosen and rejected are still different texts",
    "script": "the letters are those of the language",
    "length": "the text is about as long as its source lets expect",
    "copy": "the text is not the source's, untranslated",
    "preserved": "code is the source's, and no number is lost",
    "loop": "no phrase comes over and over where the source has none",
}
TEXTS = ("prompt", "chosen", "rejected", "text")
SPOKEN = ("prompt", "chosen", "text")  # what is wrong with `rejected` may be the very language it is in
ASKED = ("prompt", "text")  # an answer may well be a list of names, the same in two languages

_FORMAT = {"result_format": "COMPLETE", "return_unexpected_index_query": False}

_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"\d+")
_THOUSANDS = re.compile(r"(?<=\d)[.,'\u2019\s](?=\d{3}(?!\d))")  # 1,000 = 1.000 = 1 000 = 1000
_COPIED_WORDS = 3  # two words may be a name
_LOOP_CHARACTERS, _LOOP_TIMES, _LOOP_LONGEST = 10, 5, 300


@dataclass(frozen=True)
class Limits:
    script: str
    """Unicode script of the file's language."""
    script_share: float
    """Least share of its letters among all letters of a text."""
    length: tuple[float, float]
    """Least and greatest length of a text as a multiple of its source's."""
    length_from: int
    """Characters below which a text and its source are too short for that ratio to mean anything."""


@dataclass(frozen=True)
class Expectation:
    name: str
    """One of MEANING."""
    column: str
    """The column it is about, as the corpus names it."""
    kind: str
    """The class of Great Expectations that checks it."""
    arguments: dict[str, Any]
    rule: str = ""
    """The limits, in words."""

    @property
    def measure(self) -> str:
        """The column of the frame whose values show what failed."""
        return self.arguments.get("column") or self.arguments["column_A"]


@dataclass(frozen=True)
class Outcome:
    expectation: Expectation
    checked: int
    """Rows it applied to."""
    failed: dict[int, str]
    """Row of the frame -> the value that failed."""


def frame(rows: list[dict], columns: tuple[str, ...]) -> pd.DataFrame:
    """The rows' `columns` as strings; what is missing or is no string is blank, and so fails `schema`."""
    texts = {name: [row[name] if isinstance(row.get(name), str) else "" for row in rows] for name in columns}
    return pd.DataFrame(texts, dtype="str")


def compare(found: pd.DataFrame, source: pd.DataFrame, length_from: int) -> pd.DataFrame:
    """`found` with what is measured against the source, and at its end a row for each of the source's that it lacks."""
    known = source.drop_duplicates("id").set_index("id")
    lacking = known.index.difference(found["id"], sort=False)
    whole = pd.concat([found, pd.DataFrame({"id": lacking}, dtype="str")], ignore_index=True)
    original = known.reindex(whole["id"])
    measured: dict[str, Iterable] = {"parity": _parity(whole["id"], len(found), known.index)}
    for column in [name for name in TEXTS if name in found]:
        pairs = _pairs(whole[column], original[column])
        measured[f"preserved:{column}"] = _texts(changed, pairs)
        measured[f"loop:{column}"] = _texts(looped, pairs)
        if column in ASKED:
            measured[f"copy:{column}"] = _texts(copied, pairs)
        if column in SPOKEN:
            measured[f"length:{column}"] = [length_ratio(*pair, length_from) if pair else np.nan for pair in pairs]
    return whole.assign(**measured)


def with_script(found: pd.DataFrame, script: str) -> pd.DataFrame:
    spoken = [name for name in SPOKEN if name in found]
    return found.assign(**{f"script:{name}": script_share(found[name].fillna(""), script) for name in spoken})


def script_share(texts: pd.Series, script: str) -> pd.Series:
    """Of each text's letters outside code, the share that is of `script`; NaN where there are none."""
    prose = [_prose(text) for text in texts]
    # All texts as one array of code points, so that each character of the alphabet in use is looked up once.
    codes = np.frombuffer("".join(prose).encode("utf-32-le"), dtype=np.uint32)
    rows = np.repeat(np.arange(len(prose)), [len(text) for text in prose])
    used = np.flatnonzero(np.bincount(codes, minlength=1))
    letter, own = np.zeros((2, used.max(initial=0) + 1), dtype=bool)
    letter[used] = [chr(code).isalpha() for code in used]
    own[used] = [_is_of(chr(code), script) for code in used]
    letters = np.bincount(rows[letter[codes]], minlength=len(prose)).astype(float)
    letters[letters == 0] = np.nan
    return pd.Series(np.bincount(rows[own[codes]], minlength=len(prose)) / letters, index=texts.index)


def length_ratio(text: str, source: str, length_from: int) -> float:
    """Characters outside code, translation over source; NaN where either has none or both are short."""
    length, reference = len(_prose(text)), len(_prose(source))
    return length / reference if length and reference and max(length, reference) >= length_from else float("nan")


def copied(text: str, source: str) -> str | None:
    """The text, if it is its source and long enough for that to be no coincidence."""
    return text if text.strip() == source.strip() and len(_WORD.findall(_prose(source))) >= _COPIED_WORDS else None


def changed(text: str, source: str) -> str | None:
    """Code that only one of the two has, and numbers of the source that are not in the text.

    Numbers may come in: Korean writes "two" as 2 (of 1,000 human translations of NTREX-128 13% have other numbers than
    their source, but only 3% lack one).
    """
    if "`" not in text + source and not _NUMBER.search(source):
        return None
    code, source_code = (Counter(_CODE.findall(one)) for one in (text, source))
    lost = (source_code - code) + (_numbers(source) - _numbers(text))
    parts = {"lost": lost, "added": code - source_code}
    return "; ".join(f"{verb} {', '.join(sorted(many.elements()))}" for verb, many in parts.items() if many) or None


def looped(text: str, source: str) -> str | None:
    """What the text says again and again, unless its source does so, too (a ruled line, a table's border)."""
    return next((chunk for chunk in _loops(text) if chunk * _LOOP_TIMES not in source), None)


def expectations(columns: tuple[str, ...], limits: Limits, translated: bool) -> list[Expectation]:
    """Those of a file with `columns`; a source file has nothing to be compared with."""
    return _of_itself(columns, limits) + (_of_translation(columns, limits) if translated else [])


def _of_itself(columns: tuple[str, ...], limits: Limits) -> list[Expectation]:
    found = [Expectation("schema", name, "ExpectColumnValuesToMatchRegex", _on(name, regex=r"\S")) for name in columns]
    found.append(Expectation("unique", "id", "ExpectColumnValuesToBeUnique", _on("id")))
    if "rejected" in columns:
        both = {"column_A": "rejected", "column_B": "chosen"}
        found.append(Expectation("pair", "rejected", "ExpectColumnPairTextsToDiffer", both, "whatever their case"))
    share = f"at least {limits.script_share:.0%} of the letters outside code are {limits.script}"
    return found + [_between("script", name, limits.script_share, None, share) for name in SPOKEN if name in columns]


def _of_translation(columns: tuple[str, ...], limits: Limits) -> list[Expectation]:
    low, high = limits.length
    band = f"{low:.2f} to {high:.2f} times as long, where one of them has {limits.length_from} characters"
    literals = "what is between backticks, and digits"
    often = f"{_LOOP_CHARACTERS} characters or more, {_LOOP_TIMES} times in a row"
    return [
        Expectation("parity", "id", "ExpectColumnValuesToBeNull", _on("parity")),
        *(_between("length", name, low, high, band) for name in SPOKEN if name in columns),
        *(_none("copy", name, f"of {_COPIED_WORDS} words or more") for name in ASKED if name in columns),
        *(_none("preserved", name, literals) for name in TEXTS if name in columns),
        *(_none("loop", name, often) for name in TEXTS if name in columns),
    ]


def validate(rows: pd.DataFrame, wanted: list[Expectation]) -> list[Outcome]:
    """One validation of Great Expectations. Raises RuntimeError if an expectation could not be computed."""
    import great_expectations as gx

    kinds = _kinds()
    made = [kinds(one.kind)(**one.arguments, meta={"number": number}) for number, one in enumerate(wanted)]
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
    # Expecting nothing in a column, GX counts the rows where it finds that as missing ones.
    missing = 0 if expectation.kind == "ExpectColumnValuesToBeNull" else result.get("missing_count") or 0
    return Outcome(expectation, result["element_count"] - missing, {row: _shown(shown[row]) for row in failed})


@cache
def _batches():
    """An in-memory context's way to look at a frame: nothing is written, nothing is sent, nothing is drawn."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("corpus").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("all")


@cache
def _kinds() -> Callable[[str], type]:
    """Great Expectations' own expectations by name, and one of ours."""
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
        def _pandas(cls, column_A, column_B, **_):
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


def _pairs(texts: pd.Series, sources: pd.Series) -> list[tuple[str, str] | None]:
    """Each text with its source; None where one is blank, which is `schema`'s or `parity`'s matter and no other's."""
    both = zip(texts.fillna("").tolist(), sources.fillna("").tolist(), strict=True)
    return [pair if pair[0].strip() and pair[1].strip() else None for pair in both]


def _texts(measure: Callable[[str, str], str | None], pairs: list[tuple[str, str] | None]) -> pd.Series:
    return pd.Series([pair and measure(*pair) for pair in pairs], dtype="str")


def _parity(ids: pd.Series, present: int, known: pd.Index) -> pd.Series:
    """What is wrong with each id, if anything; those from row `present` on are in the source only."""
    place = pd.Series(known.get_indexer(ids), dtype=float)
    place[place < 0] = np.nan
    wrong = pd.Series(None, place.index, dtype="str")
    wrong[place.ffill().diff() < 0] = "out of order"
    wrong[place.isna()] = "not in the source"
    wrong[present:] = "missing"
    return wrong


def _prose(text: str) -> str:
    return _CODE.sub("", text) if "`" in text else text


def _numbers(text: str) -> Counter[str]:
    """Thousands joined, and the full-width digits of Chinese typography made plain."""
    found = _NUMBER.findall(_THOUSANDS.sub("", _prose(text)))
    return Counter(unicodedata.normalize("NFKC", number) for number in found)


def _loops(text: str) -> Iterator[str]:
    """Chunks that come often enough in a row.

    Searching every place for every length is quadratic; but a loop is at least 50 characters long, so it holds a whole
    one of the samples taken here, which then occurs four times or more, a loop's length apart.
    """
    for at in range(0, len(text) - _LOOP_CHARACTERS + 1, _LOOP_CHARACTERS * (_LOOP_TIMES - 1)):
        sample = text[at : at + _LOOP_CHARACTERS]
        if text.count(sample) >= _LOOP_TIMES - 1:
            for length in _distances(text, sample, at):
                around = max(0, at - _LOOP_TIMES * length), at + _LOOP_TIMES * length + len(sample)
                if found := re.compile(rf"(.{{{length}}})\1{{{_LOOP_TIMES - 1}}}", re.DOTALL).search(text, *around):
                    yield found[1]


def _distances(text: str, sample: str, at: int) -> list[int]:
    """From the sample at `at` to where else it occurs, as far as a loop may be long."""
    found, place = set(), text.find(sample, max(0, at - _LOOP_LONGEST))
    while 0 <= place <= at + _LOOP_LONGEST:
        found.add(abs(place - at))
        place = text.find(sample, place + 1)
    return sorted(length for length in found if length >= _LOOP_CHARACTERS)


def _is_of(character: str, script: str) -> bool:
    """By its Unicode name, which begins with the script's (or a width), but for Han, there called CJK."""
    names = unicodedata.name(character, "").split()
    return character.isalpha() and {"Han": "CJK"}.get(script, script.upper()) in names[:2]


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
