"""Judges aligned policies against the policy before alignment, from their responses to the same prompts."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from xlrm.errors import ConfigError
from xlrm.evaluation import win_rates
from xlrm.evaluation.results import JudgeResults
from xlrm.scorers.judges import pairwise, table
from xlrm.store.fields import NotCounted
from xlrm.store.jsonl import write_jsonl


class Config(pairwise.PolicySettings):
    """Besides its own fields those of generative judges, which the phrasebook's ignores."""

    language: str
    """Language of the responses."""
    labelers: tuple[str, ...]
    """Reward models that the candidate policies were aligned to, in the order in which the policies were sampled."""
    judge: str | None = None
    """phrasebook (knows the right answers to its own prompts), or a generative model as in `external.models`, such as
    gpt-4o, served=MODEL_ID or self-taught=FOLDER; null leaves the aligned policies unjudged."""
    max_usd: Annotated[float | None, NotCounted] = Field(None, ge=0)
    """Budget for a judge at an endpoint, for each language: the stage does not start if its estimate is above it or the
    price is unknown, and stops when the cost is above it."""

    @field_validator("judge")
    @classmethod
    def _known(cls, judge: str | None) -> str | None:
        try:
            if judge is not None:
                table.find(judge)
        except ConfigError as error:
            raise ValueError(f"{error.message}; {error.hint or table.ALLOWED}, or null for no verdicts") from error
        return judge


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {
        "reference": (f"0/eval/{config.language}.jsonl",),
        "candidates": tuple(f"{i}/eval/{config.language}.jsonl" for i in range(len(config.labelers))),
    }


def fingerprint(config: Config) -> str:
    return table.fingerprint(config.judge, config)


def run(config: Config, *, reference: Path, candidates: Path, output: Path) -> dict[str, float]:
    """Writes verdicts.jsonl and results.json. A run that was stopped continues with the questions that the judge has
    not answered yet. Raises ConfigError without a judge, DataError for responses to different prompts, and the errors of
    `table.judge`."""
    if config.judge is None:
        raise ConfigError(
            "null, which leaves this stage out of a pipeline",
            where="judge.judge",
            hint=f"there are {table.ALLOWED}",
        )
    pairs = {
        labeler: win_rates.pairs(reference / "0", candidates / str(place), config.language)
        for place, labeler in enumerate(config.labelers)
    }
    every = [pair for of_labeler in pairs.values() for pair in of_labeler]
    verdicts = table.judge(config.judge, config, every, config.language)
    judgements, records, results = iter(verdicts.judgements), [], {}
    for labeler, of_labeler in pairs.items():
        judged = [(pair, next(judgements)) for pair in of_labeler]
        records += [win_rates.record(labeler, *verdict) for verdict in judged]
        results[labeler] = win_rates.win_rate([judgement for _, judgement in judged])
    write_jsonl(output / "verdicts.jsonl", records)
    cost = win_rates.cost_of(verdicts)
    JudgeResults(language=config.language, judge=config.judge, cost=cost, results=results).write(output)
    return win_rates.metrics(results, cost)
