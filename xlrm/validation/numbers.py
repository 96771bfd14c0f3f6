"""Comparison of numbers by value, because translators write the same number in different ways.

One in twenty of 1,000 human translations of NTREX-128 lacks some digits of its source: 2.5 million becomes 250万, 7 pm
becomes 19:00, 45 miles become 72 km, the 19th century the XIX, and fifteen a word. All of these are read as values
here; a number of the source is lost if none of its values is among the values in the text.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from xlrm.languages import LANGUAGES
from xlrm.validation.numerals import (
    BELOW_ZERO,
    COMPOUNDS,
    COUNTED,
    DECIMAL_POINT,
    DIGITS,
    FIRST,
    MAGNITUDES,
    MONTHS,
    ONE_O_CLOCK,
    RANGE,
    UNITS,
    WORDS,
)

_NUMERAL = re.compile(r"\d{1,3}(?:[.,'’\u00a0\u202f ]\d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)?")
_GROUPED = re.compile(r"\d{1,3}(?:[.,'’\u00a0\u202f ]\d{3})+")
_PIECE = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]+")
_ROMAN = re.compile(r"\b[IVX]{1,6}\b")
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10}
_HALF_DAY = re.compile(r"(?:[.:]\d\d)?\s*([ap])\.?\s*m\b", re.IGNORECASE)
_CLOCK = re.compile(r"[:.hH]\s?[0-5]\d(?!\d)")
_DECADE = re.compile(r"['’]?s\b")
_MEASURE = re.compile(
    r"(?:\s*(?:to|and|or|-|–)\s*\d[\d.,]*)?[\s-]*"
    r"(mile|mph|inch|feet|foot|ft|pound|lb|yard|yd|degree|°|ounce|oz|gallon|acre|stone|mpg)"
)
# Factors to kilometres, centimetres, metres, kilograms and so on; translators round the result.
_CONVERSIONS = {
    "mile": (1.609,), "mph": (1.609,), "inch": (2.54, 25.4), "feet": (0.3048, 30.48),
    "foot": (0.3048, 30.48), "ft": (0.3048, 30.48), "pound": (0.4536,), "lb": (0.4536,), "yard": (0.9144,),
    "yd": (0.9144,), "degree": (1 / 1.8,), "°": (1 / 1.8,), "ounce": (28.35,), "oz": (28.35,), "gallon": (3.785, 4.546),
    "acre": (0.4047,), "stone": (6.35,), "mpg": (0.4251,),
}  # fmt: skip
_INCHES = re.compile(r"(?:foot|feet|ft)[\s-]$")
_FIRST = re.compile(r"(?:\b[Nn]o\.?|#)\s?$")
_ALL = re.compile(r"\b100\s?(?:%|per\s?cent)")  # may be translated as "absolutely", without the percent sign
_PERCENT = re.compile(r"\s?(?:%|per\s?cent)")
_ROUNDED = 0.15  # relative tolerance for converted measures: 7 cm for 3 inches
_AMOUNT = r"[\d.,]+(?:\s\d+\u2044\d+)?(?:\s*[-–]\s*[\d.,]+)?\s*-?[^\W\d]{1,12}(?:[\s/][^\W\d]{1,2}\d?)?\s*"
_CONVERTED = re.compile(rf"\(\s*(?:about |around |approximately )?(?:{_AMOUNT}){{1,3}}\)")
_VULGAR = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_POWER = re.compile(r"(?<=[\d^])[⁰¹²³⁴-⁹]+")
_SQUARE = re.compile(r"(?<=[^\W\d])[²³]")
_FRACTION = re.compile(r"(?:(?<![\d/.,])(\d{1,3})\s)?(?<![\d/.,])(\d{1,2})\s?[/\u2044]\s?(\d{1,3})(?![\d/])")
_DATE = re.compile(r"(?<![\d/.-])\d{1,4}([/.-])\d{1,2}(?:\1\d{1,4})?(?![\d/])")
_HEIGHT = re.compile(r"(?<!\d)(\d)['′’]\s?(\d{1,2})(?=[\"″”]|''|\b)")
_FORMULA = re.compile(r"\b(?:C|H|N|O|S|CO|NO|SO|CH|NH)\s?$")
_MINUS = re.compile(r"(?<![^\s(\[{=<>:,\"'“”«»])(?<!\d\s)[-−–‒]$")
"""Minus sign before a number of the source; a dash after a digit is a range, and after a letter a hyphen."""
_SIGN = re.compile(r"(?<!\d)(?<!\d\s)[-−–‒]\s?[$£€¥]?\s?$")
_CURRENCY = "$£€¥"
_JOINTS = ("", "-", "y", "e", "and", "und")
_AROUND = 24  # characters beside a number that are searched for a word such as "minus"


@dataclass(frozen=True)
class Wanted:
    """A number of the source, and the values or words that stand for it in a translation."""

    text: str
    """The number as written in the source."""
    values: set[float]
    """Acceptable values, one of which suffices; a negative one means approximately its absolute value."""
    words: tuple[str, ...] = ()
    """Beginnings of words that are also accepted."""
    below_zero: bool = False
    """Whether it has a minus sign, which the translation must express too."""
    year: bool = False
    """Whether it may be the last two digits of a year."""


def lost(text: str, source: str, language: str, source_language: str) -> list[str]:
    """Numbers of `source`, as written there, whose value or minus sign is missing in `text`."""
    source, text = _plain(source), _plain(text)
    if not _PIECE.search(source):
        return []
    present = values(text, language)
    # Of a measure given twice, 45 miles (72 km), the translation needs only one.
    checked = _CONVERTED.sub(" ", source)
    missing = [
        wanted.text
        for wanted in _wanted(checked, language, source_language)
        if not (_among(wanted, present) or _worded_as(wanted.words, text))
        or (wanted.below_zero and not _is_below_zero(wanted.values, text, language))
    ]
    return [numeral for numeral in missing if numeral != "100" or "%" in text or not _ALL.search(checked)]


def _plain(text: str) -> str:
    """Normalised text: characters of standard width, 2½ as 2 1⁄2, 10⁵ as 10^5, and m² without its exponent."""
    text = _SQUARE.sub("", _POWER.sub(lambda power: f"^{power[0]}", _VULGAR.sub(" ", text)))
    return unicodedata.normalize("NFKC", text)


def values(text: str, language: str) -> set[float]:
    """All values that the numbers in the text may have: with thousands separators or decimals, with words such as
    million, in words, and as Roman numerals."""
    numbers: set[float] = set()
    for match in _NUMERAL.finditer(text):
        readings = _readings(match[0], language)
        if not _GROUPED.fullmatch(match[0]):
            numbers |= {float(piece) for piece in _PIECE.findall(match[0])}  # 14.00 may be an hour
        numbers |= readings | {value * by for value in readings for by in _magnitudes(text, match.end(), language)}
    numbers |= set(_worded(text, language)) | {_roman(roman) for roman in _ROMAN.findall(text)}
    if language in UNITS:
        numbers |= set(_built(text, language))
    return {round(value, 6) for value in numbers}


def _wanted(source: str, language: str, source_language: str) -> Iterator[Wanted]:
    """Each number of the source, with the ways in which a translation into `language` may express it."""
    fractions, dates = _fractions(source), {at for date in _DATE.finditer(source) for at in range(*date.span())}
    for match in _numerals(source, source_language):
        if _idle(match, source):
            continue
        start, end = match.span()
        readings = _readings(match[0], source_language)
        wanted = set(readings) | fractions.get(start, set())
        for value in readings:
            wanted |= {value * by for by in _magnitudes(source, end, source_language)}
            wanted |= set(_otherwise(value, source, end))
        if source_language in UNITS:
            wanted |= set(_built(source[start : end + 12], source_language))
        words = _months(match[0], language) if start in dates else ()
        if match[0] == "1" and source.startswith("st", end):
            words = FIRST.get(language, ())
        elif match[0] == "1" and _HALF_DAY.match(source, end):
            words = ONE_O_CLOCK.get(language, ())
        before = source[max(0, start - 3) : start]
        below = bool(_MINUS.search(before.rstrip(_CURRENCY)))
        year = not _PERCENT.match(source, end)
        yield Wanted("-" * below + match[0], {round(value, 6) for value in wanted}, words, below, year)


def _numerals(source: str, language: str) -> Iterator[re.Match]:
    """Matches of the numbers; 0,1 is two numbers in languages with a decimal point."""
    for match in _NUMERAL.finditer(source):
        if "," in match[0] and language in DECIMAL_POINT and not _GROUPED.match(match[0]):
            yield from _PIECE.finditer(source, *match.span())
        else:
            yield match


def _fractions(source: str) -> dict[int, set[float]]:
    """Position of a number that is part of a fraction -> values of the whole fraction; the 1 of 1/3 may also
    be 3 (a third)."""
    fractions: dict[int, set[float]] = {}
    for match in _FRACTION.finditer(source):
        whole, part, of = (float(group or 0) for group in match.groups())
        if of:
            fractions[match.start(2)] = fractions[match.start(3)] = {part / of, whole + part / of}
            if part == 1:
                fractions[match.start(2)] |= {of}
            if match[1]:
                fractions[match.start(1)] = {whole + part / of}
    return fractions


def _months(number: str, language: str) -> tuple[str, ...]:
    names = MONTHS.get(language, "").split()
    return (names[int(number) - 1],) if number.isdecimal() and 1 <= int(number) <= len(names) else ()


def _worded_as(words: tuple[str, ...], text: str) -> bool:
    text = text.lower()
    return any(re.search(word if word >= "\u3040" else rf"(?<!\w){word}", text) for word in words)


def _is_below_zero(wanted: set[float], text: str, language: str) -> bool:
    """Whether one of the values is in the text with a minus sign or a word that replaces it."""
    words, seen = BELOW_ZERO.get(language, ()), False
    for match in _NUMERAL.finditer(text):
        if _readings(match[0], language) & wanted:
            before, after = text[max(0, match.start() - _AROUND) : match.start()], text[match.end() :][:_AROUND]
            if _SIGN.search(before) or any(word in f"{before} {after}".lower() for word in words):
                return True
            seen = True
    return not seen and any(word in text.lower() for word in words)


def _idle(match: re.Match, source: str) -> bool:
    """Whether a number need not be in the translation, because it is often expressed otherwise: the 00 of full hours,
    the inches of 6-foot-6, No. 1, the 2000s, CO2."""
    before = source[max(0, match.start() - 6) : match.start()]
    on_the_hour = not match[0].strip("0") and before[-1:] in (":", ".")
    century = match[0].endswith("00") and _DECADE.match(source, match.end())
    first = match[0] == "1" and _FIRST.search(before)
    formula = match[0] in "234" and _FORMULA.search(before)
    inches = _INCHES.search(before) or (before[-2:-1].isdigit() and _HEIGHT.match(source, match.start() - 2))
    return bool(on_the_hour or century or first or inches or formula)


def _otherwise(value: float, source: str, end: int) -> Iterator[float]:
    """Other values of the same number: on a 24- or 12-hour clock, as a decade, in metric units. A negative value means
    approximately its absolute value."""
    if value < 13 and (half := _HALF_DAY.match(source, end)):
        yield from (value // 1, value // 1 % 12 + (12 if half[1] in "pP" else 0))  # 7.55pm
    if 12 < value < 24 and _CLOCK.match(source, end):
        yield value - 12
    if _DECADE.match(source, end):
        if 1000 < value < 2100:
            yield value % 100
        elif 50 <= value <= 120:  # temperatures in the 80s
            yield -(value - 32) / 1.8
    if height := _HEIGHT.match(source, end - 1):
        yield from (-by * (12 * float(height[1]) + float(height[2])) for by in (0.0254, 2.54))
    if measure := _MEASURE.match(source, end):
        yield from (-value * by for by in _CONVERSIONS[measure[1]])  # negative: approximate
        if measure[1] in ("degree", "°") and value > 33:
            yield -(value - 32) / 1.8


def _among(wanted: Wanted, present: set[float]) -> bool:
    exact = {value for value in wanted.values if value >= 0}
    about = [-value for value in wanted.values if value < 0]
    years = {value % 100 for value in present if 1900 <= value < 2100} if wanted.year else set()
    return bool(
        exact & (present | years)
        or any(abs(other - value) <= max(_ROUNDED * value, 1) for value in about for other in present)
    )


def _readings(numeral: str, language: str) -> set[float]:
    """Values of a numeral: with thousands separators removed and, if the language allows it, as a decimal, as 1.234."""
    joined = re.sub(r"[.,'’\u00a0\u202f ](?=\d{3}(?!\d))", "", numeral).replace(",", ".")
    readings = {float(joined)} if joined.count(".") < 2 else set()
    decimal = "." if language in DECIMAL_POINT else ","
    if _GROUPED.fullmatch(numeral) and numeral.count(decimal) == 1 and not re.search(r"[’'\s]", numeral):
        readings |= {float(numeral.replace(",", "."))} if len(re.findall(r"[.,]", numeral)) == 1 else set()
    return readings


def _magnitudes(text: str, end: int, language: str) -> Iterator[float]:
    """Factors by which the words after a number, or after the range that it begins, multiply it: the first word alone
    and two together, as in "mil millones"."""
    table, by = MAGNITUDES.get(language, {}), 1.0
    if further := _range(language).match(text, end):
        end = further.end()
        if text[end : end + 1] in UNITS.get(language, {}):
            yield UNITS[language][text[end]]
    for _ in range(2):
        word = re.compile(r"[\s-]*([^\W\d_]+)").match(text, end)
        factor = word and _look_up(table, word[1].lower())
        if not (word and factor):
            return
        by, end = by * factor, word.end()
        yield by


@cache
def _range(language: str) -> re.Pattern:
    return re.compile(rf"\s?(?:[-–—~]|{RANGE.get(language, '-')})\s?\d[\d.,]*")


def _look_up(table: dict[str, float], word: str) -> float | None:
    if word in table:
        return table[word]
    return next((table[word[:i] + "*"] for i in range(len(word), 1, -1) if word[:i] + "*" in table), None)


def _worded(text: str, language: str) -> Iterator[float]:
    """Values of number words, alone and combined with their neighbours: forty-eight, cuarenta y ocho, hai mươi lăm."""
    if language in WORDS and not LANGUAGES[language].spaces:
        yield from (value for word, value in WORDS[language].items() if word in text)
        return
    text, total, end = text.lower(), _Total(), -1
    for match in _WORD.finditer(text):
        parts = _parts(match[0], language)
        if not parts:
            continue
        if end < 0 or text[end : match.start()].strip() not in _JOINTS:
            total = _Total()
        for value, is_scale in parts:
            yield from () if is_scale else (value,)
            yield total.add(value, is_scale or value in (100, 1000) or match[0] == "mươi")
        end = match.end()


@dataclass
class _Total:
    """Value of a sequence of number words: hundreds and thousands multiply the words before them, ones follow tens."""

    thousands: float = 0
    rest: float = 0

    def add(self, value: float, multiplies: bool) -> float:
        if not multiplies and value < 10 and self.rest % 10:
            self.thousands = self.rest = 0
        self.rest = (self.rest or 1) * value if multiplies else self.rest + value
        if multiplies and value >= 1000:
            self.thousands, self.rest = self.thousands + self.rest, 0
        return self.thousands + self.rest


def _parts(word: str, language: str) -> list[tuple[float, bool]]:
    """(value, whether it only multiplies others) of a number word, or of each part of a compound one."""
    if language in COMPOUNDS and (joined := _compound(language).match(word)):
        parts = [_compounds(language)[part] for part in _compound_part(language).findall(joined[0])]
        if len(pieces := [(value, False) for value in parts if value]) > 1:
            return pieces
    if (value := _look_up(WORDS.get(language, {}), word)) is not None:
        return [(value, False)]
    scale = _look_up(MAGNITUDES.get(language, {}), word)
    return [(scale, True)] if scale and len(word) > 2 else []


@cache
def _compounds(language: str) -> dict[str, float]:
    return {part: float(value) for part, value in (entry.split("|") for entry in COMPOUNDS[language].split())}


@cache
def _compound_part(language: str) -> re.Pattern:
    return re.compile("|".join(sorted(_compounds(language), key=len, reverse=True)))


@cache
def _compound(language: str) -> re.Pattern:
    return re.compile(rf"(?:{_compound_part(language).pattern})+")


def _roman(numeral: str) -> float:
    digits = [_ROMAN_VALUES[letter] for letter in numeral]
    return float(sum(-a if a < b else a for a, b in zip(digits, [*digits[1:], 0], strict=True)))


@cache
def _builder(language: str) -> re.Pattern:
    units, digits = "".join(UNITS[language]), "".join(DIGITS[language])
    numeral = rf"(?:\d+(?:[.,]\d+)*|[{units}{digits}])"
    return re.compile(rf"{numeral}(?:\s?{numeral})*")


def _built(text: str, language: str) -> Iterator[float]:
    """Values of numbers built of digits and units, and of each beginning of them that could be a number itself."""
    units, digits = UNITS[language], DIGITS[language]
    for match in _builder(language).finditer(text):
        if _is_none(match, text, language):
            continue
        total, section, number = 0.0, 0.0, None
        for token in re.findall(r"\d+(?:[.,]\d+)*|\S", match[0]):
            if token in units and units[token] >= 1e4:
                total, section, number = total + (section + (number or 0) or 1) * units[token], 0.0, None
            elif token in units:
                section, number = section + (1 if number is None else number) * units[token], None
            else:
                number = (
                    (number or 0) * 10 + digits[token]
                    if token in digits
                    else max(_readings(token, language), default=0)
                )
            yield total + section + (number or 0)


def _is_none(match: re.Match, text: str, language: str) -> bool:
    """Whether a match is not a number built of units: it has digits only, which are read elsewhere, or 一 as an article,
    or Korean characters that are mere syllables."""
    if match[0] == "一":
        return not text.startswith(tuple(COUNTED), match.end())
    if language == "ko" and text.startswith("분의", match.end()):
        return False
    needed = (*UNITS[language], *(DIGITS[language] if language == "zh" else ()))
    return not any(unit in match[0] for unit in needed)
