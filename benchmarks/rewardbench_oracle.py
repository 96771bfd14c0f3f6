"""Reference results of the rewardbench package. Runs in its own environment (benchmarks/requirements-rewardbench.txt)
and imports nothing of this project.

python benchmarks/rewardbench_oracle.py score MODEL PAIRS.jsonl OUTPUT.json BATCH_SIZE
python benchmarks/rewardbench_oracle.py serve MODEL DEVICE DTYPE THREADS
python benchmarks/rewardbench_oracle.py rewardbench-2 OUTPUT.json
"""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAYS = {
    "run_rm": (64, "right", {"truncation": True, "max_length": 2048}),
    "command": (8, "left", {"truncation": False, "max_length": 512}),
}
"""(pairs in a batch, side of the padding, arguments of the pipeline) in the repository's scripts/run_rm.py, which is
not part of the package, and in its command, rewardbench/rewardbench.py."""


def score(model: str, pairs: str, output: str, batch_size: str) -> None:
    """Writes rewards of the package's command in fp32: `rewardbench --load_json --not_quantized --torch_dtype float32`.

    Its pipeline always moves inputs to "cuda"; without a GPU, that move goes to the CPU instead.
    """
    os.environ |= {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import torch
    from rewardbench.rewardbench import main

    if not torch.cuda.is_available():
        _to_the_cpu()
    rows = [json.loads(line) for line in Path(pairs).read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        # The package writes its files beside the model, so it gets a link to the model.
        (Path(folder) / "model").symlink_to(Path(model).resolve())
        data = Path(folder) / "pairs.jsonl"
        data.write_text("".join(json.dumps(_messages(row)) + "\n" for row in rows), encoding="utf-8")
        sys.argv = [
            "rewardbench", f"--model={folder}/model", f"--dataset={data}", "--load_json", "--not_quantized",
            "--torch_dtype=float32", f"--batch_size={batch_size}", f"--output_dir={folder}",
        ]  # fmt: skip
        main()
        lines = (Path(folder) / "model_outputs.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    kept = [{"chosen": r["scores_chosen"], "rejected": r["scores_rejected"], "won": bool(r["results"])} for r in found]
    Path(output).write_text(json.dumps(kept), encoding="utf-8")


def _to_the_cpu() -> None:
    from transformers import BatchEncoding

    move = BatchEncoding.to

    def moved(self: Any, device: Any, **more: Any) -> Any:
        return move(self, "cpu" if device == "cuda" else device, **more)

    BatchEncoding.to = moved  # type: ignore[method-assign]  # for this process alone


def serve(model: str, device: str, dtype: str, threads: str) -> None:
    """Loads a model as the package does, then scores the pairs in each line of standard input, and prints the time
    taken."""
    os.environ |= {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # any other output goes to standard error
    import torch
    from accelerate import Accelerator
    from rewardbench import REWARD_MODEL_CONFIG
    from transformers import AutoTokenizer

    torch.set_num_threads(int(threads))
    if device == "cpu":
        _to_the_cpu()
    config, tokenizer = REWARD_MODEL_CONFIG["default"], AutoTokenizer.from_pretrained(model)
    loaded = config["model_builder"](model, device_map={"": device}, torch_dtype=getattr(torch, dtype))
    pipe = config["pipeline_builder"]("text-classification", model=loaded, tokenizer=tokenizer)
    accelerator = Accelerator(cpu=device == "cpu")
    pipe.model = accelerator.prepare(pipe.model)
    for line in sys.stdin:
        asked = json.loads(line)
        texts = _texts(asked["pairs"], tokenizer)
        idle = _idle(device)
        clock = time.process_time if asked.get("clock") == "processor" else time.perf_counter
        begun = clock()
        found = _score(pipe, texts, asked["way"], accelerator)
        found["seconds"] = clock() - begun
        found["peak"] = _peak(device) - idle
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def _texts(pairs: list[dict], tokenizer: Any) -> Any:
    """Conversations formatted by the package's own function; not timed."""
    from datasets import Dataset
    from rewardbench.utils import prepare_dialogue_from_tokenizer

    rows = [row | {"prompt": [{"role": "user", "content": row["prompt"]}]} for row in pairs]
    written = [prepare_dialogue_from_tokenizer(row, tokenizer) for row in rows]
    return Dataset.from_list([{side: row[side] for side in ("text_chosen", "text_rejected")} for row in written])


def _score(pipe: Any, texts: Any, way: str, accelerator: Any) -> dict:
    """The package's loop: padded batches in file order; for each batch the chosen, then the rejected responses."""
    from torch.utils.data import DataLoader

    batch_size, side, more = WAYS[way]
    pipe.tokenizer.padding_side, pipe.tokenizer.truncation_side = side, "left"
    arguments = {"batch_size": batch_size, "padding": True, "function_to_apply": "none", "return_token_type_ids": False}
    batches = DataLoader(texts, batch_size=batch_size, shuffle=False, drop_last=False)
    if way == "run_rm":
        batches = accelerator.prepare(batches)
    rewards = []
    for batch in batches:
        both = [
            pipe(batch[name], **arguments, **more).float().cpu().numpy()[:, 0].tolist()
            for name in ("text_chosen", "text_rejected")
        ]
        rewards += list(zip(*both))  # noqa: B905 - equal lengths
    return {"rewards": rewards, "won": [chosen > rejected for chosen, rejected in rewards]}


def _idle(device: str) -> float:
    """MiB held now; resets the peak."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    return _held("VmRSS")


def _peak(device: str) -> float:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return _held("VmHWM")


def _held(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def _messages(row: dict) -> dict:
    """A pair in the package's format: both sides as whole conversations."""
    return {
        side: [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row[side]}]
        for side in ("chosen", "rejected")
    }


def rewardbench_2(output: str) -> None:
    """Writes verdicts on random rewards, including equal ones, prompts of Ties without a partner, and tied prompts
    with one right response."""
    from datasets import Dataset
    from rewardbench.utils import process_single_model, reroll_and_score_dataset

    rng = random.Random(7)
    ties = []
    for case in range(12):
        rows = _ties_rows(rng, step=rng.choice([0.5, None]), lift=rng.choice([0, 1, 3]), gaps=case % 4 == 3)
        given = [{"id": r["id"], "scores": r["chosen"] + r["rejected"], "num_correct": len(r["chosen"])} for r in rows]
        _, found = process_single_model(Dataset.from_list(given))
        if found == found:  # the package returns nan if no prompt has both of its rows
            ties.append({"rows": rows, "score": float(found)})
    best = []
    for _ in range(60):
        rewards = [float(rng.randint(0, 3)) for _ in range(rng.randint(2, 5))]
        rows = Dataset.from_list([{"text": "x", "scores": reward, "id": "1"} for reward in rewards])
        credit = float(reroll_and_score_dataset(rows, [len(rewards)])[0]["results"])
        best.append({"chosen": rewards[:1], "rejected": rewards[1:], "credit": credit})
    source = (
        "rewardbench 0.1.4, rewardbench/utils.py: process_single_model, reroll_and_score_dataset; rewards at random"
    )
    Path(output).write_text(json.dumps({"source": source, "ties": ties, "best_of_n": best}), encoding="utf-8")


def _ties_rows(rng: random.Random, step: float | None, lift: float, gaps: bool) -> list[dict]:
    def reward(mean: float) -> float:
        drawn = rng.gauss(mean, 1)
        return round(drawn / step) * step if step else drawn

    rows = []
    for number in range(rng.randint(1, 12)):
        for kind in ("ref", "tied"):
            right = 1 if kind == "ref" or rng.random() < 0.05 else rng.randint(2, 6)
            if not (gaps and rng.random() < 0.25):
                sides = {"chosen": (right, lift), "rejected": (rng.randint(1, 7), 0)}
                rows.append(
                    {"id": f"{kind}:{number}"} | {k: [reward(m) for _ in range(n)] for k, (n, m) in sides.items()}
                )
    return rows


if __name__ == "__main__":
    commands: dict[str, Callable] = {"score": score, "serve": serve, "rewardbench-2": rewardbench_2}
    commands[sys.argv[1]](*sys.argv[2:])
