"""Is the order of source languages that of their data (paper B, sections 5.3 and 6.2)? And shares of a gap that a second
strategy closes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xlrm.analysis.source_ranking import Matrix, mean_by_source
from xlrm.analysis.transfer import correlate

MT5_FREQUENCY = ("en", "ru", "es", "de", "tr", "vi")
"""Paper B's languages by their share of mT5's pretraining corpus, the largest first (section 6.2, after Xue et al. 2021)."""


@dataclass(frozen=True)
class RankCorrelation:
    """Correlation over languages of the order by a quantity with that by transfer. With a handful of languages, only a
    nearly perfect order is significant: of six, a tau of 0.87 or more."""

    n: int
    tau: float
    """Kendall's tau-b."""
    tau_p: float
    """Two-sided; exact if nothing ties."""
    rho: float
    """Spearman's rho."""
    rho_p: float
    """Two-sided: the exact share of all orders of the languages."""


def by_quantity(matrix: Matrix, quantity: Mapping[str, float], own: bool = True) -> RankCorrelation:
    """Correlates each source's mean over its targets, without its own language if `own` is false, with its quantity, such
    as the number of its training rows. Raises ValueError for fewer than three sources with a quantity, or if all are
    tied."""
    from scipy import stats

    means = {source: mean for source, mean in mean_by_source(matrix, own).items() if source in quantity}
    x, y = [quantity[source] for source in means], list(means.values())
    ranks = correlate(x, y)
    if ranks is None:
        raise ValueError("at least three sources whose quantities and means are not all the same are required")
    tau = stats.kendalltau(x, y)
    return RankCorrelation(len(means), float(tau.statistic), float(tau.pvalue), ranks.spearman, ranks.spearman_p)


def from_order(languages: Sequence[str]) -> dict[str, float]:
    """Quantities of which only the order is known, such as MT5_FREQUENCY: the first language has the largest."""
    return {language: float(len(languages) - place) for place, language in enumerate(languages)}


def order(quantity: Mapping[str, float]) -> tuple[str, ...]:
    """Languages by their quantity, the largest first; equal ones stay in their order."""
    return tuple(sorted(quantity, key=lambda language: -quantity[language]))


def gap_closed(whole: float, part: float, improved: float) -> float | None:
    """Share of the gap between `whole` and `part` that `improved` closes, (improved - part) / (whole - part): 1 if it
    reaches `whole`, below 0 if it is worse than `part`; None without a gap. For back-translated data (section 5.3) the
    three are the monolingual, the translated and the back-translated SFT policy."""
    return None if whole == part else (improved - part) / (whole - part)
