"""Curates the corpus in the source language: preference pairs, a benchmark, prompts and parallel texts."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xlrm import progress
from xlrm.data import catalog, curation, data_card
from xlrm.data.catalog import PARALLEL, PREFERENCES
from xlrm.data.cleaning import Contamination
from xlrm.evaluation import benchmarks
from xlrm.store.fields import Sets, conflict


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str = "en"
    """Language that all datasets are loaded in."""
    preferences: Annotated[tuple[str, ...], Sets] = Field(min_length=1, examples=["[mine.jsonl]"])
    """Preference datasets: NAME[=OWNER/NAME][@REVISION] for a known one; otherwise a .jsonl or .parquet file or
    hub:OWNER/NAME[:CONFIG[:SPLIT]][@REVISION], with prompt, chosen and rejected as text or messages."""
    pairs: int | None = Field(None, ge=8)
    """Maximum number of preference pairs of each dataset, sampled with `seed`; null takes all."""
    near_duplicates: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word trigrams at or above which a pair is dropped as a near duplicate."""
    max_reject_share: float = Field(0.05, ge=0, le=1)
    """Maximum share of unusable rows in a dataset; above it the stage fails. rejects.jsonl lists these rows."""
    train_share: float = Field(1.0, gt=0, le=1)
    """Share of the cleaned pairs used for training; the others are held out (paper A: 0.8)."""
    heldout_pairs: int | None = Field(None, ge=0)
    """Maximum number of held-out pairs, sampled with `seed`; null keeps all. They are translated, and reward models are
    evaluated on them in every language."""
    benchmark: Annotated[str, Sets] = Field(examples=["rewardbench", "items.jsonl"])
    """Benchmark dataset, or a file with prompt, chosen and rejected, and optionally subset and section."""
    benchmark_items: int | None = Field(None, ge=1)
    """Maximum number of benchmark items, sampled with `seed`; null takes all."""
    prompts: Annotated[str | None, Sets] = None
    """Dataset of prompts, or a file with prompt, for aligning and judging policies; null leaves alignment out."""
    eval_prompt_set: Annotated[str | None, Sets] = None
    """Dataset of prompts, or a file with prompt, for judging (paper A: alpacaeval); null takes them from `prompts`."""
    train_prompts: int | None = Field(None, ge=1)
    """Maximum number of prompts for alignment, sampled with `seed`; null takes all."""
    eval_prompts: int | None = Field(None, ge=1)
    """Maximum number of prompts for judging, none of which is used for alignment; null takes all of a set for judging, or
    else a tenth of `prompts`."""
    decontaminate: Annotated[tuple[str, ...], Sets] = ()
    """More benchmarks, eval prompts or files with prompt whose prompts are removed from the training data."""
    parallel: Annotated[str | None, Sets] = None
    """Dataset of texts, or a file with text, to translate for comparing representations; null translates none
    (`represent.parallel` may name texts that are already in all languages)."""
    parallel_texts: int | None = Field(None, ge=1)
    """Maximum number of these texts, sampled with `seed`; null takes all."""
    seed: int = 42

    @model_validator(mode="after")
    def _judging_needs_alignment(self) -> "Config":
        if self.eval_prompt_set and not self.prompts:
            raise conflict("eval_prompt_set", self.eval_prompt_set, "needs curate.prompts, the prompts to align on")
        return self

    @field_validator("parallel")
    @classmethod
    def _published_texts_are_not_translated(cls, entry: str | None) -> str | None:
        if entry and catalog.find(catalog.PUBLISHED_PARALLEL, entry):
            raise ValueError("already in several languages, so not translated; name it in represent.parallel, not here")
        return entry


_HELD_OUT = ("benchmark", "eval_prompts", "decontaminate")  # their prompts must not occur in training data
_METRIC = {"heldout": "heldout_pairs", "benchmark": "benchmark_items", "parallel": "parallel_texts"}


def files(config: Config) -> str:
    """Digest of the local files that the config names, so that a changed file is curated again."""
    others = (config.benchmark, config.prompts, config.eval_prompt_set, config.parallel)
    return catalog.fingerprint(name for name in (*config.preferences, *config.decontaminate, *others) if name)


def run(config: Config, *, output: Path) -> dict[str, float]:
    """Writes the tables, rejects and data card. Raises ConfigError for an unknown dataset, DataError for unusable rows,
    and ArtifactError for a dataset of the Hub that cannot be downloaded."""
    loaded = _load(config)
    contamination = Contamination(
        (entry, row["prompt"]) for use in _HELD_OUT for entry, data in loaded.get(use, {}).items() for row in data.rows
    )
    kept, report = curation.clean_pairs(loaded["preferences"], contamination, config.near_duplicates)
    pairs, heldout = curation.hold_out(kept, config.train_share, config.heldout_pairs, config.seed)
    tables: curation.Tables = {
        "preferences": pairs,
        **({"heldout": heldout} if heldout else {}),
        "benchmark": loaded["benchmark"][config.benchmark].rows,
    }
    prompts = None
    if config.prompts:
        align, prompts = curation.clean_prompts(
            config.prompts, loaded["prompts"][config.prompts], contamination, config.train_prompts, config.seed
        )
        loaded["prompts"] = {config.prompts: align}
        tables["prompts"] = curation.prompt_rows(loaded["prompts"], loaded["eval_prompts"])
    if config.parallel:
        tables["parallel"] = [
            {"id": row["id"], "text": row["text"]} for row in loaded["parallel"][config.parallel].rows
        ]
    origins = {use: {entry: data.origin for entry, data in entries.items()} for use, entries in loaded.items()}
    for entry, pinned in data_card.moving(origins).items():
        progress.say(f"curate: {entry} names a branch, which can change; {pinned} always names this version")
    rejects = [{"source": entry, **row} for entry, data in loaded["preferences"].items() for row in data.rejects]
    curation.write(tables, rejects, data_card.card(config.language, origins, report.counts(), prompts), output)
    metrics = {_METRIC.get(name, name): len(rows) for name, rows in tables.items()}
    return metrics | {name: float(count) for name, count in report.totals().items()}


def _load(config: Config) -> dict[str, curation.Sources]:
    """Use -> datasets: everything that the config names, loaded first so that unavailable datasets fail early."""
    language, seed = config.language, config.seed
    for name in config.preferences:
        catalog.check(PREFERENCES, name, hub_too=True)
    for name in config.decontaminate:
        catalog.check(benchmarks.HELD_OUT, name)
    bench = benchmarks.load(config.benchmark, language, config.benchmark_items, seed)
    benchmarks.check_pairs(config.benchmark, bench.rows)
    datasets = {"benchmark": {config.benchmark: bench}}
    if config.prompts:
        datasets |= curation.load_prompts(
            config.prompts, config.eval_prompt_set, language, config.train_prompts, config.eval_prompts, seed
        )
    if config.decontaminate:
        datasets["decontaminate"] = {
            name: catalog.load(benchmarks.HELD_OUT, name, language, None, seed, ("prompt",))
            for name in config.decontaminate
        }
    if texts := config.parallel:
        datasets["parallel"] = {texts: catalog.load(PARALLEL, texts, language, config.parallel_texts, seed, ("text",))}
    datasets["preferences"] = {
        name: curation.load_pairs(name, language, config.pairs, seed, config.max_reject_share)
        for name in config.preferences
    }
    return datasets
