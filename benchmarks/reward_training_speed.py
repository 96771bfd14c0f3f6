"""A training step of a reward model: TRL's RewardTrainer unchanged, and with packed batches.

    python -m benchmarks.reward_training_speed [--family gemma3_text] [--device cuda] [--dtype bfloat16]
    python -m benchmarks.reward_training_speed --family gemma3_text --hidden 640 --layers 18 --vocabulary 262144 \\
        --pairs 4 --batch 2 --rounds 1 --no-memory       # Gemma 3 270M's size: two steps, 6 GB

Same pairs in the same order, one epoch, with TRL's defaults except for two settings: its length limit,
which would drop pairs, and gradient checkpointing, which is off on both sides. TRL's best settings add pairs of similar
length in a batch, so its losses are other ones (TRL 1.16 trains no reward model without padding). Timed once: this
project's token ids without packing, and without `--shipped` TRL with checkpointing, its default. The time covers
`train()`. It also prints the largest differences of a step's loss (relative), of its gradient norm (relative), and of an
entry of the first step's gradient. Exits with 1 if a loss differs by more than 1e-5, a gradient norm by more than 1e-4,
or a goal, which is for 48 pairs, is missed.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import contest, workload
from benchmarks.contest import Benchmark, Contestant, Parity, Run
from benchmarks.workload import Row

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback
BATCH, PAIRS = 8, 48
LOSS, NORM = 1e-5, 1e-4
_COMPARED = 2**20
"""Most elements of a matrix whose gradient is kept and compared."""


class Learned(NamedTuple):
    losses: list[float]
    norms: list[float]
    gradients: dict[str, Any]
    """Gradients of the first step, as the optimizer received them; of a large model, those of small matrices."""


def contestants(options: argparse.Namespace, folder: Path) -> list[Contestant]:
    def prepare(ours: bool, packed: bool = False, checkpointing: bool = False) -> Callable[[list[Row]], Run]:
        return lambda rows: _training(folder, _data(folder, rows, ours), options, packed, checkpointing)

    goal = 3.0 if options.pairs >= PAIRS else None  # fewer pairs differ less in length
    return [
        Contestant("TRL, packed by xlrm", prepare(True, packed=True)),
        Contestant("TRL", prepare(False), goal, less_memory=0.8),
        Contestant("TRL, best settings", lambda rows: prepare(False)(by_length(rows)), compared=False),
        Contestant("TRL, padded by xlrm", prepare(True), once=True),
        Contestant("TRL, gradient checkpointing", prepare(False, checkpointing=True), once=not options.shipped),
    ]


def by_length(rows: list[Row]) -> list[Row]:
    """The rows from short to long, by the longer conversation."""
    return sorted(
        rows, key=lambda row: len(row["prompt"].split()) + max(len(text.split()) for text in row["responses"])
    )


def training_of_pairs(folder: Path, rows: list[Row], options: argparse.Namespace) -> Run:
    """A training of the reward model in `folder` as this project does it."""
    return _training(folder, _data(folder, rows, ours=True), options, packed=True, checkpointing=False)


def _data(folder: Path, rows: list[Row], ours: bool) -> "Dataset":
    """Pairs as the stage `reward` gives them to TRL, or as messages."""
    from datasets import Dataset

    from xlrm.models import loading
    from xlrm.training import columns

    if not ours:
        return Dataset.from_list(workload.messages(rows))
    pairs = [{"prompt": row["prompt"], "chosen": row["responses"][0], "rejected": row["responses"][1]} for row in rows]
    return Dataset.from_dict(columns.pairs(loading.load_tokenizer(folder), pairs, 16384, margin=False))


def _training(folder: Path, data: "Dataset", options: argparse.Namespace, packed: bool, checkpointing: bool) -> Run:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, PrinterCallback
    from trl import RewardConfig, RewardTrainer

    from xlrm.models.packing import model as packing

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32", **contest.attention(folder)).to(
        options.device
    )
    if packed:
        packing.enable(model)
    arguments = RewardConfig(**recipe(options, options.batch) | {"gradient_checkpointing": checkpointing})
    keeper = first_gradients()
    trainer = RewardTrainer(
        model, arguments, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(folder), callbacks=[keeper]
    )

    trainer.remove_callback(PrinterCallback)

    def train() -> tuple[float, Learned]:
        seconds, _ = contest.timed(trainer.train, options)
        return seconds, learned(trainer, keeper)

    return train


def recipe(options: argparse.Namespace, batch: int = BATCH) -> dict[str, Any]:
    """Arguments of both trainers."""
    return {
        "output_dir": tempfile.gettempdir(), "save_strategy": "no", "per_device_train_batch_size": batch,
        "num_train_epochs": 1, "max_length": None, "bf16": options.dtype == "bfloat16", "use_cpu": options.device == "cpu",
        "gradient_checkpointing": False, "learning_rate": 1e-4, "logging_steps": 1, "report_to": [], "disable_tqdm": True,
        "seed": 0, "train_sampling_strategy": "sequential",
    }  # fmt: skip


def first_gradients() -> "TrainerCallback":
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):
        def __init__(self) -> None:
            self.gradients: dict[str, Any] = {}

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
            if not self.gradients:
                weights = ((name, one) for name, one in model.named_parameters() if one.numel() <= _COMPARED)
                named = ((name, one.grad) for name, one in weights if one.grad is not None)
                self.gradients = {name: gradient.detach().to("cpu", copy=True) for name, gradient in named}

    return Keeper()


def learned(trainer: Any, keeper: Any) -> Learned:
    log = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    losses, norms = ([float(one[name]) for one in log] for name in ("loss", "grad_norm"))
    return Learned(losses, norms, keeper.gradients)


def parity(ours: Learned, theirs: Learned, options: argparse.Namespace) -> Parity:
    loss, norm = (
        max(abs(one - other) / abs(other) for one, other in zip(a, b, strict=True))
        for a, b in ((ours.losses, theirs.losses), (ours.norms, theirs.norms))
    )
    gradient = max(float((ours.gradients[name] - one).abs().max()) for name, one in theirs.gradients.items())
    return Parity(f"{loss:.1e}, {norm:.1e}, {gradient:.1e}", loss <= LOSS and norm <= NORM)


BENCHMARK = Benchmark(
    "benchmarks.reward_training_speed", "Training a reward model", contestants, workload.pairs, parity,
    passes=3,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    found = contest.parser(__doc__, count=PAIRS, layers=2)
    add_options(found)
    return found


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=BATCH, help="pairs in a batch")
    parser.add_argument("--shipped", action="store_true", help="time TRL with its defaults in every round")


def main() -> int:
    return contest.main(BENCHMARK, parser().parse_args())


if __name__ == "__main__":
    sys.exit(main())
