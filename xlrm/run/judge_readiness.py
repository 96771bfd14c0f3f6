"""Checks of what judges read, and of how an experiment's policies are judged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xlrm.data import catalog, conversations
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import length_control
from xlrm.run import judges
from xlrm.run.data_readiness import Check, Stages
from xlrm.run.sections import REFERENCE, Experiment
from xlrm.scorers.judges import table
from xlrm.store.local_copies import S3
from xlrm.store.row_files import Reading


def turns(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """A judge that compares answers to single questions, for a file whose first prompt has several turns, if the file is
    there to look at."""
    curated = asked.config("curate")
    field = "eval_prompt_set" if curated.eval_prompt_set else "prompts"
    names = table.of_single_questions(asked.config("judge")) if "judge" in stages else ()
    if names and _asks_turns(curated, field):
        yield _of_turns("judge.judge", ", ".join(names), f"curate.{field}", "null aligns without verdicts")
    every = judges.generative("external", asked.config("external")) if "external" in stages else []
    external = [judge for judge in every if not judge.settings.reads_threads(judge.model)]
    if external and _asks_turns(curated, "benchmark"):
        yield _of_turns(
            "external.models", external[0].model.name, "curate.benchmark", "name reward models, which read them"
        )


def files(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Files that judging reads and that are not on this machine. A rubric is read when the section is."""
    config = asked.config("judge")
    for language in asked.aligned if "judge" in stages else ():
        for name in table.named_files(config.judge, config, language):
            if not name.startswith(S3) and not Path(name).is_file():
                of_references = name == (config.references or "").replace("{language}", language)
                yield ConfigError(
                    "no such file", where="judge.references" if of_references else "judge.judge", value=name,
                    hint="a path here, or s3://bucket/key",
                )  # fmt: skip


def runs(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Runs that would repeat each other: of the same responses, by judges that say the same each time."""
    if "judge" not in stages:
        return
    config, sections = asked.config("judge"), ("sample", *([REFERENCE] if asked.stages.get(REFERENCE) else []))
    responses = max(asked.config(section).runs for section in sections)
    if config.runs > responses and not any(judge.varies for judge in judges.generative("judge", config)):
        yield ConfigError(
            f"at most sample.runs={responses} is allowed, the number of responses to each prompt; further runs would repeat",
            where="judge.runs", value=config.runs, hint=f"set sample.runs={config.runs} and sample.judged_temperature",
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


def _of_turns(where: str, name: str, prompts: str, hint: str) -> ConfigError:
    message = f"a judge compares answers to single questions, and {prompts} has prompts of several turns"
    return ConfigError(message, where=where, value=name, hint=hint)


def _asks_turns(curated: Any, field: str) -> bool:
    entry = getattr(curated, field)
    if not (entry and catalog.is_file(entry) and Path(entry).is_file()):
        return False
    first = catalog.first_row(entry, Reading(curated.columns, curated.encoding))
    try:
        return not isinstance(conversations.prompt(first.get("prompt")), str)
    except DataError:  # `curate` says so
        return False


CHECKS: tuple[Check, ...] = (turns, files, runs, length_controlled)
