"""What can be said about one text beside its source: each measure is None, or what is wrong in a few words."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from xlrm.expectations import numbers
from xlrm.expectations.lengths import Band
from xlrm.limits import Limits

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
_WORD = re.compile(r"[^\W\d_]+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])[”’」』）]*|\n+")
_WRAPPING = " \t\n\"'”’»«“„‘)]}）】」』〉》*_~`"
_FINAL = ".!?…。！？．؟।"
_OPEN = ",;、，；-–—([{（"
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")  # written without spaces: two characters are about a word


@dataclass(frozen=True)
class Pair:
    """A text and its source."""

    text: str
    source: str

    @cached_property
    def prose(self) -> str:
        return prose(self.text)

    @cached_property
    def source_prose(self) -> str:
        return prose(self.source)


Measure = Callable[[Pair], str | None]


def prose(text: str) -> str:
    """Without code, URLs and placeholders: what a translator translates."""
    text = _CODE.sub(" ", text) if "`" in text else text
    text = _URL.sub(" ", text) if "://" in text or "www." in text else text
    return _PLACEHOLDER.sub(" ", text) if any(sign in text for sign in "{[%<$\\") else text


def changed_code(pair: Pair) -> str | None:
    """Code, fenced or inline, that only one of the two has."""
    if "`" not in pair.text and "`" not in pair.source:
        return None
    return _difference(*(Counter(_CODE.findall(one)) for one in (pair.text, pair.source)))


def changed_placeholders(pair: Pair) -> str | None:
    """Placeholders, markup and addresses that only one of the two has."""
    text, source = (_CODE.sub(" ", one) if "`" in one else one for one in (pair.text, pair.source))
    return _difference(Counter(_marks(text)), Counter(_marks(source)))


def _marks(text: str) -> Iterator[str]:
    if "://" in text or "www." in text:
        for url in _URL.findall(text):
            yield url.rstrip(".,;:!?)]}'\"")
        text = _URL.sub(" ", text)
    if any(sign in text for sign in "{[%<$\\"):
        yield from _PLACEHOLDER.findall(text)


def _difference(found: Counter, wanted: Counter) -> str | None:
    parts = {"lost": wanted - found, "added": found - wanted}
    return "; ".join(f"{verb} {', '.join(sorted(many.elements()))}" for verb, many in parts.items() if many) or None


def lost_numbers(language: str, source_language: str) -> Measure:
    """Numbers may come in: Korean writes "two" as 2."""

    def measure(pair: Pair) -> str | None:
        lost = numbers.lost(pair.prose, pair.source_prose, language, source_language)
        return f"lost {', '.join(lost)}" if lost else None

    return measure


def copied(least_words: int) -> Measure:
    """The text, if it is its source and long enough for that to be no coincidence."""

    def measure(pair: Pair) -> str | None:
        same = pair.text.strip() == pair.source.strip()
        return pair.text if same and words(pair.source_prose) >= least_words else None

    return measure


def untranslated(limits: Limits) -> Measure:
    """A sentence or a line of the source that stands in the text as it is."""

    def measure(pair: Pair) -> str | None:
        text = pair.prose
        for sentence in _SENTENCE_END.split(pair.source_prose):
            sentence = sentence.strip()
            if sentence and sentence in text and _is_sentence(sentence, limits.untranslated_words):
                return sentence
        return None

    return measure


def _is_sentence(text: str, least_words: int) -> bool:
    """Not a title or a list of names: half of the words begin small, where a script has capitals."""
    found = _WORD.findall(text)
    return words(text) >= least_words and 2 * sum(word[0].isupper() for word in found) <= len(found)


def words(text: str) -> int:
    return len(_WORD.findall(_WIDE.sub(" ", text))) + len(_WIDE.findall(text)) // 2


def truncated(band: Band) -> Measure:
    """Whether the text has fewer lines than its source, and is as long as the first ones of these rather than as all."""

    def measure(pair: Pair) -> str | None:
        if "\n" not in pair.source.strip():
            return None
        lines, source = ([line for line in one.split("\n") if line.strip()] for one in (pair.prose, pair.source_prose))
        if not lines or len(lines) >= len(source):
            return None
        length, whole = sum(map(len, lines)), sum(map(len, source))
        first = sum(map(len, source[: len(lines)]))
        nearer = band.nearer(length, first, whole)
        return f"{len(lines)} of {len(source)} lines" if nearer else None

    return measure


def cut(pair: Pair) -> str | None:
    """The end of a text that stops within a sentence where its source ends with one."""
    source = pair.source.rstrip(_WRAPPING)
    if not source or source[-1] not in _FINAL or pair.source.rstrip().endswith("`"):
        return None
    text = pair.text.rstrip(_WRAPPING)
    last = text[-1:]
    return f"…{text[-40:]}" if last.isalnum() or last in _OPEN else None


def off_band(band: Band, length_from: int) -> Measure:
    """The length as a multiple of the source's, where it is out of the band."""

    def measure(pair: Pair) -> str | None:
        length, reference = len(pair.prose.strip()), len(pair.source_prose.strip())
        if not length or not reference or max(length, reference) < length_from:
            return None
        low, high = band.around(reference)
        ratio = length / reference
        return None if low <= ratio <= high else f"{ratio:.2f} times as long, not {low:.2f} to {high:.2f}"

    return measure
