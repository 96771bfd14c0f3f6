"""Rewards of the same responses by several reward models, one after the other."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xlrm.errors import ConfigError
from xlrm.models import chat_templates, loading
from xlrm.models.decoding import Prompt
from xlrm.scorers import engines, parallel
from xlrm.scorers.interface import Scoring, Tokens
from xlrm.scorers.reward_journal import Journal


class Labelled(NamedTuple):
    """A reward model's rewards."""

    name: str
    rewards: list[list[float]]
    """A list for each prompt, with a reward for each of its responses."""
    cut: int
    """Conversations that were longer than the reward model reads, and lost one of their ends."""


def check(names: Sequence[str], folders: Sequence[Path], step: str, models: str = "reward_models") -> None:
    """Raises ConfigError for names that are not one for each model, or that two models have."""
    if len(folders) != len(names):
        message = f"one for each of the names {', '.join(names) or '(none)'} is required"
        raise ConfigError(message, where=f"{step}.{models}", value=len(folders))
    if len(set(names)) < len(names):
        raise ConfigError("each name is allowed once", where=f"{step}.labelers", value=tuple(names))


def label(
    answered: Sequence[tuple[Prompt, Sequence[str]]], names: Sequence[str], folders: Sequence[Path], scoring: Scoring,
    output: Path, step: str,
) -> Iterator[Labelled]:  # fmt: skip
    """Yields the rewards by each reward model. `answered`: prompts with their responses; equal responses to a prompt are
    scored once, and those to the same prompt share its computation where the model packs (`xlrm.models.packing`).
    `output`: the stage's folder, beside which rewards are saved for a run that continues; `step`: for the log.

    Raises ConfigError, before any model is loaded, as `check` does and for settings that do not fit a model or this machine, and
    ArtifactError for a folder without a reward model and for a reward that is not finite."""
    check(names, folders, step)
    texts = [list(dict.fromkeys(responses)) for _, responses in answered]
    chats = [
        chat_templates.conversation(prompt, text)
        for (prompt, _), own in zip(answered, texts, strict=True)
        for text in own
    ]
    for folder in folders:
        engines.check(folder, scoring)
    tokens: list[Tokens] = []
    before: tuple[Any, int] = (None, 0)
    cut = 0
    for name, folder in zip(names, folders, strict=True):
        scorer = parallel.load(folder, scoring)
        if scorer.max_length != before[1] or not loading.same_text(before[0], scorer.tokenizer):
            tokens, before = scorer.tokens(chats), (scorer.tokenizer, scorer.max_length)
            scorer.say_cut(step, len(chats))
            cut = len(scorer.cut)
        each = iter(scorer.score(tokens, Journal.beside(output, name)))
        del scorer
        loading.free_gpu()
        known = [dict(zip(own, itertools.islice(each, len(own)), strict=True)) for own in texts]
        yield Labelled(
            name,
            [[of[text] for text in responses] for of, (_, responses) in zip(known, answered, strict=True)],
            cut,
        )
