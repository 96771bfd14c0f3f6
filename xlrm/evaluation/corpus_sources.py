"""The datasets that a corpus is made of: settings, loading, and the pairs that are held out."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from xlrm.data import catalog, cleaning, curation, reading
from xlrm.data.catalog import PARALLEL, PREFERENCES
from xlrm.evaluation import benchmarks
from xlrm.languages import InLanguages
from xlrm.store.fields import Sets, conflict
from xlrm.store.row_files import Reading


class Settings(InLanguages):
    """What a corpus is made of."""

    language: str = "en"
    """Language that all datasets are loaded in."""
    preferences: Annotated[tuple[str, ...], Sets] = Field(examples=["[mine.jsonl]"])
    """Preference datasets: NAME[=OWNER/NAME][@REVISION] for a known one; otherwise a file of rows or
    hub:OWNER/NAME[:CONFIG[:SPLIT]][@REVISION], with prompt, chosen and rejected as text or messages. Only a language's own
    corpus may have none."""
    pairs: int | None = Field(None, ge=8)
    """Maximum number of preference pairs of each dataset, sampled with `seed`; null takes all."""
    clean: tuple[cleaning.Reason, ...] = cleaning.CLEANED
    """Reasons for which rows are dropped, beside rows that cannot be used: duplicate, conflict, near_duplicate and
    contaminated. An empty list drops no others (paper A, which names no cleaning)."""
    near_duplicates: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word trigrams at or above which a pair is dropped as a near duplicate."""
    max_reject_share: float = Field(0.05, ge=0, le=1)
    """Maximum share of unusable rows in a dataset; above it the stage fails. rejects.jsonl lists these rows."""
    train_share: float = Field(1.0, gt=0, le=1)
    """Share of the cleaned pairs used for training; the others are held out (paper A: 0.8)."""
    heldout_pairs: int | None = Field(None, ge=0)
    """Maximum number of held-out pairs, sampled with `seed`; null keeps all. They are translated, and reward models are
    evaluated on them in every language."""
    benchmark: Annotated[str | None, Sets] = Field(examples=["rewardbench"])
    """Benchmark dataset, or a file with prompt, chosen and rejected, and optionally subset and section; or heldout, the
    pairs that train_share keeps out of training, none of whose prompts is trained on. Only a language's own corpus may have
    none."""
    benchmark_items: int | None = Field(None, ge=1)
    """Maximum number of benchmark items, sampled with `seed`; null takes all."""
    prompts: Annotated[str | None, Sets] = None
    """Dataset of prompts, or a file with prompt, for aligning and judging policies; null leaves alignment out."""
    eval_prompt_set: Annotated[str | None, Sets] = None
    """Dataset of prompts, or a file with prompt, for judging; null takes them from `prompts`."""
    train_prompts: int | None = Field(None, ge=1)
    """Maximum number of prompts for alignment, sampled with `seed`; null takes all."""
    spare_prompts: float = Field(0.0, ge=0, le=1)
    """Further prompts for alignment, as a share of train_prompts, that take the place of those that validation drops: of
    the prompts that pass, each language keeps train_prompts, the same in every language as far as possible."""
    eval_prompts: int | None = Field(None, ge=0)
    """Maximum number of prompts for judging, none of which is used for alignment; null takes all of a set for judging, or
    else a tenth of `prompts`; 0 takes none. With `sample.eval_prompts`, a pipeline fills in 0."""
    decontaminate: Annotated[tuple[str, ...], Sets] = ()
    """More benchmarks, eval prompts or files with prompt whose prompts are removed from the training data."""
    parallel: Annotated[str | None, Sets] = None
    """Dataset of texts, or a file with text, to translate for comparing representations; null translates none
    (`represent.parallel` may name texts that are already in all languages)."""
    parallel_texts: int | None = Field(None, ge=1)
    """Maximum number of these texts, sampled with `seed`; null takes all."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Field (prompt, chosen, rejected, response, label, margin, id, subset, section) -> name of the column that has it in
    the files and `hub:` datasets of `preferences`; in other files where they have such a column."""
    encoding: str | None = None
    """Encoding of files of text that is not UTF-8 and has no byte order mark, such as latin-1."""
    seed: int = 42

    @field_validator("columns")
    @classmethod
    def _of_rows(cls, columns: dict[str, str]) -> dict[str, str]:
        reading.check_columns(columns)
        return columns

    @field_validator("encoding")
    @classmethod
    def _of_text(cls, encoding: str | None) -> str | None:
        reading.check_encoding(encoding or "utf-8")
        return encoding

    @model_validator(mode="after")
    def _judging_needs_alignment(self) -> "Settings":
        if self.eval_prompt_set and not self.prompts:
            raise conflict("eval_prompt_set", self.eval_prompt_set, "needs curate.prompts, the prompts to align on")
        return self

    @model_validator(mode="after")
    def _pairs_to_hold_out(self) -> "Settings":
        if self.benchmark == benchmarks.HELDOUT and self.train_share == 1:
            raise conflict(
                "benchmark", self.benchmark, "needs a train_share below 1, which leaves pairs to evaluate on"
            )
        return self

    @model_validator(mode="after")
    def _something_to_curate(self) -> "Settings":
        if not any((self.preferences, self.benchmark, self.prompts, self.parallel)):
            raise conflict("preferences", self.preferences, "name a dataset here, or in benchmark, prompts or parallel")
        return self

    @model_validator(mode="after")
    def _decontamination_needs_its_reason(self) -> "Settings":
        if self.decontaminate and "contaminated" not in self.clean:
            raise conflict(
                "decontaminate", self.decontaminate, "needs `contaminated` among the reasons in curate.clean"
            )
        return self

    @field_validator("eval_prompt_set")
    @classmethod
    def _published_prompts_are_not_translated(cls, entry: str | None) -> str | None:
        if entry and catalog.is_multilingual(catalog.EVAL_PROMPTS, entry):
            raise ValueError(
                "already in several languages, so not translated; name it in sample.eval_prompts, not here"
            )
        return entry

    @field_validator("parallel")
    @classmethod
    def _published_texts_are_not_translated(cls, entry: str | None) -> str | None:
        if entry and catalog.find(catalog.PUBLISHED_PARALLEL, entry):
            raise ValueError("already in several languages, so not translated; name it in represent.parallel, not here")
        return entry


def split(config: Settings, pairs: curation.Rows, source: Path | None) -> curation.Tables:
    """The pairs to train on, and those held out, as a table of their own or as the benchmark."""
    if config.benchmark == benchmarks.HELDOUT:
        known = curation.held_out_ids(source)
        train, rest = curation.hold_out_prompts(pairs, config.train_share, config.benchmark_items, config.seed, *known)
        return {"preferences": train, "benchmark": benchmarks.rated(benchmarks.HELDOUT, rest)}
    trained, held = curation.held_out_ids(source)
    tested = curation.with_same_prompts(pairs, curation.tested_ids(source))
    train, heldout = curation.hold_out(
        pairs, config.train_share, config.heldout_pairs, config.seed, trained - tested, held | tested
    )
    return {"preferences": train, **({"heldout": heldout} if heldout else {})}


def prompts_curated(config: Settings) -> int | None:
    """Number of prompts for alignment before validation, the spare ones included; None for all."""
    most = config.train_prompts
    return None if most is None else most + math.ceil(config.spare_prompts * most)


def load(config: Settings) -> dict[str, curation.Sources]:
    """Use -> datasets: everything that the config names, loaded first so that unavailable datasets fail early."""
    language, seed = config.language, config.seed
    for name in config.preferences:
        catalog.check(PREFERENCES, name, hub_too=True)
    for name in config.decontaminate:
        catalog.check(benchmarks.HELD_OUT, name)
    read = Reading(config.columns, config.encoding)
    others = replace(read, everywhere=False)
    datasets: dict[str, curation.Sources] = {}
    if config.benchmark and config.benchmark != benchmarks.HELDOUT:
        bench = benchmarks.load(config.benchmark, language, config.benchmark_items, seed, others)
        benchmarks.check_pairs(config.benchmark, bench.rows)
        datasets["benchmark"] = {config.benchmark: bench}
    if config.prompts:
        datasets |= curation.load_prompts(
            config.prompts, config.eval_prompt_set, language, prompts_curated(config), config.eval_prompts, seed, others
        )
    if config.decontaminate:
        datasets["decontaminate"] = {
            name: catalog.load(benchmarks.HELD_OUT, name, language, None, seed, ("prompt",), others)
            for name in config.decontaminate
        }
    if texts := config.parallel:
        datasets["parallel"] = {
            texts: catalog.load(PARALLEL, texts, language, config.parallel_texts, seed, ("text",), others)
        }
    datasets["preferences"] = {
        name: curation.load_pairs(name, language, config.pairs, seed, config.max_reject_share, read)
        for name in config.preferences
    }
    return datasets
