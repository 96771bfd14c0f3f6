"""Repetition loops: the same character, word, phrase or sentence many times."""

import re
from collections import Counter
from collections.abc import Iterator

_CHARACTERS, _LONGEST = 10, 300  # minimum and maximum length of a chunk in the search by samples
_WORDS_CHARACTERS = 20  # minimum characters of a whole loop: "no no no no no" is an answer
_WIDE_CHARACTERS = 10  # the same for scripts in which a word has two characters
_SENTENCE_CHARACTERS = 12
_SENTENCE = re.compile(r"[^.!?。！？\n]+")


def looped(text: str, source: str, times: int) -> str | None:
    """What the text repeats at least `times` times in a row; None if nothing, or if its source has repetitions too (a
    ruled line, the refrain of a song)."""
    if len(text) < _WIDE_CHARACTERS:
        return None
    for chunk in (*_letters(text, times), *_short(text, times), *_long(text, times)):
        if chunk * times not in source:
            return None if source and looped(source, "", times) else chunk
    return _sentences(text, source, times)


def _letters(text: str, times: int) -> Iterator[str]:
    """Single letters repeated more than twice `times` times, so that "Aaaaah" is allowed."""
    if match := re.search(rf"([^\W\d_])\1{{{2 * times + 1},}}", text):
        yield match[1]


def _short(text: str, times: int) -> Iterator[str]:
    """Repeated words and phrases of two to nine characters, including the characters between them."""
    for match in _short_loop(times).finditer(text):
        least = _WIDE_CHARACTERS if match[1][0] >= "\u3040" else _WORDS_CHARACTERS
        if len(match[0]) >= least and len(set(match[1])) > 1:
            yield match[1]


def _short_loop(times: int) -> re.Pattern:
    return re.compile(rf"(?=\w)(.{{2,9}}?)\1{{{times - 1},}}", re.DOTALL)


def _long(text: str, times: int) -> Iterator[str]:
    """Repeated chunks of 10 to 300 characters.

    Searching every place for every length is quadratic. But such a loop is so long that it contains one of the samples
    taken here at fixed distances, and the sample occurs again one chunk further on.
    """
    for at in range(0, len(text) - _CHARACTERS + 1, _CHARACTERS * (times - 1)):
        sample = text[at : at + _CHARACTERS]
        if text.count(sample) >= times - 1:
            for length in _distances(text, sample, at):
                around = max(0, at - times * length), at + times * length + len(sample)
                if match := re.compile(rf"(.{{{length}}})\1{{{times - 1}}}", re.DOTALL).search(text, *around):
                    yield match[1]


def _distances(text: str, sample: str, at: int) -> list[int]:
    """Distances between the sample at `at` and its other occurrences, from 10 to 300 characters."""
    distances, place = set(), text.find(sample, max(0, at - _LONGEST))
    while 0 <= place <= at + _LONGEST:
        distances.add(abs(place - at))
        place = text.find(sample, place + 1)
    return sorted(length for length in distances if length >= _CHARACTERS)


def _sentences(text: str, source: str, times: int) -> str | None:
    """Sentence that occurs at least `times` times anywhere, and more often than any sentence of the source."""
    if sum(text.count(mark) for mark in ".!?。！？\n") < times - 1:
        return None
    counts, known = (Counter(sentence.strip() for sentence in _SENTENCE.findall(passage)) for passage in (text, source))
    often = max(known.values(), default=0)
    long = (sentence for sentence, count in counts.items() if count >= times and count > often)
    return next((sentence for sentence in long if len(sentence) >= _SENTENCE_CHARACTERS), None)
