"""Rewards in bfloat16 beside those in float32: differences, and the verdicts that they change.

    python -m benchmarks.half_precision [--model FOLDER] [--data PAIRS.jsonl] [--device cuda]

FOLDER is a reward model, or a base model, which then gets a new head. The pairs are English ones of the phrasebook, or the
first of a file with prompt, chosen and rejected. `changed` counts verdicts that differ, `margins` are the float32 margins of
these pairs, and `batches` is the largest difference between rewards of one batch and of one conversation at a time, both in
bfloat16.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import contest, record, workload
from benchmarks.workload import Row


def pairs(options: argparse.Namespace) -> list[Row]:
    from xlrm.data.catalog import load_pairs

    if options.data is None:
        given = load_pairs("phrasebook", "en", options.pairs, 0).rows
    else:
        with options.data.open(encoding="utf-8") as file:
            given = [json.loads(line) for line in itertools.islice(file, options.pairs)]
    return [{"prompt": row["prompt"], "responses": [row["chosen"], row["rejected"]]} for row in given]


def compare(exact: list[float], half: list[float], alone: list[float]) -> dict[str, Any]:
    """Figures of rewards (chosen, rejected, chosen, ...) in float32, in bfloat16, and in bfloat16 one by one."""
    import numpy as np

    one, other, single = (np.asarray(rewards) for rewards in (exact, half, alone))
    margins = one[::2] - one[1::2]
    changed = (margins > 0) != (other[::2] - other[1::2] > 0)
    return {
        "pairs": len(margins), "std": float(one.std()), "largest_difference": float(abs(one - other).max()),
        "mean_difference": float(abs(one - other).mean()), "batches": float(abs(other - single).max()),
        "changed": int(changed.sum()), "margins": sorted(float(margin) for margin in abs(margins[changed])),
        "median_margin": float(np.median(abs(margins))),
    }  # fmt: skip


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import torch

    from xlrm.models import loading

    torch.set_num_threads(options.threads)
    if options.model and loading.has_head(loading.load_config(options.model)):
        folder = Path(options.model)
    else:
        workload.save_model(folder, options)
    rows = pairs(options)
    seconds, rewards = {}, {}
    for dtype in ("float32", "bfloat16"):
        score = contest.our_scores(folder, argparse.Namespace(**vars(options) | {"dtype": dtype}))
        score(rows[:1])()
        seconds[dtype], rewards[dtype] = score(rows)()
    alone = [
        reward for row in rows for text in row["responses"] for reward in score([row | {"responses": [text]}])()[1]
    ]
    return compare(rewards["float32"], rewards["bfloat16"], alone) | {"seconds": seconds}


def parser() -> argparse.ArgumentParser:
    found = contest.parser(__doc__, count=100)
    found.add_argument("--data", type=Path, help="file of pairs, as JSON lines")
    return found


def main() -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(options, Path(name))
    print(json.dumps(figures, indent=1))
    record.write("benchmarks.half_precision", options, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
