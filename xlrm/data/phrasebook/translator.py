"""The phrasebook's exact translator."""

from xlrm.data.phrasebook import language as languages
from xlrm.data.phrasebook.language import other_language
from xlrm.data.phrasebook.world import Sentence
from xlrm.errors import DataError


def render(text: tuple[Sentence, ...], code: str, in_other_language: bool = False) -> str:
    return languages.load(other_language(code) if in_other_language else code).say(text)


def translate(texts: list[str], source: str, target: str) -> list[str]:
    """Parses each text and renders its sentences in `target`. An answer in `source`'s wrong language becomes one in
    `target`'s wrong language. Raises DataError, naming the piece, for text outside the phrasebook."""
    known: dict[str, str] = {}
    for text in texts:
        if text not in known:
            known[text] = _translate(text, source, target)
    return [known[text] for text in texts]


def _translate(text: str, source: str, target: str) -> str:
    try:
        return render(languages.load(source).parse(text), target)
    except DataError:
        meant = languages.load(other_language(source))
        if not all(piece in meant.index for piece in languages.split(text)):
            raise
        return render(meant.parse(text), target, in_other_language=True)
