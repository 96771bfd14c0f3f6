"""Cleaning of preference pairs: unusable rows, duplicates, contradictions and prompts of benchmarks are dropped and
counted."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from xlrm.data.conversations import Turns, plain
from xlrm.data.corpus_schema import JUDGMENT, PAIR, is_judgment

if TYPE_CHECKING:
    import numpy as np

Row = dict[str, Any]
Reason = Literal["duplicate", "conflict", "near_duplicate", "contaminated"]
CLEANED: tuple[Reason, ...] = get_args(Reason)
"""Reasons for which a row is dropped that could be trained on."""
REASONS = ("rejected", "unusable", "duplicate", "conflict", "near_duplicate", "contaminated")

# A word, or one character of a script without spaces between words: kana, Chinese characters, Thai to Burmese, Khmer.
# The vowel signs of Arabic and of the scripts of India belong to their word, although \w excludes them.
_ALONE, _SIGNS = (
    r"\u3040-\u30ff\u3400-\u9fff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff",
    r"\u064b-\u065f\u0900-\u0963\u0966-\u0dff",
)
_WORD = re.compile(rf"[{_ALONE}]|(?:[^\W{_ALONE}]|[{_SIGNS}])+")
# With 20 bands of 6 permutations, 99.8 % of texts with similarity 0.8 become candidates, and 1.5 % of those with 0.3.
_PERMUTATIONS, _BANDS, _SHINGLE = 120, 20, 3
_CANDIDATES, _PART = 100, 0.5
_NGRAM, _COVERED = 8, 0.5


class Counts(BaseModel):
    """Rows of one source."""

    model_config = ConfigDict(frozen=True)

    rows_in: int = Field(alias="in")
    dropped: dict[str, int]
    """Reason -> rows."""
    rows_out: int = Field(alias="out")
    contaminated_by: dict[str, int] = {}
    """Benchmark or prompts -> contaminated rows that match them; a row may match several."""


@dataclass
class Report:
    """Per source: rows in, rows dropped by reason, rows out; and the benchmarks that contaminated rows match."""

    rows_in: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    rows_out: Counter[str] = field(default_factory=Counter)
    hits: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, source: str, reason: str | None, hits: Iterable[str] = ()) -> None:
        """Counts one more row, dropped for `reason` if there is one."""
        self.rows_in[source] += 1
        if reason:
            self.dropped.setdefault(source, Counter())[reason] += 1
            self.hits.setdefault(source, Counter()).update(hits)
        else:
            self.rows_out[source] += 1

    def reject(self, source: str, count: int) -> None:
        """Counts rows that could not even be read as pairs."""
        if count:
            self.rows_in[source] += count
            self.dropped.setdefault(source, Counter())["rejected"] += count

    def counts(self) -> dict[str, Counts]:
        """Source -> its counts."""
        return {source: self._counts(source) for source in self.rows_in}

    def _counts(self, source: str) -> Counts:
        dropped, hits = dict(self.dropped.get(source, Counter())), self.hits.get(source)
        contaminated = {"contaminated_by": dict(sorted(hits.items()))} if hits else {}
        return Counts(**{"in": self.rows_in[source], "dropped": dropped, "out": self.rows_out[source]}, **contaminated)

    def totals(self) -> dict[str, int]:
        every = sum(self.dropped.values(), Counter())
        return {f"dropped_{reason}": every[reason] for reason in REASONS}


def clean(
    rows: list[Row],
    contamination: "Contamination",
    near_duplicates: float,
    alike: frozenset[str] = frozenset(),
    wanted: Collection[str] = CLEANED,
) -> tuple[list[Row], Report]:
    """Rows with prompt, chosen, rejected and source that are worth training on, in order, with the first of each
    group of duplicates; or with prompt, response and label, which are labelled the other way round if one label is above
    0.5 and the other is not.

    Reasons to drop a row, in this order:

    - an empty text or two equal responses;
    - a pair seen before, ignoring white space;
    - a pair that another row labels the other way round (both are dropped);
    - a pair whose text has a similarity of `near_duplicates` (Jaccard, of word trigrams) with an earlier one, if each
      of its prompt, chosen and rejected shares half of its words with the other's;
    - a prompt of a benchmark (`Contamination`).

    The last two do not apply to the sources in `alike`, whose rows resemble each other by design. All but the first apply
    only if they are among the `wanted` reasons.
    """
    reasons = [why if why == "unusable" or why in wanted else None for why in _plain_reasons(rows)]
    asked = [place for place, row in enumerate(rows) if not reasons[place] and row["source"] not in alike]
    if "near_duplicate" in wanted:
        for place in _near_duplicates([rows[place] for place in asked], near_duplicates):
            reasons[asked[place]] = "near_duplicate"
    kept, report = [], Report()
    for row, why in zip(rows, reasons, strict=True):
        unasked = why or row["source"] in alike or "contaminated" not in wanted
        hits = frozenset() if unasked else contamination.hits(row["prompt"])
        report.count(row["source"], why or ("contaminated" if hits else None), hits)
        if not why and not hits:
            kept.append(row)
    return kept, report


def _plain_reasons(rows: list[Row]) -> list[str | None]:
    """For each row, why it is dropped, as far as digests show it; the digests of 100,000 rows take 12 MB."""
    labels: dict[bytes, int] = {}  # bits: 1 and 2 for the directions that occur, 4 and 8 for those already seen
    for row in rows:
        unordered, straight = _label(row)
        labels[unordered] = labels.get(unordered, 0) | (1 if straight else 2)

    def reason(row: Row) -> str | None:
        unordered, straight = _label(row)
        texts = [plain(row[key]).strip() for key in texts_of(row)]
        if not all(texts) or len(set(texts[1:])) < len(texts[1:]):
            return "unusable"
        seen = 4 if straight else 8
        if labels[unordered] & seen:
            return "duplicate"
        labels[unordered] |= seen
        return "conflict" if labels[unordered] & 3 == 3 else None

    return [reason(row) for row in rows]


def clean_prompts(
    rows: list[Row], source: str, contamination: "Contamination", wanted: Collection[str] = CLEANED
) -> tuple[list[Row], Report]:
    """Prompts to align on that are not empty, and as far as `wanted`, not repeated or in a benchmark."""
    kept, seen, report = [], set(), Report()
    for row in rows:
        text = " ".join(plain(row["prompt"]).split())
        hits = contamination.hits(row["prompt"]) if "contaminated" in wanted else frozenset()
        repeated = text in seen and "duplicate" in wanted
        why = "unusable" if not text else "duplicate" if repeated else "contaminated" if hits else None
        seen.add(text)
        report.count(source, why, hits if why == "contaminated" else ())
        if why is None:
            kept.append(row)
    return kept, report


def unique_ids(rows: list[Row]) -> list[Row]:
    """The same rows with unique ids: the first row with an id keeps it, the next become `id#2`, `id#3`."""
    taken = {row["id"] for row in rows}
    times: Counter[str] = Counter()
    unique = []
    for row in rows:
        own = name = row["id"]
        times[own] += 1
        if times[own] > 1:
            while (name := f"{own}#{times[own]}") in taken:
                times[own] += 1
            taken.add(name)
        unique.append(row if name == row["id"] else {**row, "id": name})
    return unique


def texts_of(row: Row) -> tuple[str, ...]:
    """The fields of a pair, or of a single judgment, that are texts; the prompt is the first."""
    return JUDGMENT if is_judgment(row) else PAIR


def _label(row: Row) -> tuple[bytes, bool]:
    """A digest of a row's texts that ignores the label, and the direction of the label."""
    prompt, *answers = (" ".join(plain(row[key]).split()) for key in texts_of(row))
    unordered = "\0".join((prompt, *sorted(answers)))
    straight = row["label"] > 0.5 if is_judgment(row) else answers[0] <= answers[1]
    return hashlib.blake2b(unordered.encode(), digest_size=16).digest(), straight


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ngrams(tokens: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[i:] for i in range(n)), strict=False)


def _near_duplicates(rows: list[Row], threshold: float) -> set[int]:
    """Indices of the rows that resemble an earlier row that is kept. MinHash finds candidates, and their texts
    decide. If more than a hundred rows look alike, as with one long instruction, each is compared with the first
    hundred only."""
    import numpy as np

    bands = _bands(rows)
    shared = _shared(bands)
    before: dict[tuple[int, int], list[int]] = {}
    duplicates = set()
    for place in map(int, np.flatnonzero(shared.any(axis=1))):
        keys = [(int(band), int(bands[place, band])) for band in np.flatnonzero(shared[place])]
        candidates = sorted({other for key in keys for other in before.get(key, ())})[:_CANDIDATES]
        grams = _shingles(rows[place])
        if any(_alike(rows[place], grams, rows[other], threshold) for other in candidates):
            duplicates.add(place)
            continue
        for key in keys:
            before.setdefault(key, []).append(place)
    return duplicates


def _bands(rows: list[Row]) -> "np.ndarray":
    """(rows, bands), uint64: a hash of each band of a row's sketch, 160 bytes per row; an index of sketches would
    take 2,600."""
    import numpy as np
    from rensa import RMinHash

    # Any unrelated odd numbers would do; these are powers of SplitMix64's increment (Steele et al. 2014).
    weights = np.array([pow(0x9E3779B97F4A7C15, i, 2**64) for i in range(1, _PERMUTATIONS // _BANDS + 1)], np.uint64)
    hashes = np.empty((len(rows), _BANDS), np.uint64)
    for place, row in enumerate(rows):
        sketch = RMinHash(num_perm=_PERMUTATIONS, seed=42)
        sketch.update([" ".join(gram) for gram in _shingles(row)])
        hashes[place] = np.array(sketch.digest(), np.uint64).reshape(_BANDS, -1) @ weights
    return hashes


def _shared(bands: "np.ndarray") -> "np.ndarray":
    """(rows, bands), bool: whether another row has the same band."""
    import numpy as np

    shared = np.zeros(bands.shape, bool)
    for band, values in enumerate(bands.T):
        order = np.argsort(values)
        equal = np.diff(values[order]) == 0
        shared[order[1:][equal], band] = shared[order[:-1][equal], band] = True
    return shared


def _alike(row: Row, grams: set[tuple[str, ...]], other: Row, threshold: float) -> bool:
    """Whether two rows are near duplicates. Each field is compared too: two pairs of short answers to one long
    question differ although most of their text is the same."""
    parts = (_jaccard(_words_of(plain(row[key])), _words_of(plain(other[key]))) for key in reversed(texts_of(row)))
    return all(part >= _PART for part in parts) and _jaccard(grams, _shingles(other)) >= threshold


def _shingles(row: Row) -> set[tuple[str, ...]]:
    tokens = words(" ".join(plain(row[key]) for key in texts_of(row)))
    return set(_ngrams(tokens, _SHINGLE)) or {tuple(tokens)}


def _words_of(text: str) -> set[str]:
    return set(words(text)) or {text.strip()}


def _jaccard(first: set, second: set) -> float:
    return len(first & second) / len(first | second)


class Contamination:
    """Tülu 3's test (Lambert et al. 2024), with words for tokens: a text contains a benchmark's prompt if the word
    8-grams that they share cover more than half of the prompt's words. A prompt of fewer than 8 words must be the
    whole text. A prompt with several turns is one text, all its turns; a turn of a text with several is compared by itself
    too, since it may be a benchmark's whole prompt."""

    def __init__(self, asked: Iterable[tuple[str, Turns]]):
        """`asked`: (name of a benchmark, one of its prompts)."""
        self.lengths: list[tuple[str, int]] = []
        self.whole: dict[tuple[str, ...], set[str]] = {}
        self.places: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for name, prompt in dict.fromkeys((name, plain(prompt)) for name, prompt in asked):
            self._add(name, words(prompt))

    def _add(self, name: str, tokens: list[str]) -> None:
        if 0 < len(tokens) < _NGRAM:
            self.whole.setdefault(tuple(tokens), set()).add(name)
            return
        for start, gram in enumerate(_ngrams(tokens, _NGRAM)):
            self.places.setdefault(gram, []).append((len(self.lengths), start))
        self.lengths.append((name, len(tokens)))

    def hits(self, prompt: Turns) -> frozenset[str]:
        """Names of the benchmarks with a prompt that this one contains."""
        if not (self.places or self.whole):
            return frozenset()
        turns = [] if isinstance(prompt, str) else [plain([message]) for message in prompt]
        return frozenset().union(*map(self._hits, [plain(prompt), *turns]))

    def _hits(self, text: str) -> frozenset[str]:
        tokens = words(text)
        covered: dict[int, set[int]] = {}
        for gram in set(_ngrams(tokens, _NGRAM)):
            for item, start in self.places.get(gram, ()):
                covered.setdefault(item, set()).update(range(start, start + _NGRAM))
        matches = {
            self.lengths[item] for item, places in covered.items() if len(places) > _COVERED * self.lengths[item][1]
        }
        return frozenset({name for name, _ in matches} | self.whole.get(tuple(tokens), set()))
