"""Repetition loops: a character, a word, a phrase or a sentence over and over."""

import re
from collections import Counter
from collections.abc import Iterator

_CHARACTERS, _LONGEST = 10, 300  # of what comes in a row, in the search by samples
_WORDS_CHARACTERS = 20  # a loop's least length altogether: "no no no no no" is an answer
_WIDE_CHARACTERS = 10  # the same where a word is two characters
_SENTENCE_CHARACTERS = 12
_SENTENCE = re.compile(r"[^.!?。！？\n]+")


def looped(text: str, source: str, times: int) -> str | None:
    """What the text says `times` or more in a row, unless its source does so, too (a ruled line, the refrain
    of a song)."""
    if len(text) < _WIDE_CHARACTERS:
        return None
    for chunk in (*_letters(text, times), *_short(text, times), *_long(text, times)):
        if chunk * times not in source:
            return None if source and looped(source, "", times) else chunk
    return _sentences(text, source, times)


def _letters(text: str, times: int) -> Iterator[str]:
    """One letter, drawn out: twice as often as words, for "Aaaaah"."""
    if found := re.search(rf"([^\W\d_])\1{{{2 * times + 1},}}", text):
        yield found[1]


def _short(text: str, times: int) -> Iterator[str]:
    """Words and phrases of up to nine characters, with what stands between them."""
    for found in _short_loop(times).finditer(text):
        least = _WIDE_CHARACTERS if found[1][0] >= "\u3040" else _WORDS_CHARACTERS
        if len(found[0]) >= least and len(set(found[1])) > 1:
            yield found[1]


def _short_loop(times: int) -> re.Pattern:
    return re.compile(rf"(?=\w)(.{{2,9}}?)\1{{{times - 1},}}", re.DOTALL)


def _long(text: str, times: int) -> Iterator[str]:
    """Chunks that come often enough in a row.

    Searching every place for every length is quadratic; but a loop of these is so long that it holds a whole one of the
    samples taken here, which then occurs again a loop's length apart.
    """
    for at in range(0, len(text) - _CHARACTERS + 1, _CHARACTERS * (times - 1)):
        sample = text[at : at + _CHARACTERS]
        if text.count(sample) >= times - 1:
            for length in _distances(text, sample, at):
                around = max(0, at - times * length), at + times * length + len(sample)
                if found := re.compile(rf"(.{{{length}}})\1{{{times - 1}}}", re.DOTALL).search(text, *around):
                    yield found[1]


def _distances(text: str, sample: str, at: int) -> list[int]:
    """From the sample at `at` to where else it occurs, as far as a loop may be long."""
    found, place = set(), text.find(sample, max(0, at - _LONGEST))
    while 0 <= place <= at + _LONGEST:
        found.add(abs(place - at))
        place = text.find(sample, place + 1)
    return sorted(length for length in found if length >= _CHARACTERS)


def _sentences(text: str, source: str, times: int) -> str | None:
    """A sentence that comes `times` or more anywhere, and oftener than any of the source does."""
    if sum(text.count(mark) for mark in ".!?。！？\n") < times - 1:
        return None
    found, known = (Counter(one.strip() for one in _SENTENCE.findall(many)) for many in (text, source))
    often = max(known.values(), default=0)
    long = (one for one, count in found.items() if count >= times and count > often)
    return next((one for one in long if len(one) >= _SENTENCE_CHARACTERS), None)
