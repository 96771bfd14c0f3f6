"""Do reward models transfer better between languages that share a typological feature? Paper B, section 6.2: for each
feature of WALS that is known of all languages, a one-sided test of the pairs that share its value against those that do
not, with Bonferroni's correction for the number of features.

The paper does not say whether variances are pooled; pooled ones (Student's test, the default of scipy) reproduce three of
the four features that its footnote 8 names. Cells that share a source or a target are not independent, so the p-values are
too small; the paper's test is kept as it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from xlrm.analysis.source_ranking import Matrix, cells, targets


class Value(NamedTuple):
    """One language's value of a feature."""

    language: str
    """Code as in the matrix, such as `de`."""
    feature: str
    """WALS's number, such as `1A`."""
    value: str


@dataclass(frozen=True)
class FeatureTest:
    """One feature: cross-lingual pairs whose languages share its value against the others."""

    feature: str
    same: int
    """Pairs with one value."""
    different: int
    mean_same: float | None
    mean_different: float | None
    t: float | None
    p: float | None
    """One-sided, of same being larger. None, as t, for a feature with fewer than one pair on either side, such as one
    that is alike in all languages."""
    p_bonferroni: float | None
    """min(1, p times the number of features), those without a test among them."""


@dataclass(frozen=True)
class Typology:
    """All features that are known of every language of the matrix."""

    features: tuple[FeatureTest, ...]
    """The smallest p first; those without a test last."""

    @property
    def tested(self) -> int:
        return sum(feature.p is not None for feature in self.features)

    def significant(self, alpha: float = 0.05) -> tuple[str, ...]:
        """Numbers of the features with p below `alpha`, without correction."""
        return tuple(each.feature for each in self.features if each.p is not None and each.p < alpha)

    def significant_after_bonferroni(self, alpha: float = 0.05) -> tuple[str, ...]:
        return tuple(
            each.feature for each in self.features if each.p_bonferroni is not None and each.p_bonferroni < alpha
        )


def measure(matrix: Matrix, values: Iterable[Value]) -> Typology:
    """Tests every feature that has a value for all sources and targets of the matrix."""
    languages = set(matrix) | set(targets(matrix))
    by_feature: dict[str, dict[str, str]] = {}
    for entry in values:
        if entry.language in languages:
            by_feature.setdefault(entry.feature, {})[entry.language] = entry.value
    complete = {feature: own for feature, own in by_feature.items() if own.keys() == languages}
    tests = [_test(matrix, feature, own, len(complete)) for feature, own in complete.items()]
    return Typology(tuple(sorted(tests, key=lambda each: 2.0 if each.p is None else each.p)))


def _test(matrix: Matrix, feature: str, values: Mapping[str, str], features: int) -> FeatureTest:
    from scipy import stats

    pairs = [(values[a] == values[b], value) for (a, b), value in cells(matrix).items() if a != b]
    same, different = ([value for alike, value in pairs if alike is wanted] for wanted in (True, False))
    t = p = None
    if same and different and len(pairs) > 2:
        result = stats.ttest_ind(same, different, alternative="greater")
        t, p = float(result.statistic), float(result.pvalue)
    return FeatureTest(
        feature,
        len(same),
        len(different),
        _mean(same),
        _mean(different),
        t,
        p,
        None if p is None else min(1.0, p * features),
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
