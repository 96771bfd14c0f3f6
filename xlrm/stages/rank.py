"""Ranks sampled responses with each reward model; the best and worst response to a prompt form a preference pair."""

from pathlib import Path

from xlrm.evaluation import rankings
from xlrm.evaluation.rankings import Dropped, Ranking
from xlrm.models import samples as sampled
from xlrm.scorers import labelers
from xlrm.scorers.interface import Scoring
from xlrm.store.jsonl import write_jsonl


class Config(Scoring):
    language: str
    """Language of the responses."""
    labelers: tuple[str, ...]
    """Names of the reward models, in their input order: the languages they were trained in."""
    unfinished: Dropped = "drop"
    """drop: a response that was cut at the limit of new tokens is in no pair, as a policy should not learn to write half an
    answer, or that half an answer is bad; keep: it is ranked like the others (paper A does not say)."""
    other_language: Dropped = "keep"
    """keep: responses are ranked whatever language they are in, as in paper A; drop: one that was identified as another
    language is in no pair."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"samples": (sampled.file(0, "train", config.language),)}


def run(config: Config, *, samples: list[Path], reward_models: list[Path], output: Path) -> dict[str, float]:
    """Writes {labeler}.jsonl with the preference pairs, {labeler}/pairs.json with their counts, rewards.jsonl with every
    response that was ranked and its rewards, and ranking.json. Each prompt gives a pair of its best and worst response, the
    first of equals; none if it has fewer than two responses to rank, or only equal texts or equal rewards."""
    rows = sampled.read(samples, 0, "train", config.language)
    ranked = [rankings.candidates(row, config.language, config.unfinished, config.other_language) for row in rows]
    answered = [(of.row["prompt"], of.texts) for of in ranked]
    rewards: dict[str, list[list[float]]] = {}
    summaries = {}
    for labeler, given, cut in labelers.label(answered, config.labelers, reward_models, config, output, "rank"):
        rewards[labeler] = given
        pairs = [row for of, own in zip(ranked, given, strict=True) if (row := rankings.pair(of, own))]
        write_jsonl(output / f"{labeler}.jsonl", pairs)
        summaries[labeler] = rankings.summary(ranked, pairs, cut)
        summaries[labeler].write(output / labeler)
    write_jsonl(output / "rewards.jsonl", rankings.reward_rows(ranked, rewards))
    result = Ranking(
        language=config.language, labelers=summaries, agreements=rankings.agreements(rewards),
        **rankings.counts(ranked, config.language),
    )  # fmt: skip
    result.write(output)
    return result.metrics
