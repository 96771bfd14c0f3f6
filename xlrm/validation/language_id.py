"""Which language a text is in, told by lingua, which only this module imports.

Its models are part of its package. Those of single letters to triples would do for nine texts in ten and are small and
fast; what they doubt is looked at with all, up to groups of five letters, which are loaded when that first comes.
"""

from collections.abc import Iterable
from functools import cache

from xlrm.languages import LANGUAGES

_ALSO = ("pt", "ca", "fr", "ja", "uk")  # what a translator of these languages may slip into
_CHARACTERS = 200  # of a text looked at: more does not make it surer
_DOUBT = 0.5


def letters(text: str) -> int:
    return sum(map(str.isalpha, text))


class Identifier:
    """Tells texts, given without their code, that are not in `language`."""

    def __init__(self, language: str, least_letters: int, probability: float):
        self.language = language
        self.least = least_letters // 3 if LANGUAGES[language].script in ("Han", "Hangul") else least_letters
        self.probability = probability

    def doubts(self, texts: list[str]) -> list[str | None]:
        """Of each that is long enough, the language it is in at first sight, if rather that than its own."""
        long = [text for text in set(texts) if letters(text) >= self.least]
        first = dict(zip(long, _probabilities(long, _first_sight()), strict=True))
        return [self._doubt(first[text]) if text in first else None for text in texts]

    def _doubt(self, probabilities: dict[str, float]) -> str | None:
        return next(iter(probabilities)) if probabilities[self.language] < _DOUBT else None

    def foreign(self, doubts: dict[str, str]) -> dict[str, str | None]:
        """Of each text with a doubt, the language it is in rather than its own, if so; among all that are in doubt."""
        found = _probabilities(list(doubts), _thorough(frozenset(doubts.values()) | {self.language}))
        return {text: self._verdict(one) for text, one in zip(doubts, found, strict=True)}

    def _verdict(self, probabilities: dict[str, float]) -> str | None:
        likeliest, own = next(iter(probabilities)), probabilities[self.language]
        if likeliest == self.language or own >= self.probability:
            return None
        return f"{likeliest} {probabilities[likeliest]:.2f}, {self.language} {own:.2f}"


def _probabilities(texts: list[str], detector) -> list[dict[str, float]]:
    """Of each text, by language, the likeliest first."""
    found = detector.compute_language_confidence_values_in_parallel([text[:_CHARACTERS] for text in texts])
    return [{one.language.iso_code_639_1.name.lower(): one.value for one in many} for many in found]


@cache
def _first_sight():
    return _builder((*LANGUAGES, *_ALSO)).with_low_accuracy_mode().build()


@cache
def _thorough(languages: frozenset[str]):
    """One more than asked for where there is only one: lingua wants two."""
    return _builder(languages if len(languages) > 1 else (*languages, *_ALSO[:1])).build()


def _builder(languages: Iterable[str]):
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    return LanguageDetectorBuilder.from_iso_codes_639_1(*(getattr(IsoCode639_1, code.upper()) for code in languages))
