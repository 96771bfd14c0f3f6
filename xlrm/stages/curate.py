"""Curates a corpus in the source language: preference pairs, a benchmark, prompts to align on, parallel texts."""

import hashlib
import json
import random
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from xlrm import benchmarks, curation, datasets, progress
from xlrm.curation import PAIR
from xlrm.datasets import EVAL_PROMPTS, PARALLEL, PREFERENCES, PROMPTS
from xlrm.errors import DataError
from xlrm.rows import write_jsonl


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str = "en"
    """Language of the sources."""
    preferences: tuple[str, ...] = ("phrasebook",)
    """Preference sources: datasets by name, .jsonl and .parquet files, or hub:OWNER/NAME[@REVISION], with prompt, chosen
    and rejected in text or messages."""
    pairs: int = Field(2400, ge=8)
    """Preference pairs taken from each source, at most."""
    near_duplicates: float = Field(0.8, gt=0, le=1)
    """Similarity (Jaccard, of word trigrams) from which on a pair is dropped as a near duplicate."""
    max_rejects: float = Field(0.05, ge=0, le=1)
    """Share of a source's rows that may be of no use before the run stops; they are listed in rejects.jsonl."""
    train_share: float = Field(1.0, gt=0, le=1)
    """Share of the clean pairs to train on, the others are left out (paper A: 0.8)."""
    benchmark: str = "phrasebook"
    """The benchmark, or a file with prompt, chosen, rejected and optionally subset and section."""
    benchmark_items: int = Field(640, ge=1)
    """Benchmark items, at most."""
    prompts: str | None = "phrasebook"
    """Prompts to align policies on and to judge them by, or a file with prompt; none leaves alignment out."""
    train_prompts: int = Field(240, ge=1)
    """Prompts to align on."""
    eval_prompts: int = Field(120, ge=1)
    """Prompts to judge on; none of them is also one to align on."""
    parallel: str | None = "phrasebook"
    """Texts to compare representations on, or a file with text; none leaves that analysis out."""
    parallel_texts: int = Field(120, ge=1)
    """How many of them."""
    seed: int = 42


def fingerprint(config: Config) -> str:
    """Digest of the files the config names: a file that changed is curated again."""
    digest = hashlib.sha256()
    for name in (*config.preferences, config.benchmark, config.prompts, config.parallel):
        if name and datasets.is_file(name) and Path(name).is_file():
            digest.update(hashlib.sha256(Path(name).read_bytes()).digest())
    return digest.hexdigest()


def run(config: Config, *, output: Path) -> dict[str, float]:
    """Raises ConfigError for an unknown source, DataError for a row that cannot be used."""
    bench = benchmarks.load(config.benchmark, config.language, config.benchmark_items, config.seed)
    pairs, rejects, report = _preferences(config, [row["prompt"] for row in bench])
    if rejects:
        write_jsonl(output / "rejects.jsonl", rejects)
    write_jsonl(output / "preferences.jsonl", pairs)
    write_jsonl(output / "benchmark.jsonl", bench)
    metrics = {"preferences": len(pairs), "benchmark_items": len(bench)}
    if config.prompts:
        metrics["prompts"] = write_jsonl(output / "prompts.jsonl", _prompts(config))
    if config.parallel:
        texts = datasets.load(PARALLEL, config.parallel, config.language, config.parallel_texts, config.seed, ("text",))
        metrics["parallel_texts"] = write_jsonl(
            output / "parallel.jsonl", ({"id": str(row["id"]), "text": row["text"]} for row in texts)
        )
    card = {"language": config.language, **_terms(config.preferences), "sources": report.as_dict()}
    (output / "corpus.json").write_text(json.dumps(card, indent=2))
    return metrics | {name: float(count) for name, count in report.totals().items()}


def _preferences(config: Config, benchmark_prompts: list[str]) -> tuple[list[dict], list[dict], curation.Report]:
    """The pairs to train on, the rows that are none, and the counts of both."""
    rows, rejects = [], []
    for name in config.preferences:
        pairs, unusable = datasets.load_pairs(name, config.language, config.pairs, config.seed)
        if len(unusable) > config.max_rejects * (len(pairs) + len(unusable)):
            first = f"line {unusable[0]['line']}: {unusable[0]['reason']}"
            raise DataError(
                f"{name}: {len(unusable)} of {len(pairs) + len(unusable)} rows cannot be used, more than "
                f"curate.max_rejects={config.max_rejects}; the first: {first}"
            )
        rejects += [{"source": name, **reject} for reject in unusable]
        rows += [
            {
                "id": str(row["id"]), **{key: row[key] for key in PAIR},
                "subset": str(row.get("subset") or row.get("section") or "all"), "source": name,
            }
            for row in pairs[: config.pairs]
        ]  # fmt: skip
    alike = frozenset(name for name, dataset in PREFERENCES.items() if dataset.alike)
    kept, report = curation.clean(rows, benchmark_prompts, config.near_duplicates, alike)
    for name in config.preferences:
        report.reject(name, sum(reject["source"] == name for reject in rejects))
    for source, counts in report.as_dict().items():
        dropped = ", ".join(f"{count} {reason}" for reason, count in counts["dropped"].items()) or "none"
        progress.say(f"curate: {source}: {counts['in']} pairs in, dropped {dropped}, {counts['out']} out")
    if not kept:
        raise DataError(f"curate.preferences: no pair of {', '.join(config.preferences)} is left")
    chosen = random.Random(config.seed).sample(range(len(kept)), max(1, round(config.train_share * len(kept))))
    return [kept[i] for i in sorted(chosen)], rejects, report


def _terms(names: tuple[str, ...]) -> dict:
    """Licences of the sources, and whether one of them leaves commercial use out."""
    licences = {name: PREFERENCES[name].licence if name in PREFERENCES else "your own" for name in names}
    return {"licences": licences, "non_commercial": any("-nc-" in licence for licence in licences.values())}


def _prompts(config: Config) -> list[dict]:
    """Prompts to align on, then those to judge on: the first and the last rows, where a set has none for judging."""
    wanted = config.train_prompts + config.eval_prompts
    if config.prompts in EVAL_PROMPTS:
        train = PROMPTS[config.prompts].rows(config.language, config.train_prompts, config.seed)
        return train + EVAL_PROMPTS[config.prompts].rows(config.language, config.eval_prompts, config.seed)
    rows = datasets.load(PROMPTS, config.prompts, config.language, wanted, config.seed, ("prompt",))
    last_train = len(rows) * config.train_prompts // wanted
    return [
        {"id": str(row["id"]), "prompt": row["prompt"], "split": "train" if i < last_train else "eval"}
        for i, row in enumerate(rows)
    ]
