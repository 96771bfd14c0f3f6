"""The languages of both papers, one row each, and those that an experiment adds in its section `languages`."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from xlrm.errors import ConfigError

ADD = (
    "another language is added in the experiment's section `languages`, as pt: {name: Portuguese, script: Latin}, or by the "
    "settings languages.pt.name=Portuguese languages.pt.script=Latin on a command line"
)
"""What to do about an unknown language."""
JAPANESE = "Japanese"
"""Name of the script that consists of Chinese characters and both kana."""


class NewLanguage(BaseModel):
    """A language that an experiment adds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    """English name, as a translation model's prompt spells it."""
    script: str
    """Unicode script that it is written in, such as Latin, Arabic or Devanagari; Han for Chinese, Japanese for
    Japanese."""
    flores: str | None = None
    """Code in FLORES-200, such as por_Latn, by which NLLB names its languages; null takes it from a table of 53."""
    x_alma_group: int | None = None
    """X-ALMA model that translates from and into it (X-ALMA's README)."""
    translator: str | None = None
    """Translation model into it, as in `translate.translator`; null takes that one."""
    spaces: bool = True
    """Whether spaces separate its words and sentences."""


@dataclass(frozen=True)
class Language:
    code: str
    """ISO 639-1, used in configs, file names and metrics."""
    name: str
    """English name, as X-ALMA's prompt spells it."""
    script: str
    """Unicode script that it is written in."""
    flores: str | None
    """Code in FLORES-200; NLLB names its languages by it."""
    x_alma_group: int | None
    """X-ALMA model that translates from and into it (X-ALMA's README); None for English, which all know, and for a
    language that none knows."""
    spaces: bool = True
    """Whether spaces separate its words and sentences."""
    translator: str | None = None
    """Translation model into it, if it is not the experiment's."""


OWN = {
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
"""Languages that need no entry in an experiment."""
LANGUAGES = dict(OWN)
"""Code -> language, for those of this process: the ones above, and the ones of the configs that it has read."""

FLORES = {code: str(row.flores) for code, row in OWN.items()} | {
    "ar": "arb_Arab", "bg": "bul_Cyrl", "bn": "ben_Beng", "ca": "cat_Latn", "cs": "ces_Latn", "da": "dan_Latn",
    "el": "ell_Grek", "et": "est_Latn", "fa": "pes_Arab", "fi": "fin_Latn", "fr": "fra_Latn", "gu": "guj_Gujr",
    "he": "heb_Hebr", "hi": "hin_Deva", "hr": "hrv_Latn", "hu": "hun_Latn", "hy": "hye_Armn", "id": "ind_Latn",
    "is": "isl_Latn", "ja": "jpn_Jpan", "ka": "kat_Geor", "kk": "kaz_Cyrl", "kn": "kan_Knda", "lt": "lit_Latn",
    "lv": "lvs_Latn", "mk": "mkd_Cyrl", "ml": "mal_Mlym", "mr": "mar_Deva", "ms": "zsm_Latn", "nl": "nld_Latn",
    "pa": "pan_Guru", "pl": "pol_Latn", "pt": "por_Latn", "ro": "ron_Latn", "sk": "slk_Latn", "sl": "slv_Latn",
    "sr": "srp_Cyrl", "sv": "swe_Latn", "sw": "swh_Latn", "ta": "tam_Taml", "te": "tel_Telu", "th": "tha_Thai",
    "uk": "ukr_Cyrl", "ur": "urd_Arab",
}  # fmt: skip
"""Code in ISO 639-1 -> code in FLORES-200; datasets and NLLB name languages by the latter."""
_NAMES = {"Han": ("CJK",), JAPANESE: ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")}
"""Script -> words in the names of its letters, if that is not its own name."""
CODE = "a code as in ISO 639, two or three small letters, such as pt or pt_BR,"
_CODE = re.compile(r"[a-z]{2,3}(_[A-Za-z]{2,4})?")


def known(added: dict[str, NewLanguage]) -> dict[str, NewLanguage]:
    """Makes the languages of a config known to this process. Raises ValueError for a wrong code or script."""
    for code, entry in added.items():
        if not _CODE.fullmatch(code):
            raise ValueError(f"{code}: {CODE} is required")
        if code in OWN:
            raise ValueError(f"{code}: {OWN[code].name} needs no entry; there are {', '.join(OWN)} without one")
        if not is_script(entry.script):
            raise ValueError(
                f"{code}.script: no letter in Unicode is {entry.script}; Latin, Arabic or Thai are scripts"
            )
    for code, entry in added.items():
        fields = entry.model_dump() | {"flores": entry.flores or FLORES.get(code.partition("_")[0])}
        LANGUAGES[code] = Language(code, **fields)
    return added


@cache
def is_script(name: str) -> bool:
    """Whether there are letters of the script."""
    return any(is_of(chr(code), name) for code in range(0x20000))


def is_of(character: str, script: str) -> bool:
    """Whether a character is in the script: one of the first two words of its Unicode name (CJK for Han)."""
    names = unicodedata.name(character, "").split()[:2]
    return any(name in names for name in _NAMES.get(script, (script.upper(),)))


MoreLanguages = Annotated[dict[str, NewLanguage], AfterValidator(known)]
"""Type of a config's field with further languages. A process that reads the config knows them from then on."""


def several(codes: str) -> str:
    """The codes of one language, or of several joined by +. Raises ValueError for a missing or duplicated one."""
    each = codes.split("+")
    if not all(each) or len(set(each)) < len(each):
        raise ValueError("codes of different languages, joined by +, are allowed")
    return codes


JoinedLanguages = Annotated[str, AfterValidator(several)]
"""Type of a config's field with the code of a language, or the codes of several, joined by +."""


class InLanguages(BaseModel):
    """Config of a stage that looks up languages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    more_languages: MoreLanguages = {}
    """Languages beyond xlrm's own; pipelines fill in those of the experiment's section `languages` that the step uses."""


def find(code: str, where: str) -> Language:
    """The language. Raises ConfigError, with the place of the code, for an unknown one."""
    if code not in LANGUAGES:
        raise unknown(code, where)
    return LANGUAGES[code]


def check_code(code: str, where: str) -> None:
    """Raises ConfigError for a text that cannot be the code of a language."""
    if not _CODE.fullmatch(code):
        raise ConfigError(f"{CODE} is required", where=where, value=code)


def unknown(code: str, where: str) -> ConfigError:
    """The error for a code that is no language's, which says how to add one."""
    return ConfigError("no such language", where=where, value=code, hint=f"there are {', '.join(LANGUAGES)}; {ADD}")


def defined(used: Mapping[str, NewLanguage], codes: set[str]) -> dict[str, dict]:
    """The field `more_languages` of a stage that uses these languages, from those that the experiment adds."""
    return {code: entry.model_dump(exclude_defaults=True) for code, entry in used.items() if code in codes}
