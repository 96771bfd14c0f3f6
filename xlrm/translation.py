"""Translators, each behind the same door: texts in, as many texts out, in order."""

from collections.abc import Callable

from xlrm.phrasebook import translator as phrasebook

Translator = Callable[[list[str], str, str], list[str]]

TRANSLATORS: dict[str, Translator] = {
    "phrasebook": phrasebook.translate,
}
