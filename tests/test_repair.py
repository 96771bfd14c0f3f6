"""Texts whose translation fails a check are translated again: which, in which order, how often, and what is kept.

The translator is the phrasebook's, with faults in chosen attempts; the check is the one of the stage.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from refusals import refused

from xlrm.data.catalog import PREFERENCES
from xlrm.data.phrasebook import translator as phrasebook
from xlrm.errors import GateError
from xlrm.languages import LANGUAGES
from xlrm.models.decoding import Completion
from xlrm.progress import Counter
from xlrm.store.answers import Memory
from xlrm.translation import repair
from xlrm.translation.documents import DocumentTranslator
from xlrm.translation.repair import RepairLoop
from xlrm.translation.translators import Settings, Translator
from xlrm.validation import translation_check
from xlrm.validation.limits import Limits

ENGLISH, SPANISH = LANGUAGES["en"], LANGUAGES["es"]
PROMPTS = list(dict.fromkeys(row["prompt"] for row in PREFERENCES["phrasebook"].rows("en", 60, 0)))[:20]
RIGHT = dict(zip(PROMPTS, phrasebook.translate(PROMPTS, "en", "es"), strict=True))
OTHER = "¿Cuántos días tiene un año, por favor, señora? Lo he olvidado."
ENGLISH_AGAIN, CUT_OFF = "in English", "cut off"
Faults = Mapping[int, tuple[str, ...]]
"""Place of a prompt -> its fault in each attempt; attempts beyond are right."""


class Lab:
    """A loop over `PROMPTS`, and the attempts that its translator was asked for."""

    def __init__(self, home: Path, faults: Faults, repairs: int = 2, max_share: float = 0.5):
        self.faults = {PROMPTS[place]: attempts for place, attempts in faults.items()}
        self.asked: list[tuple[int, list[str]]] = []
        translator = Translator({"translator": "faulty"}, attempts=3, block=100, complete=self.complete)
        memory = Memory("translation_memory", translator.identity, f"file://{home}/store", home)
        documents = DocumentTranslator(
            translator, memory, ENGLISH, SPANISH, Settings(translator="phrasebook"), Counter("es", None, "segments")
        )
        fit = partial(translation_check.fit, SPANISH, ENGLISH, Limits())
        self.loop = RepairLoop(documents, fit, repairs, max_share)

    def complete(self, texts, attempt, each) -> list[Completion]:
        self.asked.append((attempt, texts))
        made = [self.answer(text, attempt) for text in texts]
        for place, completion in enumerate(made):
            each(place, completion)
        return made

    def answer(self, text: str, attempt: int) -> Completion:
        fault = dict(enumerate(self.faults.get(text, ()))).get(attempt, "")
        if fault == CUT_OFF:
            return Completion(RIGHT[text][:9], False)
        return Completion(text if fault == ENGLISH_AGAIN else fault or RIGHT[text], True)

    def again(self) -> list[tuple[int, set[str]]]:
        """(attempt, texts) of what was asked after the first attempts."""
        return [(attempt, set(texts)) for attempt, texts in self.asked if attempt]

    def translate(self, prompts: list[str] = PROMPTS) -> list[str]:
        rows = [{"id": f"p{place}", "prompt": prompt} for place, prompt in enumerate(prompts)]
        return [row["prompt"] for row in self.loop.translate("prompts.jsonl", rows)]


def test_failing_texts_alone_are_translated_again_until_they_pass(tmp_path) -> None:
    lab = Lab(tmp_path, {3: (ENGLISH_AGAIN,), 5: (CUT_OFF, ENGLISH_AGAIN), 8: (CUT_OFF,)})
    assert lab.translate() == list(RIGHT.values())
    assert lab.again() == [(1, {PROMPTS[3], PROMPTS[5], PROMPTS[8]}), (2, {PROMPTS[5]})]
    assert (lab.loop.texts, lab.loop.failed, lab.loop.mended, lab.loop.untranslated) == (20, 3, 3, [])


@pytest.mark.parametrize(("repairs", "attempts"), [(0, []), (1, [1]), (2, [1, 2])])
def test_texts_are_translated_again_as_often_as_is_set(tmp_path, repairs: int, attempts: list[int]) -> None:
    lab = Lab(tmp_path, {3: (ENGLISH_AGAIN,) * 3}, repairs)
    assert lab.translate() == [PROMPTS[3] if text == PROMPTS[3] else RIGHT[text] for text in PROMPTS]
    assert lab.again() == [(attempt, {PROMPTS[3]}) for attempt in attempts]
    assert (lab.loop.failed, lab.loop.mended) == (min(repairs, 1), 0)


def test_the_first_whole_translation_is_kept_where_none_passes(tmp_path) -> None:
    lab = Lab(tmp_path, {3: (CUT_OFF, ENGLISH_AGAIN, OTHER * 9), 5: (OTHER * 9, ENGLISH_AGAIN, CUT_OFF)})
    found = lab.translate()
    assert (found[3], found[5]) == (PROMPTS[3], OTHER * 9)
    assert (lab.loop.failed, lab.loop.mended, lab.loop.untranslated) == (2, 0, [])


def test_a_text_that_is_never_whole_is_left_blank_and_listed(tmp_path) -> None:
    lab = Lab(tmp_path, {3: (CUT_OFF,) * 3})
    found = lab.translate()
    assert found[3] == "" and lab.loop.mended == 0
    assert lab.loop.untranslated == [{"file": "prompts.jsonl", "id": "p3", "column": "prompt"}]


def test_a_text_of_several_rows_is_translated_once_and_mended_in_all(tmp_path) -> None:
    lab = Lab(tmp_path, {3: (ENGLISH_AGAIN,)})
    found = lab.translate([*PROMPTS, PROMPTS[3]])
    assert found[3] == found[20] == RIGHT[PROMPTS[3]]
    assert [sorted(texts) for _, texts in lab.asked] == [sorted(PROMPTS), [PROMPTS[3]]]
    assert (lab.loop.texts, lab.loop.failed, lab.loop.mended) == (20, 1, 1)


def test_the_share_of_failures_is_of_all_texts_so_far(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(repair, "ROWS_AT_ONCE", 10)
    late = dict.fromkeys((11, 13, 15, 17), (ENGLISH_AGAIN,))  # four of the second ten
    assert Lab(tmp_path / "late", late, max_share=0.3).translate() == list(RIGHT.values())
    early = {place - 10: attempts for place, attempts in late.items()}
    with refused(GateError, "translate.max_repair_share", 0.3) as raised:
        Lab(tmp_path / "early", early, max_share=0.3).translate()
    assert "4 of the first 10" in raised.value.message
