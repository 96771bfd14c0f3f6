"""Kills a judge half way and runs it again: how many questions are asked twice?

python -m benchmarks.judge_resume [--json FILE]
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks import record
from benchmarks.resume import kill_and_resume
from benchmarks.served_translations import serving
from xlrm.store.jsonl import write_jsonl

STAGE = """
import sys
from pathlib import Path
from xlrm.stages import external
config = external.Config(models=("served=judge",))
external.run(config, corpora=Path(sys.argv[1]), output=Path(sys.argv[2]))
"""


def measure(items: int, share: float) -> dict[str, float]:
    """Questions asked before and after a kill at `share` of them, and whether the verdicts equal those of an
    uninterrupted run."""
    rows = (
        {
            "id": str(i),
            "prompt": f"Question {i}?",
            "chosen": f"Yes, {i}.",
            "rejected": "No.",
            "subset": "s",
            "section": "S",
        }
        for i in range(items)
    )
    with tempfile.TemporaryDirectory() as name, serving(lambda *_: ("[[A]]", "stop"), read=str) as server:
        folder = Path(name)
        write_jsonl(folder / "en" / "benchmark.jsonl", rows)
        before, after = kill_and_resume(STAGE, folder, server, share * items)
        one, other = ((folder / out / "judge" / "verdicts.jsonl").read_bytes() for out in ("resumed", "whole"))
    return {
        "questions": items, "asked before": before, "asked after": after, "asked twice": before + after - items,
        "same as in one go": one == other,
    }  # fmt: skip


def parser() -> argparse.ArgumentParser:
    return record.parser(__doc__)


def main() -> None:
    options = parser().parse_args()
    found = measure(items=14_925, share=0.5)
    for key, value in found.items():
        print(f"{key:18} {value}")
    record.write(__spec__.name, options, found)


if __name__ == "__main__":
    main()
