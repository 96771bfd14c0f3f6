"""Checks of an experiment's data and its translation: datasets, languages, translators and losses that do not fit
together."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from xlrm.data import catalog
from xlrm.data.catalog import DEMONSTRATIONS, EVAL_PROMPTS, PARALLEL, PREFERENCES, PROMPTS, SPOKEN, Dataset
from xlrm.data.corpus_schema import is_judgment
from xlrm.data.demonstrations import AS_PROMPTS
from xlrm.errors import ConfigError
from xlrm.evaluation import benchmarks
from xlrm.languages import LANGUAGES
from xlrm.models import base_models
from xlrm.run.sections import OF_A_CORPUS, REUSE, Experiment, stage_config
from xlrm.store.row_files import Reading
from xlrm.training import columns
from xlrm.translation import translators
from xlrm.translation.effort import PROMPT_TOKENS

Stages = Collection[str]
"""Stages that the pipeline runs."""
Check = Callable[[Experiment, Stages], Iterator[ConfigError]]
"""Yields an error for each problem, with section.field and the value."""


def sets_of_the_corpus(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """Datasets that are unknown or not in the corpus's language."""
    for where, config in corpora(asked):
        table: Mapping[str, Dataset]
        for field, table in (
            ("preferences", PREFERENCES), ("benchmark", benchmarks.TABLE), ("prompts", PROMPTS),
            ("eval_prompt_set", EVAL_PROMPTS), ("decontaminate", benchmarks.HELD_OUT), ("parallel", PARALLEL),
            ("demonstrations", DEMONSTRATIONS),
        ):  # fmt: skip
            for entry in entries(getattr(config, field)):
                if (field, entry) in (("benchmark", benchmarks.HELDOUT), ("prompts", AS_PROMPTS)):
                    continue
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
    (_, source), *others = corpora(asked)
    # Reward models of `reuse-rewards` may be evaluated on held-out rows alone.
    for field in ("preferences",) if asked.pipeline == REUSE else ("preferences", "benchmark"):
        if not getattr(source, field):
            yield ConfigError("required for the source language", where=f"curate.{field}", value=getattr(source, field))
    for where, config in others:
        for field in OF_A_CORPUS:
            if getattr(config, field) and not getattr(source, field):
                yield ConfigError(
                    f"the source has none; name one in curate.{field}, or leave this out",
                    where=f"{where}.{field}", value=getattr(config, field),
                )  # fmt: skip


def corpora(asked: Experiment) -> list[tuple[str, Any]]:
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
                    hint=f"it translates between English and any language with an x_alma_group, and {_groups()}; for other pairs "
                    "translate into English, and that corpus into the language",
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
    for field in ("preferences", "benchmark", "prompts", "eval_prompt_set", "parallel", "demonstrations"):
        table = "prompts" if field == "eval_prompt_set" else field
        for entry in entries(getattr(config, field)) if table in names else ():
            if entry not in (*catalog.PHRASEBOOK, benchmarks.HELDOUT, AS_PROMPTS) and not catalog.is_file(entry):
                yield field, entry


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
    """The section that the limits of the checks were in before."""
    limits = asked.stages.get("translate", {}).get("limits")
    if limits is not None:
        yield ConfigError("it is now validate.limits, for both stages", where="translate.limits", value=limits)


def losses(asked: Experiment, stages: Stages) -> Iterator[ConfigError]:
    """A loss of pairs for a dataset of single judgments, or a file of this machine whose first row is one."""
    if "reward" not in stages:
        return
    loss = asked.config("reward").loss
    for _, config in corpora(asked):
        for entry in config.preferences:
            row = catalog.find(PREFERENCES, entry) if not entry.startswith(catalog.HUB) else None
            if row and row.judged and loss != "pointwise":
                yield ConfigError(
                    f"needs pairs, and {entry} has single judgments",
                    where="reward.loss",
                    value=loss,
                    hint="set pointwise",
                )
            if catalog.is_file(entry) and os.path.isfile(entry):
                first = catalog.first_row(entry, Reading(config.columns, config.encoding))
                try:
                    columns.check_loss(loss, is_judgment(first) and first.get("label") is not None, entry)
                except ConfigError as error:
                    yield error


def entries(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Datasets that a field of `curate` names."""
    return (value,) if isinstance(value, str) else value or ()


CHECKS: tuple[Check, ...] = (
    sets_of_the_corpus, tables_of_the_corpora, translators_languages, lengths_of_translations, limits_of_translations,
)  # fmt: skip
