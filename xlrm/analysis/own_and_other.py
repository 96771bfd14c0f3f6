"""Whether a reward model of another language aligns a policy as well as the target language's own: mean win rates of the two
kinds of pairs (Wu et al. 2024, section 5), with intervals over prompts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xlrm.evaluation.results import Estimate
from xlrm.evaluation.statistics import RESAMPLES

if TYPE_CHECKING:
    import numpy as np

Shares = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""Target language -> source of the reward model -> prompt's id -> share of a win in [0, 1]; None without a verdict."""
Subsets = Mapping[str, Mapping[str, str]]
"""Target language -> prompt's id -> data set that the prompt is from."""


@dataclass(frozen=True)
class OwnAndOther:
    """Means over the target languages, each with its 95 % bootstrap interval over prompts."""

    own: Estimate
    """Win rate of the policies by the reward model of their own language."""
    other: Estimate
    """Win rate of the policies by the other languages' reward models."""
    difference: Estimate
    """Other minus own, on the same prompts."""
    own_by_target: dict[str, Estimate]
    other_by_target: dict[str, Estimate]
    difference_by_target: dict[str, Estimate]
    pairs: int
    """Pairs of two different languages."""


def compare(shares: Shares, subsets: Subsets | None = None, seed: int = 0) -> OwnAndOther | None:
    """The comparison over the target languages that have both kinds of pairs; None if there is none.

    A language's rate is the mean over its data sets (`subsets`; without them, over all its prompts). Prompts are resampled
    within data sets, and a prompt with the same id in several languages in all of them together.
    """
    import numpy as np

    targets = [target for target, by_source in shares.items() if target in by_source and len(by_source) > 1]
    if not targets:
        return None
    draws = _Draws({target: (subsets or {}).get(target, {}) for target in targets}, shares, seed)
    own, other = {}, {}
    for target in targets:
        own[target] = draws.rate(target, [target])
        other[target] = draws.rate(target, [source for source in shares[target] if source != target])
    return OwnAndOther(
        _estimate(np.mean(list(own.values()), axis=0)),
        _estimate(np.mean(list(other.values()), axis=0)),
        _estimate(np.mean([other[target] - own[target] for target in targets], axis=0)),
        {target: _estimate(own[target]) for target in targets},
        {target: _estimate(other[target]) for target in targets},
        {target: _estimate(other[target] - own[target]) for target in targets},
        sum(len(shares[target]) - 1 for target in targets),
    )


def _estimate(values: "np.ndarray") -> Estimate:
    """`values` (1 + resamples): the observed value first."""
    import numpy as np

    low, high = np.quantile(values[1:], (0.025, 0.975))
    return Estimate(float(values[0]), float(low), float(high))


class _Draws:
    """How often each prompt is drawn in each resample; row 0 is the sample itself."""

    def __init__(self, subsets: Subsets, shares: Shares, seed: int) -> None:
        import numpy as np

        self.shares = shares
        self.parts: dict[str, dict[str, list[str]]] = {}
        homes: dict[str, list[tuple[str, str]]] = {}
        for target, names in subsets.items():
            ids = dict.fromkeys(name for own in shares[target].values() for name in own)
            for name in ids:
                part = names.get(name, "")
                self.parts.setdefault(target, {}).setdefault(part, []).append(name)
                homes.setdefault(name, []).append((target, part))
        strata: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for name, places in homes.items():
            strata.setdefault(tuple(places), []).append(name)
        rng = np.random.default_rng(seed)
        self.times: dict[str, np.ndarray] = {}
        for members in strata.values():
            size = len(members)
            drawn = rng.multinomial(size, np.full(size, 1 / size), RESAMPLES)
            times = np.concatenate([np.ones((1, size), dtype=int), drawn]).T
            times = times.astype(np.int16)  # 50,000 prompts take 100 MB
            self.times |= dict(zip(members, times, strict=True))

    def rate(self, target: str, sources: list[str]) -> "np.ndarray":
        """Mean over the sources of the win rate (1 + resamples), itself the mean over the target's data sets."""
        import numpy as np

        rates = []
        for source in sources:
            own = self.shares[target][source]
            for names in self.parts[target].values():
                judged = {name: share for name in names if (share := own.get(name)) is not None}
                if judged:
                    times = np.stack([self.times[name] for name in judged]).astype(float)
                    total = np.maximum(times.sum(axis=0), 1)  # a resample without any judged prompt
                    rates.append((np.array(list(judged.values())) @ times) / total)
        return np.mean(rates, axis=0)
