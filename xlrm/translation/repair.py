"""Translating the rows of a corpus, and again the texts whose translation fails a check."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from xlrm.data import row_texts
from xlrm.errors import GateError
from xlrm.translation.documents import DocumentTranslator

ROWS_AT_ONCE = 1000

Rows = list[dict]
Translations = dict[str, str | None]
"""Source text -> its translation; None if no attempt was complete."""
Check = Callable[[Rows, Rows], list[tuple[str, str]]]
"""(translated rows, their source rows) -> failures (source text, expectation). Missing translations are blank."""


@dataclass
class RepairLoop:
    """Translates rows in chunks of `ROWS_AT_ONCE`. Texts that fail a check are translated again, with beams or another
    seed; those still incomplete then are translated in the pieces between their literals."""

    documents: DocumentTranslator
    fit: Callable[[Rows, Rows], Check]
    """Makes the check of a chunk from its first translations and source rows; repairs must pass the same check."""
    repairs: int
    """Times that failing texts are translated again with other decoding; 0 disables the check."""
    max_share: float
    """Largest share of all texts so far whose first translation may fail."""
    texts: int = 0
    failed: int = 0
    """Texts whose first translation failed."""
    mended: int = 0
    untranslated: list[dict[str, str]] = field(default_factory=list)
    """File, id and column of texts without a complete translation. They are left blank, and `validate` drops their rows
    in this language, or with `parity` in all languages."""

    def translate(self, name: str, source_rows: Iterable[dict]) -> Iterator[dict]:
        """Yields the rows of the file `name` with their texts translated. Raises GateError if the first translations of
        more than `max_share` of all texts so far fail, which points to a fault of the translator itself."""
        rows = iter(source_rows)
        while chunk := list(itertools.islice(rows, ROWS_AT_ONCE)):
            known = self.documents.translate({text for row in chunk for text in row_texts.texts(row)})
            self.texts += len(known)
            if self.repairs and self.documents.translator.attempts > 1:
                self._repair(chunk, known)
            for row, column, text in _places(chunk):
                if known[text] is None:
                    self.untranslated.append({"file": name, "id": row["id"], "column": column})
            yield from _translated(chunk, known)

    def _repair(self, chunk: Rows, known: Translations) -> None:
        """Replaces failing translations in `known` with better ones."""
        check = self.fit(_translated(chunk, known), chunk)
        failing = first = _failing(check, chunk, known)
        self.failed += len(first)
        self._check_share(first)
        for attempt in range(1, self.repairs + 1):
            failing = self._replace(check, chunk, known, failing, set(failing), attempt=attempt)
        lost = {text for text in failing if known[text] is None}
        failing = self._replace(check, chunk, known, failing, lost, markers=False)
        self.mended += len(first) - len(failing)

    def _replace(
        self, check: Check, chunk: Rows, known: Translations, failing: dict[str, str], wanted: set[str], **options: Any
    ) -> dict[str, str]:  # fmt: skip
        """Translates the `wanted` among the failing texts with other `options`, keeps translations that pass or are the
        first complete ones, and returns the texts that still fail."""
        if not wanted:
            return failing
        affected = [row for row in chunk if not wanted.isdisjoint(row_texts.texts(row))]
        tried = known | self.documents.translate(wanted, **options)
        still = _failing(check, affected, tried)
        for text in wanted:
            if text not in still or (known[text] is None and tried[text] is not None):
                known[text] = tried[text]
        return {text: reason for text, reason in failing.items() if text not in wanted or text in still}

    def _check_share(self, failing: dict[str, str]) -> None:
        if self.failed > self.max_share * self.texts:
            reasons = ", ".join(f"{name} {count}" for name, count in Counter(failing.values()).most_common(3))
            raise GateError(
                f"{self.failed} of the first {self.texts} texts in {self.documents.target.code} fail: {reasons}",
                where="translate.max_repair_share", value=self.max_share, hint="check the translator first",
            )  # fmt: skip


def _failing(check: Check, chunk: Rows, known: Translations) -> dict[str, str]:
    """Source text -> the first expectation its translation fails."""
    failing: dict[str, str] = {}
    for text, expectation in check(_translated(chunk, known), chunk):
        failing.setdefault(text, expectation)
    return failing


def _places(chunk: Rows) -> Iterator[tuple[dict, str, str]]:
    """Row, column and text of each text."""
    return ((row, column, text) for row in chunk for column, text in row_texts.columns(row))


def _translated(chunk: Rows, known: Translations) -> Rows:
    return [row_texts.with_texts(row, lambda text: known[text] or "") for row in chunk]
