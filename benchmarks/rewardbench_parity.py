"""Compares the rewards of this project with those of the rewardbench package's own command, pair by pair.

python -m benchmarks.rewardbench_parity [--venv DIR] [--data DIR] [--json FILE]

Two tiny reward models with weights from a seed, one built like Llama 3.2 (scaled rotary positions, and a template that
writes BOS in addition to the tokenizer's), one like Qwen2.5, on 300 real pairs, in fp32. Exits with 1 if a reward
differs by more than 2e-5 or any verdict differs. Creates the package's environment if there is none.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import record
from benchmarks.defects import SHARED_DATA

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOLERANCE = 2e-5
REQUIREMENTS = Path(__file__).with_name("requirements-rewardbench.txt")
ORACLE = Path(__file__).with_name("rewardbench_oracle.py")
VENV = Path(os.environ.get("XLRM_REWARDBENCH_VENV") or ".xlrm/venvs/rewardbench")
TEMPLATES = {
    "llama": (
        "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
        "{{ message['content'] }}<|eot_id|>{% endfor %}"
    ),
    "qwen2": "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}",
}
MARKUP = {
    "llama": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|pad|>"],
    "qwen2": ["<|im_start|>", "<|im_end|>", "<|pad|>"],
}
_SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 16384, "num_labels": 1, "problem_type": "regression",
}  # fmt: skip


@dataclass(frozen=True)
class Parity:
    """Results for one model and batch size."""

    model: str
    batch_size: int
    pairs: int
    difference: float
    """Largest difference of a reward."""
    verdicts: int
    """Number of equal verdicts."""
    spread: float
    """Standard deviation of the rewards, for comparison with the difference."""
    seconds: float
    """Seconds of the package's command."""

    @property
    def passed(self) -> bool:
        return self.difference <= TOLERANCE and self.verdicts == self.pairs


def make_model(folder: Path, kind: str, texts: Iterator[str] | list[str], seed: int = 0) -> None:
    """Saves a tiny reward model, with weights that depend on the seed alone, in the project's format."""
    import torch
    from transformers import AutoModelForSequenceClassification, LlamaConfig, Qwen2Config

    from xlrm.models.transformers4 import write_older_names

    config: LlamaConfig | Qwen2Config
    tokenizer = _tokenizer(kind, texts)
    ids: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }
    if kind == "llama":  # rotary positions of Llama 3.2's config.json
        rope: dict[str, Any] = {
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }  # fmt: skip
        config = LlamaConfig(**_SIZES, **ids, rope_parameters=rope)
    else:
        rope = {"rope_type": "default", "rope_theta": 1000000.0}
        config = Qwen2Config(**_SIZES, **ids, rope_parameters=rope)
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    draw_weights(model, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_older_names(folder)


def draw_weights(model: "PreTrainedModel", seed: int) -> None:
    """Draws matrices with standard deviation 1 / sqrt(inputs), and embeddings with 1; other weights keep their
    initial values."""
    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if weight.ndim == 2:
                scale = 1.0 if "embed" in name else weight.shape[1] ** -0.5
                weight.copy_(torch.from_numpy((scale * rng.standard_normal(weight.shape)).astype("float32")))


def _tokenizer(kind: str, texts: Iterator[str] | list[str]) -> Any:
    """Byte-level BPE with 1,024 tokens, of the class that transformers loads for models of the kind."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    markup = MARKUP[kind]
    named = {"eos_token": markup[-2], "pad_token": markup[-1]}
    if kind == "qwen2":
        tokenizer = Qwen2Tokenizer().train_new_from_iterator(texts, 1024, new_special_tokens=markup)
        tokenizer.eos_token, tokenizer.pad_token = named.values()
    else:
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=1024, special_tokens=markup, initial_alphabet=alphabet)
        bpe.train_from_iterator(texts, trainer)
        first = [(markup[0], bpe.token_to_id(markup[0]))]
        bpe.post_processor = processors.TemplateProcessing(single=f"{markup[0]} $A", special_tokens=first)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=bpe, bos_token=markup[0], extra_special_tokens=markup[:-2], **named
        )
    tokenizer.chat_template = TEMPLATES[kind]
    return tokenizer


def ours(model: Path, pairs: list[dict], batch_tokens: int = 8192) -> list[tuple[float, float]]:
    """Rewards of (chosen, rejected) from the code that the stage runs; nothing is truncated, as by the package's
    default."""
    from xlrm.evaluation.reward_table import score_items
    from xlrm.scorers import engines
    from xlrm.scorers.interface import Scoring

    scorer = engines.load(model, Scoring(max_length=16384, batch_tokens=batch_tokens))
    return [(chosen[0], rejected[0]) for chosen, rejected in score_items(pairs, scorer)]


def theirs(python: Path, model: Path, pairs: list[dict], batch_size: int) -> list[dict]:
    with tempfile.TemporaryDirectory() as name:
        given, output = Path(name) / "pairs.jsonl", Path(name) / "rewards.json"
        given.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
        command = [
            *map(str, (python.absolute(), ORACLE.absolute(), "score", model.absolute(), given, output, batch_size))
        ]
        done = subprocess.run(
            command, cwd=name, env=clean_environment(name), capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"the rewardbench package could not score {model}:\n{done.stderr[-3000:]}")
        return json.loads(output.read_text(encoding="utf-8"))


def clean_environment(cache: str) -> dict[str, str]:
    """Environment variables without this project's modules on the path, and with a temporary cache."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return kept | {"HF_DATASETS_CACHE": cache, "HF_HOME": cache}


def compare(python: Path, model: Path, pairs: list[dict], batch_size: int) -> Parity:
    import numpy as np

    started = time.monotonic()
    found = theirs(python, model, pairs, batch_size)
    seconds = time.monotonic() - started
    mine, other = np.array(ours(model, pairs)), np.array([(one["chosen"], one["rejected"]) for one in found])
    agree = sum((chosen > rejected) == one["won"] for (chosen, rejected), one in zip(mine, found, strict=True))
    difference = float(abs(mine - other).max())
    return Parity(model.name, batch_size, len(pairs), difference, int(agree), float(mine.std()), seconds)


def environment(folder: Path) -> Path:
    """The Python of the package's environment, which is created if there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {REQUIREMENTS.name} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS], check=True)
    return python


def read_pairs(data: Path, count: int) -> list[dict]:
    """`count` of the real pairs at equal distances, so that all subsets occur."""
    rows = [json.loads(line) for line in (data / "rewardbench_mini_en.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: rows[i * len(rows) // count][key] for key in ("prompt", "chosen", "rejected")} for i in range(count)]


def measure(python: Path, data: Path, count: int, batch_sizes: list[int], new_names_only: bool = False) -> list[Parity]:
    pairs = read_pairs(data, count)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in TEMPLATES:
            make_model(Path(folder) / kind, kind, [pair[side] for pair in pairs for side in pair])
            if new_names_only:
                _forget_old_names(Path(folder) / kind / "config.json")
            found += [compare(python, Path(folder) / kind, pairs, size) for size in batch_sizes]
    return found


def _forget_old_names(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in config.items() if key not in ("rope_theta", "rope_scaling")}
    path.write_text(json.dumps(kept), encoding="utf-8")


def write_golden(python: Path, output: Path, count: int = 20) -> None:
    """Writes the package's results for synthetic pairs, together with the pairs."""
    from xlrm.data.catalog import load_pairs

    rows = [row for code in ("en", "ko") for row in load_pairs("phrasebook", code, count // 2, 0).rows]
    pairs = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows]
    golden: dict = {
        "source": "rewardbench 0.1.4, by benchmarks/rewardbench_oracle.py score",
        "pairs": pairs,
        "rewards": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for kind in TEMPLATES:
            make_model(Path(folder) / kind, kind, [pair[side] for pair in pairs for side in pair])
            golden["rewards"][kind] = theirs(python, Path(folder) / kind, pairs, batch_size=4)
    output.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    found = record.parser(__doc__)
    found.add_argument(
        "--venv", type=Path, default=VENV, help="virtual environment with rewardbench (XLRM_REWARDBENCH_VENV)"
    )
    found.add_argument("--data", type=Path, default=SHARED_DATA, help="folder with rewardbench_mini_en.jsonl")
    found.add_argument("--pairs", type=int, default=300)
    found.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    found.add_argument(
        "--new-names-only", action="store_true", help="write rotary positions only under transformers 5's names"
    )
    found.add_argument("--golden", type=Path, help="only write the package's rewards of generated pairs to this file")
    return found


def main() -> int:
    given = parser().parse_args()
    if given.golden:
        write_golden(environment(given.venv), given.golden)
        return 0
    found = measure(environment(given.venv), given.data, given.pairs, given.batch_sizes, given.new_names_only)
    print("model   batch  pairs  max |difference|  same verdicts  std of rewards  seconds (package)")
    for one in found:
        print(
            f"{one.model:7} {one.batch_size:5}  {one.pairs:5}  {one.difference:16.2e}  {one.verdicts:13}  "
            f"{one.spread:14.2f}  {one.seconds:17.0f}"
        )
    missed = [f"parity of {one.model}, batch size {one.batch_size}" for one in found if not one.passed]
    record.write(__spec__.name, given, {"measured": [asdict(one) for one in found]}, missed)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
