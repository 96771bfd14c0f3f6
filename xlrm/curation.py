"""Cleaning of preference pairs: what cannot be used, duplicates, contradictions and what benchmarks ask, all counted."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Row = dict[str, str]
PAIR = ("prompt", "chosen", "rejected")
REASONS = ("rejected", "unusable", "duplicate", "conflict", "near_duplicate", "contaminated")

# A word, or one character of a script that writes none.
_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W぀-ヿ㐀-鿿]+")
_PERMUTATIONS, _BANDS, _SHINGLE = 128, 16, 3
_NGRAM, _COVERED = 8, 0.5


@dataclass
class Report:
    """Per source: rows in, rows dropped by reason, rows out."""

    rows_in: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    rows_out: Counter[str] = field(default_factory=Counter)

    def reject(self, source: str, count: int) -> None:
        """Counts rows that could not even be read as pairs."""
        if count:
            self.rows_in[source] += count
            self.dropped.setdefault(source, Counter())["rejected"] += count

    def as_dict(self) -> dict[str, dict]:
        return {
            source: {
                "in": count,
                "dropped": dict(self.dropped.get(source, Counter())),
                "out": self.rows_out[source],
            }
            for source, count in self.rows_in.items()
        }

    def totals(self) -> dict[str, int]:
        every = sum(self.dropped.values(), Counter())
        return {f"dropped_{reason}": every[reason] for reason in REASONS}


def clean(
    rows: list[Row], benchmark_prompts: Iterable[str], near_duplicates: float, alike: frozenset[str] = frozenset()
) -> tuple[list[Row], Report]:
    """Rows with prompt, chosen, rejected and source that are worth training on, in order; the first of duplicates stays.

    Dropped, in this order of reasons: an empty text or two equal responses; a pair seen before, but for white space; a
    pair that another row labels the other way round (both go); a pair whose texts resemble an earlier one's by
    `near_duplicates` (estimated Jaccard similarity of word trigrams); a prompt that a benchmark has (`Contamination`).
    The last two are not asked of the sources in `alike`, whose rows resemble each other by design.
    """
    contamination, near = Contamination(benchmark_prompts), _NearDuplicates(near_duplicates)
    labels: dict[tuple[str, ...], set[bool]] = {}
    for row in rows:
        unordered, straight = _label(row)
        labels.setdefault(unordered, set()).add(straight)
    kept, seen, report = [], set(), Report()

    def reason(row: Row) -> str | None:
        unordered, straight = _label(row)
        if not all(unordered) or row["chosen"].strip() == row["rejected"].strip():
            return "unusable"
        if (unordered, straight) in seen:
            return "duplicate"
        seen.add((unordered, straight))
        if len(labels[unordered]) == 2:
            return "conflict"
        if row["source"] in alike:
            return None
        if near.seen_before(" ".join(row[key] for key in PAIR)):
            return "near_duplicate"
        return "contaminated" if contamination.holds(row["prompt"]) else None

    for row in rows:
        report.rows_in[row["source"]] += 1
        why = reason(row)
        if why:
            report.dropped.setdefault(row["source"], Counter())[why] += 1
        else:
            report.rows_out[row["source"]] += 1
            kept.append(row)
    return kept, report


def _label(row: Row) -> tuple[tuple[str, ...], bool]:
    """A row's texts without regard to the label, and which way round the label is."""
    prompt, chosen, rejected = (" ".join(row[key].split()) for key in PAIR)
    return (prompt, *sorted((chosen, rejected))), chosen <= rejected


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ngrams(tokens: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[i:] for i in range(n)), strict=False)


class _NearDuplicates:
    def __init__(self, threshold: float):
        from rensa import RMinHashDeduplicator

        self.found = RMinHashDeduplicator(
            threshold=threshold, num_perm=_PERMUTATIONS, use_lsh=True, num_bands=_BANDS, seed=42
        )
        self.count = 0

    def seen_before(self, text: str) -> bool:
        """Whether a text before this one is its near duplicate; if none is, later ones are held against this one."""
        from rensa import RMinHash

        tokens = words(text)
        sketch = RMinHash(num_perm=_PERMUTATIONS, seed=42)
        sketch.update([" ".join(gram) for gram in _ngrams(tokens, _SHINGLE)] or [" ".join(tokens)])
        self.count += 1
        return not self.found.add(str(self.count), sketch)


class Contamination:
    """Tülu 3's test (Lambert et al. 2024), with words for tokens: a benchmark's prompt is found in a text
    when word 8-grams that the two share cover more than half of its words. Shorter prompts are found as a whole."""

    def __init__(self, prompts: Iterable[str]):
        self.lengths: list[int] = []
        self.whole: set[tuple[str, ...]] = set()
        self.places: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for prompt in dict.fromkeys(prompts):
            tokens = words(prompt)
            if len(tokens) < _NGRAM:
                self.whole.add(tuple(tokens))
                continue
            for start, gram in enumerate(_ngrams(tokens, _NGRAM)):
                self.places.setdefault(gram, []).append((len(self.lengths), start))
            self.lengths.append(len(tokens))

    def holds(self, text: str) -> bool:
        tokens = words(text)
        if tuple(tokens) in self.whole:
            return True
        covered: dict[int, set[int]] = {}
        for gram in set(_ngrams(tokens, _NGRAM)):
            for item, start in self.places.get(gram, ()):
                covered.setdefault(item, set()).update(range(start, start + _NGRAM))
        return any(len(found) > _COVERED * self.lengths[item] for item, found in covered.items())
