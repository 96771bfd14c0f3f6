"""How time and memory grow when the work doubles: conversations, their length, pairs of a training, languages.

    python -m benchmarks.work_growth [--model FOLDER] [--device cuda] [--dtype bfloat16]

Every axis is measured at one and two times the work in turns, in one process. The exponent is log2 of the ratio of median
seconds: 1 is linear, 2 quadratic. Memory is the peak above what was held before. `evaluate` loads the model each time.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import contest, record, workload
from benchmarks.reward_training_speed import add_options, training_of_pairs
from benchmarks.workload import Row
from xlrm.data.corpus_schema import Description
from xlrm.store.jsonl import write_jsonl

LANGUAGES = ("en", "es")
Work = Callable[[int], contest.Run]
"""1 or 2 -> the run with that many times the work."""


def longer(rows: list[Row], times: int) -> list[Row]:
    """The rows with prompts and responses `times` as long."""
    return [
        {
            "prompt": " ".join([row["prompt"]] * times),
            "responses": [" ".join([text] * times) for text in row["responses"]],
        }
        for row in rows
    ]


def evaluation(folder: Path, rows: list[Row], options: argparse.Namespace, root: Path) -> Work:
    """The stage `evaluate` on as many languages, each with the rows in another order of words."""
    from xlrm.stages import evaluate

    corpora = root / "corpora"
    for code in LANGUAGES:
        (corpora / code).mkdir(parents=True)
        Description(language=code).write(corpora / code)
        write_jsonl(corpora / code / "benchmark.jsonl", (_item(row, place, code) for place, row in enumerate(rows)))

    def run(count: int) -> contest.Run:
        output = root / f"evaluated-{len(list(root.iterdir()))}"
        output.mkdir()
        os.environ["XLRM_HOME"] = str(output / "home")  # empty, so that no reward is known
        settings = {"languages": LANGUAGES[:count], "precision": options.dtype, "device": options.device}
        config = evaluate.Config.model_validate(settings)
        return lambda: contest.timed(
            lambda: evaluate.run(config, model=folder, corpora=corpora, output=output), options
        )

    return run


def _item(row: Row, place: int, code: str) -> dict[str, str]:
    texts = [row["prompt"], *row["responses"]]
    prompt, chosen, rejected = texts if code == "en" else (" ".join(reversed(text.split())) for text in texts)
    return {
        "id": f"item-{place}", "prompt": prompt, "chosen": chosen, "rejected": rejected, "subset": "all", "section": "Chat",
    }  # fmt: skip


def axes(options: argparse.Namespace, folder: Path, root: Path) -> dict[str, Work]:
    score, count = contest.our_scores(folder, options), options.pairs

    def rows(times: int) -> list[Row]:
        return workload.of_options(workload.pairs(count) + workload.pairs(count, seed=1) * (times - 1), options)

    def trained(times: int) -> contest.Run:
        return training_of_pairs(folder, rows(times), options)

    return {
        "conversations": lambda times: score(rows(times)),
        "length": lambda times: score(longer(rows(1), times)),
        "pairs trained": trained,
        "languages evaluated": evaluation(folder, rows(1), options, root),
    }


def measured(work: Work, options: argparse.Namespace) -> dict[str, Any]:
    seconds: dict[int, list[float]] = {1: [], 2: []}
    peaks: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for times in (1, 2):
            run, found = work(times), []
            peaks[times].append(contest.peak_over_idle(lambda: found.append(run()), options.device))  # noqa: B023 - called at once
            seconds[times].append(found[0][0])
    exponents = [math.log2(two / one) for one, two in zip(*seconds.values(), strict=True)]
    return {
        "exponent": math.log2(median(seconds[2]) / median(seconds[1])), "exponents": exponents, "seconds": seconds,
        "peak_mib": {times: median(found) for times, found in peaks.items()},
    }  # fmt: skip


def measure(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    folder = root / "model"
    workload.save_model(folder, options)
    works = axes(options, folder, root)
    works["conversations"](1)()  # the warm-up
    figures: dict[str, Any] = {}
    for name, work in works.items():
        figures[name] = measured(work, options)
        print(f"{name}: {json.dumps(figures[name])}", flush=True)
    return figures


def parser() -> argparse.ArgumentParser:
    found = contest.parser(__doc__, count=4)
    add_options(found)
    return found


def main() -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(options, Path(name))
    record.write("benchmarks.work_growth", options, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
