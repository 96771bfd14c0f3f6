"""Time and peak memory of the representation analysis as the number of texts grows.

    python -m benchmarks.represent_scale MODEL PARALLEL [TEXTS] [--json FILE]

MODEL is the folder of a model, PARALLEL a .jsonl or .parquet file with a column for each of paper A's five languages.
TEXTS (250), four times and sixteen times as many are measured, each in a separate process; the rows of a shorter file
are repeated.
"""

import argparse
import itertools
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks import memory, record
from xlrm.analysis import hidden_states
from xlrm.analysis.hidden_states import Reading
from xlrm.data import parallel_texts

LANGUAGES = ("en", "es", "it", "ko", "zh")


def measure(model: Path, file: str, count: int) -> tuple[float, float, float]:
    """Seconds, peak memory in MiB, and peak memory in MiB of the model with a single block of texts."""
    texts = parallel_texts.load(file, LANGUAGES, None, 0).texts
    repeated = {language: list(itertools.islice(itertools.cycle(many), count)) for language, many in texts.items()}
    first = {language: many[: hidden_states.TEXTS_AT_ONCE] for language, many in repeated.items()}
    hidden_states.measure(model, first, Reading(), "one block")
    block, clock = memory.peak(), time.monotonic()
    hidden_states.measure(model, repeated, Reading(), f"{count} texts")
    return time.monotonic() - clock, memory.peak(), block


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("model", type=Path)
    found.add_argument("parallel")
    found.add_argument("texts", type=int, nargs="?", default=250)
    return found


def main() -> None:
    options, figures = parser().parse_args(), []
    for texts in (options.texts * times for times in (1, 4, 16)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            seconds, peak, block = other.submit(measure, options.model, options.parallel, texts).result()
        figures.append({"texts": texts, "seconds": seconds, "peak_memory_mib": peak, "one_block_mib": block})
        print(
            f"{texts} texts: {seconds:.1f} s, peak memory {peak:.0f} MiB, after one block {block:.0f} MiB", flush=True
        )

    record.write(__spec__.name, options, {"measured": figures})


if __name__ == "__main__":
    main()
