"""Evaluates one reward model on the benchmark of every language, and on further benchmarks as they are published."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Annotated

from xlrm import progress
from xlrm.data import catalog
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import benchmarks, reward_table
from xlrm.evaluation.credit import Rewards, Ties, credit, tied
from xlrm.evaluation.reward_table import CORPUS
from xlrm.evaluation.statistics import summary, with_missing
from xlrm.models import loading
from xlrm.scorers import fingerprints, reward_journal, scorer
from xlrm.store.fields import Sets
from xlrm.store.jsonl import read_rows


class Config(scorer.Scoring):
    language: str | None = None
    """Language the reward model was trained in, for labels only; none for a model from elsewhere."""
    languages: tuple[str, ...] = ("en",)
    """Languages to evaluate on, the source's first."""
    benchmarks: Annotated[tuple[str, ...], Sets] = ()
    """Further benchmarks, evaluated on as they are published in each language: m-rewardbench, rewardbench-2 or rewardbench
    as NAME[=OWNER/NAME][@REVISION], or a .jsonl or .parquet file, where {language} in the path stands for the code."""
    ties: Ties = "lost"
    """What a pair with equal rewards counts: lost, as in RewardBench's own code, or half, as in RLHFlow's script."""


Items = dict[str, dict[str, list[dict]]]
"""Benchmark -> language -> rows."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/benchmark.jsonl" for language in config.languages)}


def files(config: Config) -> str:
    """Digest of the files of this machine that the config names: what changed is evaluated on again."""
    entries = (entry.replace("{language}", code) for entry in config.benchmarks for code in config.languages)
    return catalog.fingerprint(dict.fromkeys(entries))


def run(config: Config, *, model: Path, corpora: Path, output: Path) -> dict[str, float]:
    """Writes results.json, rewards.parquet and the model's fingerprint. Raises ConfigError for an unknown benchmark,
    DataError for rows that are none of one, ArtifactError for a set of the Hub or a model that cannot be had."""
    scorer.check(model, config)
    items = {CORPUS: {code: _corpus(corpora, code) for code in config.languages}} | _published(config)
    every = [row for languages in items.values() for rows in languages.values() for row in rows]
    scored = iter(_scored(model, every, config, output))
    results: dict[str, dict[str, dict]] = {}
    kept: list[dict] = []
    for name, languages in items.items():
        one = {}
        for language, rows in languages.items():
            found = list(itertools.islice(scored, len(rows)))
            one[language] = result(rows, found, config.ties)
            kept += reward_table.records(name, language, rows, found)
        results[name] = with_missing(f"evaluate: {name}", one, languages)
    reward_table.write(output / reward_table.FILE, kept)
    own = results.pop(CORPUS)
    said = {"language": config.language, "tie_policy": config.ties, "results": own, "benchmarks": results}
    (output / "results.json").write_text(json.dumps(said, indent=2), encoding="utf-8")
    return _metrics(config.language, own, results)


def _load(model: Path, config: Config, output: Path) -> tuple:
    """The model as the config wants it. Its fingerprint is taken in float32, of a model loaded for that where it must be,
    before vLLM takes all of a GPU's memory."""
    exact = config.model_copy(update={"precision": "float32", "engine": "transformers"})
    loaded = scorer.load(model, exact)
    fingerprints.write(output, scorer.probing(loaded))
    if (config.precision, config.engine) == (exact.precision, exact.engine):
        return loaded
    del loaded
    loading.free_gpu()
    return scorer.load(model, config)


def _scored(model: Path, rows: list[dict], config: Config, output: Path) -> list[Rewards]:
    try:
        return score(_load(model, config, output), rows, config, reward_journal.Journal.beside(output, "rewards"))
    finally:
        loading.free_gpu()


def score(
    model: tuple, rows: list[dict], how: scorer.Scoring, journal: reward_journal.Journal | None = None
) -> list[Rewards]:
    """Rewards of each row's responses by a model and its tokenizer: of the chosen ones, and of the rejected ones."""
    return reward_table.score_items(
        rows, lambda asked: scorer.score(*model, asked, how.max_length, how.batch_tokens, journal)
    )


def result(rows: list[dict], scored: list[Rewards], ties: Ties) -> dict:
    return summary(rows, credit(rows, scored, ties), tied(scored))


def _corpus(corpora: Path, language: str) -> list[dict]:
    return read_rows(
        corpora / language / "benchmark.jsonl", ("id", "prompt", "chosen", "rejected", "subset", "section")
    )


def _published(config: Config) -> Items:
    """Rows of the further benchmarks, of each in the languages it exists in. Raises ConfigError for two of one name."""
    names = Counter([CORPUS, *map(benchmarks.label, config.benchmarks)])
    if double := [name for name, times in names.items() if times > 1]:
        raise ConfigError(
            f"evaluate.benchmarks: more than one is called {', '.join(double)} (the corpus's own: {CORPUS})"
        )
    found: Items = {}
    for entry in config.benchmarks:
        loaded = {code: benchmarks.load_published(entry, code, config.languages[0]) for code in config.languages}
        if missing := [code for code, one in loaded.items() if one is None]:
            if "{language}" in entry and len(missing) == len(loaded):
                raise DataError(f"evaluate.benchmarks: no file {entry} for any of {', '.join(missing)}")
            progress.say(f"evaluate: {entry} is not in {', '.join(missing)}: left out there")
        found[benchmarks.label(entry)] = {code: one.rows for code, one in loaded.items() if one}
    return found


def _metrics(language: str | None, own: dict[str, dict], others: dict[str, dict[str, dict]]) -> dict[str, float]:
    """Flat: accuracy/LANGUAGE/SECTION, and NAME/accuracy/LANGUAGE/SECTION of the further benchmarks."""
    found = {}
    for prefix, results in [("", own), *((f"{name}/", results) for name, results in others.items())]:
        for on, one in results.items():
            for name, value in one["accuracy"].items():
                found[f"{prefix}accuracy/{on}/{name}"] = value
    average = found.get(f"accuracy/{language}/average")
    return ({"own_accuracy": average} if average is not None else {}) | found
