"""Win rates of aligned policies against the policy before alignment, and the judges that decide on them.

A judge is one that knows the right answers (`xlrm.scorers.judges.gold`), or a generative model with the prompt of its
row (`xlrm.scorers.judges.pairwise`). Response a is the policy's before alignment, response b the aligned one's.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xlrm import progress
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation.results import Cost, WinRate
from xlrm.evaluation.statistics import mean_interval
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
    judgements: list[Judgement]
    cost: Cost | None
    """Questions, tokens and dollars of a generative judge; None for others."""


def judge(entry: str, settings: pairwise.Settings, pairs: Sequence[Pair], language: str) -> Verdicts:
    """Raises ConfigError for a judge that cannot be asked or is too expensive, ArtifactError for one that is
    unavailable, GateError for one that refuses too many questions or costs too much."""
    model = find(entry)
    if model is None:
        return Verdicts(JUDGES[entry].judge(pairs, language), None)
    asked = pairwise.load(model, settings, SECTION)
    pairwise.prepare({model.name: asked}, pairs, settings, SECTION)
    with contextlib.closing(asked):
        judgements = asked.judge(pairs)
    progress.say(f"{SECTION}[{model.name}]: {asked.cost}")
    return Verdicts(judgements, Cost(**asked.cost.as_json()))


def pairs(reference: Sequence[dict], candidate: Sequence[dict]) -> list[Pair]:
    """The first responses of two policies to each prompt; rows as `samples.read` returns them. Raises DataError for
    responses to different prompts, and for a prompt of several turns."""
    aligned = {row["id"]: row for row in candidate}
    if different := aligned.keys() ^ {row["id"] for row in reference}:
        raise DataError("only one of two policies answers this prompt", where="judge", value=min(different))
    return [
        Pair.of(row["id"], row["prompt"], row["responses"][0], aligned[row["id"]]["responses"][0]) for row in reference
    ]


def win_rate(judgements: Sequence[Judgement]) -> WinRate:
    """Mean of (preference - 1). A draw or an unreadable verdict is half a win (alpaca_eval, RewardBench)."""
    import numpy as np

    mean, low, high = mean_interval(np.array([judgement.preference - 1 for judgement in judgements]))
    draws = sum(judgement.preference == 1.5 and not judgement.unreadable for judgement in judgements)
    return WinRate(
        win_rate=mean, interval=(low, high), items=len(judgements), draws=draws,
        verdicts=sum(len(judgement.verdicts) for judgement in judgements),
        unreadable=sum(judgement.unreadable for judgement in judgements),
    )  # fmt: skip


def metrics(results: Mapping[str, WinRate], cost: Cost | None) -> dict[str, float]:
    """Flat metrics: win rate and unreadable verdicts by reward model, and the cost in US dollars if it is known."""
    rates = {f"win_rate/{name}": result.win_rate for name, result in results.items()}
    rates |= {f"unreadable/{name}": float(result.unreadable or 0) for name, result in results.items()}
    return rates if cost is None or cost.usd is None else rates | {"usd": cost.usd}


def record(labeler: str, pair: Pair, judgement: Judgement) -> dict:
    """A row of verdicts.jsonl."""
    return {
        "id": pair.id, "labeler": labeler, "prompt": pair.prompt, "base": pair.a, "aligned": pair.b,
        "preference": judgement.preference, "base_first": list(judgement.a_first),
    } | judgement.record()  # fmt: skip
