"""The languages of both papers, one row each. Adding a language: a row here (and a phrasebook file, to use it there)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    code: str
    """ISO 639-1, used in configs, file names and metrics."""
    name: str
    """English name, as X-ALMA's prompt spells it."""
    script: str
    """Unicode script its text is written in."""


LANGUAGES = {
    row.code: row
    for row in (
        Language("en", "English", "Latin"),
        Language("es", "Spanish", "Latin"),
        Language("it", "Italian", "Latin"),
        Language("ko", "Korean", "Hangul"),
        Language("zh", "Chinese", "Han"),
        Language("de", "German", "Latin"),
        Language("ru", "Russian", "Cyrillic"),
        Language("tr", "Turkish", "Latin"),
        Language("vi", "Vietnamese", "Latin"),
    )
}
