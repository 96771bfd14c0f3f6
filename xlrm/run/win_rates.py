"""Checks of how an experiment's policies are judged, before it runs."""

from collections.abc import Iterator
from typing import Any

from xlrm.data import catalog
from xlrm.errors import ConfigError
from xlrm.evaluation import length_control
from xlrm.run.data_readiness import Check, Stages
from xlrm.run.sections import Experiment


def settings(experiment: Experiment, language: str) -> dict[str, Any]:
    """Fields of the stage `judge` that follow from others: the language's equal part of the budget, no length control where
    that is not valid, and the name of the reference if that is not the policy before alignment."""
    whole = experiment.setting("judge", "max_usd")
    budget = {} if whole is None else {"max_usd": whole / len(experiment.aligned)}
    controlled = language == length_control.LANGUAGE or experiment.setting("judge", "length_control") is None
    elsewhere = experiment.stages.get("reference") or {}
    name = elsewhere.get("served") or elsewhere.get("given")
    return budget | ({} if controlled else {"length_control": None}) | ({"reference": name} if name else {})


def runs(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Runs that would repeat each other: of the same responses, in the same orders, by a judge that does not sample."""
    judged, sampled = asked.config("judge"), asked.config("sample").runs
    if "judge" in stages and judged.runs > sampled and judged.orders == "both" and not judged.temperature:
        yield ConfigError(
            f"at most sample.runs={sampled} is allowed, the number of responses to each prompt; further runs would repeat",
            where="judge.runs", value=judged.runs,
            hint=f"set sample.runs={judged.runs} and sample.judged_temperature, or judge.temperature above 0",
        )  # fmt: skip


def length_controlled(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Length control without a language or prompts for which it is valid, or without its file."""
    entry = asked.config("judge").length_control
    if "judge" not in stages or entry is None:
        return
    refusals = [length_control.refusal(entry, language) for language in asked.aligned]
    if all(refusals):
        yield from filter(None, refusals[:1])
        return
    curated = asked.config("curate")
    prompts = asked.config("sample").eval_prompts or curated.eval_prompt_set or curated.prompts
    if prompts and not catalog.is_file(prompts) and prompts.partition("=")[0].partition("@")[0] != "alpacaeval":
        yield ConfigError(
            f"it is valid only on AlpacaEval's own prompts, and policies are judged on {prompts!r}",
            where=length_control.FIELD, value=entry, hint="sample.eval_prompts=alpacaeval, or null, which leaves it out",
        )  # fmt: skip
    try:
        length_control.file(entry)
    except ConfigError as error:
        yield error


CHECKS: tuple[Check, ...] = (runs, length_controlled)
