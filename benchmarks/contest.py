"""Shared code of the speed benchmarks: times contestants in turns, measures their memory and checks parity."""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import memory, record
from benchmarks.workload import FAMILIES, Row, conversations, described, of_options, operations, save_model

_MATMUL = {"cuda": 8192, "cpu": 2048}
"""Rows and columns of the matrices with which the rate of matrix products is measured."""

_WEIGHED = 8
"""Number of rows that memory is measured on: the longest rows, which determine the peak."""

_LONGEST = 2**15
"""Limit on the tokens of a conversation, above all that are measured."""


class Unavailable(Exception):
    """A contestant that does not work here, with the reason."""


Run = Callable[[], tuple[float, Any]]
"""Does the work; returns the seconds that it took, and its result."""


class Parity(NamedTuple):
    said: str
    held: bool


@dataclass(frozen=True)
class Contestant:
    name: str
    prepare: Callable[[list[Row]], Run]
    """Prepares everything that is not timed, and returns the run."""
    goal: float | None = None
    """Factor by which ours has to be faster than this contestant."""
    less_memory: float | None = None
    """Largest share of this contestant's memory that ours may take."""
    compared: bool = True
    """Whether its result can equal ours: not with other batches in a training."""
    once: bool = False
    """Only for comparison: timed in the first round only, without measuring its memory."""
    peak: Callable[[], float] | None = None
    """MiB above idle, for a contestant with a process of its own; others are measured in a process started for that."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark; its first contestant is ours."""

    module: str
    title: str
    contestants: Callable[[argparse.Namespace, Path], list[Contestant]]
    rows: Callable[[int], list[Row]]
    parity: Callable[[Any, Any, argparse.Namespace], Parity]
    """(our result, the other's, options) -> parity."""
    few: int = 2
    """Number of rows for the warm-up."""
    passes: float = 1
    """Operations as a multiple of those of a forward pass."""
    policy: bool = False
    """Whether the model is a policy rather than a reward model."""


@dataclass
class Outcome:
    name: str
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    """Its seconds divided by ours, for each round."""
    parity: Parity | None = None
    memory: float | None = None
    """Peak above idle in MiB."""
    missed: list[str] = field(default_factory=list)
    unavailable: str = ""
    """Why it did not take part."""


# Contestants


def timed(work: Callable[[], Any], options: argparse.Namespace) -> tuple[float, Any]:
    clock = time.process_time if vars(options).get("clock") == "processor" else time.perf_counter
    _wait(options)
    begun = clock()
    found = work()
    _wait(options)
    return clock() - begun, found


def _wait(options: argparse.Namespace) -> None:
    if options.device == "cuda":
        import torch

        torch.cuda.synchronize()


def plain_scores(folder: Path, options: argparse.Namespace, batch_size: int) -> Callable[[list[Row]], Run]:
    """Rewards from a loop written by hand with transformers alone: in file order, padded on the right."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, how = AutoTokenizer.from_pretrained(folder), attention(folder)
    model = (
        AutoModelForSequenceClassification.from_pretrained(folder, dtype=options.dtype, **how).to(options.device).eval()
    )

    def scores(asked: list[list[dict]]) -> list[float]:
        found = []
        with torch.no_grad():
            for start in range(0, len(asked), batch_size):
                inputs: Any = tokenizer.apply_chat_template(  # tokenised apart, a text would get a second BOS
                    asked[start : start + batch_size], padding=True, return_tensors="pt", return_dict=True
                )
                found += model(**inputs.to(options.device)).logits[:, 0].float().tolist()
        return found

    return lambda rows: lambda: timed(lambda: scores(conversations(rows)), options)


def attention(folder: Path) -> dict[str, str]:
    """Argument of `from_pretrained` for a model with soft caps, which transformers' default attention leaves out."""
    from xlrm.models import loading

    return loading.attention(loading.load_config(folder))


def our_scores(folder: Path, options: argparse.Namespace) -> Callable[[list[Row]], Run]:
    from xlrm.models import loading
    from xlrm.scorers.engines import TransformersScorer

    network = loading.load_reward_model(folder, options.dtype).to(options.device)
    scorer = TransformersScorer(network, loading.load_tokenizer(folder), _LONGEST)
    return lambda rows: lambda: timed(lambda: scorer.score(conversations(rows)), options)


# Measuring


def race(contestants: list[Contestant], rows: list[Row], options: argparse.Namespace, few: int) -> Iterator[tuple]:
    """(name, seconds, result) of the contestants in turns, after all have warmed up on a few rows. Removes those that are
    unavailable from `contestants`."""
    for one in contestants[:]:
        try:
            one.prepare(rows[:few])()
        except Unavailable as error:
            print(f"{one.name} is left out: {error}", file=sys.stderr)
            contestants.remove(one)
            yield one.name, str(error), None
    for number in range(options.rounds):
        for one in contestants:
            if not (one.once and number):
                gc.collect()  # trainers contain reference cycles
                yield one.name, *one.prepare(rows)()


def measure(benchmark: Benchmark, options: argparse.Namespace, folder: Path) -> list[Outcome]:
    import torch

    torch.set_num_threads(options.threads)
    save_model(folder, options, benchmark.policy)
    rows = of_options(benchmark.rows(options.pairs), options)
    contestants = benchmark.contestants(options, folder)
    outcomes = {one.name: Outcome(one.name) for one in contestants}
    compared = {one.name: one.compared for one in contestants}
    ours: Any = None
    few = 1 if options.model else benchmark.few  # a large model warms up on a short row
    for name, seconds, result in race(contestants, rows, options, few):
        if isinstance(seconds, str):
            outcomes[name].unavailable = seconds
            continue
        outcomes[name].seconds.append(seconds)
        ours = result if name == contestants[0].name else ours
        if ours is not result and compared[name]:  # at once, because a result can hold gradients
            outcomes[name].parity = benchmark.parity(ours, result, options)
        print(f"{name}: {seconds:.1f} s", file=sys.stderr)
    first = contestants[0].name
    for one in contestants:
        outcome = outcomes[one.name]
        outcome.ratios = [a / b for a, b in zip(outcome.seconds, outcomes[first].seconds, strict=False)]
        if options.weigh and not one.once:
            outcome.memory = one.peak() if one.peak else _peak_elsewhere(benchmark, options, folder, one.name)
        outcome.missed = list(_missed(one, outcome, outcomes[first], options))
    return list(outcomes.values())


def _missed(one: Contestant, outcome: Outcome, ours: Outcome, options: argparse.Namespace) -> Iterator[str]:
    """Messages for what was missed: goals are for the small model on a CPU, parity for float32 on any device."""
    small = options.device == "cpu" and not vars(options).get("model")
    if outcome.parity and not outcome.parity.held and options.dtype == "float32":
        yield f"{one.name}: parity, {outcome.parity.said}"
    if small and one.goal and median(outcome.ratios) < one.goal:
        yield f"{one.name}: {median(outcome.ratios):.2f}x, and {one.goal}x is the goal"
    if small and one.less_memory and outcome.memory and ours.memory:
        share = ours.memory / outcome.memory
        if share > one.less_memory:
            yield f"{one.name}: {share:.2f} of its memory, and {one.less_memory} is the goal"


def _peak_elsewhere(benchmark: Benchmark, options: argparse.Namespace, folder: Path, name: str) -> float:
    given = {key: value for key, value in vars(options).items() if isinstance(value, int | str) and key != "weigh"}
    command = [sys.executable, "-m", benchmark.module, "--of", name, "--folder", str(folder)]
    for key, value in given.items():
        command += ([f"--{key}"] if value else []) if isinstance(value, bool) else [f"--{key}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}, in a process of its own:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _peak_here(benchmark: Benchmark, options: argparse.Namespace) -> float:
    import torch

    torch.set_num_threads(options.threads)
    one = next(one for one in benchmark.contestants(options, options.folder) if one.name == options.of)
    rows = of_options(benchmark.rows(options.pairs), options)
    rows = sorted(rows, key=lambda row: len(row["prompt"]) + max(map(len, row["responses"])))
    one.prepare(rows[: benchmark.few])()
    gc.collect()
    return peak_over_idle(one.prepare(rows[-_WEIGHED:]), options.device)


def peak_over_idle(work: Callable[[], Any], device: str) -> float:
    """Peak memory of this process, or of the device, during the work, minus the memory before it, in MiB."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        idle = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - idle) / 2**20
    memory.reset_peak()
    held = memory.held()
    work()
    return memory.peak() - held


def matmul_rate(options: argparse.Namespace, shape: tuple[int, int, int] | None = None) -> float:
    """Operations per second in the product of two matrices of (rows, inputs, outputs), by default large squares; the best
    of five measurements."""
    import torch

    rows, inputs, outputs = shape or (_MATMUL[options.device],) * 3
    kind: Any = {"device": options.device, "dtype": getattr(torch, options.dtype)}
    one, other = torch.randn(rows, inputs, **kind), torch.randn(inputs, outputs, **kind)
    return 2 * rows * inputs * outputs / min(timed(lambda: one @ other, options)[0] for _ in range(5))


# Output


def parser(doc: str, count: int, layers: int = 4) -> argparse.ArgumentParser:
    found = record.parser(doc)
    found.add_argument("--pairs", type=int, default=count, help="number of pairs, or of prompts with several responses")
    found.add_argument(
        "--model",
        help="folder of a model whose shape, weights and tokenizer are used, instead of the four options below",
    )
    found.add_argument("--long", type=int, default=0, help="tokens of the last row's chosen response; 0: as the others")
    found.add_argument("--family", choices=FAMILIES, default="qwen2")
    found.add_argument("--layers", type=int, default=layers)
    found.add_argument(
        "--vocabulary", type=int, default=0, help="least number of embeddings; the texts use 1,000 tokens"
    )
    found.add_argument("--hidden", type=int, default=384, help="hidden size of the model, a multiple of 128")
    found.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    found.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    found.add_argument(
        "--clock", choices=["wall", "processor"], default="wall", help="processor: for a machine that others use too"
    )
    found.add_argument("--no-memory", dest="weigh", action="store_false", help="do not measure memory")
    found.add_argument("--of", help=argparse.SUPPRESS)
    found.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return found


def main(benchmark: Benchmark, options: argparse.Namespace) -> int:
    """Prints the measurements; returns 1 if a goal is missed."""
    import torch

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: PyTorch sees no such device")
    if options.of:
        print(json.dumps(_peak_here(benchmark, options)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        outcomes = measure(benchmark, options, Path(name))
        config = json.loads((Path(name) / "config.json").read_text())
    rows = of_options(benchmark.rows(options.pairs), options)
    work = benchmark.passes * operations(rows, config, benchmark.policy)
    rate = matmul_rate(options)
    Console(width=150).print(table(benchmark.title, outcomes, options.pairs, work / rate))
    print(described(rows))
    model = options.model or f"{options.family}, {options.layers} layers of {options.hidden}"
    print(f"{model}, {options.dtype}; {options.clock} time")
    print(f"{machine(options)}; matrix products {rate / 1e9:,.0f} GFLOP/s")
    print(
        "in use: of that rate, for prompts once, no padding, and every layer in full, which is more than ours computes"
    )
    missed = [line for outcome in outcomes for line in outcome.missed]
    record.write(benchmark.module, options, figures(outcomes, work, rate) | {"work": described(rows)}, missed)
    print("\n".join(f"missed: {line}" for line in missed) or "every goal met")
    return 1 if missed else 0


def figures(outcomes: list[Outcome], work: float, rate: float) -> dict[str, Any]:
    """`work`: floating-point operations of the task; `rate`: operations per second in matrix products."""
    raced = [one for one in outcomes if one.seconds]
    contestants = [
        {
            "name": one.name, "seconds": one.seconds, "ours_is_faster_by": one.ratios, "memory_mib": one.memory,
            "parity": one.parity and one.parity._asdict(),
        }
        for one in raced
    ]  # fmt: skip
    unavailable = {one.name: one.unavailable for one in outcomes if one.unavailable}
    return {
        "contestants": contestants,
        "unavailable": unavailable,
        "operations": work,
        "matrix_products_per_second": rate,
    }


def table(title: str, outcomes: list[Outcome], rows: int, least: float) -> Table:
    """`least`: seconds that the work would take at the rate of matrix products."""
    found = Table("contestant", title=title)
    for column in (
        "seconds",
        "rows/s",
        "ours is faster by",
        "min .. max",
        "beside ours",
        "peak MiB",
        "ours of it",
        "in use",
    ):
        found.add_column(column, justify="right")
    for one in (one for one in outcomes if one.seconds):
        share = outcomes[0].memory / one.memory if one.memory and outcomes[0].memory else None
        found.add_row(
            one.name, f"{median(one.seconds):.2f}", f"{rows / median(one.seconds):.2f}", f"{median(one.ratios):.2f}x",
            f"{min(one.ratios):.2f} .. {max(one.ratios):.2f}", one.parity.said if one.parity else "",
            "" if one.memory is None else f"{one.memory:,.0f}", "" if share is None else f"{share:.2f}",
            f"{least / median(one.seconds):.0%}",
        )  # fmt: skip
    return found


def machine(options: argparse.Namespace) -> str:
    import torch

    if options.device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    load = os.getloadavg()[0]
    return f"{record.processor()}, {options.threads} threads, load {load:.1f}, torch {torch.__version__}"
