"""Checks for settings that cannot work together although each is valid by itself. They run when an experiment is
loaded, before anything costs money, and use only what this machine knows without a network. For a model that is in no
table and in no local folder, lengths are checked by the first stage that trains it, before it begins.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from xlrm.data import catalog
from xlrm.data.catalog import EVAL_PROMPTS, PARALLEL, PREFERENCES, PROMPTS, PUBLISHED_PARALLEL, SPOKEN, Dataset
from xlrm.data.corpus_schema import is_judgment
from xlrm.errors import ConfigError
from xlrm.evaluation import benchmarks
from xlrm.evaluation.reward_table import CORPUS
from xlrm.languages import LANGUAGES
from xlrm.models import base_models, reward_models
from xlrm.models.base_models import TINY
from xlrm.run import budget, judges
from xlrm.run.sections import OF_A_CORPUS, POLICY, Experiment, stage_config
from xlrm.run.steps import steps
from xlrm.scorers.judges import pairwise
from xlrm.scorers.judges.gold import JUDGES
from xlrm.store.row_files import Reading
from xlrm.tracking import named_models
from xlrm.training import columns
from xlrm.translation import translators
from xlrm.translation.effort import PROMPT_TOKENS

Stages = Collection[str]
"""Stages that the pipeline runs."""
Check = Callable[[Experiment, Stages], Iterator[ConfigError]]
"""Yields an error for each problem, with section.field and the value."""

_NAME = re.compile(r"[^/\\\x00-\x1f]{1,200}")


def check(experiment: Experiment, pipeline: str, where: str) -> None:
    """Raises ConfigError, one line that begins with `where`, for the first problem."""
    stages = {step.stage for step in steps(pipeline, experiment).values()}
    for rule in CHECKS:
        for problem in rule(experiment, stages):
            raise problem.within(f"{where}: ")
    for problem in budget.problems(experiment, pipeline):
        raise problem.within(f"{where}: ")


def name_of_files(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    if not _NAME.fullmatch(asked.name) or asked.name in (".", ".."):
        yield ConfigError(
            "reports and logs are named by it; up to 200 characters without / and \\ are allowed", where="name", value=asked.name
        )  # fmt: skip


def required_fields(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Fields without a default that neither the experiment nor the pipeline gives."""
    for stage in sorted(stages):
        for given in [{"language": code} for code in asked.translated] if stage == "translate" else [{}]:
            try:
                asked.config(stage, **given)
            except ConfigError as error:
                yield error


def sets_of_the_corpus(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Datasets that are unknown or not in the corpus's language."""
    for where, config in _corpora(asked):
        table: Mapping[str, Dataset]
        for field, table in (
            ("preferences", PREFERENCES), ("benchmark", benchmarks.TABLE), ("prompts", PROMPTS),
            ("eval_prompt_set", EVAL_PROMPTS), ("decontaminate", benchmarks.HELD_OUT), ("parallel", PARALLEL),
        ):  # fmt: skip
            for entry in _entries(getattr(config, field)):
                try:
                    catalog.check(table, entry, hub_too=field == "preferences")
                    row = catalog.find(table, entry)
                except ConfigError as error:
                    yield error.within(f"{where}.{field}: ")
                    continue
                if row and config.language not in row.languages:
                    whose = "the source language" if where == "curate" else "the language of this corpus"
                    yield ConfigError(
                        f"a dataset in {config.language!r}, {whose}, is required",
                        where=f"{where}.{field}", value=entry, hint=f"it is in {', '.join(row.languages)}",
                    )  # fmt: skip


def tables_of_the_corpora(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Tables that the source needs, and tables of other languages that it lacks."""
    (_, source), *others = _corpora(asked)
    for field in ("preferences", "benchmark"):
        if not getattr(source, field):
            yield ConfigError("required for the source language", where=f"curate.{field}", value=getattr(source, field))
    for where, config in others:
        for field in OF_A_CORPUS:
            if getattr(config, field) and not getattr(source, field):
                yield ConfigError(
                    f"the source has none; name one in curate.{field}, or leave this out",
                    where=f"{where}.{field}", value=getattr(config, field),
                )  # fmt: skip


def _corpora(asked: Experiment) -> list[tuple[str, Any]]:
    """(section, config of `curate`) of the source's corpus, then of each language's own."""
    own = [(f"corpora.{code}", stage_config("curate", asked.corpus(code))) for code in asked.corpora]
    return [("curate", asked.config("curate")), *own]


def translators_languages(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Languages that their translator does not know; for the phrasebook also datasets other than its own sentences."""
    source, translated = LANGUAGES[asked.source], asked.translated
    for code, names in translated.items():
        translator = asked.config("translate", language=code).translator
        if translator == "x-alma":
            try:
                translators.x_alma_model(source, LANGUAGES[code])
            except ConfigError:
                yield ConfigError(
                    f"X-ALMA has no model for {source.name} to {LANGUAGES[code].name}",
                    where="translate.translator", value=translator,
                    hint=f"it translates between English and any language with an x_alma_group, and {_groups()}",
                )  # fmt: skip
        if translator == "phrasebook":
            yield from _phrasebooks(asked, code, names)


def _phrasebooks(asked: Experiment, target: str, names: Collection[str]) -> Iterator[ConfigError]:
    """What the phrasebook cannot translate of these tables."""
    for code in (asked.source, target):
        if code not in SPOKEN:
            yield ConfigError(
                f"the phrasebook has no language {code!r}",
                where="translate.translator", value="phrasebook", hint=f"it has {', '.join(SPOKEN)}",
            )  # fmt: skip
    for field, entry in _other_sets(asked, names):
        own = f", or give corpora.{target} a dataset in {LANGUAGES[target].name}"
        yield ConfigError(
            f"the phrasebook translates only its own sentences, but curate.{field} is {entry!r}",
            where="translate.translator", value="phrasebook", hint=f"set x-alma, or the Hub id or folder of a model{own}",
        )  # fmt: skip


def _groups() -> str:
    groups: dict[int, list[str]] = {}
    for row in LANGUAGES.values():
        if row.x_alma_group is not None:
            groups.setdefault(row.x_alma_group, []).append(row.name)
    return "between " + ", ".join(" and ".join(names) for names in groups.values() if len(names) > 1)


def _other_sets(asked: Experiment, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """(field of curate, entry) of datasets other than the phrasebook that these tables are made of. A file may hold its
    sentences, so files are left out."""
    config = asked.config("curate")
    for field in ("preferences", "benchmark", "prompts", "eval_prompt_set", "parallel"):
        table = "prompts" if field == "eval_prompt_set" else field
        for entry in _entries(getattr(config, field)) if table in names else ():
            if entry != "phrasebook" and not catalog.is_file(entry):
                yield field, entry


def tiny_models_languages(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    for section in _models(asked, stages):
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


def lengths(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Lengths beyond the context of the model that reads them."""
    for section, limits in _models(asked, stages).items():
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


def _models(asked: Experiment, stages: Stages) -> dict[str, tuple[tuple[str, str], ...]]:
    """Section of a model -> (stage, field) of the lengths that it reads or writes."""
    limits: dict[str, tuple[tuple[str, str], ...]] = {
        "base": (
            ("reward", "max_length"), ("evaluate", "max_length"), ("rank", "max_length"), ("represent", "max_length"),
        ),
    }  # fmt: skip
    if "align" in stages:
        limits[POLICY] = (("sample", "max_new_tokens"), ("align", "max_length"))
    return limits


def lengths_of_translations(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Segments that do not fit into the translator's context with the prompt and the translation, at one token a
    character."""
    if "translate" not in stages:
        return
    config = asked.config("translate")
    if config.translator == "phrasebook" or not asked.translated:
        return
    context = translators.X_ALMA_CONTEXT if config.translator == "x-alma" else base_models.context(config.translator)
    room = context and context - config.longest_segment - PROMPT_TOKENS
    if room is not None and config.max_new_tokens > room:
        yield ConfigError(
            f"{config.translator} reads {context} tokens, the prompt and translate.longest_segment="
            f"{config.longest_segment} included; at most {max(room, 0)} allowed",
            where="translate.max_new_tokens", value=config.max_new_tokens,
        )  # fmt: skip


def limits_of_translations(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    limits = asked.stages.get("translate", {}).get("limits")
    if limits is not None:
        yield ConfigError("it is now validate.limits, for both stages", where="translate.limits", value=limits)


def names_of_models(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Names of a form that no model has. Whether a folder is there depends on the machine that reads it."""
    for section in _models(asked, stages):
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
            if judge.engine != "endpoint" and settings.max_new_tokens >= settings.context:
                yield ConfigError(
                    f"less than {section}.context={settings.context} is allowed, which also holds the question",
                    where=f"{section}.max_new_tokens", value=settings.max_new_tokens,
                )  # fmt: skip
            priced = judge.engine != "endpoint" or pairwise.price_of(judge.model, settings)
            if settings.max_usd is not None and not priced:
                yield pairwise.unpriced([judge.model.name], settings, section)


def published_benchmarks(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Benchmarks that are unknown, have the same name or are in no language of the experiment, and benchmarks that the
    gate needs but `evaluate` does not use."""
    config = asked.config("evaluate")
    for entry in config.benchmarks:
        try:
            catalog.check(benchmarks.TABLE, entry)
            row = catalog.find(benchmarks.TABLE, entry)
        except ConfigError as error:
            yield error.within("evaluate.benchmarks: ")
            continue
        if row and not set(row.languages) & set(asked.languages):
            yield ConfigError(
                f"a benchmark in a language of this experiment ({', '.join(asked.languages)}) is required",
                where="evaluate.benchmarks", value=entry, hint=f"it is in {', '.join(row.languages)}",
            )  # fmt: skip
    labels = [CORPUS, *map(benchmarks.label, config.benchmarks)]
    for label, count in Counter(labels).items():
        if count > 1:
            yield ConfigError(
                f"{count} benchmarks have this name; each needs its own, and {CORPUS!r} is the corpus's",
                where="evaluate.benchmarks", value=label,
            )  # fmt: skip
    for label in asked.config("register").benchmarks:
        if label not in labels:
            yield ConfigError(
                "a benchmark of evaluate.benchmarks is required",
                where="register.benchmarks", value=label, hint=f"there are {', '.join(labels)}",
            )  # fmt: skip


def parallel_texts(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    if "represent" not in stages:
        return
    entry = asked.config("represent").parallel
    row = catalog.find(PUBLISHED_PARALLEL, entry) if entry else None
    for code in asked.languages:
        if row and code not in row.languages:
            yield ConfigError(
                f"a dataset in {code!r} is required",
                where="represent.parallel", value=entry, hint=f"it is in {', '.join(row.languages)}",
            )  # fmt: skip


def judges_prompts(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    judge = JUDGES.get(asked.config("judge").judge or "")
    if "judge" not in stages or judge is None:  # a generative judge reads any prompt
        return
    for where, curated in _corpora(asked):
        field = "eval_prompt_set" if curated.eval_prompt_set else "prompts"
        entry = getattr(curated, field)
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
    if sample.temperature == 0:
        yield ConfigError(
            "above 0 is required; at 0 all responses to a prompt are equal and make no pair to align on",
            where="sample.temperature", value=sample.temperature,
        )  # fmt: skip
    if prompts and align.batch_size > prompts:
        yield ConfigError(
            f"at most curate.train_prompts={prompts} is allowed, because each prompt gives at most one pair",
            where="align.batch_size", value=align.batch_size,
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
    for stage in ("reward", "align"):
        config = asked.config(stage)
        if stage in stages and config.processes and config.batch_size % config.processes:
            yield ConfigError(
                f"a multiple of {stage}.processes={config.processes} is required, because the processes share the batch",
                where=f"{stage}.batch_size", value=config.batch_size,
            )  # fmt: skip


def losses(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """A loss of pairs for a file of single judgments, if the file is there to look at."""
    curated = asked.config("curate")
    for entry in curated.preferences if "reward" in stages else ():
        if catalog.is_file(entry) and os.path.isfile(entry):
            first = catalog.first_row(entry, Reading(curated.columns, curated.encoding))
            try:
                columns.check_loss(asked.config("reward").loss, is_judgment(first), entry)
            except ConfigError as error:
                yield error


def _entries(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Entries of a field, without `heldout`, which names no dataset."""
    return tuple(
        entry for entry in ((value,) if isinstance(value, str) else value or ()) if entry != benchmarks.HELDOUT
    )


CHECKS: tuple[Check, ...] = (
    name_of_files, required_fields, sets_of_the_corpus, tables_of_the_corpora, translators_languages, tiny_models_languages,
    published_benchmarks, parallel_texts, judges_prompts, judges.turns, names_of_models, models_from_elsewhere, generative_judges,
    lengths, lengths_of_translations, limits_of_translations, pairs_to_align_on, batches, losses,
)  # fmt: skip
