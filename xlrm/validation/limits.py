"""The thresholds of the row checks: the `validate` stage's, and the `translate` stage's where it checks its own work."""

from math import sqrt

from pydantic import BaseModel, ConfigDict, Field, field_validator

ANY_SCRIPT = (0.1, 3.0)  # length ratios of a script that the limits do not name


class Limits(BaseModel):
    """Where a number was measured, it was on the first half of NTREX-128's documents; docs/validation.md has the
    results on the other half."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_script_share: float = Field(0.2, ge=0, le=1)
    """Share of a text's letters that must be of its language's script. Low, since a few Latin names outweigh a whole
    Chinese sentence: technical prose goes down to 0.25 there."""
    language_letters: int = Field(25, ge=1)
    """Letters outside code that a text must have for its language to be identified; of Han and Hangul a third."""
    language_probability: float = Field(0.05, ge=0, le=1)
    """A text is in another language if that one is likelier and its own is less likely than this."""
    length_ratio: dict[str, tuple[float, float]] = {
        "Latin": (0.4, 3.0),
        "Cyrillic": (0.4, 3.0),
        "Hangul": (0.15, 1.6),
        "Han": (0.1, 1.2),
    }
    """By script, how long a translation may be as a multiple of a source in Latin script, in characters, where there
    are too few rows to fit a band. Around what 1,000 human translations of NTREX-128 have: Latin 0.46-2.88, Cyrillic
    0.48-2.46, Hangul 0.25-1.47, Han 0.15-1.13. A fitted mean outside is not believed: a corpus may be all wrong."""
    length_from: int = Field(30, ge=1)
    """Characters that a text or its source must have for their lengths to be compared ("OK" is "De acuerdo")."""
    length_rows: int = Field(200, ge=2)
    """Texts of a language and column from which on the band is fitted from them."""
    length_deviations: float = Field(3.8, gt=0)
    """Standard deviations, fitted, that the logarithm of a length ratio may be off its mean."""
    length_slack: float = Field(1.6, ge=1)
    """Factor by which a length may be off its mean in any case: template-like corpora hardly vary at all."""
    copied_words: int = Field(3, ge=1)
    """Words from which on a prompt like its source counts as untranslated; two may be a name."""
    untranslated_words: int = Field(5, ge=1)
    """Words of the source that stand in a row in a longer text, or as a whole answer, from which on they count as left
    untranslated; fewer may be a title or names."""
    loop_times: int = Field(5, ge=2)
    """Times in a row that the same words or phrase make a loop."""

    @field_validator("length_ratio")
    @classmethod
    def _ordered(cls, bands: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for script, (low, high) in bands.items():
            if not 0 < low < high:
                raise ValueError(f"{script}: a band is two numbers, 0 < low < high")
        return bands

    def band(self, script: str, source_script: str) -> tuple[float, float]:
        """The bands are for sources in Latin script; one in another is as much shorter as its own band says."""
        latin, source = (sqrt(low * high) for low, high in (self._ratios("Latin"), self._ratios(source_script)))
        low, high = self._ratios(script)
        return low * latin / source, high * latin / source

    def _ratios(self, script: str) -> tuple[float, float]:
        return self.length_ratio.get(script, ANY_SCRIPT)
