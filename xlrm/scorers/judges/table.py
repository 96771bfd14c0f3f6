"""Who judges: what an entry of `judge.judge` names, its version, and the one door to its verdicts.

A judge is one that knows the right answers (`xlrm.scorers.judges.gold`), or a generative model with the prompt of its
row (`xlrm.scorers.judges.pairwise`).
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from xlrm import progress
from xlrm.errors import ConfigError
from xlrm.models import reward_models
from xlrm.models.reward_models import REWARD_MODELS, RewardModel
from xlrm.scorers.judges import pairwise
from xlrm.scorers.judges.gold import JUDGES
from xlrm.scorers.judges.pairs import Judgement, Pair

SECTION = "judge"
"""Section of an experiment with the judge and its settings, for messages."""
_ENTRIES = [
    f"{row.name}[=MODEL]" if row.repository else f"{row.name}=MODEL"
    for row in REWARD_MODELS.values()
    if row.kind == "generative"
]
ALLOWED = ", ".join([*JUDGES, *_ENTRIES])
"""Entries that `find` takes, for messages."""


def find(entry: str) -> RewardModel | None:
    """The generative model of `entry`, as `external.models` names it; None for a judge that knows the right answers.
    Raises ConfigError for anything else."""
    if entry in JUDGES:
        return None
    if not reward_models.in_table(entry) or (model := reward_models.find(entry)).kind != "generative":
        raise ConfigError("no such judge", hint=f"there are {ALLOWED}")
    return model


def fingerprint(entry: str | None, settings: pairwise.Settings) -> str:
    """Version of a generative judge, because a name stays the same when a folder or the newest commit on the Hub
    changes; empty for others."""
    model = find(entry) if entry else None
    return (pairwise.version(model, settings) if model else None) or ""


@dataclass(frozen=True)
class Verdicts:
    """What a judge said."""

    judgements: list[Judgement]
    """In the order of the pairs."""
    cost: pairwise.Cost | None
    """Questions, tokens and dollars of a generative judge; None for others."""


def judge(entry: str, settings: pairwise.Settings, pairs: Sequence[Pair], language: str) -> Verdicts:
    """The verdicts of `entry` on `pairs`, whose responses are in `language`. Raises ConfigError for a judge that cannot
    be asked or is too expensive, ArtifactError for one that is unavailable, GateError for one that refuses too many
    questions or costs too much."""
    model = find(entry)
    if model is None:
        return Verdicts(JUDGES[entry].judge(pairs, language), None)
    asked = pairwise.load(model, settings, SECTION)
    pairwise.prepare({model.name: asked}, pairs, settings, SECTION)
    with contextlib.closing(asked):
        judgements = asked.judge(pairs)
    progress.say(f"{SECTION}[{model.name}]: {asked.cost}")
    return Verdicts(judgements, asked.cost)
