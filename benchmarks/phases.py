"""Where the time of scoring and of a training step goes, by phase, and the share of the machine's rate that each reaches.

    python -m benchmarks.phases [--model FOLDER] [--device cuda] [--dtype bfloat16]

A phase is a group of PyTorch's operations: its share of a profiled run, of the time of a run without the profiler. The
roof is the rate of products of two large matrices; "as here" is the rate of products of 2,048 rows with a matrix of the
model's MLP. The phase "linear layers" has the operations that PyTorch counts, attention those of causal attention (thrice
that in training). Tokenising is timed alone.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import contest, record, workload
from benchmarks.reward_training_speed import add_options, training_of_pairs
from benchmarks.workload import Row

PHASES = {
    "attention": ("flash", "scaled_dot", "efficient_attention", "varlen"),
    "optimizer": ("adam", "foreach"),
    "packing": ("index_select", "index_add", "index_copy", "cat"),
    "linear layers": ("mm", "addmm", "bmm", "baddbmm", "linear"),
}
"""Phase -> parts of the names of operations, or for linear layers whole names; others are "the rest"."""


def phase(name: str) -> str:
    """Phase of an operation, such as aten::addmm."""
    short = name.rpartition("::")[2].strip("_").lower()
    if short in PHASES["linear layers"]:
        return "linear layers"
    return next((key for key in list(PHASES)[:-1] if any(part in short for part in PHASES[key])), "the rest")


def profiled(work: Callable[[], Any], device: str) -> tuple[Counter[str], Counter[str]]:
    """Seconds and counted operations by phase."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    with profile(activities=activities, with_flops=True) as profiler:
        work()
    seconds: Counter[str] = Counter()
    operations: Counter[str] = Counter()
    for event in profiler.key_averages():
        own = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        if re.fullmatch(r"\w+::\w+", event.key):  # an operation, whose time on a GPU is that of its kernels
            seconds[phase(event.key)] += own / 1e6
            operations[phase(event.key)] += event.flops or 0
    return seconds, operations


def roof(options: argparse.Namespace, config: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Operations per second by number format: of large matrices, and as here."""
    rates = {}
    for dtype in ("float32", "bfloat16"):
        given = argparse.Namespace(**vars(options) | {"dtype": dtype})
        shape = (2048, config["hidden_size"], config["intermediate_size"])
        rates[dtype] = {"large": contest.matmul_rate(given), "as here": contest.matmul_rate(given, shape)}
    return rates


def by_phase(
    found: tuple[Mapping[str, float], Mapping[str, float]], attention: float, seconds: float, peak: float
) -> dict[str, dict[str, float]]:
    """Share of the time, and seconds of `seconds`, those without the profiler; for linear layers and attention, whose
    operations are known, the share of `peak`. `attention`: its operations."""
    own, operations = Counter(found[0]), found[1]
    known = {"attention": attention, "linear layers": operations["linear layers"]}
    phases = {}
    for name, profiled_seconds in own.most_common():
        share = profiled_seconds / own.total()
        phases[name] = {"seconds": share * seconds, "of_time": share}
        if share and name in known:
            phases[name]["of_roof"] = known[name] / (share * seconds) / peak
    return phases


def tokenising(folder: Path, rows: list[Row], options: argparse.Namespace) -> dict[str, float]:
    from xlrm.models import loading
    from xlrm.models.chat_templates import encode

    tokenizer, chats = loading.load_tokenizer(folder), workload.conversations(rows)
    encode(tokenizer, chats[:1], 2**15)
    seconds, ids = contest.timed(lambda: encode(tokenizer, chats, 2**15), options)
    return {"seconds": seconds, "tokens_per_second": sum(map(len, ids)) / seconds}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    workload.save_model(folder, options)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rows = workload.of_options(workload.pairs(options.pairs), options)
    rates = roof(options, config)
    peak, (_, attention) = rates[options.dtype]["large"], workload.operations_of_parts(rows, config)
    score = contest.our_scores(folder, options)
    score(rows[:1])()
    seconds, work = contest.timed(lambda: score(rows)(), options)[0], workload.operations(rows, config)
    figures = {
        "matrix_products_per_second": rates, "work": workload.described(rows),
        "scoring": {
            "seconds": seconds, "of_roof": work / seconds / peak, "tokenising": tokenising(folder, rows, options),
            "phases": by_phase(profiled(score(rows), options.device), attention, seconds, peak),
        },
    }  # fmt: skip
    train = training_of_pairs(folder, rows, options)
    seconds, _ = train()
    train = training_of_pairs(folder, rows, options)
    figures["reward training"] = {
        "seconds": seconds, "of_roof": 3 * work / seconds / peak,
        "phases": by_phase(profiled(train, options.device), 3 * attention, seconds, peak),
    }  # fmt: skip
    return figures


def parser() -> argparse.ArgumentParser:
    found = contest.parser(__doc__, count=8)
    add_options(found)
    return found


def main() -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(options, Path(name))
    for dtype, rates in figures["matrix_products_per_second"].items():
        print(f"{dtype}: " + ", ".join(f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in rates.items()))
    for task in ("scoring", "reward training"):
        found = figures[task]
        print(f"{task}: {found['seconds']:.1f} s, {found['of_roof']:.0%} of the roof")
        for name, one in found["phases"].items():
            reached = f", {one['of_roof']:.0%} of the roof" if "of_roof" in one else ""
            print(f"    {name}: {one['seconds']:.2f} s, {one['of_time']:.0%} of the time{reached}")
    record.write(__spec__.name, options, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
