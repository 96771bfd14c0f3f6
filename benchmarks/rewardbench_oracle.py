"""What the rewardbench package itself says. Runs in its environment (benchmarks/requirements-rewardbench.txt) and imports
nothing of this project.

python benchmarks/rewardbench_oracle.py score MODEL PAIRS.jsonl OUTPUT.json BATCH_SIZE
python benchmarks/rewardbench_oracle.py rewardbench-2 OUTPUT.json
"""

import json
import os
import random
import sys
import tempfile
from pathlib import Path


def score(model: str, pairs: str, output: str, batch_size: str) -> None:
    """Rewards by the package's command, in fp32: `rewardbench --load_json --not_quantized --torch_dtype float32`.

    Its pipeline moves inputs to "cuda" whatever there is; where there is none, that one move goes to the CPU instead.
    """
    os.environ |= {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import torch
    from rewardbench.rewardbench import main
    from transformers import BatchEncoding

    move = BatchEncoding.to
    if not torch.cuda.is_available():
        BatchEncoding.to = lambda self, device, **more: move(self, "cpu" if device == "cuda" else device, **more)
    rows = [json.loads(line) for line in Path(pairs).read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        # The package writes its files beside the model: it is given a link to it.
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


def _messages(row: dict) -> dict:
    """A pair as the package reads it: both sides as whole conversations."""
    return {
        side: [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row[side]}]
        for side in ("chosen", "rejected")
    }


def rewardbench_2(output: str) -> None:
    """Verdicts on random rewards: equal ones, prompts of Ties without a partner, tied prompts of one right response."""
    from datasets import Dataset
    from rewardbench.utils import process_single_model, reroll_and_score_dataset

    rng = random.Random(7)
    ties = []
    for case in range(12):
        rows = _ties_rows(rng, step=rng.choice([0.5, None]), lift=rng.choice([0, 1, 3]), gaps=case % 4 == 3)
        given = [{"id": r["id"], "scores": r["chosen"] + r["rejected"], "num_correct": len(r["chosen"])} for r in rows]
        _, found = process_single_model(Dataset.from_list(given))
        if found == found:  # the package says nan where no prompt has both its rows
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
    {"score": score, "rewardbench-2": rewardbench_2}[sys.argv[1]](*sys.argv[2:])
