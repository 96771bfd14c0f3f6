"""Ranks sampled responses with each reward model; the best and worst response to a prompt form a preference pair."""

from pathlib import Path
from typing import Any

from xlrm.models import chat_templates, loading
from xlrm.models import samples as sampled
from xlrm.scorers import engines, parallel
from xlrm.scorers.interface import Scoring, Tokens
from xlrm.scorers.reward_journal import Journal
from xlrm.store.jsonl import write_jsonl


class Config(Scoring):
    language: str
    """Language of the responses."""
    labelers: tuple[str, ...]
    """Names of the reward models, in their input order: the languages they were trained in."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"samples": (sampled.file(0, "train", config.language),)}


def run(config: Config, *, samples: list[Path], reward_models: list[Path], output: Path) -> dict[str, float]:
    """Writes {labeler}.jsonl with id, prompt, chosen, rejected and their rewards. A prompt whose responses all have
    the same reward or the same text gives no pair."""
    rows = sampled.read(samples, 0, "train", config.language)
    chats = [chat_templates.conversation(row["prompt"], response) for row in rows for response in row["responses"]]
    for path in reward_models:
        engines.check(path, config)
    metrics: dict[str, float] = {}
    written: list[Tokens] = []
    before: tuple[Any, int] = (None, 0)
    cut = 0
    for labeler, path in zip(config.labelers, reward_models, strict=True):
        scorer = parallel.load(path, config)
        if scorer.max_length != before[1] or not loading.same_text(before[0], scorer.tokenizer):
            written, before = scorer.tokens(chats), (scorer.tokenizer, scorer.max_length)
            scorer.say_cut("rank", len(chats))
            cut = len(scorer.cut)
        rewards = iter(scorer.score(written, Journal.beside(output, labeler)))
        del scorer
        loading.free_gpu()
        pairs = [best_and_worst(row, [next(rewards) for _ in row["responses"]]) for row in rows]
        kept = [pair for pair in pairs if pair]
        write_jsonl(output / f"{labeler}.jsonl", kept)
        metrics |= {f"pairs/{labeler}": float(len(kept)), f"cut/{labeler}": float(cut)}
    return metrics


def best_and_worst(row: dict, rewards: list[float]) -> dict | None:
    """Pair of the responses with highest and lowest reward, first of ties; None if equal (paper A, section 4.1)."""
    best, worst = rewards.index(max(rewards)), rewards.index(min(rewards))
    if row["responses"][best] == row["responses"][worst]:
        return None
    return {
        "id": row["id"], "prompt": row["prompt"],
        "chosen": row["responses"][best], "rejected": row["responses"][worst],
        "chosen_reward": rewards[best], "rejected_reward": rewards[worst],
    }  # fmt: skip
