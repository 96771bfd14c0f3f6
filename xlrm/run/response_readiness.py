"""Checks of where an experiment's responses come from: settings of `sample` and `reference` that do not fit together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xlrm.data import catalog
from xlrm.data.catalog import SPOKEN
from xlrm.data.given_responses import LANGUAGE, PHRASEBOOK, file_of
from xlrm.errors import ConfigError
from xlrm.run.data_readiness import Stages
from xlrm.run.sections import REFERENCE, Experiment


def responses(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Runs that would all be equal, files that lack languages or are not there, and a reference from nowhere."""
    if "sample" not in stages:
        return
    sections = ("sample", *([REFERENCE] if asked.stages.get(REFERENCE) else []))
    for section in sections:
        config = asked.config(section)
        if config.runs > 1 and config.judged_temperature == 0 and not config.given:
            yield ConfigError(
                f"above 0 is required with {section}.runs={config.runs}; at 0 the responses of all runs are equal",
                where=f"{section}.judged_temperature", value=config.judged_temperature,
            )  # fmt: skip
        if config.given and config.served:
            yield ConfigError("not allowed with given responses", where=f"{section}.served", value=config.served)
        yield from _languages(asked, section, config)
    if REFERENCE in sections:
        yield from _reference(asked)


def _languages(asked: Experiment, section: str, config: Any) -> Iterator[ConfigError]:
    where, given = f"{section}.given", config.given or ""
    if len(asked.aligned) > 1 and catalog.is_file(given) and LANGUAGE not in given:
        message = f"{LANGUAGE} is required in the name, because each of {', '.join(asked.aligned)} has a file"
        yield ConfigError(message, where=where, value=given)
    for name in dict.fromkeys(file_of(given, code) for code in asked.aligned) if catalog.is_file(given) else ():
        if "://" not in name and not Path(name).is_file():
            yield ConfigError("no such file", where=where, value=name, hint="a path here, or s3://bucket/key")
    for code in asked.aligned if given == PHRASEBOOK else ():
        if code not in SPOKEN:
            hint = f"it has {', '.join(SPOKEN)}"
            yield ConfigError(f"the phrasebook has no language {code!r}", where=where, value=given, hint=hint)


def _reference(asked: Experiment) -> Iterator[ConfigError]:
    config = asked.config(REFERENCE)
    if not (config.given or config.served):
        hint = "or reference.served, a model at an endpoint"
        yield ConfigError("required in a section `reference`", where=f"{REFERENCE}.given", hint=hint)
    for field, message in _OF_POLICIES.items():
        if field in asked.stages[REFERENCE]:
            yield ConfigError(f"not allowed; {message}", where=f"{REFERENCE}.{field}", value=getattr(config, field))


_OF_POLICIES = {
    "eval_prompts": "what policies are compared with answers the prompts of sample.eval_prompts",
    "samples": "what policies are compared with answers no prompts for alignment",
    "shards": "only the policy before alignment is sampled in parts",
}
"""Field of `sample` without a use in the section `reference` -> why."""
