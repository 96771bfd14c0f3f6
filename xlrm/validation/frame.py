"""Data frame that the expectations are checked on: the texts of a chunk of rows, and measurements of each text."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from xlrm.data import conversations, row_texts
from xlrm.data.corpus_schema import DEMONSTRATIONS, TEXTS
from xlrm.data.row_texts import Part
from xlrm.languages import Language, is_of
from xlrm.validation.language_id import Identifier, letters
from xlrm.validation.lengths import Band, fit
from xlrm.validation.limits import Limits
from xlrm.validation.loops import looped
from xlrm.validation.texts import (
    Measure,
    Pair,
    changed_code,
    changed_placeholders,
    copied,
    cut,
    lost_numbers,
    off_band,
    prose,
    truncated,
    untranslated,
    without_names,
)

TURNS = tuple(name for name in TEXTS if name != "text")
"""Columns that may be messages."""
SIDES = ("whole:rejected", "whole:chosen")
"""Columns of the frame with the two responses of a pair, all their messages as one text."""
SPOKEN = ("prompt", "chosen", "text")  # a rejected answer may be wrong because of its language
ASKED = ("prompt", "text")  # an answer may be a list of names, the same in both languages
_NO_LETTERS = "ªº"  # 12.ª is an ordinal
EXCUSABLE = ("script", "language", "length", "copy", "untranslated")


@dataclass(frozen=True)
class Plan:
    """Checks of one file in one language: its columns, languages and limits."""

    columns: tuple[str, ...]
    language: Language
    source: Language | None
    """Language that the file is translated from; None for the source corpus, which is not compared with anything."""
    limits: Limits
    bands: dict[str, Band] = field(default_factory=dict)
    """Text column -> length band; empty for the source corpus."""

    @property
    def texts(self) -> list[str]:
        """Text columns whose language is checked; for the source corpus without `rejected` and the `response` of a single
        judgment."""
        spoken = (*SPOKEN, "response") if self.columns == DEMONSTRATIONS.columns else SPOKEN
        return [name for name in self.columns if name in (TEXTS if self.source else spoken)]

    def measures(self, column: str) -> dict[str, Measure]:
        """Expectation -> measure of a text beside its source; for a translation only."""
        assert self.source
        limits, band = self.limits, self.bands[column]
        code = {"code": changed_code, "placeholder": changed_placeholders}
        return {
            "length": off_band(band, limits.length_from),
            "truncated": truncated(band),
            "cut": cut,
            "copy": copied(limits.copied_words if column in ASKED else limits.untranslated_words),
            "untranslated": untranslated(limits.untranslated_words),
            **(code if limits.same_code else dict.fromkeys(code, _unchecked)),
            "number": lost_numbers(self.language.code, self.source.code),
            "loop": lambda pair: looped(pair.text, pair.source, limits.loop_times),
        }


def _unchecked(pair: Pair) -> None:
    return None


def bands(
    columns: tuple[str, ...], language: Language, source: Language, limits: Limits, rows: Iterable[tuple[dict, dict]]
) -> dict[str, Band]:
    """Text column -> length band, fitted from (row, source row) pairs."""
    texts = [name for name in columns if name in TEXTS]
    mine, sources = map(list, zip(*rows, strict=True)) if (rows := list(rows)) else ([], [])
    parts = row_texts.parts(mine, sources, tuple(texts))
    lengths = np.array([[_lengths(part, name) for name in texts] for part in parts]).reshape(-1, len(texts), 2)
    fixed = limits.band(language.script, source.script)
    return {name: fit(lengths[:, i, 0], lengths[:, i, 1], fixed, limits) for i, name in enumerate(texts)}


def _lengths(part: Part, column: str) -> tuple[int, int]:
    text, source = part.texts[column], part.sources[column] if part.sources else None
    if text is None or source is None:
        return 0, 0
    return len(prose(text).strip()), len(prose(source).strip())


def frame(plan: Plan, parts: Sequence[Part]) -> pd.DataFrame:
    """Frame with the texts of parts of rows and their measurements.

    A text that is missing or neither text nor messages is blank and so fails `schema`.
    """
    texts = {name: [part.texts[name] for part in parts] for name in plan.columns if name != "id"}
    measured: dict[str, pd.Series] = {}
    for column in plan.texts:
        blank = [text or "" for text in texts[column]]
        sources = [(part.sources or {}).get(column) or "" for part in parts]
        results = _of_translation(plan, column, blank, sources) if plan.source else _of_itself(plan, blank)
        if plan.source and column in TURNS:
            results["turns"] = [_changed_turns(part, column) for part in parts]
        for name, values in results.items():
            measured[f"{name}:{column}"] = pd.Series(values, dtype="float" if name == "script" else "str")
    if "rejected" in texts:
        measured |= {name: _whole(parts, name.removeprefix("whole:")) for name in SIDES}
    return pd.DataFrame(texts, dtype="str").assign(**measured)


def _whole(parts: Sequence[Part], column: str) -> pd.Series:
    """All text of a column's response in the first part of each row; missing in the others."""
    return pd.Series([_plain(part.whole[0].get(column)) if part.whole else None for part in parts], dtype="str")


def _plain(value: Any) -> str:
    return conversations.plain(value) if isinstance(value, str) or conversations.is_messages(value) else ""


def _changed_turns(part: Part, column: str) -> str | None:
    """The first message that is not that of the source but for its texts; None if there is none."""
    if part.whole is None or part.whole[1] is None:
        return None
    mine, other = (_frames(row.get(column)) for row in part.whole if row is not None)
    if mine == other:
        return None
    different = (message for message, its in itertools.zip_longest(mine, other) if message != its)
    return json.dumps(next(different), ensure_ascii=False, allow_nan=False)


def _frames(value: Any) -> list[Any]:
    """A prompt or response without its texts: what must not change."""
    emptied = conversations.with_texts(value, lambda _: "…") if conversations.is_messages(value) else "…"
    return emptied if isinstance(emptied, list) else [emptied]


def _of_itself(plan: Plan, texts: list[str]) -> dict[str, list]:
    """Measurements of texts of the source corpus: share of its script, and a wrong language."""
    spoken = [prose(text) for text in texts]
    identifier = _identifier(plan)
    shares = script_share(spoken, plan.language.script)
    shares[[letters(text) < identifier.least for text in spoken]] = np.nan  # it may be a name
    return {"script": shares.tolist(), "language": _languages(plan, spoken, identifier.doubts(spoken))}


def _of_translation(plan: Plan, column: str, texts: list[str], sources: list[str]) -> dict[str, list]:
    pairs = _pairs(texts, sources)
    results: dict[str, list] = {
        name: [pair and measure(pair) for pair in pairs] for name, measure in plan.measures(column).items()
    }
    spoken = [pair.prose if pair else prose(text) for pair, text in zip(pairs, texts, strict=True)]
    results["script"] = script_share(spoken, plan.language.script).tolist()
    results["language"] = _identifier(plan).doubts(spoken)
    _leave_names_out(plan, results, pairs, spoken)
    _excuse_quotations(plan, results)
    if column not in SPOKEN:
        _excuse(plan, results, pairs)
    return results | {"language": _languages(plan, spoken, results["language"])}


def _leave_names_out(plan: Plan, measured: dict[str, list], pairs: list[Pair | None], spoken: list[str]) -> None:
    """Measures script and language again, without names copied from the source, for texts that look wrong."""
    shares, doubts = measured["script"], measured["language"]
    wrong = {
        i: pair for i, pair in enumerate(pairs) if pair and (shares[i] < plan.limits.min_script_share or doubts[i])
    }
    left = [without_names(pair) for pair in wrong.values()]
    judged = zip(wrong, left, script_share(left, plan.language.script), _identifier(plan).doubts(left), strict=True)
    for row, text, share, doubt in judged:
        spoken[row], shares[row], doubts[row] = text, float(share), doubt


def _excuse_quotations(plan: Plan, measured: dict[str, list]) -> None:
    """Removes findings of `copy` and `untranslated` in a third language, because quotations are not translated."""
    assert plan.source
    known = Identifier(plan.source.code, 1, 0.5)
    for name in ("copy", "untranslated"):
        runs = list({run for run in measured[name] if run})
        doubts = {run: doubt for run, doubt in zip(runs, known.doubts(runs), strict=True) if doubt}
        foreign = known.foreign(doubts) if doubts else {}
        measured[name] = [None if run and foreign.get(run) else run for run in measured[name]]


def _identifier(plan: Plan) -> Identifier:
    return Identifier(plan.language.code, plan.limits.language_letters, plan.limits.language_probability)


def _languages(plan: Plan, texts: list[str], doubts: list[str | None]) -> list[str | None]:
    """For each text in doubt, the language that the thorough check finds, or None."""
    doubtful = {text: doubt for text, doubt in zip(texts, doubts, strict=True) if doubt}
    verdicts = _identifier(plan).foreign(doubtful) if doubtful else {}
    return [doubt and verdicts[text] for text, doubt in zip(texts, doubts, strict=True)]


def _pairs(texts: list[str], sources: list[str]) -> list[Pair | None]:
    """Each text with its source; None if one is blank, which `schema` or `parity` reports."""
    both = zip(texts, sources, strict=True)
    return [Pair(text, source) if text.strip() and source.strip() else None for text, source in both]


def _excuse(plan: Plan, measured: dict[str, list], pairs: list[Pair | None]) -> None:
    """Removes the findings of `EXCUSABLE` for texts whose source is itself in another language: a rejected answer in
    the wrong language should stay in a wrong language."""
    assert plan.source
    below = plan.limits.min_script_share
    mine = {name: measured[name] for name in EXCUSABLE}
    failed = {
        row: pair
        for row, pair in enumerate(pairs)
        if pair and (mine["script"][row] < below or any(mine[name][row] for name in EXCUSABLE if name != "script"))
    }
    wrong = Identifier(plan.source.code, 1, 1).doubts([pair.source_prose for pair in failed.values()])
    for row in [row for row, excused in zip(failed, wrong, strict=True) if excused]:
        mine["script"][row] = float("nan")
        for name in EXCUSABLE[1:]:
            mine[name][row] = None


def script_share(texts: list[str], script: str) -> np.ndarray:
    """Share of each text's letters that are in `script`, as an array (n); NaN for a text without letters."""
    # All texts as one array of code points, so that each distinct character is looked up once.
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), dtype=np.uint32)
    rows = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    used = np.unique(codes)
    letter, own = np.zeros((2, used.max(initial=0) + 1), dtype=bool)
    letter[used] = [_is_letter(chr(code)) for code in used]
    own[used] = [_is_letter(chr(code)) and is_of(chr(code), script) for code in used]
    letters = np.bincount(rows[letter[codes]], minlength=len(texts)).astype(float)
    letters[letters == 0] = np.nan
    return np.bincount(rows[own[codes]], minlength=len(texts)) / letters


def _is_letter(character: str) -> bool:
    return character.isalpha() and character not in _NO_LETTERS
