"""Curates a corpus in one language: preference pairs, a benchmark, prompts, parallel texts and demonstrations."""

from pathlib import Path

from xlrm import progress
from xlrm.data import catalog, cleaning, curation, data_card, division
from xlrm.data.cleaning import Contamination
from xlrm.data.corpus_schema import BENCHMARK_ITEMS, HELDOUT_PAIRS, PARALLEL_TEXTS, PREFERENCE_PAIRS, Description
from xlrm.evaluation import benchmarks, corpus_sources


class Config(corpus_sources.Settings):
    pass


_HELD_OUT = ("benchmark", "eval_prompts", "decontaminate")  # their prompts must not occur in training data
_METRIC = {"heldout": "heldout_pairs", "benchmark": "benchmark_items", "parallel": "parallel_texts"}


def files(config: Config) -> str:
    """Digest of the local files that the config names, so that a changed file is curated again."""
    others = (config.benchmark, config.prompts, config.eval_prompt_set, config.parallel)
    return catalog.fingerprint(
        name for name in (*config.preferences, *config.decontaminate, *config.demonstrations, *others) if name
    )


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    tables = (PREFERENCE_PAIRS, HELDOUT_PAIRS, BENCHMARK_ITEMS, PARALLEL_TEXTS)
    return {"source": (Description.FILE, division.LeftOut.FILE, *(table.file for table in tables))}


def run(config: Config, *, source: Path | None = None, output: Path) -> dict[str, float]:
    """Writes the tables, rejects and data card. `source`: the corpus of the source language, if this is another; pairs
    with its ids are held out or not as they are there. Raises ConfigError for an unknown dataset, DataError for unusable
    rows, and ArtifactError for a dataset of the Hub that cannot be downloaded."""
    loaded = corpus_sources.load(config)
    contamination = Contamination(
        (entry, row["prompt"]) for use in _HELD_OUT for entry, data in loaded.get(use, {}).items() for row in data.rows
    )
    tables: curation.Tables = {}
    report = cleaning.Report()
    if config.preferences:
        kept, report = curation.clean_pairs(loaded["preferences"], contamination, config.near_duplicates, config.clean)
        made, left_out = corpus_sources.split(config, kept, source)
        tables |= made
        if left_out:
            division.LeftOut(ids=left_out).write(output)
    parts = division.divided(tables, config.train_share_of)
    if config.benchmark and config.benchmark != benchmarks.HELDOUT:
        tables["benchmark"] = loaded["benchmark"][config.benchmark].rows
    prompts = demonstrated = None
    if config.demonstrations:
        pairs = tables.get("preferences", [])
        made, counted = corpus_sources.demonstrate(config, loaded["demonstrations"], pairs, contamination)
        curation.say(counted, "demonstrations")
        tables, demonstrated = tables | made, counted.counts()
    if config.prompts and "prompts" in loaded:
        align, prompts = curation.clean_prompts(
            config.prompts, loaded["prompts"][config.prompts], contamination, corpus_sources.prompts_curated(config),
            config.seed, config.clean,
        )  # fmt: skip
        loaded["prompts"] = {config.prompts: align}
        tables["prompts"] = curation.prompt_rows(loaded["prompts"], loaded["eval_prompts"])
    if config.parallel:
        texts = loaded["parallel"][config.parallel].rows
        tables["parallel"] = [{"id": row["id"], "text": row["text"]} for row in texts]
        curation.check_parallel(config.parallel, tables["parallel"], source)
    origins = {use: {entry: data.origin for entry, data in entries.items()} for use, entries in loaded.items()}
    for entry, pinned in data_card.moving(origins).items():
        progress.say(f"curate: {entry} names a branch, which can change; {pinned} always names this version")
    training = len(tables.get("preferences", ()))
    counts = report.counts()
    card = data_card.card(config.language, origins, counts, prompts, training, config.clean, demonstrated, parts)
    curation.write(tables, curation.rejects(loaded), card, output)
    if note := data_card.paper_note(card):
        progress.say(f"curate: {note}")
    metrics = {_METRIC.get(name, name): len(rows) for name, rows in tables.items()}
    return metrics | {name: float(count) for name, count in report.totals().items()}
