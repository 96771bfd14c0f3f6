"""Runs 100,000 synthetic pairs through curate, translate (phrasebook) and validate: time and peak memory of each stage.

python -m benchmarks.corpus_scale [ROWS] [TARGETS] [--json FILE]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import record
from benchmarks.cost_growth import items, pairs
from xlrm.store import artifacts
from xlrm.store.jsonl import write_jsonl


def stage(name: str, *arguments: str) -> str:
    """Runs a stage in a separate process, and returns the URI of its artifact."""
    command = [sys.executable, "-m", "xlrm.cli", "stage", name, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]


def measure(count: int, targets: list[str]) -> list[dict]:
    """For each stage: seconds, peak memory (MiB) and number of rows written."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XLRM_HOME"] = folder
        os.environ.pop("XLRM_STORE", None)
        made = Path(folder) / "made.jsonl"
        write_jsonl(made, pairs(count))
        benchmark = Path(folder) / "benchmark.jsonl"
        write_jsonl(benchmark, items(500))
        print(f"{count:,} pairs, {made.stat().st_size / count:.0f} bytes each", flush=True)
        files = [f"preferences=[{made}]", f"benchmark={benchmark}", "parallel=phrasebook"]
        corpus = stage("curate", *files, "near_duplicates=1.0")
        found = {"curate": corpus}
        for code in targets:
            found[f"translate {code}"] = stage(
                "translate", f"language={code}", "translator=phrasebook", "--input", f"corpus={corpus}"
            )
        translations = ",".join(found[f"translate {code}"] for code in targets)
        found["validate"] = stage("validate", "--input", f"source={corpus}", "--inputs", f"translations={translations}")
        print("| stage | seconds | peak memory, MiB | rows out |\n|---|---:|---:|---:|")
        for name, uri in found.items():
            made_by = artifacts.load(uri)
            out = made_by.metrics.get("preferences") or made_by.metrics.get("rows_out") or made_by.metrics["texts"]
            figures.append(
                {"stage": name, "seconds": made_by.seconds, "peak_memory_mib": made_by.peak_memory_mib, "rows_out": out}
            )
            print(f"| {name} | {made_by.seconds:.1f} | {made_by.peak_memory_mib:.0f} | {out:,.0f} |")
    return figures


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("rows", type=int, nargs="?", default=100_000)
    found.add_argument("targets", nargs="?", default="es,it,ko,zh", help="target languages, separated by commas")
    return found


def main() -> None:
    options = parser().parse_args()
    record.write(__spec__.name, options, {"stages": measure(options.rows, options.targets.split(","))})


if __name__ == "__main__":
    main()
