"""Checks for settings that cannot work together although each is valid by itself. They run when an experiment is
loaded, before anything costs money.

They use only what this machine knows without a network. For a model that is in no table and in no local folder, lengths
are checked by the first stage that trains it, `reward` or `align`, before it begins.
"""

import re
from collections.abc import Iterator

from xlrm.data import catalog
from xlrm.data.catalog import PREFERENCES, SPOKEN
from xlrm.data.demonstrations import AS_PROMPTS
from xlrm.errors import ConfigError
from xlrm.languages import LANGUAGES
from xlrm.models import base_models, reward_models
from xlrm.models.base_models import TINY
from xlrm.run import (
    budget,
    data_readiness,
    judge_readiness,
    judges,
    published_sets,
    response_readiness,
    reuse_readiness,
)
from xlrm.run.data_readiness import Check, Stages
from xlrm.run.sections import CROSS_LINGUAL, POLICY, REUSE, Experiment
from xlrm.run.steps import steps
from xlrm.scorers.judges import gold, pairwise, table
from xlrm.scorers.judges.gold import JUDGES
from xlrm.tracking import named_models

_NAME = re.compile(r"[^/\\\x00-\x1f]{1,200}")


def check(experiment: Experiment, pipeline: str, where: str) -> None:
    """Raises ConfigError, one line that begins with `where`, for the first problem."""
    try:
        stages = {step.stage for step in steps(pipeline, experiment).values()}
    except ConfigError as error:  # of a translator, on which the steps between languages depend
        raise error.within(f"{where}: ") from error
    for rule in CHECKS:
        for problem in rule(experiment, stages):
            raise problem.within(f"{where}: ")
    for problem in budget.problems(experiment, pipeline):
        raise problem.within(f"{where}: ")


def name_of_files(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    if not _NAME.fullmatch(asked.name) or asked.name in (".", ".."):
        yield ConfigError(
            "reports and logs are named by it; up to 200 characters without / and \\ are allowed",
            where="name",
            value=asked.name,
        )


def required_fields(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Fields without a default that neither the experiment nor the pipeline gives."""
    for stage in sorted(stages):
        targets = asked.aligned if asked.pipeline == REUSE else asked.translated
        for given in [{"language": code} for code in targets] if stage == "translate" else [{}]:
            try:
                asked.config(stage, **given)
            except ConfigError as error:
                code = given.get("language", "")
                missing = ", ".join(name for name in asked.translated.get(code, ()) if name != "heldout")
                yield error.within("", missing and f"or name {missing} in {LANGUAGES[code].name} in corpora.{code}")


def tiny_models_languages(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    for section in _models(stages):
        config = asked.config(section)
        if config.model == TINY:
            spoken = config.pretraining.languages
            for code in spoken:
                if code not in SPOKEN:
                    yield ConfigError(
                        f"the phrasebook has no language {code!r}",
                        where=f"{section}.pretraining.languages", value=spoken, hint=f"it has {', '.join(SPOKEN)}",
                    )  # fmt: skip
            for code in asked.languages:
                if code not in spoken:
                    yield ConfigError(
                        f"{code!r}, a language of this experiment, is missing",
                        where=f"{section}.pretraining.languages", value=spoken, hint="name every language of the experiment",
                    )  # fmt: skip


def tuning(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Chats to tune another model on than the tiny one of the section base."""
    base = asked.config("base")
    if base.tuning:
        yield ConfigError(
            "reward models are trained from the pretrained model", where="base.tuning", hint="set policy.tuning instead"
        )
    elif asked.config(POLICY).tuning and base.model != TINY:
        yield ConfigError(
            f"only {TINY} can be tuned on chats", where="base.model", value=base.model,
            hint="set policy.tuning=null and policy.model",
        )  # fmt: skip


def lengths(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Lengths beyond the context of the model that reads them."""
    for section, limits in _models(stages).items():
        model = asked.config(section).model
        context = base_models.context(model)
        if context is None:
            continue
        for stage, field in [(stage, field) for stage, field in limits if stage in stages]:
            value, room = getattr(asked.config(stage), field), int(field == "max_new_tokens")
            if value > context - room:
                yield ConfigError(
                    f"{model} reads {context} tokens{', the prompt included' if room else ''}; at most {context - room} allowed",
                    where=f"{stage}.{field}", value=value,
                )  # fmt: skip


def _models(stages: Stages) -> dict[str, tuple[tuple[str, str], ...]]:
    """Section of a model -> (stage, field) of the lengths that it reads or writes."""
    limits: dict[str, tuple[tuple[str, str], ...]] = {
        "base": tuple(
            (stage, "max_length") for stage in ("reward", "evaluate", "rank", "represent", "best_of_n", "gains")
        )
    }
    if "sft" in stages:
        limits["base"] += (
            ("sft", "max_prompt_length"), ("sft", "max_response_length"), ("sample", "max_new_tokens"), ("rl", "max_length"),
        )  # fmt: skip
    if "align" in stages:
        limits[POLICY] = (("sample", "max_new_tokens"), ("align", "max_length"), ("rl", "max_length"))
    return limits


def names_of_models(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Names of a form that no model has. Whether a folder is there depends on the machine that reads it."""
    for section in _models(stages):
        model = asked.config(section).model
        try:
            if model != TINY:
                named_models.check_form(model)
        except ConfigError as error:
            yield error.within(f"{section}.model: ")


def models_from_elsewhere(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    config = asked.config("external")
    if "external" not in stages or not config.models:
        return
    try:
        reward_models.find_all(name for name in config.models if not name.startswith(("/", ".")))
    except ConfigError as error:
        yield error.within("external.models: ")


def generative_judges(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Judges of this machine without room for a question, and served ones without the price that a budget needs."""
    for stage in ("external", "judge"):
        for judge in judges.generative(stage, asked.config(stage)) if stage in stages else ():
            settings, section = judge.settings, judge.section
            if judge.engine != "endpoint" and judge.max_new_tokens >= settings.context:
                yield ConfigError(
                    f"less than {section}.context={settings.context} is allowed, which also holds the question",
                    where=f"{section}.max_new_tokens", value=judge.max_new_tokens,
                )  # fmt: skip
            priced = judge.engine != "endpoint" or pairwise.price_of(judge.model, settings)
            if settings.max_usd is not None and not priced:
                yield pairwise.unpriced([judge.model.name], settings, section)


def judges_prompts(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Prompts and languages that a judge cannot read; a model and people read any."""
    for name in table.split(asked.config("judge").judge) if "judge" in stages else ():
        if name in JUDGES:
            yield from _reads_prompts(asked, JUDGES[name])


def _reads_prompts(asked: Experiment, judge: gold.Judge) -> Iterator[ConfigError]:
    for where, curated in data_readiness.corpora(asked):
        field = "eval_prompt_set" if curated.eval_prompt_set else "prompts"
        field = "demonstrations" if curated.prompts == AS_PROMPTS else field
        value = getattr(curated, field)
        entry = value[0] if isinstance(value, tuple) else value
        if published := asked.config("sample").eval_prompts:
            where, field, entry = "sample", "eval_prompts", published
        if judge.prompts is not None and entry and entry not in judge.prompts and not catalog.is_file(entry):
            yield ConfigError(
                f"this judge reads only prompts of {', '.join(judge.prompts)}, but {where}.{field} is {entry!r}",
                where="judge.judge", value=judge.name, hint="null aligns without verdicts",
            )  # fmt: skip
    for code in asked.aligned:
        if judge.languages is not None and code not in judge.languages:
            yield ConfigError(
                f"this judge does not read {code!r}",
                where="judge.judge", value=judge.name, hint=f"it reads {', '.join(judge.languages)}",
            )  # fmt: skip


def pairs_to_align_on(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Settings that give no preference pairs: a pair is the best and the worst of several different responses."""
    if "align" not in stages:
        return
    sample, align, prompts = asked.config("sample"), asked.config("align"), asked.config("curate").train_prompts
    if sample.samples < 2:
        yield ConfigError(
            "2 or more responses to a prompt are required to make a pair to align on",
            where="sample.samples", value=sample.samples,
        )  # fmt: skip
    if sample.temperature == 0 and not sample.given:
        yield ConfigError(
            "above 0 is required; at 0 all responses to a prompt are equal and make no pair to align on",
            where="sample.temperature", value=sample.temperature,
        )  # fmt: skip
    if prompts and align.batch_size > prompts:
        yield ConfigError(
            f"at most curate.train_prompts={prompts} is allowed, because each prompt gives at most one pair",
            where="align.batch_size", value=align.batch_size,
        )  # fmt: skip


def prompts_to_learn_on(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Settings of reinforcement learning that leave it without a step, or its policies with the same reward server."""
    if "rl" in asked.stages and "rl" not in stages:
        yield ConfigError(
            f"needs curate.prompts, the prompts to train on, and the pipeline {CROSS_LINGUAL} or {REUSE}", where="rl"
        )
    if "rl" not in stages:
        return
    config, prompts = asked.config("rl"), asked.config("curate").train_prompts
    if prompts and config.batch_size > prompts * config.group:
        yield ConfigError(
            f"at most curate.train_prompts={prompts} x rl.group={config.group} is allowed, because a step has a prompt once",
            where="rl.batch_size", value=config.batch_size,
        )  # fmt: skip
    if config.reward_url and "{labeler}" not in config.reward_url and set(asked.aligned) - {asked.source}:
        yield ConfigError(
            "{labeler} is missing, in whose place the name of each policy's reward model is put: they are several",
            where="rl.reward_url", value=config.reward_url,
        )  # fmt: skip


def batches(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Batches that are larger than the data or cannot be divided among the processes. GPUs that only a placement knows
    are checked in `components.hardware`."""
    curated, reward = asked.config("curate"), asked.config("reward")
    most = [curated.pairs or getattr(catalog.find(PREFERENCES, name), "size", None) for name in curated.preferences]
    pairs = None if None in most else max(1, round(curated.train_share * sum(filter(None, most))))
    if pairs and reward.batch_size > pairs * (1 + (reward.loss == "pointwise")):
        yield ConfigError(
            f"more than the {pairs} pairs that curate.pairs and curate.train_share leave for training",
            where="reward.batch_size", value=reward.batch_size,
        )  # fmt: skip
    for stage in ("sft", "reward", "align", "rl"):
        config = asked.config(stage)
        if stage in stages and config.processes and config.batch_size % config.processes:
            yield ConfigError(
                f"a multiple of {stage}.processes={config.processes} is required, because the processes share the batch",
                where=f"{stage}.batch_size", value=config.batch_size,
            )  # fmt: skip


CHECKS: tuple[Check, ...] = (
    name_of_files, *reuse_readiness.CHECKS, required_fields, *data_readiness.CHECKS,
    tiny_models_languages, tuning, published_sets.further_benchmarks,
    published_sets.parallel_texts, published_sets.prompts, judges_prompts, names_of_models,
    models_from_elsewhere, generative_judges, *judge_readiness.CHECKS, lengths, pairs_to_align_on, response_readiness.responses,
    prompts_to_learn_on, batches, data_readiness.losses,
)  # fmt: skip
