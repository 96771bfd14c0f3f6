"""Language identification with lingua, which only this module imports.

Its models come with its package. Its small, fast models (one to three letters) suffice for nine texts in ten. Texts
that they doubt are checked with all models, up to five letters, which are loaded on first use.
"""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from xlrm.languages import JAPANESE, LANGUAGES, OWN

if TYPE_CHECKING:
    from lingua import LanguageDetector, LanguageDetectorBuilder

_ALSO = ("pt", "ca", "fr", "ja", "uk")  # languages that a translator may produce by mistake
_CHARACTERS = 200  # examined per text; more do not improve the result
_DOUBT = 0.5
_DENSE = ("Han", "Hangul", JAPANESE)  # scripts in which a letter says as much as three others


def letters(text: str) -> int:
    return sum(map(str.isalpha, text))


class Identifier:
    """Finds texts that are not in `language`; the texts are given without code. It finds none if lingua does not know
    the language.

    `least_letters`: minimum letters of a text, a third of it for Han, Hangul and Japanese. `probability`: a text is in
    another language only if its own has a lower probability.
    """

    def __init__(self, language: str, least_letters: int, probability: float):
        self.language = language.partition("_")[0]
        self.least = least_letters // 3 if LANGUAGES[language].script in _DENSE else least_letters
        self.probability = probability

    def doubts(self, texts: list[str]) -> list[str | None]:
        """For each text, the likeliest language by the small models if its own has a probability below 0.5; else None.
        Texts that are too short give None."""
        if not is_known(self.language):
            return [None] * len(texts)
        long = [text for text in set(texts) if letters(text) >= self.least]
        first = dict(zip(long, _probabilities(long, _first_sight(self.language)), strict=True))
        return [self._doubt(first[text]) if text in first else None for text in texts]

    def _doubt(self, probabilities: dict[str, float]) -> str | None:
        return next(iter(probabilities)) if probabilities[self.language] < _DOUBT else None

    def languages(self, texts: list[str]) -> list[str | None]:
        """The likeliest language of each text, its code without region; None if the text is too short or lingua does
        not know `language`. It is `language` unless `foreign` finds another."""
        doubted = {text: doubt for text, doubt in zip(texts, self.doubts(texts), strict=True) if doubt}
        others = self.foreign(doubted) if doubted else {}
        known = is_known(self.language)

        def language(text: str) -> str | None:
            if not known or letters(text) < self.least:
                return None
            other = others.get(text)
            return other.partition(" ")[0] if other else self.language

        return [language(text) for text in texts]

    def foreign(self, doubts: dict[str, str]) -> dict[str, str | None]:
        """Text -> its likeliest language with the probabilities, or None if it is in its own language. All models are
        used, and only this language and the doubted ones are candidates. `doubts`: text -> language that `doubts()`
        gave."""
        probabilities = _probabilities(list(doubts), _thorough(frozenset(doubts.values()) | {self.language}))
        return {text: self._verdict(candidates) for text, candidates in zip(doubts, probabilities, strict=True)}

    def _verdict(self, probabilities: dict[str, float]) -> str | None:
        likeliest, own = next(iter(probabilities)), probabilities[self.language]
        if likeliest == self.language or own >= self.probability:
            return None
        return f"{likeliest} {probabilities[likeliest]:.2f}, {self.language} {own:.2f}"


def _probabilities(texts: list[str], detector: "LanguageDetector") -> list[dict[str, float]]:
    """Language -> probability for each text, the likeliest first."""
    confidences = detector.compute_language_confidence_values_in_parallel([text[:_CHARACTERS] for text in texts])
    return [
        {score.language.iso_code_639_1.name.lower(): score.value for score in candidates} for candidates in confidences
    ]


def is_known(language: str) -> bool:
    """Whether lingua knows the language, given by its code in ISO 639-1."""
    from lingua import IsoCode639_1

    return hasattr(IsoCode639_1, language.upper())


def _first_sight(language: str) -> "LanguageDetector":
    return _small(frozenset((*OWN, *_ALSO, language)))


@cache
def _small(languages: frozenset[str]) -> "LanguageDetector":
    return _builder(languages).with_low_accuracy_mode().build()


@cache
def _thorough(languages: frozenset[str]) -> "LanguageDetector":
    """Detector for these languages; a second one is added to a single language, because lingua needs two."""
    return _builder(languages if len(languages) > 1 else (*languages, *_ALSO[:1])).build()


def _builder(languages: Iterable[str]) -> "LanguageDetectorBuilder":
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    return LanguageDetectorBuilder.from_iso_codes_639_1(*(getattr(IsoCode639_1, code.upper()) for code in languages))
