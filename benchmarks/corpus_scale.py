"""A hundred thousand made pairs through curate, translate (phrasebook) and validate: time and peak memory of each stage.

python -m benchmarks.corpus_scale [ROWS] [TARGETS]
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cost_growth import items, pairs
from xlrm import artifacts
from xlrm.rows import write_jsonl


def stage(name: str, *arguments: str) -> str:
    """Runs a stage in a process of its own, and returns the URI of its artifact."""
    command = [sys.executable, "-m", "xlrm.cli", "stage", name, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]


def measure(count: int, targets: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XLRM_HOME"] = folder
        os.environ.pop("XLRM_STORE", None)
        made = Path(folder) / "made.jsonl"
        write_jsonl(made, pairs(count))
        benchmark = Path(folder) / "benchmark.jsonl"
        write_jsonl(benchmark, items(500))
        print(f"{count:,} pairs, {made.stat().st_size / count:.0f} bytes each", flush=True)
        files = [f"preferences=[{made}]", f"benchmark={benchmark}", "prompts=null"]
        corpus = stage("curate", *files, f"pairs={count}", "near_duplicates=1.0")
        found = {"curate": corpus}
        for code in targets:
            found[f"translate {code}"] = stage("translate", f"language={code}", "--input", f"corpus={corpus}")
        translations = ",".join(found[f"translate {code}"] for code in targets)
        found["validate"] = stage("validate", "--input", f"source={corpus}", "--inputs", f"translations={translations}")
        print("| stage | seconds | peak memory, MiB | rows out |\n|---|---:|---:|---:|")
        for name, uri in found.items():
            record = artifacts.load(uri)
            out = record.metrics.get("preferences") or record.metrics.get("rows_out") or record.metrics["texts"]
            print(f"| {name} | {record.seconds:.1f} | {record.peak_memory_mib:.0f} | {out:,.0f} |")


if __name__ == "__main__":
    measure(int((sys.argv[1:] or ["100000"])[0]), (sys.argv[2:] or ["es,it,ko,zh"])[0].split(","))
