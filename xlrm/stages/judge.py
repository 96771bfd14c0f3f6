"""Judges aligned policies against the policy they came from, by the responses of each to the same prompts."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from xlrm.errors import ConfigError, DataError
from xlrm.judges import JUDGES
from xlrm.rows import read_rows, write_jsonl
from xlrm.statistics import mean_interval


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str
    """Language of the responses."""
    labelers: tuple[str, ...]
    """Names of the candidates, in the order they were sampled in: the reward model each was aligned to."""
    judge: str = "phrasebook"
    """A judge of `xlrm.judges`."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {
        "reference": (f"0/eval/{config.language}.jsonl",),
        "candidates": tuple(f"{i}/eval/{config.language}.jsonl" for i in range(len(config.labelers))),
    }


def run(config: Config, *, reference: Path, candidates: Path, output: Path) -> dict[str, float]:
    """Writes verdicts.jsonl and results.json. A win rate is mean(preference - 1), a draw half a win (alpaca_eval)."""
    import numpy as np

    if config.judge not in JUDGES:
        raise ConfigError(f"judge.judge: no {config.judge!r}; there are {', '.join(JUDGES)}")
    base = _responses(reference / "0" / "eval" / f"{config.language}.jsonl")
    verdicts, results, metrics = [], {}, {}
    for place, labeler in enumerate(config.labelers):
        aligned = _responses(candidates / str(place) / "eval" / f"{config.language}.jsonl")
        if aligned.keys() != base.keys():
            raise DataError(f"judge: {candidates} and {reference} answer different prompts")
        found = [_verdict(config, labeler, i, base[i], aligned[i]) for i in base]
        wins = np.array([row["preference"] - 1 for row in found])
        mean, low, high = mean_interval(wins)
        draws = sum(row["preference"] == 1.5 for row in found)
        results[labeler] = {"win_rate": mean, "interval": [low, high], "items": len(found), "draws": draws}
        metrics[f"win_rate/{labeler}"] = mean
        verdicts += found
    write_jsonl(output / "verdicts.jsonl", verdicts)
    (output / "results.json").write_text(json.dumps({"language": config.language, "results": results}, indent=2))
    return metrics


def _responses(path: Path) -> dict[str, dict]:
    return {row["id"]: row for row in read_rows(path, ("id", "prompt", "responses"))}


def _verdict(config: Config, labeler: str, row_id: str, base: dict, aligned: dict) -> dict:
    a, b = base["responses"][0], aligned["responses"][0]
    preference = JUDGES[config.judge](base["prompt"], a, b, config.language)
    return {
        "id": row_id, "labeler": labeler, "prompt": base["prompt"], "base": a, "aligned": b, "preference": preference,
    }  # fmt: skip
