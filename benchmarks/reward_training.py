"""Compares the results of training with references: plain TRL's losses, gradients and weights; those of a killed and
resumed run with an uninterrupted run's; those of ZeRO-3 in two processes with those of one process.

    python -m benchmarks.reward_training [--pairs 300] [--data pairs.jsonl] [--json FILE]

Uses a tiny random model, in float32 on the CPU. Exits with 1 if a tolerance is exceeded.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import record
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.training import curves

RECIPE = {
    "language": "en", "learning_rate": 1e-3, "batch_size": 8, "device_batch_size": 4, "gradient_checkpointing": False,
    "log_steps": 1, "save_steps": 10, "max_length": 512,
}  # fmt: skip
STAGE = """
import json, sys
from pathlib import Path
from xlrm.stages import reward
if __name__ == "__main__":
    config, base, corpora, output = sys.argv[1:]
    Path(output).mkdir(parents=True, exist_ok=True)
    reward.run(reward.Config(**json.loads(config)), base=Path(base), corpora=Path(corpora), output=Path(output))
"""
TOLERANCES = {
    "plain TRL": (1e-5, 1e-3),
    "killed and resumed": (1e-6, 1e-6),
    "ZeRO-3, 2 processes, resumed": (1e-4, 1e-3),
}
"""Largest allowed differences of a step's loss and of a weight."""


def start(
    base: Path, corpora: Path, work: Path, environment: dict[str, str] | None = None, **changes: Any
) -> subprocess.Popen:
    """Starts the stage in a separate process, with its output in {work}.log."""
    arguments = [json.dumps(RECIPE | changes), str(base), str(corpora), str(work / "output")]
    with work.with_suffix(".log").open("a") as file:
        return subprocess.Popen(
            [sys.executable, "-c", STAGE, *arguments], stdout=file, stderr=file, env=os.environ | (environment or {})
        )


def run(*arguments: Path, **changes: Any) -> float:
    """Runs the stage and returns the seconds that it took."""
    begun = time.monotonic()
    base, corpora, work = arguments
    if start(base, corpora, work, **changes).wait():
        sys.exit(work.with_suffix(".log").read_text()[-3000:])
    return time.monotonic() - begun


def kill_after_a_checkpoint(process: subprocess.Popen, work: Path) -> None:
    """Kills the process by SIGKILL after a checkpoint, like the loss of a node."""
    while not list((work / "checkpoints").glob("checkpoint-*/whole.json")):
        if process.poll() is not None:
            sys.exit(work.with_suffix(".log").read_text()[-3000:])
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def plain_trl(started_from: Path, rows: list[dict], folder: Path, device_batch: int = 4) -> tuple[list[dict], dict]:
    """(log, weights) of plain TRL in its usual form: messages as input, with its own tokenisation, order and
    collation."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    user, assistant = ({"role": role} for role in ("user", "assistant"))
    records = [
        {
            side: [user | {"content": row["prompt"]}, assistant | {"content": row[side]}]
            for side in ("chosen", "rejected")
        }
        | ({"margin": row["margin"]} if "margin" in row else {})
        for row in rows
    ]
    arguments = RewardConfig(
        output_dir=str(folder), learning_rate=1e-3, per_device_train_batch_size=device_batch,
        gradient_accumulation_steps=8 // device_batch, num_train_epochs=1, warmup_steps=0.1, lr_scheduler_type="cosine",
        seed=42, data_seed=42, bf16=False, use_cpu=True, gradient_checkpointing=False, logging_steps=1, report_to=[],
        max_length=None, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = RewardTrainer(
        AutoModelForSequenceClassification.from_pretrained(started_from, dtype="float32"), arguments,
        train_dataset=Dataset.from_list(records), processing_class=AutoTokenizer.from_pretrained(started_from),
    )  # fmt: skip
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    return log, {name: tensor.detach() for name, tensor in trainer.model.state_dict().items()}


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / curves.FILE).read_text().splitlines()]


def weights_of(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def largest(one: list[dict], other: list[dict], name: str) -> float:
    return max(abs(float(a[name]) - float(b[name])) for a, b in zip(one, other, strict=True))


def apart(one: dict, other: dict) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def small_base(folder: Path) -> Path:
    from xlrm.training.pretraining import Pretraining, pretrain

    pretrain(Pretraining(layers=2, width=64, vocabulary=4096, documents=300, batch_tokens=2048), folder / "output")
    return folder / "output"


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument("--pairs", type=int, default=304)
    found.add_argument("--data", type=Path, help="file of pairs (default: generated ones of the phrasebook)")
    return found


def main() -> None:
    options = parser().parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with tempfile.TemporaryDirectory() as temporary:
        table, figures, missed = measure(Path(temporary), options)
    Console(width=110).print(table)
    record.write(__spec__.name, options, figures, missed)
    sys.exit(1 if missed else 0)


def measure(folder: Path, options: argparse.Namespace) -> tuple[Table, dict, list[str]]:
    """(table to print, figures, differences above their tolerances)."""
    from xlrm.data.catalog import load_pairs

    rows = read_rows(options.data) if options.data else load_pairs("phrasebook", "en", options.pairs, 0).rows
    rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows[: options.pairs]]
    write_jsonl(folder / "corpora" / "en" / "preferences.jsonl", rows)
    given = (small_base(folder / "base"), folder / "corpora")
    seconds = run(*given, folder / "whole", processes=1)
    whole = folder / "whole" / "output"
    found = {}
    # Only rows that are not truncated on the left, so that TRL trains on the same text.
    short = [row for row in rows if len(row["prompt"]) + max(len(row["chosen"]), len(row["rejected"])) < 400]
    write_jsonl(folder / "short" / "en" / "preferences.jsonl", short)
    run(given[0], folder / "short", folder / "ours", processes=1)
    theirs, weights = plain_trl(folder / "ours" / "start", short, folder / "theirs")
    ours = folder / "ours" / "output"
    found["plain TRL"] = (theirs, log_of(ours), apart(weights_of(ours), weights))
    for name, processes, folder_name in (("killed and resumed", 1, "cut"), ("ZeRO-3, 2 processes, resumed", 2, "two")):
        kill_after_a_checkpoint(start(*given, folder / folder_name, processes=processes), folder / folder_name)
        run(*given, folder / folder_name, processes=processes)
        output = folder / folder_name / "output"
        found[name] = (log_of(whole), log_of(output), apart(weights_of(whole), weights_of(output)))
    table = Table("against", title=f"{len(rows)} pairs, {len(log_of(whole))} steps in {seconds:.0f} s")
    for column in ("steps", "loss", "gradient norm", "weights", "allowed (loss, weights)"):
        table.add_column(column, justify="right")
    figures: dict = {"pairs": len(rows), "seconds": seconds, "against": {}}
    missed = []
    for name, (one, other, weight) in found.items():
        loss, norm, (allowed_loss, allowed_weight) = (
            largest(one, other, "loss"),
            largest(one, other, "grad_norm"),
            TOLERANCES[name],
        )
        if loss > allowed_loss or weight > allowed_weight:
            missed.append(name)
        figures["against"][name] = {"steps": len(one), "loss": loss, "gradient_norm": norm, "weights": weight}
        table.add_row(
            name,
            str(len(one)),
            f"{loss:.1e}",
            f"{norm:.1e}",
            f"{weight:.1e}",
            f"{allowed_loss:.0e}, {allowed_weight:.0e}",
        )
    return table, figures, missed


if __name__ == "__main__":
    main()
