"""Numbers and names as the page shows them."""

import json
from typing import Any

from xlrm.evaluation.results import Estimate
from xlrm.reporting.results import language_name
from xlrm.store import addresses

MINUS = "\u2212"
PERCENT = "\u00a0%"
"""Stays on the line of its number."""
LEVEL = 0.05
"""p-value below which a difference is said to be one."""


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def share(value: float | None) -> str:
    """A share in percent; a dash for one that was not measured."""
    return "\u2013" if value is None else percent(value)


def percent_range(estimate: Estimate) -> str:
    """Whole percents, because the ends of an interval are not known more precisely."""
    return f"{100 * estimate.low:.0f}\u2013{100 * estimate.high:.0f}"


def signed(value: float, digits: int = 1) -> str:
    rounded = round(value, digits) + 0.0  # turns -0.0 into 0.0
    return f"{rounded:{'+' if rounded else ''}.{digits}f}".replace("-", MINUS)


def points(share: float, digits: int = 1) -> str:
    return signed(100 * share, digits)


def points_range(estimate: Estimate, digits: int = 1) -> str:
    return f"{points(estimate.low, digits)}, {points(estimate.high, digits)}"


def p_value(p: float) -> str:
    """A p-value with as many digits as 9,999 permutations allow."""
    return "p\u00a0<\u00a00.001" if p < 0.001 else f"p\u00a0=\u00a0{p:.{3 if p < 0.1 else 2}f}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def memory(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"


def shown(value: Any) -> str:
    """Text, or JSON for any other value, without user names and passwords in addresses."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
    return addresses.shown(text)


def names(codes: list[str]) -> str:
    return listed([language_name(code) for code in codes])


def listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def shortened(text: str, start: int = 260, end: int = 80) -> str:
    """The beginning and the end of a long text."""
    return text if len(text) <= start + end + 20 else f"{text[:start].rstrip()} […] {text[-end:].lstrip()}"


def counts(by_language: dict[str, int], noun: str) -> str:
    """`320 pairs in each of English and Korean`, or `320 pairs in English and 310 in Korean`."""
    numbers = list(by_language.values())
    if len(set(numbers)) > 1:
        first, *others = [(f"{number:,}", language_name(code)) for code, number in by_language.items()]
        return listed([f"{first[0]} {noun} in {first[1]}", *(f"{number} in {name}" for number, name in others)])
    each = "each of " if len(numbers) > 1 else ""
    return f"{numbers[0]:,} {noun} in {each}{names(list(by_language))}"


def unreadable(count: int, verdicts: int) -> str:
    return f"{count:,} of {verdicts:,} verdicts are unreadable"
