"""One language of the phrasebook: renders sentences as text, and finds the sentences of a text.

A language is one file, `xlrm/data/phrasebook/<code>.yaml`; `en.yaml` explains the format.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from xlrm.data.phrasebook import world
from xlrm.data.phrasebook.world import Sentence
from xlrm.errors import ConfigError, DataError

FOLDER = Path(__file__).parent
SLOT = re.compile(r"\{(\w+)(?:([.@])(\w+))?\}")
# A sentence ends at its final mark, or with the text (a truncated answer); code between backticks is never split.
_SENTENCE = re.compile(r"\s*((?:`[^`]*`|[^.?!。？！`])+[.?!。？！]*)")


def codes() -> list[str]:
    """Codes of the phrasebook's languages."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def other_language(code: str) -> str:
    """The language of answers given in the wrong language: German, or English where German is right. It is neither
    source nor target of paper A's experiment, because an answer that is wrong in one language must not be right in
    another."""
    return "en" if code == "de" else "de"


@dataclass(frozen=True)
class Language:
    code: str
    sentence_join: str
    list_join: str
    words: dict[str, dict[str, str | dict[str, str]]]
    templates: dict[str, str]

    def _form(self, slot: str, concept: str, form: str) -> str:
        kind = world.SLOT_KIND.get(slot, slot)
        word = self.words[kind][concept]
        if isinstance(word, str):
            word = {"base": word}
        if form not in word:
            raise ConfigError(
                "no such form",
                where=f"{self.code}.yaml: words.{kind}.{concept}",
                value=form,
                hint=f"there are {', '.join(sorted(word))}",
            )
        return word[form]

    def _fill(self, slots: dict, match: re.Match) -> str:
        slot, sign, extra = match.groups()
        value = slots[slot]
        if slot in ("code", "value"):
            return value
        if sign == "@":  # inflected to agree with another slot's word
            return self._form(slot, value, self._form(extra, slots[extra], "agree"))
        if isinstance(value, tuple):
            return self.list_join.join(self._form(slot, concept, extra or "base") for concept in value)
        return self._form(slot, value, extra or "base")

    def render(self, sentence: Sentence) -> str:
        template = self.templates[sentence.key]
        before, _, after = template.partition("|")
        text = before.rstrip() if sentence.cut else before + after.lstrip() if self.sentence_join else before + after
        filled = SLOT.sub(lambda match: self._fill(dict(sentence.slots), match), text).strip()
        return filled[:1].upper() + filled[1:]

    def say(self, sentences: tuple[Sentence, ...]) -> str:
        return self.sentence_join.join(self.render(sentence) for sentence in sentences)

    @property
    def index(self) -> dict[str, Sentence]:
        """Rendered text -> sentence, for every sentence of the phrasebook. Raises ConfigError if two have the same
        text."""
        return _index(self.code)

    def parse(self, text: str) -> tuple[Sentence, ...]:
        """The sentences of `text`. Raises DataError that names the first piece that is not in this language's
        phrasebook."""
        pieces = split(text)
        unknown = next((piece for piece in pieces if piece not in self.index), None)
        if unknown is not None or not pieces:
            raise DataError("not a sentence of the phrasebook", where=f"{self.code}.yaml", value=unknown or text)
        return tuple(self.index[piece] for piece in pieces)


def split(text: str) -> list[str]:
    return [piece.strip() for piece in _SENTENCE.findall(text) if piece.strip()]


@cache
def load(code: str) -> Language:
    """The language with this code. Raises ConfigError if it has no file, or if its keys are not exactly those of
    English."""
    path = FOLDER / f"{code}.yaml"
    if not path.exists():
        raise ConfigError("the phrasebook has no such language", value=code, hint=f"it has {', '.join(codes())}")
    raw = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    language = Language(code, raw["sentence_join"], raw["list_join"], raw["words"], raw["sentences"])
    _check(language)
    return language


def _check(language: Language) -> None:
    keys = {sentence.key for sentence in world.sentences()}
    wanted = {"words." + f"{kind}.{c}" for kind, concepts in world.WORDS.items() for c in concepts}
    wanted |= {f"sentences.{key}" for key in keys}
    present = {f"words.{kind}.{c}" for kind, concepts in language.words.items() for c in concepts}
    present |= {f"sentences.{key}" for key in language.templates}
    if wanted != present:
        missing, extra = sorted(wanted - present), sorted(present - wanted)
        raise ConfigError(
            "the keys of en.yaml are required",
            where=f"{language.code}.yaml", hint=f"missing: {missing or 'none'}; unknown: {extra or 'none'}",
        )  # fmt: skip


@cache
def _index(code: str) -> dict[str, Sentence]:
    language = load(code)
    index: dict[str, Sentence] = {}
    for sentence in world.sentences():
        text = language.render(sentence)
        if split(text) != [text]:
            raise ConfigError(
                f"a text of one sentence is required, and this splits into {split(text)}",
                where=f"{code}.yaml: {sentence.key}", value=text,
            )  # fmt: skip
        other = index.setdefault(text, sentence)
        if other != sentence:
            raise ConfigError(
                "the same text for different sentences", where=f"{code}.yaml: {other}, {sentence}", value=text
            )
    return index
