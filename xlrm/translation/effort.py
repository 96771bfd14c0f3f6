"""Estimating the effort of translating a corpus: segments, tokens and GPU hours.

Tokens are estimated from bytes, and hours from floating-point operations: 2 per parameter and token (Kaplan et al.
2020, section 2.1), at a share of an A100's peak. Both rates are assumptions, and are shown with the numbers.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xlrm.data import corpus_schema, row_texts
from xlrm.data.corpus_schema import Name
from xlrm.languages import Language
from xlrm.store import jsonl, shards
from xlrm.store.answers import Memory
from xlrm.translation.translators import Settings

FILES: tuple[Name, ...] = tuple(corpus_schema.TABLES)
"""The files of a corpus that are translated."""
BYTES_PER_TOKEN = {"Latin": 3.5, "Cyrillic": 3.5, "Hangul": 1.5, "Han": 2.0}
"""UTF-8 bytes per token by script, assumed for Llama 2's tokenizer, which encodes many Korean and Chinese characters
byte by byte."""
BYTES_OF_TRANSLATION = {"Latin": 1.2, "Cyrillic": 2.0, "Hangul": 1.3, "Han": 0.95}
"""Bytes per byte of English, by script (medians of NTREX-128: es 1.18, it 1.19, de 1.21, tr 1.16, vi 1.44, ru 2.02, ko
1.29, zh 0.95)."""
PROMPT_TOKENS = 30
"""Assumed tokens of X-ALMA's prompt and the chat template."""
A100_FLOPS = 312e12
"""Peak floating-point operations per second of an A100, dense bf16 (NVIDIA's data sheet)."""
UTILISATION = 0.2
"""Assumed share of that peak in batched decoding."""

_ROWS_AT_ONCE = 1000


@dataclass
class Work:
    """The amount of text to translate in a corpus."""

    texts: int = 0
    segments: int = 0
    """Distinct segments; each is translated once."""
    source_bytes: int = 0
    known: Counter[str] = field(default_factory=Counter)
    """Segments found in the translation memory, by target language."""


@dataclass(frozen=True)
class Estimate:
    """Estimated effort for one target language."""

    texts: int
    segments: int
    known: int
    tokens: float
    """Tokens read and written for segments that are not in the memory."""
    bytes: float
    """UTF-8 bytes of all translations."""
    gpu_hours: float | None
    """None if the translator's size is unknown or it needs no GPU."""

    def __str__(self) -> str:
        known = f", {self.known:,} of them known" if self.known else ""
        text = f"{self.texts:,} texts, {self.segments:,} segments{known}"
        if self.gpu_hours is None:
            return text
        return f"{text}; about {self.tokens:,.0f} tokens, {self.gpu_hours:.2g} hours of an A100 at {UTILISATION:.0%} of its peak"


def estimate(work: Work, source: Language, target: Language, parameters: float | None) -> Estimate:
    left = 1 - work.known[target.code] / max(1, work.segments)
    read = work.source_bytes / BYTES_PER_TOKEN.get(source.script, 2.0) + work.segments * PROMPT_TOKENS
    written = tokens_of(work.source_bytes, source, target)
    tokens = left * (read + written)
    hours = 2 * parameters * tokens / (A100_FLOPS * UTILISATION) / 3600 if parameters else None
    size = bytes_of(work.source_bytes, source, target)
    return Estimate(work.texts, work.segments, work.known[target.code], tokens, size, hours)


def tokens_of(source_bytes: float, source: Language, target: Language) -> float:
    """Estimated tokens of the translation of `source_bytes` of UTF-8, or of the text itself if target is source."""
    return bytes_of(source_bytes, source, target) / BYTES_PER_TOKEN.get(target.script, 2.0)


def bytes_of(source_bytes: float, source: Language, target: Language) -> float:
    """Estimated UTF-8 bytes of the translation of `source_bytes`."""
    return source_bytes / _ratio(source) * _ratio(target)


def assumptions() -> dict[str, object]:
    """The assumed rates above, to be shown with the estimates."""
    return {
        "bytes_per_token": BYTES_PER_TOKEN, "bytes_of_translation": BYTES_OF_TRANSLATION, "prompt_tokens": PROMPT_TOKENS,
        "a100_flops": A100_FLOPS, "utilisation": UTILISATION, "gpu_hours": "2 x parameters x tokens / (flops x utilisation)",
    }  # fmt: skip


def parts(corpus: Path, shard: str = "1/1", files: Iterable[Name] = FILES) -> list[tuple[Path, int, int]]:
    """(path, first row, row after the last) in a shard (NUMBER/OF) for each of `files` that the corpus has."""
    ranges = []
    for name in corpus_schema.files(files):
        if (corpus / name).is_file():
            ranges.append((corpus / name, *shards.bounds(jsonl.count_lines(corpus / name), shard)))
    return ranges


def survey(
    files: Iterable[tuple[Path, int, int]], source: Language, settings: Settings, memories: Mapping[str, Memory]
) -> Work:
    """Work in the rows of `files`, as (path, from, to), with the segments in the memory of each target language."""
    work = Work()
    seen: set[int] = set()
    for path, start, stop in files:
        read = jsonl.stream(path, start, stop)
        while chunk := list(itertools.islice(read, _ROWS_AT_ONCE)):
            texts = [text for row in chunk for text in row_texts.texts(row)]
            segments = dict.fromkeys(
                segment.text for text in texts for segment in settings.template(text, source.code).segments
            )
            new = [segment for segment in segments if hash(segment) not in seen]
            seen.update(map(hash, new))
            work.texts += len(texts)
            work.segments += len(new)
            work.source_bytes += sum(len(segment.encode()) for segment in new)
            work.known.update({code: len(memory.look_up(new, 0)) for code, memory in memories.items()})
    return work


def _ratio(language: Language) -> float:
    return 1.0 if language.code == "en" else BYTES_OF_TRANSLATION.get(language.script, 1.5)
