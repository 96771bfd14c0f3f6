"""What the row checks found of planted defects, and which right translations they failed."""

from collections import Counter
from dataclasses import dataclass, field

from xlrm.validation.suite import MEANING


@dataclass
class Found:
    planted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(Class, language) -> rows planted."""
    caught: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those that the expectations meant for the class find."""
    noticed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those that any expectation finds."""
    clean: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(Expectation, language) -> texts with nothing planted that it looked at; "any": rows."""
    alarms: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those of them that failed it; "any": rows of which one or more did."""

    def recall(self, defect: str, language: str) -> float:
        return self.caught[defect, language] / self.planted[defect, language]

    def alarm_rate(self, expectation: str, language: str) -> float:
        return self.alarms[expectation, language] / self.clean[expectation, language]

    def figures(self) -> dict[str, dict[str, dict[str, int]]]:
        """Each count by name (of a class or an expectation) and language."""
        nested: dict[str, dict[str, dict[str, int]]] = {}
        for kind, numbers in vars(self).items():
            for (name, language), number in numbers.items():
                nested.setdefault(kind, {}).setdefault(name, {})[language] = number
        return nested


def alarm_table(found: Found, unit: str) -> str:
    """Markdown: the share of clean `unit` that each expectation fails."""
    languages = list(dict.fromkeys(language for _, language in found.clean))
    lines = [f"| fails clean {unit} | {unit} | {' | '.join(languages)} |", f"|---|---|{'---|' * len(languages)}"]
    for name in (*(name for name in MEANING if found.clean[name, languages[0]]), "any"):
        checked = sum(found.clean[name, language] for language in languages)
        rates = " | ".join(f"{found.alarm_rate(name, language):.1%}" for language in languages)
        lines.append(f"| {'any, of the rows' if name == 'any' else name} | {checked:,} | {rates} |")
    return "\n".join(lines)
