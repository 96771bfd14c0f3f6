"""Numbers by value: what a translator may write in another way is the same number.

Of 1,000 human translations of NTREX-128 one in twenty lacks some digits of its source: 2.5 million is 250万, 7 pm is 19:00,
45 miles are 72 km, the 19th century is the XIX, fifteen may be in words. All of these are read as values here; a number
of the source is lost if none of its readings is among those of the text.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

from xlrm.numerals import DECIMAL_POINT, DIGITS, MAGNITUDES, UNITS, WORDS

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
# Into kilometres, centimetres, metres, kilograms and so on, as translators round it.
_CONVERSIONS = {
    "mile": (1.609,), "mph": (1.609,), "inch": (2.54, 25.4), "feet": (0.3048, 30.48),
    "foot": (0.3048, 30.48), "ft": (0.3048, 30.48), "pound": (0.4536,), "lb": (0.4536,), "yard": (0.9144,),
    "yd": (0.9144,), "degree": (1 / 1.8,), "°": (1 / 1.8,), "ounce": (28.35,), "oz": (28.35,), "gallon": (3.785, 4.546),
    "acre": (0.4047,), "stone": (6.35,), "mpg": (0.4251,),
}  # fmt: skip
_INCHES = re.compile(r"(?:foot|feet|ft)[\s-]$")
_FIRST = re.compile(r"(?:\b[Nn]o\.?|#)\s?$")
_ALL = re.compile(r"\b100\s?(?:%|per\s?cent)")  # "absolutely", as soon as the sign is not there
_ROUNDED = 0.15  # 7 cm for 3 inches
_CONVERTED = re.compile(r"\(\s*(?:about |around )?[\d.,]+(?:\s*[-–]\s*[\d.,]+)?\s*-?[^\W\d]{1,12}\s*\)")


def lost(text: str, source: str, language: str, source_language: str) -> list[str]:
    """Numbers of `source`, as written there, that `text` does not hold in any reading."""
    if not _PIECE.search(source):
        return []
    source, text = (unicodedata.normalize("NFKC", one) for one in (source, text))
    present = values(text, language)
    # A measure said twice, 45 miles (72 km), is well translated by either.
    checked = _CONVERTED.sub(" ", source)
    missing = [found for found, wanted in _wanted(checked, source_language) if not _among(wanted, present)]
    return [found for found in missing if found != "100" or "%" in text or not _ALL.search(checked)]


def values(text: str, language: str) -> set[float]:
    """All values that a number in the text may have: thousands joined or decimals, multiplied, in words, in Roman."""
    found: set[float] = set()
    for match in _NUMERAL.finditer(text):
        readings = _readings(match[0], language)
        if not _GROUPED.fullmatch(match[0]):
            found |= {float(piece) for piece in _PIECE.findall(match[0])}  # 14.00 is an hour, too
        found |= readings | {value * by for value in readings for by in _magnitudes(text, match.end(), language)}
    found |= set(_worded(text, language)) | {_roman(roman) for roman in _ROMAN.findall(text)}
    if language in UNITS:
        found |= set(_built(text, language))
    return {round(value, 6) for value in found}


def _wanted(source: str, language: str) -> Iterator[tuple[str, set[float]]]:
    """Each number of the source, and the values of which one must be in a translation."""
    for match in _NUMERAL.finditer(source):
        readings = _readings(match[0], language)
        wanted = set(readings)
        for value in readings:
            wanted |= {value * by for by in _magnitudes(source, match.end(), language)}
            wanted |= set(_otherwise(value, source, match.end()))
        if language in UNITS:
            wanted |= set(_built(source[match.start() : match.end() + 12], language))
        if not _idle(match, source):
            yield match[0], {round(value, 6) for value in wanted}


def _idle(match: re.Match, source: str) -> bool:
    """Numbers that are often said in another way: full hours, the inches of 6-foot-6, No. 1, the 2000s."""
    before = source[max(0, match.start() - 6) : match.start()]
    on_the_hour = not match[0].strip("0") and before[-1:] in (":", ".")
    century = match[0].endswith("00") and _DECADE.match(source, match.end())
    return bool(on_the_hour or century or _INCHES.search(before) or (match[0] == "1" and _FIRST.search(before)))


def _otherwise(value: float, source: str, end: int) -> Iterator[float]:
    """The same on a clock of 24 hours or of 12, as a decade, in a measure of elsewhere."""
    if value < 13 and (half := _HALF_DAY.match(source, end)):
        yield from (value // 1, value // 1 % 12 + (12 if half[1] in "pP" else 0))  # 7.55pm
    if 12 < value < 24 and _CLOCK.match(source, end):
        yield value - 12
    if 1000 < value < 2100 and _DECADE.match(source, end):
        yield value % 100
    if measure := _MEASURE.match(source, end):
        yield from (-value * by for by in _CONVERSIONS[measure[1]])  # negative: about so much
        if measure[1] in ("degree", "°"):
            yield -max(value - 32, 1) / 1.8


def _among(wanted: set[float], present: set[float]) -> bool:
    exact = {value for value in wanted if value >= 0}
    about = [-value for value in wanted if value < 0]
    years = {value % 100 for value in present if 1900 <= value < 2100}
    return bool(
        exact & (present | years)
        or any(abs(one - value) <= max(_ROUNDED * value, 1) for value in about for one in present)
    )


def _readings(numeral: str, language: str) -> set[float]:
    """With its thousands joined; 1.234 may also be one and something, where a point is the decimal mark."""
    joined = re.sub(r"[.,'’\u00a0\u202f ](?=\d{3}(?!\d))", "", numeral).replace(",", ".")
    found = {float(joined)} if joined.count(".") < 2 else set()
    decimal = "." if language in DECIMAL_POINT else ","
    if _GROUPED.fullmatch(numeral) and numeral.count(decimal) == 1 and not re.search(r"[’'\s]", numeral):
        found |= {float(numeral.replace(",", "."))} if len(re.findall(r"[.,]", numeral)) == 1 else set()
    return found


def _magnitudes(text: str, end: int, language: str) -> Iterator[float]:
    """What the words after a number multiply it by; each by itself and together, as in "mil millones"."""
    table, by = MAGNITUDES.get(language, {}), 1.0
    for _ in range(2):
        word = re.compile(r"[\s-]*([^\W\d_]+)").match(text, end)
        factor = word and _look_up(table, word[1].lower())
        if not factor:
            return
        by, end = by * factor, word.end()
        yield by


def _look_up(table: dict[str, float], word: str) -> float | None:
    if word in table:
        return table[word]
    return next((table[word[:i] + "*"] for i in range(len(word), 1, -1) if word[:i] + "*" in table), None)


def _worded(text: str, language: str) -> Iterator[float]:
    table = WORDS.get(language, {})
    before: tuple[float, int] = (0, -9)
    for match in _WORD.finditer(text.lower()):
        if (value := _look_up(table, match[0])) is not None:
            yield value
            # "열 다섯", "forty-eight", "cuarenta y ocho": tens, then ones
            if before[0] in range(10, 100, 10) and value < 10 and match.start() - before[1] <= 3:
                yield before[0] + value
            before = (value, match.end())


def _roman(numeral: str) -> float:
    digits = [_ROMAN_VALUES[letter] for letter in numeral]
    return float(sum(-a if a < b else a for a, b in zip(digits, [*digits[1:], 0], strict=True)))


@cache
def _builder(language: str) -> re.Pattern:
    units, digits = "".join(UNITS[language]), "".join(DIGITS[language])
    one = rf"(?:\d+(?:[.,]\d+)*|[{units}{digits}])"
    return re.compile(rf"{one}(?:\s?{one})*")


def _built(text: str, language: str) -> Iterator[float]:
    """Numbers built of digits and units, and each part up to where it could end."""
    units, digits = UNITS[language], DIGITS[language]
    for match in _builder(language).finditer(text):
        if match[0] == "一" or not any(one in match[0] for one in (*units, *digits)):
            continue  # the first an article as often as a number, the others without a unit
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
