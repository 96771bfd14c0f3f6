"""Thresholds of the row checks, for the stage `validate` and the checks of `translate` on its own output."""

from math import sqrt

from pydantic import BaseModel, ConfigDict, Field, field_validator

ANY_SCRIPT = (0.1, 3.0)  # length ratios of a script without an entry in `length_ratio`


class Limits(BaseModel):
    """Thresholds of the row checks. Measured values come from the first half of NTREX-128's documents;
    docs/validation.md shows the results on the other half."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    same_code: bool = True
    """Whether a translation has the code, placeholders, markup and addresses of its source; a pipeline fills in false with
    `translate.code: translate`."""
    min_script_share: float = Field(0.2, ge=0, le=1)
    """Minimum share of a text's letters that are in the script of its language. It is low because a few Latin names
    have more letters than a Chinese sentence: technical prose goes down to 0.25."""
    language_letters: int = Field(25, ge=1)
    """Minimum letters outside code for identifying a text's language; a third of it for Han and Hangul."""
    language_probability: float = Field(0.05, ge=0, le=1)
    """Probability of its own language below which a text counts as in another, likelier language."""
    length_ratio: dict[str, tuple[float, float]] = {
        "Latin": (0.4, 3.0),
        "Cyrillic": (0.4, 3.0),
        "Hangul": (0.15, 1.6),
        "Han": (0.1, 1.2),
    }
    """Script -> minimum and maximum characters of a translation per character of a source in Latin script, used if
    there are too few rows to fit a band or if the fitted mean is outside (the whole corpus may be wrong). Slightly
    wider than in 1,000 human translations of NTREX-128: Latin 0.46-2.88, Cyrillic 0.48-2.46, Hangul 0.25-1.47, Han
    0.15-1.13."""
    length_from: int = Field(30, ge=1)
    """Minimum characters, in the text or its source, for comparing their lengths ("OK" becomes "De acuerdo")."""
    length_rows: int = Field(200, ge=2)
    """Minimum texts of a language and column for fitting the length band from them."""
    length_deviations: float = Field(3.8, gt=0)
    """Maximum deviation of the logarithm of a length ratio from its mean, in fitted standard deviations."""
    length_slack: float = Field(1.6, ge=1)
    """Factor by which a length ratio may always differ from its mean, because template-like corpora hardly vary."""
    copied_words: int = Field(3, ge=1)
    """Minimum words for a prompt that equals its source to count as untranslated; two words may be a name."""
    untranslated_words: int = Field(5, ge=1)
    """Minimum consecutive words of the source, in a text or as a whole answer, that count as left untranslated; fewer
    may be a title or names."""
    loop_times: int = Field(5, ge=2)
    """Consecutive repetitions of the same words or phrase that count as a loop."""

    @field_validator("length_ratio")
    @classmethod
    def _ordered(cls, bands: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for script, (low, high) in bands.items():
            if not 0 < low < high:
                raise ValueError(f"{script}: a band is two numbers, 0 < low < high")
        return bands

    def band(self, script: str, source_script: str) -> tuple[float, float]:
        """Minimum and maximum length ratio between two scripts. The ratios of `length_ratio` are for sources in Latin
        script; for another source script they are divided by its mean ratio relative to Latin."""
        latin, source = (sqrt(low * high) for low, high in (self._ratios("Latin"), self._ratios(source_script)))
        low, high = self._ratios(script)
        return low * latin / source, high * latin / source

    def _ratios(self, script: str) -> tuple[float, float]:
        return self.length_ratio.get(script, ANY_SCRIPT)
