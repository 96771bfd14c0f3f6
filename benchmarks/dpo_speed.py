"""Direct preference optimisation: TRL's DPOTrainer unchanged, with its precomputed reference, and with that and packed
batches.

    python -m benchmarks.dpo_speed [--device cuda] [--dtype bfloat16]

Same pairs in the same order, 8 in a batch, one epoch, no gradient checkpointing, no length limit. TRL's best settings
add pairs of similar length in a batch, so its losses are other ones (TRL 1.16 switches `padding_free` off). With
`--shipped`, TRL as it is, with gradient checkpointing, takes part too. The time covers
creating the trainer, which tokenises and, if asked to, precomputes the reference's log-probabilities, and `train()`.
Every run reads its pairs from a folder of its own; TRL's cache of the reference is written there and deleted with it.
It also prints the largest differences of a step's loss (relative), of its gradient norm (relative), and of an entry of
the first step's gradient. Exits with 1 if a loss differs by more than 1e-5, a gradient norm by more than 1e-4, or a
goal is missed.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import contest, workload
from benchmarks.contest import Benchmark, Contestant, Run
from benchmarks.reward_training_speed import Learned, add_options, by_length, first_gradients, learned, parity, recipe
from benchmarks.workload import Row


def contestants(options: argparse.Namespace, folder: Path) -> list[Contestant]:
    def prepare(packed: bool, precomputed: bool, checkpointing: bool = False) -> Callable[[list[Row]], Run]:
        return lambda rows: _alignment(folder, rows, options, packed, precomputed, checkpointing)

    shipped = [Contestant("TRL, gradient checkpointing", prepare(False, False, True))] if options.shipped else []
    return [
        Contestant("TRL, precomputed, packed by xlrm", prepare(True, True)),
        Contestant("TRL", prepare(False, False), 3.4, less_memory=1.0),
        Contestant("TRL, precomputed", prepare(False, True), 3.4, less_memory=1.0),
        Contestant("TRL, best settings", lambda rows: prepare(False, True)(by_length(rows)), compared=False),
        *shipped,
    ]


def _alignment(
    folder: Path, rows: list[Row], options: argparse.Namespace, packed: bool, precomputed: bool, checkpointing: bool
) -> Run:
    from datasets import Dataset, load_from_disk
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from trl import DPOConfig, DPOTrainer

    from xlrm.models.packing import model as packing

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", **contest.attention(folder)).to(
        options.device
    )
    if packed:
        packing.enable(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    shared = recipe(options, options.batch) | {"gradient_checkpointing": checkpointing}
    arguments = DPOConfig(**shared, precompute_ref_log_probs=precomputed)
    keeper = first_gradients()

    def align(own: str) -> Learned:
        trainer = DPOTrainer(
            model, args=arguments, train_dataset=load_from_disk(own), processing_class=tokenizer, callbacks=[keeper]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return learned(trainer, keeper)

    def run() -> tuple[float, Learned]:
        with tempfile.TemporaryDirectory() as own:
            Dataset.from_list(workload.messages(rows)).save_to_disk(own)
            return contest.timed(lambda: align(own), options)

    return run


BENCHMARK = Benchmark(
    "benchmarks.dpo_speed", "Aligning a policy by DPO, 8 pairs a batch", contestants, workload.pairs, parity, passes=4,
    policy=True,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    found = contest.parser(__doc__, count=20, layers=2)
    add_options(found)
    return found


def main() -> int:
    return contest.main(BENCHMARK, parser().parse_args())


if __name__ == "__main__":
    sys.exit(main())
