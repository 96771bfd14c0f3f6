"""How time and memory of curate, translate, validate and score grow with the number of rows: 1, 4 and 16 times as many.

    python -m benchmarks.cost_growth [ROWS] [--json FILE]

Each measurement runs in a separate process, on synthetic pairs of several phrasebook sentences, almost all different;
the smallest size is ROWS (1,000). `score` is the command on as many conversations. A process first handles a hundred
rows unmeasured, which loads models and libraries; `held` is its memory after that, and `more` is its peak above that.
The slope is the least-squares slope of log(processor seconds) over log(rows): 1 is linear. Processor seconds are used
because other programs on the machine hardly change them. Exits with 1 if a slope or a memory is above its limit.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import linear_regression
from typing import Any

from benchmarks import memory, record
from xlrm.data.phrasebook import world
from xlrm.data.phrasebook.translator import render
from xlrm.store.jsonl import write_jsonl

TIMES = (1, 4, 16)
STAGES = ("curate", "translate", "validate", "score")
WARM = 100
"""Rows processed before the clock starts."""
HELD_OUT = 200
"""Number of benchmark items, for every number of rows."""
SLOPE = 1.15
"""Limit of a slope. It leaves 0.15 for noise: 16 times the rows may take 1.5 times the linear time. n log n gives
1.1, n squared 2."""
SLACK, SLACK_MIB = 1.3, 32.0
"""Limits of memory growth: 16 times the rows may need 1.3 times the memory, plus 32 MiB that 1,000 rows do not fill.
Translation holds 1,000 rows at a time and SQLite's page cache (2 MiB); validation holds ids and positions to the end
(some 250 bytes a row)."""
GROWS = {"curate": (1800, math.inf), "validate": (12_000, 10_000)}
"""Stage -> (additional bytes per row, number of rows up to which memory grows). Curation compares each pair with all
earlier ones and therefore holds them: a row as text in Python's objects (some 1,200 bytes for 560 on disk), 160 for
its sketch, 120 for its digest, and its id in the set that keeps ids unique. Validation holds a chunk of 10,000 rows
at a time: their texts, the sources' texts and a frame of measurements."""


def pairs(count: int, seed: int = 1) -> Iterator[dict]:
    """Pairs of several phrasebook sentences, some 450 characters per pair, almost all different."""
    rng = random.Random(seed)
    sentences = [sentence for sentence in world.sentences() if not sentence.cut]

    def text(least: int, most: int) -> str:
        return render(tuple(rng.sample(sentences, rng.randint(least, most))), "en")

    for i in range(count):
        yield {"id": f"made-{i}", "prompt": text(2, 4), "chosen": text(3, 6), "rejected": text(3, 6)}


def items(count: int) -> Iterator[dict]:
    """A benchmark with prompts of ten sentences; a pair contains at most a part of one, so none counts as
    contaminated."""
    rng = random.Random(2)
    sentences = [sentence for sentence in world.sentences() if not sentence.cut]
    for i in range(count):
        prompt = render(tuple(rng.sample(sentences, 10)), "en")
        chosen, rejected = (render((sentence,), "en") for sentence in rng.sample(sentences, 2))
        yield {"id": f"item-{i}", "prompt": prompt, "chosen": chosen, "rejected": rejected}


def make(folder: Path, count: int) -> None:
    """Writes the inputs of the stages: pairs, a benchmark, and conversations to score."""
    write_jsonl(folder / "made.jsonl", pairs(count))
    write_jsonl(folder / "benchmark.jsonl", items(HELD_OUT))
    write_jsonl(folder / "asked.jsonl", ({"prompt": row["prompt"], "response": row["chosen"]} for row in pairs(count)))


def make_model(folder: Path) -> None:
    """Saves a reward model with two layers."""
    from xlrm.models import loading
    from xlrm.training.pretraining import Pretraining, pretrain

    pretrain(
        Pretraining(languages=("en", "ko"), layers=2, width=64, vocabulary=1024, documents=300),
        folder / "base" / "output",
    )
    tokenizer = loading.load_tokenizer(folder / "base" / "output")
    loading.new_reward_model(folder / "base" / "output", tokenizer, seed=1).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def work(stage: str, root: Path) -> Callable[[Path], object]:
    """The measured work of a stage, as a function of the folder with its rows."""
    if stage == "score":
        from xlrm.scorers import parallel
        from xlrm.scorers.interface import Scoring
        from xlrm.scorers.score_file import score_file

        model, scorer = root / "model", parallel.load(root / "model", Scoring())
        parallel.load = lambda folder, scoring: scorer
        return lambda folder: score_file(lambda: model, folder / "asked.jsonl", folder / "scored.jsonl", Scoring())
    from xlrm.stages import curate, translate, validate

    def curated(folder: Path) -> Any:
        files = {"preferences": (str(folder / "made.jsonl"),), "benchmark": str(folder / "benchmark.jsonl")}
        config = curate.Config(**files)
        return curate.run(config, output=folder / "en")

    def translated(folder: Path) -> Any:
        os.environ["XLRM_HOME"] = str(folder / "home")  # empty, so that no translation is known
        return translate.run(
            translate.Config(language="es", translator="phrasebook"), corpus=folder / "en", output=folder / "es"
        )

    def validated(folder: Path) -> Any:
        return validate.run(
            validate.Config(), source=folder / "en", translations=[folder / "es"], output=folder / "corpora"
        )

    return {"curate": curated, "translate": translated, "validate": validated}[stage]


def measure(stage: str, root: Path, count: int) -> dict[str, float]:
    """Runs in the separate process; returns seconds, MiB held before, and MiB above that at the peak."""
    run = work(stage, root)
    run(root / str(WARM))
    memory.reset_peak()
    held, began, used = memory.held(), time.perf_counter(), time.process_time()
    run(root / str(count))
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    return {"seconds": seconds, "processor": processor, "held": held, "more": memory.peak() - held}


def slope(counts: list[int], seconds: list[float]) -> float:
    return linear_regression([math.log(count) for count in counts], [math.log(value) for value in seconds]).slope


def apart(*arguments: object) -> str:
    """Runs this script with `arguments` in a separate process, and returns the last line that it prints."""
    command = [sys.executable, "-m", __spec__.name, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    return done.stdout.splitlines()[-1] if done.stdout else ""


def show(stage: str, counts: list[int], found: list[dict[str, float]]) -> bool:
    """Prints a stage's lines, and returns whether its growth is within the limits."""
    for count, one in zip(counts, found, strict=True):
        figures = f"{one['seconds']:.2f} | {one['processor']:.2f} | {one['held']:.0f} | {one['more']:.1f}"
        print(f"| {stage} | {count:,} | {figures} |  |  |  |")
    grown, steps = slope(counts, [one["processor"] for one in found]), counts[-1] - counts[0]
    least, most = found[0]["more"], found[-1]["more"]
    size, until = GROWS.get(stage, (0, 0))
    filled = min(counts[-1], until) - min(counts[0], until)
    allowed = SLACK * max(0, least) + SLACK_MIB + size * filled / 2**20
    reached = grown <= SLOPE and most <= allowed
    figures = f"{grown:.2f} | {most - least:+.1f} | {(most - least) * 2**20 / steps:,.0f}"
    print(f"| **{stage}** | {'grows as it may' if reached else 'GROWS TOO MUCH'} | | | | | {figures} |", flush=True)
    return reached


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("rows", type=int, nargs="?", default=1000)
    return found


def main() -> int:
    options = parser().parse_args()
    counts = [options.rows * times for times in TIMES]
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ["XLRM_HOME"] = str(root / "home")
        apart("model", root)
        for count in (WARM, *counts):
            make(root / str(count), count)
        for stage in STAGES[:2]:  # the warm-up rows of the later stages
            apart("warm", stage, root)
        print("| stage | rows | seconds | processor | held, MiB | more, MiB | slope | 1x to 16x, MiB | bytes a row |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
        figures, missed = {}, []
        for stage in STAGES:
            found = [json.loads(apart("measure", stage, root, count)) for count in counts]
            if not show(stage, counts, found):
                missed.append(f"{stage} grows too much")
            grown = slope(counts, [one["processor"] for one in found])
            figures[stage] = {"rows": counts, "measured": found, "slope": grown}
    record.write(__spec__.name, options, figures, missed)
    return 1 if missed else 0


if __name__ == "__main__":
    kind, *given = sys.argv[1:] or [""]
    if kind == "model":
        make_model(Path(given[0]))
    elif kind == "warm":
        work(given[0], Path(given[1]))(Path(given[1]) / str(WARM))
    elif kind == "measure":
        print(json.dumps(measure(given[0], Path(given[1]), int(given[2]))))
    else:
        sys.exit(main())
