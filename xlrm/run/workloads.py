"""Number of tokens that a model reads: prompts with their responses, counted from the lengths of texts."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from xlrm.data.conversations import plain
from xlrm.data.corpus_schema import TABLES, Name, is_judgment
from xlrm.evaluation.credit import responses
from xlrm.store import jsonl


class Item(NamedTuple):
    """Lengths of a prompt and its responses, or of a text alone, in bytes of UTF-8 or in tokens."""

    prompt: float
    responses: tuple[float, ...]


@dataclass(frozen=True)
class Load:
    """Amount of text that a model reads."""

    tokens: float = 0.0
    squares: float = 0.0
    """Sum over the tokens of the length of their sequence; the work of attention is proportional to it."""

    @property
    def mean_length(self) -> float:
        """Length of a token's sequence, averaged over the tokens."""
        return self.squares / self.tokens if self.tokens else 0.0

    def __add__(self, other: "Load") -> "Load":
        return Load(self.tokens + other.tokens, self.squares + other.squares)

    def __mul__(self, times: float) -> "Load":
        return Load(self.tokens * times, self.squares * times)


@dataclass
class Texts:
    """Lengths of a corpus's texts, in bytes of UTF-8."""

    pairs: Sequence[Item] = field(default_factory=list)
    benchmark: Sequence[Item] = field(default_factory=list)
    train_prompts: Sequence[float] = field(default_factory=list)
    eval_prompts: Sequence[float] = field(default_factory=list)
    parallel: Sequence[float] = field(default_factory=list)
    heldout: Sequence[Item] = field(default_factory=list)
    demonstrations: Sequence[Item] = field(default_factory=list)
    """Those to fine-tune on."""

    def to_align_on(self, most: int | None) -> Sequence[float]:
        """The prompts for alignment without spare ones."""
        return self.train_prompts[:most]


def load(items: Iterable[Item], scale: float = 1.0, limit: float = math.inf, shared: bool = True) -> Load:
    """Tokens of sequences of a prompt and one response each, cut to `limit` tokens. `scale`: tokens for a unit of the
    lengths.

    `shared`: a prompt is computed once for all its responses, unless one of them loses its beginning to the limit.
    """
    tokens = squares = 0.0
    for item, times in Counter(items).items():
        prompt, lengths = item.prompt * scale, [(item.prompt + length) * scale for length in item.responses]
        whole = [min(length, limit) for length in lengths]
        again = (len(whole) - 1) * (shared and max(lengths) <= limit)
        tokens += times * (sum(whole) - again * prompt)
        squares += times * (sum(length * length for length in whole) - again * prompt * prompt)
    return Load(tokens, squares)


def alone(lengths: Iterable[float]) -> list[Item]:
    """Items of texts without a prompt."""
    return [Item(0, (length,)) for length in lengths]


def answer_length(pairs: Sequence[Item], scale: float, limit: float) -> float:
    """Assumed tokens of a sampled response: the mean of the chosen responses, each cut at `limit`."""
    return sum(min(pair.responses[0] * scale, limit) for pair in pairs) / max(1, len(pairs))


def item(row: dict) -> Item:
    """Lengths of a row's prompt and of its response, or of its chosen and rejected responses, which may be lists; in
    bytes."""
    sides = [[row["response"]]] if is_judgment(row) else responses(row)
    return Item(size(plain(row["prompt"])), tuple(size(plain(turns)) for side in sides for turns in side))


def size(text: str) -> int:
    return len(text.encode())


def read(corpus: Path) -> Texts:
    """Lengths of a curated corpus. Raises DataError for a row that cannot be read."""
    prompts = [(row["split"], size(plain(row["prompt"]))) for row in _rows(corpus, "prompts")]
    train, evaluation = ([length for split, length in prompts if split == wanted] for wanted in ("train", "eval"))
    return Texts(
        [item(row) for row in _rows(corpus, "preferences")], [item(row) for row in _rows(corpus, "benchmark")],
        train, evaluation, [size(row["text"]) for row in _rows(corpus, "parallel")],
        [item(row) for row in _rows(corpus, "heldout")],
        [item(row) for row in _rows(corpus, "demonstrations") if row["split"] == "train"],
    )  # fmt: skip


def _rows(corpus: Path, name: Name) -> Iterable[dict]:
    path = corpus / TABLES[name].file
    return jsonl.stream(path) if path.is_file() else ()
