"""How long a translation may be: a band of length ratios, fitted from the corpus itself.

After Gale and Church (1993, "A program for aligning sentences in bilingual corpora", section 3.2): a character gives rise
to `mean` characters of the other language, with a variance in proportion to the text's length. Here in the logarithm, so
that twice and half as long are as far off, and with medians and quantiles, so that the very defects looked for do not widen
the band.
"""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from xlrm.validation.limits import Limits

# The median tells the spread of what is normally distributed; sentences made from templates have longer tails, which nine
# texts in ten show.
_TRUSTED, _TRUSTED_DEVIATIONS = 0.9, 1.645
_STYLE = 0.06  # what a ratio varies by however long the texts are: long ones do not average out everything


@dataclass(frozen=True)
class Band:
    mean: float
    """Characters for one of the source."""
    variance: float | None
    """Of the logarithm of the ratio, times the source's length; None for the band of `limits`."""
    fixed: tuple[float, float]
    """Band where none was fitted."""
    deviations: float
    slack: float
    """Least factor by which a ratio may be off."""

    def around(self, length: int, share: float = 1) -> tuple[float, float]:
        """Least and greatest ratio for a source of so many characters; with a share, that much of the way there."""
        if self.variance is None:
            return self.mean * (self.fixed[0] / self.mean) ** share, self.mean * (self.fixed[1] / self.mean) ** share
        factor = max(exp(self.deviations * sqrt(self.variance / length + _STYLE**2)), self.slack) ** share
        return self.mean / factor, self.mean * factor

    def nearer(self, length: int, part: int, whole: int) -> bool:
        """Whether a text is as long as a translation of a part is, rather than of the whole."""
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
    """The band of texts whose lengths, and whose sources', are given; `fixed` where they are few or all wrong."""
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
