"""Checks for settings that cannot work together although each is valid by itself. They run when an experiment is
loaded, before anything costs money.

They use only what this machine knows without a network. For a model that is in no table and in no local folder, lengths
are checked by the first stage that trains it, `reward` or `align`, before it begins.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

from xlrm.data import catalog
from xlrm.data.catalog import EVAL_PROMPTS, PARALLEL, PREFERENCES, PROMPTS, PUBLISHED_PARALLEL, SPOKEN, Dataset
from xlrm.errors import ConfigError
from xlrm.evaluation import benchmarks
from xlrm.evaluation.reward_table import CORPUS
from xlrm.languages import LANGUAGES
from xlrm.models import base_models, reward_models
from xlrm.models.base_models import TINY
from xlrm.run import budget, judges
from xlrm.run.sections import POLICY, Experiment
from xlrm.run.steps import steps
from xlrm.scorers.judges import pairwise
from xlrm.scorers.judges.gold import JUDGES
from xlrm.translation import translators
from xlrm.translation.effort import PROMPT_TOKENS

Stages = Collection[str]
"""Stages that the pipeline runs."""
Check = Callable[[Experiment, Stages], Iterator[str]]
"""Yields a message for each problem; it begins with section.field and the value."""

X_ALMA_CONTEXT = 4096
"""`max_position_embeddings` of X-ALMA's config.json."""
_NAME = re.compile(r"[^/\\\x00-\x1f]{1,200}")


def check(experiment: Experiment, pipeline: str, where: str) -> None:
    """Raises ConfigError, one line that begins with `where`, for the first problem."""
    stages = {step.stage for step in steps(pipeline, experiment).values()}
    for rule in CHECKS:
        for problem in rule(experiment, stages):
            raise ConfigError(f"{where}: {problem}")
    for problem in budget.problems(experiment, pipeline):
        raise ConfigError(f"{where}: {problem}")


def name_of_files(asked: Experiment, stages: Stages) -> Iterator[str]:
    if not _NAME.fullmatch(asked.name) or asked.name in (".", ".."):
        yield f"name: {asked.name!r}: reports and logs are named by it; up to 200 characters without / and \\ are allowed"


def sets_of_the_corpus(asked: Experiment, stages: Stages) -> Iterator[str]:
    """Datasets that are unknown or not in the source's language."""
    config = asked.config("curate")
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
                yield f"curate.{field}: {error}"
                continue
            if row and asked.source not in row.languages:
                yield f"curate.{field}: {entry!r} is in {', '.join(row.languages)}, not in {asked.source!r}, the source"


def translators_languages(asked: Experiment, stages: Stages) -> Iterator[str]:
    """Languages that the translator does not know; for the phrasebook also datasets other than its own sentences."""
    config, source = asked.config("translate"), LANGUAGES[asked.source]
    if config.translator == "x-alma":
        for target in asked.targets:
            try:
                translators.x_alma_model(source, LANGUAGES[target])
            except ConfigError:
                yield (
                    f"translate.translator: 'x-alma' has no model for {source.name} to {LANGUAGES[target].name}; it has them "
                    f"between English and any language, and {_groups()}"
                )
    if config.translator == "phrasebook":
        for code in asked.languages:
            if code not in SPOKEN:
                yield f"translate.translator: 'phrasebook' speaks {', '.join(SPOKEN)}, not {code!r}"
        for field, entry in _other_sets(asked):
            yield (
                f"translate.translator: 'phrasebook' translates its own sentences alone, and curate.{field} has {entry!r}; "
                "x-alma or a model's Hub id or folder is wanted"
            )


def _groups() -> str:
    groups: dict[int, list[str]] = {}
    for row in LANGUAGES.values():
        if row.x_alma_group is not None:
            groups.setdefault(row.x_alma_group, []).append(row.name)
    return "between " + ", ".join(" and ".join(names) for names in groups.values() if len(names) > 1)


def _other_sets(asked: Experiment) -> Iterator[tuple[str, str]]:
    """(field of curate, entry) of datasets other than the phrasebook. A file may hold its sentences, so files are left
    out."""
    config = asked.config("curate")
    for field in ("preferences", "benchmark", "prompts", "eval_prompt_set", "parallel"):
        for entry in _entries(getattr(config, field)):
            if entry != "phrasebook" and not catalog.is_file(entry):
                yield field, entry


def tiny_models_languages(asked: Experiment, stages: Stages) -> Iterator[str]:
    for section in _models(asked, stages):
        config = asked.config(section)
        if config.model == TINY:
            spoken = config.pretraining.languages
            for code in spoken:
                if code not in SPOKEN:
                    yield f"{section}.pretraining.languages: {code!r}: the phrasebook is in {', '.join(SPOKEN)}"
            for code in asked.languages:
                if code not in spoken:
                    yield (
                        f"{section}.pretraining.languages: {', '.join(spoken)} are without {code!r}, a language of this "
                        "experiment; all of them are wanted"
                    )


def lengths(asked: Experiment, stages: Stages) -> Iterator[str]:
    """Lengths beyond the context of the model that reads them."""
    for section, limits in _models(asked, stages).items():
        model = asked.config(section).model
        context = base_models.context(model)
        if context is None:
            continue
        for stage, field in limits:
            value, room = getattr(asked.config(stage), field), int(field == "max_new_tokens")
            if stage in stages and value > context - room:
                over = "leaves no room for a prompt in" if room else "is more than"
                yield (
                    f"{stage}.{field}: {value} {over} the {context} tokens that {model} reads; up to {context - room} is "
                    "allowed"
                )


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


def lengths_of_translations(asked: Experiment, stages: Stages) -> Iterator[str]:
    """Segments that do not fit into the translator's context with the prompt and the translation, at one token a
    character."""
    config = asked.config("translate")
    if config.translator == "phrasebook":
        return
    context = X_ALMA_CONTEXT if config.translator == "x-alma" else base_models.context(config.translator)
    room = context and context - config.longest_segment - PROMPT_TOKENS
    if room is not None and config.max_new_tokens > room:
        yield (
            f"translate.max_new_tokens: {config.max_new_tokens} with translate.longest_segment={config.longest_segment} and "
            f"its prompt is more than the {context} tokens of {config.translator}; up to {max(room, 0)} is allowed"
        )


def limits_of_translations(asked: Experiment, stages: Stages) -> Iterator[str]:
    limits = asked.stages.get("translate", {}).get("limits")
    if limits is not None:
        yield f"translate.limits: {limits!r}; it is now validate.limits, for both stages"


def models_from_elsewhere(asked: Experiment, stages: Stages) -> Iterator[str]:
    config = asked.config("external")
    if "external" not in stages or not config.models:
        return
    try:
        reward_models.find_all(name for name in config.models if not name.startswith(("/", ".")))
    except ConfigError as error:
        yield f"external.models: {error}"


def generative_judges(asked: Experiment, stages: Stages) -> Iterator[str]:
    """Judges of this machine without room for a question, and served ones without the price that a budget needs."""
    for stage in ("external", "judge"):
        for judge in judges.generative(stage, asked.config(stage)) if stage in stages else ():
            settings, section = judge.settings, judge.section
            if judge.engine != "endpoint" and settings.max_new_tokens >= settings.context:
                yield (
                    f"{section}.max_new_tokens: {settings.max_new_tokens} leaves no room for a question in "
                    f"{section}.context={settings.context}; less than that is allowed"
                )
            unpriced = judge.engine == "endpoint" and pairwise.price_of(judge.model, settings) is None
            if settings.max_usd is not None and unpriced:
                yield f"{section}.max_usd: {settings.max_usd:g}: {pairwise.no_price([judge.model.name], section)}"


def published_benchmarks(asked: Experiment, stages: Stages) -> Iterator[str]:
    """Benchmarks that are unknown, have the same name or are in no language of the experiment, and benchmarks that the
    gate needs but `evaluate` does not use."""
    config = asked.config("evaluate")
    for entry in config.benchmarks:
        try:
            catalog.check(benchmarks.TABLE, entry)
            row = catalog.find(benchmarks.TABLE, entry)
        except ConfigError as error:
            yield f"evaluate.benchmarks: {error}"
            continue
        if row and not set(row.languages) & set(asked.languages):
            yield (
                f"evaluate.benchmarks: {entry!r} is in {', '.join(row.languages)}, none of them a language of this "
                f"experiment, {', '.join(asked.languages)}"
            )
    labels = [CORPUS, *map(benchmarks.label, config.benchmarks)]
    for label, count in Counter(labels).items():
        if count > 1:
            yield f"evaluate.benchmarks: {count} are called {label!r} (the corpus's own: {CORPUS!r}); one each is allowed"
    for label in asked.config("register").benchmarks:
        if label not in labels:
            yield f"register.benchmarks: {label!r} is none that evaluate.benchmarks names; there are {', '.join(labels)}"


def parallel_texts(asked: Experiment, stages: Stages) -> Iterator[str]:
    if "represent" not in stages:
        return
    entry = asked.config("represent").parallel
    if entry is None and asked.config("curate").parallel is None:
        yield "represent.parallel: null, and curate.parallel is null too: a set or file of texts is wanted in one of them"
    row = catalog.find(PUBLISHED_PARALLEL, entry) if entry else None
    for code in asked.languages:
        if row and code not in row.languages:
            yield f"represent.parallel: {entry!r} is in {', '.join(row.languages)}, not in {code!r}"


def judges_prompts(asked: Experiment, stages: Stages) -> Iterator[str]:
    judge, curated = JUDGES.get(asked.config("judge").judge or ""), asked.config("curate")
    if "judge" not in stages or judge is None:  # a generative judge reads any prompt
        return
    field = "eval_prompt_set" if curated.eval_prompt_set else "prompts"
    entry = getattr(curated, field)
    if judge.prompts is not None and entry not in judge.prompts and not catalog.is_file(entry):
        yield (
            f"judge.judge: {judge.name!r} reads prompts of {', '.join(judge.prompts)} alone, and curate.{field} is {entry!r}; "
            "null aligns without verdicts"
        )
    for code in asked.targets:
        if judge.languages is not None and code not in judge.languages:
            yield f"judge.judge: {judge.name!r} reads {', '.join(judge.languages)}, not {code!r}"


def pairs_to_align_on(asked: Experiment, stages: Stages) -> Iterator[str]:
    """Settings that give no preference pairs: a pair is the best and the worst of several different responses."""
    if "align" not in stages:
        return
    sample, align, prompts = asked.config("sample"), asked.config("align"), asked.config("curate").train_prompts
    if sample.samples < 2:
        yield f"sample.samples: {sample.samples} response to a prompt makes no pair to align on; 2 or more are wanted"
    if sample.temperature == 0:
        yield "sample.temperature: 0 makes all responses to a prompt the same, and no pair to align on; above 0 is wanted"
    if align.batch_size > prompts:
        yield f"align.batch_size: {align.batch_size} is more than curate.train_prompts={prompts}, a pair each at most"


def batches(asked: Experiment, stages: Stages) -> Iterator[str]:
    """Batches that are larger than the data or cannot be divided among the processes. GPUs that only a placement knows
    are checked in `components.hardware`."""
    curated, reward = asked.config("curate"), asked.config("reward")
    pairs = max(1, round(curated.train_share * curated.pairs * len(curated.preferences)))
    if reward.batch_size > pairs * (1 + (reward.loss == "pointwise")):
        yield f"reward.batch_size: {reward.batch_size} is more than the {pairs} pairs that curate.pairs allows"
    for stage in ("reward", "align"):
        config = asked.config(stage)
        if stage in stages and config.processes and config.batch_size % config.processes:
            yield (
                f"{stage}.batch_size: {config.batch_size} is no multiple of {stage}.processes={config.processes}, which share "
                "it; one is wanted"
            )


def _entries(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()


CHECKS: tuple[Check, ...] = (
    name_of_files, sets_of_the_corpus, translators_languages, tiny_models_languages, published_benchmarks, parallel_texts,
    judges_prompts, models_from_elsewhere, generative_judges, lengths, lengths_of_translations, limits_of_translations,
    pairs_to_align_on, batches,
)  # fmt: skip
