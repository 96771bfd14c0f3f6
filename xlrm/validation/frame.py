"""Data frame that the expectations are checked on: the texts of a chunk of rows, and measurements of each text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from xlrm.data.corpus_schema import TEXTS
from xlrm.languages import Language, is_of
from xlrm.validation.language_id import Identifier
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
        """Text columns whose language is checked; for the source corpus without `rejected`."""
        return [name for name in self.columns if name in (TEXTS if self.source else SPOKEN)]

    def measures(self, column: str) -> dict[str, Measure]:
        """Expectation -> measure of a text beside its source; for a translation only."""
        assert self.source
        limits, band = self.limits, self.bands[column]
        return {
            "length": off_band(band, limits.length_from),
            "truncated": truncated(band),
            "cut": cut,
            "copy": copied(limits.copied_words if column in ASKED else limits.untranslated_words),
            "untranslated": untranslated(limits.untranslated_words),
            "code": changed_code,
            "placeholder": changed_placeholders,
            "number": lost_numbers(self.language.code, self.source.code),
            "loop": lambda pair: looped(pair.text, pair.source, limits.loop_times),
        }


def bands(
    columns: tuple[str, ...], language: Language, source: Language, limits: Limits, rows: Iterable[tuple[dict, dict]]
) -> dict[str, Band]:
    """Text column -> length band, fitted from (row, source row) pairs."""
    texts = [name for name in columns if name in TEXTS]
    lengths = np.array([[_lengths(pair, name) for name in texts] for pair in rows]).reshape(-1, len(texts), 2)
    fixed = limits.band(language.script, source.script)
    return {name: fit(lengths[:, i, 0], lengths[:, i, 1], fixed, limits) for i, name in enumerate(texts)}


def _lengths(pair: tuple[dict, dict], column: str) -> tuple[int, int]:
    row, source = (record.get(column) for record in pair)
    if not (isinstance(row, str) and isinstance(source, str)):
        return 0, 0
    return len(prose(row).strip()), len(prose(source).strip())


def frame(plan: Plan, rows: Sequence[dict], sources: Sequence[dict | None]) -> pd.DataFrame:
    """Frame with the rows' texts and their measurements. `sources`: source rows with the same ids, None if missing.

    A text that is missing or not a string becomes blank and so fails `schema`.
    """
    texts = {name: [_text(row, name) for row in rows] for name in plan.columns if name != "id"}
    measured: dict[str, pd.Series] = {}
    for column in plan.texts:
        results = (
            _of_translation(plan, column, texts[column], sources) if plan.source else _of_itself(plan, texts[column])
        )
        for name, values in results.items():
            measured[f"{name}:{column}"] = pd.Series(values, dtype="float" if name == "script" else "str")
    return pd.DataFrame(texts, dtype="str").assign(**measured)


def _text(row: dict | None, column: str) -> str:
    value = row.get(column) if row else None
    return value if isinstance(value, str) else ""


def _of_itself(plan: Plan, texts: list[str]) -> dict[str, list]:
    """Measurements of texts of the source corpus: share of its script, and a wrong language."""
    spoken = [prose(text) for text in texts]
    shares = script_share(spoken, plan.language.script).tolist()
    return {"script": shares, "language": _languages(plan, spoken, _identifier(plan).doubts(spoken))}


def _of_translation(plan: Plan, column: str, texts: list[str], sources: Sequence[dict | None]) -> dict[str, list]:
    pairs = _pairs(texts, [_text(row, column) for row in sources])
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
