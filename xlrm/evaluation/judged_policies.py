"""Paper A's figure 3 and what it says of it: win rates of the base policy and of the policies by the source's and by the
target's reward model, in all languages, and the differences between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm.evaluation import statistics, win_rates
from xlrm.evaluation.results import REFERENCE, Difference, Estimate, JudgedItems, JudgeResults

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.05
"""Chance of any false finding among all comparisons, for a difference to count."""
BASE, SOURCE, TARGET = "base", "source", "target"
"""Roles of systems: the policy before alignment, and those by the source's and by the target language's reward model."""
COMPARED = ((SOURCE, TARGET), (SOURCE, BASE), (TARGET, BASE))


@dataclass(frozen=True)
class JudgedPolicies:
    """The verdicts of all languages together."""

    languages: tuple[JudgeResults, ...]
    """p_holm of their differences is adjusted for the comparisons in all languages."""
    means: dict[str, Estimate]
    """Role -> mean win rate over the languages that have it, half for the reference; prompts are resampled in all languages
    together."""
    differences: dict[tuple[str, str], statistics.Paired]
    """(role, role) -> mean over the languages of the first's win rate minus the second's."""

    def difference(self, language: str, first: str, second: str) -> Difference | None:
        """Between two roles in one language; None if it lacks one of them."""
        results = next((each for each in self.languages if each.language == language), None)
        systems = roles(results) if results else {}
        wanted = (systems.get(first), systems.get(second))
        differences = results.differences if results else ()
        return next((each for each in differences if (each.first, each.second) == wanted), None)

    @property
    def largest_increase(self) -> tuple[str, Difference] | None:
        """Language in which the policy by the source's reward model gains most over the base policy, and the gain (paper A:
        9.3 points in Spanish); None without any."""
        differences = [(each.language, self.difference(each.language, SOURCE, BASE)) for each in self.languages]
        gains = [(language, gain) for language, gain in differences if gain]
        return max(gains, key=lambda gain: gain[1].value, default=None)

    def readings(self, first: str, second: str) -> dict[str, str]:
        """Language -> `higher`, `lower` or `no difference`: whether the first role's win rate differs from the second's
        (paper A: the source's is nowhere lower than the target's)."""
        differences = {each.language: self.difference(each.language, first, second) for each in self.languages}
        return {language: reading(difference) for language, difference in differences.items() if difference}


def reading(difference: Difference) -> str:
    """`higher` or `lower` if the adjusted p-value is below `LEVEL`, else `no difference`."""
    if difference.p_holm >= LEVEL:
        return "no difference"
    return "higher" if difference.value > 0 else "lower"


def read(folders: Sequence[Path]) -> JudgedPolicies:
    """Reads folders of the stage judge, one for each language. Raises DataError."""
    return of([JudgeResults.read(folder) for folder in folders], [JudgedItems.read(folder) for folder in folders])


def of(results: Sequence[JudgeResults], items: Sequence[JudgedItems]) -> JudgedPolicies:
    """Statistics over languages, from the two files of each language's verdicts, in the same order."""
    adjusted = adjust(results)
    shares = {each.language: _shares(each, own) for each, own in zip(adjusted, items, strict=True)}
    means = {
        role: Estimate(*statistics.mean_interval_of_groups(table))
        for role in (BASE, SOURCE, TARGET)
        if (table := _table(shares, role)) is not None
    }
    differences = {
        (first, second): statistics.paired_mean_of_groups(table)
        for first, second in COMPARED
        if (table := _table(shares, first, second)) is not None
    }
    return JudgedPolicies(tuple(adjusted), means, differences)


def roles(results: JudgeResults) -> dict[str, str]:
    """Role -> system, for those in the results; the base policy is in them if it is the reference."""
    own = [name for name in results.results if name != REFERENCE and not name.startswith(win_rates.ONLINE)]
    systems = {BASE: REFERENCE} if REFERENCE in (*results.results, results.reference) else {}
    if own:
        systems[SOURCE] = own[0]
    return systems | ({TARGET: results.language} if results.language in own[1:] else {})


def adjust(results: Sequence[JudgeResults]) -> list[JudgeResults]:
    """The results with p_holm adjusted for the comparisons in all of them, one family (Holm 1979)."""
    p_values = iter(statistics.holm([difference.p for each in results for difference in each.differences]))
    return [
        each.model_copy(
            update={"differences": tuple(d.model_copy(update={"p_holm": next(p_values)}) for d in each.differences)}
        )
        for each in results
    ]


Shares = Mapping[str, Mapping[str, float | None]]
"""Role -> prompt's id -> share of a win."""


def _shares(results: JudgeResults, items: JudgedItems) -> Shares:
    half = dict.fromkeys(items.ids, 0.5)
    return {role: items.shares.get(system, half) for role, system in roles(results).items()}


def _table(shares: Mapping[str, Shares], role: str, minus: str | None = None) -> "np.ndarray | None":
    """Shares of a role, or its differences to another (prompts, languages that have both), NaN where a prompt lacks one;
    None without any language."""
    import numpy as np

    languages = [of for of in shares.values() if role in of and (minus is None or minus in of)]
    ids = list(dict.fromkeys(name for of in languages for name in of[role]))
    if not ids:
        return None
    own = np.array([[of[role].get(name) for of in languages] for name in ids], dtype=float)
    other = np.array([[of[minus].get(name) for of in languages] for name in ids], dtype=float) if minus else 0.0
    table = own - other
    return table[:, ~np.isnan(table).all(axis=0)]
