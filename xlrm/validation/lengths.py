"""Length bands: how long a translation may be, as a range of length ratios fitted from the corpus itself.

After Gale and Church (1993, "A program for aligning sentences in bilingual corpora", section 3.2): a character gives
`mean` characters in the other language, with a variance proportional to the text's length. Here the ratio is
logarithmic, so that twice and half as long deviate equally, and it is fitted with medians and quantiles, so that
defects do not widen the band.
"""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from xlrm.validation.limits import Limits

# The median deviation gives the spread of a normal distribution; sentences made from templates have longer tails, which
# the ninth decile shows.
_TRUSTED, _TRUSTED_DEVIATIONS = 0.9, 1.645
_STYLE = 0.06  # standard deviation that remains for long texts, which do not average out everything


@dataclass(frozen=True)
class Band:
    """Range of length ratios, translation / source in characters."""

    mean: float
    """Characters of the translation per character of the source."""
    variance: float | None
    """Variance of the logarithm of the ratio, times the source's length; None if the band was not fitted."""
    fixed: tuple[float, float]
    """Minimum and maximum ratio, used if the band was not fitted."""
    deviations: float
    """Standard deviations on each side of the mean."""
    slack: float
    """Factor by which a ratio may always differ from the mean."""

    def around(self, length: int, share: float = 1) -> tuple[float, float]:
        """Minimum and maximum ratio for a source with `length` characters. `share` scales the (logarithmic) distance
        from the mean."""
        if self.variance is None:
            return self.mean * (self.fixed[0] / self.mean) ** share, self.mean * (self.fixed[1] / self.mean) ** share
        factor = max(exp(self.deviations * sqrt(self.variance / length + _STYLE**2)), self.slack) ** share
        return self.mean / factor, self.mean * factor

    def nearer(self, length: int, part: int, whole: int) -> bool:
        """Whether a text of `length` characters is closer in length to a translation of `part` source characters than
        of `whole`."""
        return bool(part) and abs(log(length / (self.mean * part))) < abs(log(length / (self.mean * whole)))

    @property
    def rule(self) -> str:
        if self.variance is None:
            return f"{self.fixed[0]:.2f} to {self.fixed[1]:.2f} times as long"
        (low, high), (near, far) = self.around(100), self.around(1000)
        return (
            f"{self.mean:.2f} times as long on average here: {low:.2f} to {high:.2f} at 100 characters, "
            f"{near:.2f} to {far:.2f} at 1,000"
        )


def fit(lengths: np.ndarray, references: np.ndarray, fixed: tuple[float, float], limits: Limits) -> Band:
    """Band fitted from the lengths of texts (n) and of their sources (n), in characters; `fixed` if there are fewer
    than `limits.length_rows`, or if the fitted mean is outside `fixed`."""
    usable = (np.minimum(lengths, references) > 0) & (np.maximum(lengths, references) >= limits.length_from)
    lengths, references = lengths[usable], references[usable]
    unfitted = Band(sqrt(fixed[0] * fixed[1]), None, fixed, limits.length_deviations, limits.length_slack)
    if len(lengths) < limits.length_rows:
        return unfitted
    logs = np.log(lengths / references)
    mean = float(np.median(logs))
    off = np.abs(logs - mean) * np.sqrt(references)
    spread = max(1.4826 * float(np.median(off)), float(np.quantile(off, _TRUSTED)) / _TRUSTED_DEVIATIONS)
    if not fixed[0] <= exp(mean) <= fixed[1]:
        return unfitted
    return Band(exp(mean), spread**2, fixed, limits.length_deviations, limits.length_slack)
