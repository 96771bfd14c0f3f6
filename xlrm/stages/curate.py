"""Curates a corpus in the source language: preference pairs, a benchmark, prompts to align on, parallel texts."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xlrm import progress
from xlrm.data import catalog, cleaning, data_card, hub_sets
from xlrm.data.catalog import EVAL_PROMPTS, PARALLEL, PREFERENCES, PROMPTS
from xlrm.data.cleaning import PAIR, Contamination, Report
from xlrm.data.hub_sets import Loaded
from xlrm.errors import DataError
from xlrm.evaluation import benchmarks
from xlrm.store.fields import Sets
from xlrm.store.jsonl import write_jsonl


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


# Of what is loaded, what training data must not hold.
_HELD_OUT = ("benchmark", "eval_prompts", "decontaminate")
_METRIC = {"heldout": "heldout_pairs", "benchmark": "benchmark_items", "parallel": "parallel_texts"}
Uses = dict[str, dict[str, Loaded]]
"""What for -> the config's entry -> what was loaded."""


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
    pairs, heldout, report = _preferences(config, loaded["preferences"], contamination)
    tables = {
        "preferences": pairs,
        **({"heldout": heldout} if heldout else {}),
        "benchmark": loaded["benchmark"][config.benchmark].rows,
    }
    card = {"language": config.language, **data_card.terms(origins), "sources": report.as_dict(), "origins": origins}
    if config.prompts:
        tables["prompts"], card["prompts"] = _prompts(config, loaded, contamination)
    if config.parallel:
        tables["parallel"] = [
            {"id": row["id"], "text": row["text"]} for row in loaded["parallel"][config.parallel].rows
        ]
    for entry, pinned in data_card.moving(origins).items():
        progress.say(f"curate: {entry} is taken from a branch that moves; {pinned} stays as it is")
    rejects = [{"source": entry, **row} for entry, one in loaded["preferences"].items() for row in one.rejects]
    _write({name: cleaning.unique_ids(rows) for name, rows in tables.items()}, rejects, card, output)
    metrics = {_METRIC.get(name, name): len(rows) for name, rows in tables.items()}
    return metrics | {name: float(count) for name, count in report.totals().items()}


def _load(config: Config) -> Uses:
    """Everything the config names, so that what cannot be had is said before any of the work is done."""

    def get(table: dict, entry: str, count: int | None, field: str) -> Loaded:
        return catalog.load(table, entry, config.language, count, config.seed, (field,))

    for name in config.preferences:
        catalog.check(PREFERENCES, name, hub_too=True)
    for name in config.decontaminate:
        catalog.check(benchmarks.HELD_OUT, name)
    bench = benchmarks.load(config.benchmark, config.language, config.benchmark_items, config.seed)
    benchmarks.check_pairs(config.benchmark, bench.rows)
    found = {"benchmark": {config.benchmark: bench}}
    if config.prompts:
        found |= _load_prompts(config, get)
    if config.decontaminate:
        found["decontaminate"] = {name: get(benchmarks.HELD_OUT, name, None, "prompt") for name in config.decontaminate}
    if config.parallel:
        found["parallel"] = {config.parallel: get(PARALLEL, config.parallel, config.parallel_texts, "text")}
    found["preferences"] = {name: _load_pairs(config, name) for name in config.preferences}
    return found


def _load_prompts(config: Config, get: Callable[[dict, str, int | None, str], Loaded]) -> Uses:
    """Prompts to align on, more than are wanted where there are more, and those to judge on: the last rows of the same
    set, where that has none of its own and the config names no other."""
    row = catalog.find(PROMPTS, config.prompts)
    judging = config.eval_prompt_set or (config.prompts if catalog.find(EVAL_PROMPTS, config.prompts) else None)
    if judging:
        align = get(PROMPTS, config.prompts, config.train_prompts if row and row.alike else None, "prompt")
        judge = get(EVAL_PROMPTS, judging, config.eval_prompts, "prompt")
    else:
        wanted = config.train_prompts + config.eval_prompts
        both = get(PROMPTS, config.prompts, wanted, "prompt")
        last_train = len(both.rows) * config.train_prompts // wanted
        align, judge = (replace(both, rows=rows) for rows in (both.rows[:last_train], both.rows[last_train:]))
    return {"prompts": {config.prompts: align}, "eval_prompts": {judging or config.prompts: judge}}


def _load_pairs(config: Config, name: str) -> Loaded:
    """Raises DataError for a source of which more rows than the config allows are of no use."""
    found = catalog.load_pairs(name, config.language, config.pairs, config.seed)
    total = len(found.rows) + len(found.rejects)
    if len(found.rejects) > config.max_reject_share * total:
        first = f"line {found.rejects[0]['line']}: {found.rejects[0]['reason']}"
        raise DataError(
            f"{name}: {len(found.rejects)} of {total} rows cannot be used, more than "
            f"curate.max_reject_share={config.max_reject_share}; the first: {first}"
        )
    return replace(found, rows=found.rows[: config.pairs])


def _preferences(
    config: Config, loaded: dict[str, Loaded], contamination: Contamination
) -> tuple[list[dict], list[dict], Report]:
    """The pairs to train on, those held out, and the counts of what was dropped."""
    rows = cleaning.unique_ids(
        [
            {
                "id": row["id"], **{key: row[key] for key in PAIR},
                "subset": str(row.get("subset") or row.get("section") or "all"), "source": name,
                **({"margin": float(row["margin"])} if "margin" in row else {}),
            }
            for name, one in loaded.items() for row in one.rows
        ]
    )  # fmt: skip
    alike = frozenset(name for name, dataset in PREFERENCES.items() if dataset.alike)
    kept, report = cleaning.clean(rows, contamination, config.near_duplicates, alike)
    for name, one in loaded.items():
        report.reject(name, len(one.rejects))
    _say(report, "pairs")
    if not kept:
        raise DataError(f"curate.preferences: no pair of {', '.join(config.preferences)} is left")
    chosen = hub_sets.sample(len(kept), max(1, round(config.train_share * len(kept))), config.seed)
    others = sorted(set(range(len(kept))).difference(chosen))
    heldout = [others[i] for i in hub_sets.sample(len(others), config.heldout_pairs, config.seed)]
    if others:
        progress.say(f"curate: of {len(kept)} pairs {len(chosen)} to train on, {len(heldout)} of the others held out")
    return [kept[i] for i in chosen], [kept[i] for i in heldout], report


def _prompts(config: Config, loaded: Uses, contamination: Contamination) -> tuple[list[dict], dict]:
    """Prompts to align on, clean of all that is judged by, then those to judge on; and the counts."""
    rows = loaded["prompts"][config.prompts].rows
    row = catalog.find(PROMPTS, config.prompts)
    counts = {}
    if not (row and row.alike):
        rows, report = cleaning.clean_prompts(rows, config.prompts, contamination)
        _say(report, "prompts")
        counts = report.as_dict()
        if not rows:
            raise DataError(f"curate.prompts: no prompt of {config.prompts} is left to align on")
        rows = [rows[i] for i in hub_sets.sample(len(rows), config.train_prompts, config.seed)]
    (judged,) = loaded["eval_prompts"].values()
    both = [("train", row) for row in rows] + [("eval", row) for row in judged.rows]
    return [{"id": row["id"], "prompt": row["prompt"], "split": split} for split, row in both], counts


def _say(report: Report, what: str) -> None:
    for source, counts in report.as_dict().items():
        dropped = ", ".join(f"{count} {reason}" for reason, count in counts["dropped"].items()) or "none"
        hits = ", ".join(f"{count} of {name}" for name, count in counts.get("contaminated_by", {}).items())
        said = f"{dropped} ({hits})" if hits else dropped
        progress.say(f"curate: {source}: {counts['in']} {what} in, dropped {said}, {counts['out']} out")


def _write(tables: dict[str, list[dict]], rejects: list[dict], card: dict, output: Path) -> None:
    for name, rows in tables.items():
        write_jsonl(output / f"{name}.jsonl", rows)
    if rejects:
        write_jsonl(output / "rejects.jsonl", rejects)
    (output / "corpus.json").write_text(json.dumps(card, indent=2, ensure_ascii=False), encoding="utf-8")
    (output / "curation.md").write_text(data_card.markdown(card), encoding="utf-8")
