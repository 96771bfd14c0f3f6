"""Ranks sampled responses with each reward model; the best and worst response to a prompt form a preference pair."""

import itertools
from pathlib import Path
from typing import Any

from xlrm.evaluation import rankings
from xlrm.evaluation.rankings import Dropped, Ranking
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
    chats = [chat_templates.conversation(of.row["prompt"], text) for of in ranked for text in of.texts]
    for path in reward_models:
        engines.check(path, config)
    written: list[Tokens] = []
    before: tuple[Any, int] = (None, 0)
    cut = 0
    rewards: dict[str, list[list[float]]] = {}
    labelers = {}
    for labeler, path in zip(config.labelers, reward_models, strict=True):
        scorer = parallel.load(path, config)
        if scorer.max_length != before[1] or not loading.same_text(before[0], scorer.tokenizer):
            written, before = scorer.tokens(chats), (scorer.tokenizer, scorer.max_length)
            scorer.say_cut("rank", len(chats))
            cut = len(scorer.cut)
        each = iter(scorer.score(written, Journal.beside(output, labeler)))
        del scorer
        loading.free_gpu()
        rewards[labeler] = [list(itertools.islice(each, len(of.texts))) for of in ranked]
        pairs = [row for of, given in zip(ranked, rewards[labeler], strict=True) if (row := rankings.pair(of, given))]
        write_jsonl(output / f"{labeler}.jsonl", pairs)
        labelers[labeler] = rankings.summary(ranked, pairs, cut)
        labelers[labeler].write(output / labeler)
    write_jsonl(output / "rewards.jsonl", rankings.reward_rows(ranked, rewards))
    result = Ranking(
        language=config.language, labelers=labelers, agreements=rankings.agreements(rewards),
        **rankings.counts(ranked, config.language),
    )  # fmt: skip
    result.write(output)
    return result.metrics
