"""Win rates of aligned policies against the policy before alignment, from a judge's verdicts
(`xlrm.scorers.judges.table`). Response a is the policy's before alignment, response b the aligned one's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from xlrm.errors import DataError
from xlrm.evaluation.results import Cost, WinRate
from xlrm.evaluation.statistics import mean_interval
from xlrm.scorers.judges.pairs import Judgement, Pair
from xlrm.scorers.judges.table import Verdicts
from xlrm.store.jsonl import read_rows


def pairs(reference: Path, candidate: Path, language: str) -> list[Pair]:
    """The responses of two policies, each in the folder that `sample` wrote for it. Raises DataError for responses to
    different prompts, and for a prompt of several turns."""
    base, aligned = (_responses(policy / "eval" / f"{language}.jsonl") for policy in (reference, candidate))
    if aligned.keys() != base.keys():
        values = (str(candidate.parent), str(reference.parent))
        raise DataError("do not answer the same prompts", where="judge", value=values)
    return [Pair.of(i, row["prompt"], row["responses"][0], aligned[i]["responses"][0]) for i, row in base.items()]


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


def cost_of(verdicts: Verdicts) -> Cost | None:
    """What the verdicts took, as results.json has it; None for a judge that is not a model."""
    return Cost(**verdicts.cost.as_json()) if verdicts.cost else None


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


def _responses(path: Path) -> dict[str, dict]:
    return {row["id"]: row for row in read_rows(path, ("id", "prompt", "responses"))}
