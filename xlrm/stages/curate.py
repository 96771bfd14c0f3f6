"""Curates a corpus in the source language: preference pairs, a benchmark, prompts to align on, parallel texts."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xlrm import progress
from xlrm.data import catalog, curation, data_card
from xlrm.data.catalog import PARALLEL, PREFERENCES
from xlrm.data.cleaning import Contamination
from xlrm.evaluation import benchmarks
from xlrm.store.fields import Sets


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str = "en"
    """Language of the sources."""
    preferences: Annotated[tuple[str, ...], Sets] = ("phrasebook",)
    """Preference sources: datasets as NAME[=OWNER/NAME][@REVISION]; .jsonl and .parquet files, or
    hub:OWNER/NAME[:CONFIG[:SPLIT]][@REVISION], with prompt, chosen and rejected in text or messages."""
    pairs: int = Field(2400, ge=8)
    """Preference pairs taken from each source, at most."""
    near_duplicates: float = Field(0.8, gt=0, le=1)
    """Similarity (Jaccard, of word trigrams) from which on a pair is dropped as a near duplicate."""
    max_reject_share: float = Field(0.05, ge=0, le=1)
    """Share of a source's rows that may be of no use before the run stops; they are listed in rejects.jsonl."""
    train_share: float = Field(1.0, gt=0, le=1)
    """Share of the clean pairs to train on; the others are held out (paper A: 0.8)."""
    heldout_pairs: int = Field(1000, ge=0)
    """Of the pairs held out, how many are kept for scoring reward models while they are trained; each is translated too."""
    benchmark: Annotated[str, Sets] = "phrasebook"
    """The benchmark, or a file with prompt, chosen, rejected and optionally subset and section."""
    benchmark_items: int = Field(640, ge=1)
    """Benchmark items, at most."""
    prompts: Annotated[str | None, Sets] = "phrasebook"
    """Prompts to align policies on and to judge them by, or a file with prompt; none leaves alignment out."""
    eval_prompt_set: Annotated[str | None, Sets] = None
    """Prompts to judge policies by, or a file with prompt; none takes them of `prompts` (paper A: alpacaeval)."""
    train_prompts: int = Field(240, ge=1)
    """Prompts to align on."""
    eval_prompts: int = Field(120, ge=1)
    """Prompts to judge on; none of them is also one to align on."""
    decontaminate: Annotated[tuple[str, ...], Sets] = ()
    """Further benchmarks, eval prompts or files with prompt to keep training data clean of, beside those above."""
    parallel: Annotated[str | None, Sets] = "phrasebook"
    """Texts to compare representations on, or a file with text, to be translated; none where `represent.parallel` names a
    set that has its languages."""
    parallel_texts: int = Field(120, ge=1)
    """How many of them."""
    seed: int = 42

    @model_validator(mode="after")
    def _judging_needs_alignment(self) -> "Config":
        if self.eval_prompt_set and not self.prompts:
            raise ValueError(f"eval_prompt_set={self.eval_prompt_set!r} is of no use without prompts to align on")
        return self

    @field_validator("parallel")
    @classmethod
    def _published_texts_are_not_translated(cls, entry: str | None) -> str | None:
        if entry and catalog.find(catalog.PUBLISHED_PARALLEL, entry):
            raise ValueError(
                "it comes in its own languages, which are not translated: name it in represent.parallel, "
                "and set curate.parallel to null"
            )
        return entry


_HELD_OUT = ("benchmark", "eval_prompts", "decontaminate")  # of what is loaded, what training data must not hold
_METRIC = {"heldout": "heldout_pairs", "benchmark": "benchmark_items", "parallel": "parallel_texts"}


def files(config: Config) -> str:
    """Digest of the files of this machine that the config names: what changed is curated again."""
    others = (config.benchmark, config.prompts, config.eval_prompt_set, config.parallel)
    return catalog.fingerprint(name for name in (*config.preferences, *config.decontaminate, *others) if name)


def run(config: Config, *, output: Path) -> dict[str, float]:
    """Raises ConfigError for an unknown source, DataError for a row that cannot be used, ArtifactError for a set of the
    Hub that cannot be fetched."""
    loaded = _load(config)
    contamination = Contamination(
        (entry, row["prompt"]) for use in _HELD_OUT for entry, one in loaded.get(use, {}).items() for row in one.rows
    )
    origins = {use: {entry: one.origin for entry, one in entries.items()} for use, entries in loaded.items()}
    kept, report = curation.clean_pairs(loaded["preferences"], contamination, config.near_duplicates)
    pairs, heldout = curation.hold_out(kept, config.train_share, config.heldout_pairs, config.seed)
    tables = {
        "preferences": pairs,
        **({"heldout": heldout} if heldout else {}),
        "benchmark": loaded["benchmark"][config.benchmark].rows,
    }
    card = {"language": config.language, **data_card.terms(origins), "sources": report.as_dict(), "origins": origins}
    if config.prompts:
        tables["prompts"], card["prompts"] = curation.clean_prompts(
            config.prompts, loaded, contamination, config.train_prompts, config.seed
        )
    if config.parallel:
        tables["parallel"] = [
            {"id": row["id"], "text": row["text"]} for row in loaded["parallel"][config.parallel].rows
        ]
    for entry, pinned in data_card.moving(origins).items():
        progress.say(f"curate: {entry} is taken from a branch that moves; {pinned} stays as it is")
    rejects = [{"source": entry, **row} for entry, one in loaded["preferences"].items() for row in one.rejects]
    curation.write(tables, rejects, card, output)
    metrics = {_METRIC.get(name, name): len(rows) for name, rows in tables.items()}
    return metrics | {name: float(count) for name, count in report.totals().items()}


def _load(config: Config) -> dict[str, curation.Sources]:
    """Everything the config names, by what for, so that what cannot be had is said before any of the work is done."""
    language, seed = config.language, config.seed
    for name in config.preferences:
        catalog.check(PREFERENCES, name, hub_too=True)
    for name in config.decontaminate:
        catalog.check(benchmarks.HELD_OUT, name)
    bench = benchmarks.load(config.benchmark, language, config.benchmark_items, seed)
    benchmarks.check_pairs(config.benchmark, bench.rows)
    found = {"benchmark": {config.benchmark: bench}}
    if config.prompts:
        found |= curation.load_prompts(
            config.prompts, config.eval_prompt_set, language, config.train_prompts, config.eval_prompts, seed
        )
    if config.decontaminate:
        found["decontaminate"] = {
            name: catalog.load(benchmarks.HELD_OUT, name, language, None, seed, ("prompt",))
            for name in config.decontaminate
        }
    if name := config.parallel:
        found["parallel"] = {name: catalog.load(PARALLEL, name, language, config.parallel_texts, seed, ("text",))}
    found["preferences"] = {
        name: curation.load_pairs(name, language, config.pairs, seed, config.max_reject_share)
        for name in config.preferences
    }
    return found
