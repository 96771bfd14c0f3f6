"""Judges aligned policies against the policy before alignment, from their responses to the same prompts."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from xlrm.errors import ConfigError, DataError
from xlrm.evaluation.results import JudgeResults, WinRate
from xlrm.evaluation.statistics import mean_interval
from xlrm.scorers.judges.gold import JUDGES
from xlrm.scorers.judges.pairs import Pair
from xlrm.store.jsonl import read_rows, write_jsonl


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str
    """Language of the responses."""
    labelers: tuple[str, ...]
    """Reward models that the candidate policies were aligned to, in the order in which the policies were sampled."""
    judge: str | None = "phrasebook"
    """Name of a judge in `xlrm.scorers.judges.gold`; null leaves the aligned policies unjudged."""

    @field_validator("judge")
    @classmethod
    def _known(cls, judge: str | None) -> str | None:
        if judge is not None and judge not in JUDGES:
            raise ValueError(f"no such judge; there are {', '.join(JUDGES)}, or null for no verdicts")
        return judge


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {
        "reference": (f"0/eval/{config.language}.jsonl",),
        "candidates": tuple(f"{i}/eval/{config.language}.jsonl" for i in range(len(config.labelers))),
    }


def run(config: Config, *, reference: Path, candidates: Path, output: Path) -> dict[str, float]:
    """Writes verdicts.jsonl and results.json. The win rate is mean(preference - 1); a draw is half a win (alpaca_eval).
    Raises ConfigError without a judge, and DataError for responses to different prompts."""
    import numpy as np

    if config.judge is None:
        raise ConfigError(
            "null, which leaves this stage out of a pipeline",
            where="judge.judge",
            hint=f"there are {', '.join(JUDGES)}",
        )
    judge = JUDGES[config.judge]
    base = _responses(reference / "0" / "eval" / f"{config.language}.jsonl")
    verdicts, results, metrics = [], {}, {}
    for place, labeler in enumerate(config.labelers):
        aligned = _responses(candidates / str(place) / "eval" / f"{config.language}.jsonl")
        if aligned.keys() != base.keys():
            raise DataError("do not answer the same prompts", where="judge", value=(str(candidates), str(reference)))
        pairs = [Pair(i, row["prompt"], row["responses"][0], aligned[i]["responses"][0]) for i, row in base.items()]
        preferences = judge.prefer(pairs, config.language)
        rows = [_verdict(labeler, *verdict) for verdict in zip(pairs, preferences, strict=True)]
        mean, *interval = mean_interval(np.array(preferences) - 1)
        draws = sum(row["preference"] == 1.5 for row in rows)
        results[labeler] = WinRate(win_rate=mean, interval=tuple(interval), items=len(rows), draws=draws)
        metrics[f"win_rate/{labeler}"] = mean
        verdicts += rows
    write_jsonl(output / "verdicts.jsonl", verdicts)
    JudgeResults(language=config.language, results=results).write(output)
    return metrics


def _responses(path: Path) -> dict[str, dict]:
    return {row["id"]: row for row in read_rows(path, ("id", "prompt", "responses"))}


def _verdict(labeler: str, pair: Pair, preference: float) -> dict:
    return {
        "id": pair.id, "labeler": labeler, "prompt": pair.prompt, "base": pair.a, "aligned": pair.b, "preference": preference,
    }  # fmt: skip
