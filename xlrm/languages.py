"""The languages of both papers, one row each. CONTRIBUTING.md says what else a new language needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    code: str
    """ISO 639-1, used in configs, file names and metrics."""
    name: str
    """English name, as X-ALMA's prompt spells it."""
    script: str
    """Unicode script that it is written in."""
    flores: str
    """Code in FLORES-200; BeleBele, NLLB and M-RewardBench name their languages by it."""
    x_alma_group: int | None
    """X-ALMA model that translates from and into it (X-ALMA's README); None for English, which all know."""
    spaces: bool = True
    """Whether spaces separate its words and sentences."""


LANGUAGES = {
    row.code: row
    for row in (
        Language("en", "English", "Latin", "eng_Latn", None),
        Language("es", "Spanish", "Latin", "spa_Latn", 2),
        Language("it", "Italian", "Latin", "ita_Latn", 2),
        Language("ko", "Korean", "Hangul", "kor_Hang", 6),
        Language("zh", "Chinese", "Han", "zho_Hans", 6, spaces=False),
        Language("de", "German", "Latin", "deu_Latn", 1),
        Language("ru", "Russian", "Cyrillic", "rus_Cyrl", 3),
        Language("tr", "Turkish", "Latin", "tur_Latn", 8),
        Language("vi", "Vietnamese", "Latin", "vie_Latn", 4),
    )
}
