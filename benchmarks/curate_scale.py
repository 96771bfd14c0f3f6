"""Curation of 100,000 preference pairs on this machine: time, peak memory, and how many of the planted rows it drops.

    python -m benchmarks.curate_scale [ROWS] [--json FILE]

Texts are random words with the frequencies of natural language (Zipf), some 600 characters per pair. Planted by seed in
a clean set: exact duplicates; near duplicates (1 to 5 words replaced, so that some are below curation's threshold of
similarity); the same pairs with the opposite label; and prompts of the benchmark inside another sentence.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate
from pathlib import Path

from benchmarks import memory, record
from xlrm.stages import curate
from xlrm.store.jsonl import read_rows, write_jsonl

SHARES = {"duplicate": 0.05, "near_duplicate": 0.05, "conflict": 0.01, "contaminated": 0.01}
CHANGED_WORDS = (1, 2, 3, 4, 5)
VOCABULARY, BENCHMARK_ITEMS = 30_000, 3_000
LENGTHS = {"prompt": (12, 30), "chosen": (20, 50), "rejected": (15, 45)}
"""(minimum, maximum) number of words."""


class Writer:
    """Writes sentences of invented words whose frequencies follow their rank (Zipf)."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        letters = "abcdefghijklmnopqrstuvwxyz"
        lengths = [self.random.randint(2, 10) for _ in range(VOCABULARY)]
        self.words = ["".join(self.random.choices(letters, k=k)) for k in lengths]
        self.weights = list(accumulate(1 / rank for rank in range(3, VOCABULARY + 3)))

    def text(self, low: int, high: int) -> str:
        return " ".join(self.random.choices(self.words, cum_weights=self.weights, k=self.random.randint(low, high)))

    def pair(self, name: str) -> dict:
        return {"id": name} | {field: self.text(*length) for field, length in LENGTHS.items()}

    def nearly(self, row: dict, changed: int) -> dict:
        """The pair with `changed` of its words replaced."""
        texts = {field: row[field].split() for field in LENGTHS}
        places = [(field, i) for field, words in texts.items() for i in range(len(words))]
        for field, i in self.random.sample(places, changed):
            texts[field][i] = self.random.choice(self.words)
        return {field: " ".join(words) for field, words in texts.items()}


def make(rows: int, folder: Path) -> Counter[str]:
    """Writes pairs.jsonl and benchmark.jsonl, in which ids contain the kind of a row. Returns the number of rows of
    each kind."""
    writer = Writer(seed=1)
    bench = [writer.pair(f"bench-{i}") for i in range(BENCHMARK_ITEMS)]
    write_jsonl(folder / "benchmark.jsonl", bench)
    counts = {kind: round(rows * share) for kind, share in SHARES.items()}
    clean = [writer.pair(f"clean-{i}") for i in range(rows - sum(counts.values()))]
    planted, originals = [], iter(writer.random.sample(clean, sum(counts.values())))
    for i, original in zip(range(counts["duplicate"]), originals, strict=False):
        planted.append(original | {"id": f"duplicate-{i}"})
    for i, original in zip(range(counts["near_duplicate"]), originals, strict=False):
        changed = CHANGED_WORDS[i % len(CHANGED_WORDS)]
        near = writer.nearly(original, changed)
        alike = "" if similarity(original, near) >= curate.Config.model_fields["near_duplicates"].default else "_below"
        planted.append(near | {"id": f"near_duplicate{alike}_{changed}_words-{i}"})
    for i, original in zip(range(counts["conflict"]), originals, strict=False):
        turned = {"chosen": original["rejected"], "rejected": original["chosen"]}
        planted.append(original | turned | {"id": f"conflict-{i}"})
        original["id"] = f"conflict-of-{i}"
    for i in range(counts["contaminated"]):
        asked = writer.random.choice(bench)["prompt"]
        planted.append(
            writer.pair(f"contaminated-{i}") | {"prompt": f"{writer.text(2, 4)} {asked} {writer.text(1, 3)}"}
        )
    every = clean + planted  # planted rows come after the rows that they repeat
    write_jsonl(folder / "pairs.jsonl", every)
    characters = sum(len(row[field]) for row in every for field in LENGTHS) / len(every)
    print(f"{len(every):,} pairs of {characters:.0f} characters on average, {BENCHMARK_ITEMS:,} benchmark items")
    return Counter(kind_of(row) for row in every)


def similarity(one: dict, other: dict) -> float:
    """Jaccard similarity of word trigrams."""
    first, second = (
        {tuple(words[i : i + 3]) for i in range(len(words) - 2)}
        for words in (" ".join(row[field] for field in LENGTHS).split() for row in (one, other))
    )
    return len(first & second) / len(first | second)


def kind_of(row: dict) -> str:
    return row["id"].rpartition("-")[0]


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("rows", type=int, nargs="?", default=100_000)
    return found


def measure(rows: int) -> dict:
    """Prints and returns seconds, peak memory (MiB), and how many rows of each kind existed and were dropped."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ProcessPoolExecutor(1) as other:  # in another process, so that its memory is not counted
            counts = other.submit(make, rows, folder).result()
        config = curate.Config(
            preferences=(str(folder / "pairs.jsonl"),), pairs=rows, benchmark=str(folder / "benchmark.jsonl"),
            benchmark_items=BENCHMARK_ITEMS, prompts=None, parallel=None,
        )  # fmt: skip
        before, clock = memory.peak(), time.monotonic()
        curate.run(config, output=folder / "out")
        seconds, peak = time.monotonic() - clock, memory.peak()
        print(f"{seconds:.1f} s, peak memory {peak:.0f} MiB ({before:.0f} before it began)")
        out = Counter(kind_of(row) for row in read_rows(folder / "out" / "preferences.jsonl"))
    for kind, count in sorted(counts.items()):
        dropped = count - out[kind]
        said = "wrongly dropped" if kind == "clean" or "below" in kind else "found"
        print(f"{kind}: {dropped:,} of {count:,} {said} ({100 * dropped / count:.2f} %)")
    kinds = {kind: {"rows": count, "dropped": count - out[kind]} for kind, count in sorted(counts.items())}
    return {"seconds": seconds, "peak_memory_mib": peak, "before_mib": before, "kinds": kinds}


def main() -> None:
    options = parser().parse_args()
    record.write(__spec__.name, options, measure(options.rows))


if __name__ == "__main__":
    main()
