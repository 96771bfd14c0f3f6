"""Translations of translations: routes over a third language, and corpora that are translations themselves."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xlrm.data import corpus_schema
from xlrm.data.corpus_schema import Description, Name
from xlrm.errors import ConfigError
from xlrm.languages import LANGUAGES, Language
from xlrm.translation import translators


def route(translator: str, source: Language, target: Language) -> tuple[Language, ...]:
    """Languages to translate into one after the other, with a step each: the target alone, or English and the target where
    X-ALMA has no model for the pair. Raises ConfigError for a language that X-ALMA does not know."""
    if translator != "x-alma" or translators.has_x_alma(source, target):
        return (target,)
    english = LANGUAGES["en"]
    for pair in ((source, english), (english, target)):
        translators.x_alma_model(*pair)
    return english, target


def fitted(corpus: Path, target: Language, files: Iterable[Name], shard: str) -> dict[str, Any]:
    """Tables to translate of those that the corpus has, and the shard of the whole that the translation is. Raises ConfigError
    for a corpus in the target language, and for a shard of a shard."""
    given = Description.read(corpus)
    if given.language == target.code:
        raise ConfigError(
            "the corpus is in this language", where="translate.language", value=target.code, hint="name another"
        )
    if given.shard != (1, 1) and shard != "1/1":
        raise ConfigError("1/1 is required for a corpus that is a shard", where="translate.shard", value=shard)
    names = tuple(name for name in files if (corpus / corpus_schema.TABLES[name].file).is_file())
    number, of = given.shard
    return {"files": names, "shard": shard if of == 1 else f"{number}/{of}"}
