"""Measures of one text beside its source: each returns None, or the defect in a few words."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from xlrm.translation import segmentation
from xlrm.validation import numbers
from xlrm.validation.lengths import Band

_CODE = re.compile(r"```.*?(?:```|\Z)|``[^\n]+?``|`[^`\n]*`", re.DOTALL)
_URL = re.compile(r"(?:https?://|www\.)[!-~]+")
_PLACEHOLDER = re.compile(
    r"""\{\{?\s*[\w.\[\]:!-]*\s*\}?\}   # {name}, {}, {{ name }}
    | \[\[\w+\]\]                       # [[0]]
    | %\(\w+\)[sdif] | %\d*\.?\d*[sdif]\b
    | \$\{\w+\} | \$\$.+?\$\$ | \\\(.+?\\\) | \\\[.+?\\\]
    | </?[A-Za-z][\w-]*(?:\s+[\w-]+=(?:"[^"]*"|'[^']*'|[^\s>]+))*\s*/?>""",
    re.VERBOSE | re.DOTALL,
)
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])[”’」』）]*")
_WORD = re.compile(r"[^\W\d_]+")
_CLOSING = "”»“)]}）】」』〉》*_~`"
_WRAPPING = _CLOSING + "\"'’ \t\n-–—"
_FINAL = ".!?…。！？．؟।"
_SENTENCE_WORDS = 5  # minimum words of a source for its translation's end to be checked
_SHORT = 0.6  # share of the length band that is allowed if sentences are also missing or added
_OPEN = ",;、，；([{（"
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")  # written without spaces: two characters are about a word
_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff]"
    r"|(?<!\w['’])(?<![^\s\"'“”‘’«»(\[–—/\u3040-\u30ff\u3400-\u9fff])[^\W\d_\u3040-\u30ff\u3400-\u9fff]+"
    r"(?:[-'’–—/](?!s\b)[^\W\d_\u3040-\u30ff\u3400-\u9fff]+)*"
    r"(?=(?:['’]s)?[.,;:!?…\"'“”‘’»)\]–—]*(?:\s|$|[\u3040-\u30ff\u3400-\u9fff]))"
)
"""Word between spaces and punctuation, or a character of a script without spaces; `key_comp()` and `v141_xp`
are code."""
_NAMES = 12  # maximum words of a name or list of names
_JOINTS = "a al and at by da de del der des di du e el et for in la le of on or the to und v van von vs y"
"""Lower-case words that occur within names."""


@dataclass(frozen=True)
class Pair:
    """A text and its source, with \\n at the end of each line, however the lines of either ended."""

    text: str
    source: str

    def __post_init__(self) -> None:
        for name in ("text", "source"):
            object.__setattr__(self, name, segmentation.line_feeds(getattr(self, name)))

    @cached_property
    def prose(self) -> str:
        return prose(self.text)

    @cached_property
    def source_prose(self) -> str:
        return prose(self.source)


Measure = Callable[[Pair], str | None]


def prose(text: str) -> str:
    """Text that is translated: without code (fenced or not), URLs and placeholders."""
    text = segmentation.line_feeds(text)
    text = segmentation.without_code(text) if "\n" in text and any(sign in text for sign in "{}();=") else text
    text = _CODE.sub(" ", text) if "`" in text else text
    text = _URL.sub(" ", text) if "://" in text or "www." in text else text
    return _PLACEHOLDER.sub(" ", text) if any(sign in text for sign in "{[%<$\\") else text


def changed_code(pair: Pair) -> str | None:
    """Fenced or inline code that only one of the two texts has."""
    if "`" not in pair.text and "`" not in pair.source:
        return None
    return _difference(*(Counter(_CODE.findall(side)) for side in (pair.text, pair.source)))


def changed_placeholders(pair: Pair) -> str | None:
    """Placeholders, markup and URLs that only one of the two texts has."""
    text, source = (_CODE.sub(" ", side) if "`" in side else side for side in (pair.text, pair.source))
    return _difference(Counter(_marks(text)), Counter(_marks(source)))


def _marks(text: str) -> Iterator[str]:
    if "://" in text or "www." in text:
        for url in _URL.findall(text):
            yield url.rstrip(".,;:!?)]}'\"")
        text = _URL.sub(" ", text)
    if any(sign in text for sign in "{[%<$\\"):
        yield from _PLACEHOLDER.findall(text)


def _difference(counted: Counter, wanted: Counter) -> str | None:
    parts = {"lost": wanted - counted, "added": counted - wanted}
    return "; ".join(f"{verb} {', '.join(sorted(part.elements()))}" for verb, part in parts.items() if part) or None


def lost_numbers(language: str, source_language: str) -> Measure:
    """Measure of the source's numbers that are missing. Added numbers are allowed: Korean writes "two" as 2."""

    def measure(pair: Pair) -> str | None:
        lost = numbers.lost(pair.prose, pair.source_prose, language, source_language)
        return f"lost {', '.join(lost)}" if lost else None

    return measure


def copied(least_words: int) -> Measure:
    """Measure that gives a text that equals its source, has at least `least_words` words and is not only names."""

    def measure(pair: Pair) -> str | None:
        same = pair.text.strip() == pair.source.strip()
        return pair.text if same and words(pair.source_prose) >= least_words and _is_prose(pair.source_prose) else None

    return measure


def untranslated(least_words: int) -> Measure:
    """Measure that gives at least `least_words` consecutive words of the source that are unchanged in the text; twice
    as many characters in a script without spaces."""

    def measure(pair: Pair) -> str | None:
        text, source = (" ".join(side.split()) for side in (pair.prose, pair.source_prose))
        spans = [match.span() for match in _TOKEN.finditer(source)]
        width = 2 * least_words if len(_WIDE.findall(source)) > len(spans) / 2 else least_words
        for (start, _), (_, end) in zip(spans, spans[width - 1 :], strict=False):
            if source[start:end] in text and _is_prose(source[start:end]):
                return _whole(start, end, spans, source, text)
        return None

    return measure


def _whole(start: int, end: int, spans: list[tuple[int, int]], source: str, text: str) -> str:
    """Longest run of unchanged source words from `start` on, at least up to `end`."""
    for _, further in spans:
        if further > end and source[start:further] in text:
            end = further
    return source[start:end]


def _is_prose(text: str) -> bool:
    """Whether the text is not a title or list of names, which have capitalised words with `_JOINTS` between them."""
    tokens = _TOKEN.findall(text)
    small = {word for word in tokens if word == word.lower()}
    if len(tokens) > _NAMES or len(small) == len(tokens) or (len(tokens) > 3 and not any(map(str.islower, text))):
        return True
    return not small <= set(_JOINTS.split())


def without_names(pair: Pair) -> str:
    """Text without the names that are unchanged from its source."""
    text, source = (" ".join(side.split()) for side in (pair.prose, pair.source_prose))
    spans, place = [match.span() for match in _TOKEN.finditer(source)], 0
    while place < len(spans):
        start, after = spans[place][0], place
        while after < len(spans) and source[start : spans[after][1]] in text:
            after += 1
        run = source[start : spans[after - 1][1]] if after > place else ""
        if run and not _is_prose(run):
            text = text.replace(run, " ")
        place = max(after, place + 1)
    return text


def words(text: str) -> int:
    return len(_WORD.findall(_WIDE.sub(" ", text))) + len(_WIDE.findall(text)) // 2


def truncated(band: Band) -> Measure:
    """Measure of texts that stop early: with fewer lines than the source, and a length that fits its first lines better
    than all. If the source is one line: with at most half of its sentences, and too short for all of them."""

    def measure(pair: Pair) -> str | None:
        of_lines = "\n" in pair.source.strip()
        if not of_lines and "\n" in pair.text.strip():
            return None
        parts, source = (_parts(side, of_lines) for side in (pair.prose, pair.source_prose))
        length, first, whole = (sum(map(len, pieces)) for pieces in (parts, source[: len(parts)], source))
        if of_lines:
            fewer = len(parts) < len(source) and _lines(pair.text) < _lines(pair.source)
            short = bool(parts) and fewer and band.nearer(length, first, whole)
        else:
            short = 0 < 2 * len(parts) <= len(source) and length < whole * band.around(whole, _SHORT)[0]
        return f"{len(parts)} of {len(source)} {'lines' if of_lines else 'sentences'}" if short else None

    return measure


def _lines(text: str) -> int:
    """Number of lines that are not blank, including code, which may be recognised in one language only."""
    return sum(map(bool, map(str.strip, text.split("\n"))))


def _parts(text: str, of_lines: bool) -> list[str]:
    return [part for part in (text.split("\n") if of_lines else _SENTENCE_END.split(text)) if part.strip()]


def cut(pair: Pair) -> str | None:
    """End of a text that stops within a sentence although its source ends one; short sources are not checked."""
    if words(pair.source) < _SENTENCE_WORDS:
        return None
    source, text = pair.source.rstrip(_WRAPPING), pair.text.rstrip()
    if source[-1:] not in _FINAL or pair.source.rstrip().endswith("`") or _is_closed(text, pair.source):
        return None
    last = text.rstrip(_WRAPPING)[-1:]
    return f"…{text[-40:]}" if last.isalnum() or last in _OPEN else None


def _is_closed(text: str, source: str) -> bool:
    """Whether the text ends with a closing quotation mark or bracket; ' and ’ may be apostrophes unless the source also
    ends with a quotation."""
    if text[-1:] in "'’" and source.rstrip()[-1:] in "\"'”’":
        return True
    if text[-1:] != '"':
        return text[-1:] in _CLOSING
    return text.count('"') % 2 == 0 or source.rstrip()[-1:] in "\"'”’"


def off_band(band: Band, length_from: int) -> Measure:
    """Measure of the ratio of a text's length to its source's, if it is outside the band."""

    def measure(pair: Pair) -> str | None:
        length, reference = len(pair.prose.strip()), len(pair.source_prose.strip())
        if not length or not reference or max(length, reference) < length_from:
            return None
        of_lines = "\n" in pair.source.strip()
        count, source = (len(_parts(side, of_lines)) for side in (pair.prose, pair.source_prose))
        extra = count >= 2 * source and length > reference * band.mean
        low, high = band.around(reference, _SHORT if extra else 1)
        ratio = length / reference
        return None if low <= ratio <= high else f"{ratio:.2f} times as long, not {low:.2f} to {high:.2f}"

    return measure
