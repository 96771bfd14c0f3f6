"""Translation of whole texts: cut into segments, looked up in the memory, translated if new, and joined again."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from xlrm.languages import Language
from xlrm.models.decoding import blocks
from xlrm.progress import Counter
from xlrm.store.answers import Memory
from xlrm.translation.segmentation import Template
from xlrm.translation.translators import Settings, Translator


@dataclass
class DocumentTranslator:
    translator: Translator
    memory: Memory
    source: Language
    target: Language
    settings: Settings
    counter: Counter
    made: int = 0
    """Segments translated by this object, not found in the memory."""

    def translate(self, texts: Iterable[str], attempt: int = 0, markers: bool = True) -> dict[str, str | None]:
        """Text -> its translation; None if a segment's translation is incomplete or lacks a marker.

        Without `markers`, the model gets the pieces of text between literals instead of segments with markers.
        """
        templates = {text: self._template(text, markers) for text in texts}
        segments = {segment.text for template in templates.values() for segment in template.segments}
        translations = self._segments(sorted(segments, key=lambda text: (len(text), text)), attempt)
        return {text: self._filled(template, translations) for text, template in templates.items()}

    def close(self) -> None:
        self.translator.close()
        self.memory.send()
        self.counter.close()

    def _template(self, text: str, markers: bool) -> Template:
        template = self.settings.template(text, self.source.code)
        return template if markers or not self.settings.segmented else template.without_markers()

    def _segments(self, segments: list[str], attempt: int) -> dict[str, str | None]:
        translations = self.memory.look_up(segments, attempt)
        for block in blocks([segment for segment in segments if segment not in translations], self.translator.block):
            translations |= self.translator.translate(block, attempt, partial(self._keep, attempt))
        return translations

    def _keep(self, attempt: int, segment: str, translation: str | None) -> None:
        self.memory.add({segment: translation}, attempt)
        self.made += 1
        self.counter.advance(1)

    def _filled(self, template: Template, translations: dict[str, str | None]) -> str | None:
        restored = []
        for segment in template.segments:
            translation = translations[segment.text]
            whole = None if translation is None else segment.restore(translation)
            if whole is None:
                return None
            restored.append(whole)
        return template.fill(restored, self.target.spaces)
