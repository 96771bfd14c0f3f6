"""Evaluates one reward model on the benchmark of every language."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from xlrm.rows import read_rows, write_jsonl
from xlrm.statistics import accuracies, intervals, length_baseline


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str | None = None
    """Language the reward model was trained in, for labels only; none for a model from elsewhere."""
    languages: tuple[str, ...] = ("en",)
    """Languages to evaluate on."""
    max_length: int = Field(2048, ge=16)
    """Tokens; a longer conversation loses its beginning."""
    batch_tokens: int = Field(8192, ge=256)
    """Tokens in a batch, padding included; rewards do not depend on it."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/benchmark.jsonl" for language in config.languages)}


def run(config: Config, *, model: Path, corpora: Path, output: Path) -> dict[str, float]:
    from xlrm import models

    reward_model, tokenizer = models.load_reward_model(model), models.load_tokenizer(model)
    metrics, results, scores = {}, {}, []
    for language in config.languages:
        rows = read_rows(corpora / language / "benchmark.jsonl", ("prompt", "chosen", "rejected", "section"))
        result, scored = evaluate(reward_model, tokenizer, rows, config.max_length, config.batch_tokens)
        results[language] = result
        scores += [{"language": language, **row} for row in scored]
        for name, value in result["accuracy"].items():
            metrics[f"accuracy/{language}/{_slug(name)}"] = value
    write_jsonl(output / "scores.jsonl", scores)
    (output / "results.json").write_text(json.dumps({"language": config.language, "results": results}, indent=2))
    own = metrics.get(f"accuracy/{config.language}/average")
    return ({"own_accuracy": own} if own is not None else {}) | metrics


def evaluate(model, tokenizer, rows: list[dict], max_length: int, batch_tokens: int) -> tuple[dict, list[dict]]:
    """Accuracies with intervals beside the length baseline, and each row's rewards. `rows` as a benchmark's."""
    import numpy as np

    from xlrm.scoring import conversation, score

    sides = [conversation(row["prompt"], row[side]) for side in ("chosen", "rejected") for row in rows]
    rewards = np.array(score(model, tokenizer, sides, max_length, batch_tokens)).reshape(2, -1)
    correct = (rewards[0] > rewards[1]).astype(float)
    result = {
        "items": len(rows),
        "accuracy": accuracies(rows, correct),
        "interval": intervals(rows, correct),
        "length_baseline": accuracies(rows, np.array(length_baseline(rows))),
    }
    scored = [
        {"id": row["id"], "subset": row["subset"], "section": row["section"], "chosen": c, "rejected": r}
        for row, c, r in zip(rows, rewards[0].tolist(), rewards[1].tolist(), strict=True)
    ]
    return result, scored


def _slug(name: str) -> str:
    return name.lower().replace(" ", "_")
