"""The datasets that a corpus is made of: settings, loading, and the pairs that are held out."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from xlrm.data import catalog, cleaning, curation, demonstrations, division, reading
from xlrm.data.catalog import DEMONSTRATIONS, PARALLEL, PREFERENCES
from xlrm.data.cleaning import Contamination, Report
from xlrm.data.corpus_schema import is_judgment
from xlrm.data.demonstrations import AS_PROMPTS
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
    train_share_of: Literal["pairs", "prompts", "documents"] = "pairs"
    """What train_share is a share of: pairs (paper A); prompts, so that no prompt has pairs in both parts; or documents, so that
    no document has: a prompt without its last paragraph, such as a passage that several prompts ask a question about. Single
    judgments and a benchmark of held-out pairs are divided by prompt at least."""
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
    """Dataset of prompts, or a file with prompt, for aligning and judging policies; or demonstrations, the inputs of the
    demonstrations: those for training to align on, those for validation to judge on (paper B). null leaves alignment out."""
    eval_prompt_set: Annotated[str | None, Sets] = None
    """Dataset of prompts, or a file with prompt, for judging; null takes them from `prompts`."""
    train_prompts: int | None = Field(None, ge=1)
    """Maximum number of prompts for alignment, sampled with `seed`; null takes all."""
    spare_prompts: float = Field(0.0, ge=0, le=1)
    """Further prompts for alignment, as a share of train_prompts, that take the place of those that validation drops: of
    the prompts that pass, each language keeps train_prompts, the same in every language as far as possible."""
    eval_prompts: int | None = Field(None, ge=0)
    """Maximum number of prompts for judging, none of which is used for alignment; null takes all of a set for judging, or
    else a tenth of `prompts`, or all inputs of the demonstrations for validation, of which a sample has as many of each subset;
    0 takes none. With `sample.eval_prompts`, a pipeline fills in 0."""
    decontaminate: Annotated[tuple[str, ...], Sets] = ()
    """More benchmarks, eval prompts or files with prompt whose prompts are removed from the training data."""
    parallel: Annotated[str | None, Sets] = None
    """Dataset of texts, or a file with text, to translate for comparing representations; null translates none
    (`represent.parallel` may name texts that are already in all languages)."""
    parallel_texts: int | None = Field(None, ge=1)
    """Maximum number of these texts, sampled with `seed`; null takes all."""
    demonstrations: Annotated[tuple[str, ...], Sets] = ()
    """Datasets for supervised fine-tuning, NAME[=OWNER/NAME][@REVISION] for a known one, otherwise a file of rows with prompt
    and response, and optionally split (train or validation) and subset."""
    demonstrations_rows: int | None = Field(None, ge=2)
    """Maximum number of demonstrations of each dataset, sampled with `seed`; null takes all."""
    demonstrations_train_share: float = Field(0.9, gt=0, le=1)
    """Share of the prompts of a dataset whose demonstrations are for training if it has no split; the others are for
    validation."""
    demonstrations_mixture: Literal["all", "even"] = "all"
    """With several subsets: all takes the rows for training as they are; even repeats those of smaller subsets until each has
    as many as the largest (paper B, appendix A: evenly mixed)."""
    demonstrations_apart: bool = False
    """Whether demonstrations with the prompt of a pair or judgment to train on are left out (paper B: true for
    summaries, whose documents are those of the reward models' data)."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Field (prompt, chosen, rejected, response, label, margin, id, subset, section, split) -> name of the column that has it in
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
        if not any((self.preferences, self.benchmark, self.prompts, self.parallel, self.demonstrations)):
            raise conflict(
                "preferences",
                self.preferences,
                "name a dataset here, or in benchmark, prompts, parallel or demonstrations",
            )
        return self

    @model_validator(mode="after")
    def _inputs_of_demonstrations(self) -> "Settings":
        if self.prompts == AS_PROMPTS and not self.demonstrations:
            raise conflict("prompts", self.prompts, "needs curate.demonstrations")
        if self.prompts == AS_PROMPTS and self.eval_prompt_set:
            raise conflict(
                "eval_prompt_set", self.eval_prompt_set, "not allowed if prompts are those of demonstrations"
            )
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


def split(config: Settings, pairs: division.Rows, source: Path | None) -> tuple[division.Tables, list[str]]:
    """The pairs to train on, and those held out, as a table of their own or as the benchmark; and the ids of those held out that
    a limit leaves out of it. Pairs with a split of their own keep it; single judgments are divided by prompt."""
    train, rest, free = division.by_own_split(pairs)
    trained, held = division.held_out_ids(source)
    beyond = division.LeftOut.find(source)
    away = held.union(beyond.ids if beyond else ())
    division.say_shared(free, trained | away)
    compared = config.benchmark == benchmarks.HELDOUT
    if compared:
        division.check_comparable(pairs)
        hold_out = division.hold_out_prompts
        most = config.benchmark_items
    else:
        tested = division.with_same_prompts(free, division.tested_ids(source))
        trained, away = trained - tested, away | tested
        by_prompt = config.train_share_of != "pairs" or (free and is_judgment(free[0]))
        hold_out = division.hold_out_by_prompt if by_prompt else division.hold_out
        most = config.heldout_pairs
    more: division.Rows = []
    others: division.Rows = []
    if free or not (compared and rest):
        documents = config.train_share_of == "documents"
        how = division.Division(config.train_share, config.seed, trained, away, documents, source is not None)
        more, others = hold_out(free, how)
    kept = division.sampled(rest + others, most, config.seed, held)
    division.say_divided(pairs, train + more, rest + others, kept, " to evaluate on" if compared else "")
    chosen = {row["id"] for row in kept}
    left_out = [row["id"] for row in rest + others if row["id"] not in chosen]
    tables: division.Tables = {"preferences": train + more}
    if compared:
        tables["benchmark"] = benchmarks.rated(benchmarks.HELDOUT, kept)
    elif kept:
        tables["heldout"] = kept
    return tables, left_out


def prompts_curated(config: Settings) -> int | None:
    """Number of prompts for alignment before validation, the spare ones included; None for all."""
    most = config.train_prompts
    return None if most is None else most + math.ceil(config.spare_prompts * most)


def load(config: Settings) -> dict[str, curation.Sources]:
    """Use -> datasets: everything that the config names, loaded first so that unavailable datasets fail early."""
    language, seed = config.language, config.seed
    for name in config.preferences:
        catalog.check(PREFERENCES, name, hub_too=True)
    for name in config.demonstrations:
        catalog.check(DEMONSTRATIONS, name)
    for name in config.decontaminate:
        catalog.check(benchmarks.HELD_OUT, name)
    read = Reading(config.columns, config.encoding)
    others = replace(read, everywhere=False)
    datasets: dict[str, curation.Sources] = {}
    if config.benchmark and config.benchmark != benchmarks.HELDOUT:
        bench = benchmarks.load(config.benchmark, language, config.benchmark_items, seed, others)
        benchmarks.check_pairs(config.benchmark, bench.rows)
        datasets["benchmark"] = {config.benchmark: bench}
    if config.prompts and config.prompts != AS_PROMPTS:
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
        name: curation.load_pairs(
            name, language, config.pairs, seed, config.max_reject_share, read, config.demonstrations
        )
        for name in config.preferences
    }
    if config.demonstrations:
        datasets["demonstrations"] = {
            name: demonstrations.load(name, language, config.demonstrations_rows, seed, others)
            for name in config.demonstrations
        }
        for name, source in datasets["demonstrations"].items():
            curation.check_rejects(name, source, config.max_reject_share, others)
    return datasets


def demonstrate(
    config: Settings, sources: curation.Sources, pairs: division.Rows, contamination: Contamination
) -> tuple[division.Tables, Report]:
    """The tables of demonstrations and, if prompts are their inputs, of prompts; and the counts of the cleaning. `pairs`: to
    train reward models on. Raises DataError if no demonstration is left."""
    apart = {demonstrations.key(row["prompt"]) for row in pairs} if config.demonstrations_apart else set()
    sources |= {entry: demonstrations.counted(source, apart) for entry, source in sources.items()}
    rows, report = demonstrations.clean(
        sources, contamination, config.demonstrations_train_share, config.seed, apart, config.clean
    )
    tables: division.Tables = {}
    if config.prompts == AS_PROMPTS:
        tables["prompts"] = demonstrations.prompts(rows, prompts_curated(config), config.eval_prompts, config.seed)
    if config.demonstrations_mixture == "even":
        rows = demonstrations.evenly(rows, config.seed)
        if "prompts" in tables:
            tables["prompts"] = demonstrations.evenly(tables["prompts"], config.seed)
    return tables | {"demonstrations": rows}, report
