"""Counts of the planted defects that the row checks found, and of the correct translations that they rejected."""

from collections import Counter
from dataclasses import dataclass, field

from xlrm.validation.suite import MEANING


@dataclass
class Found:
    planted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(Class of defect, language) -> rows planted."""
    caught: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Planted rows found by an expectation that is meant for the class."""
    noticed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Planted rows found by any expectation."""
    clean: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(Expectation, language) -> texts without a defect that it checked; "any": rows."""
    alarms: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those of them that failed it; "any": rows with at least one failure."""

    def recall(self, defect: str, language: str) -> float:
        return self.caught[defect, language] / self.planted[defect, language]

    def alarm_rate(self, expectation: str, language: str) -> float:
        return self.alarms[expectation, language] / self.clean[expectation, language]

    def figures(self) -> dict[str, dict[str, dict[str, int]]]:
        """Name of a count -> class or expectation -> language -> count."""
        nested: dict[str, dict[str, dict[str, int]]] = {}
        for kind, numbers in vars(self).items():
            for (name, language), number in numbers.items():
                nested.setdefault(kind, {}).setdefault(name, {})[language] = number
        return nested


def alarm_table(found: Found, unit: str) -> str:
    """The share of clean `unit` that fails each expectation, in Markdown."""
    languages = list(dict.fromkeys(language for _, language in found.clean))
    lines = [f"| fails clean {unit} | {unit} | {' | '.join(languages)} |", f"|---|---|{'---|' * len(languages)}"]
    for name in (*(name for name in MEANING if found.clean[name, languages[0]]), "any"):
        checked = sum(found.clean[name, language] for language in languages)
        rates = " | ".join(f"{found.alarm_rate(name, language):.1%}" for language in languages)
        lines.append(f"| {'any, of the rows' if name == 'any' else name} | {checked:,} | {rates} |")
    return "\n".join(lines)
