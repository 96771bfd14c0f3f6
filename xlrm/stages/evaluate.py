"""Evaluates a reward model on the corpus benchmark and the held-out rows in every language, and on further published
benchmarks."""

import itertools
from pathlib import Path
from typing import Annotated

from xlrm.analysis import reward_modeling
from xlrm.data import catalog
from xlrm.data.corpus_schema import BENCHMARK_ITEMS, HELDOUT_PAIRS, PREFERENCE_PAIRS
from xlrm.evaluation import benchmarks, reward_results, reward_table
from xlrm.evaluation.credit import Ties
from xlrm.evaluation.facts import ScoringFacts
from xlrm.evaluation.heldout_results import RewardModeling
from xlrm.evaluation.results import EvaluationResults, Results
from xlrm.evaluation.reward_table import CORPUS
from xlrm.evaluation.statistics import with_missing
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring
from xlrm.store import hub
from xlrm.store.fields import Sets


class Config(Scoring):
    language: str | None = None
    """Language the reward model was trained in: `register` and `report` match models and evaluations by it, and it changes
    no reward. Null for a model from elsewhere."""
    languages: tuple[str, ...] = ("en",)
    """Languages to evaluate on, the source language first."""
    benchmarks: Annotated[tuple[str, ...], Sets] = ()
    """Further benchmarks, each in the languages it is published in: m-rewardbench, rewardbench-2 or rewardbench, as
    NAME[=OWNER/NAME][@REVISION], or a file of rows; {language} in its path stands for the language code."""
    ties: Ties = "lost"
    """Credit for a pair with equal rewards: lost is 0 (RewardBench's code), half is 0.5 (RLHFlow's script)."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    tables = (BENCHMARK_ITEMS, HELDOUT_PAIRS, PREFERENCE_PAIRS)
    return {"corpora": tuple(f"{code}/{table.file}" for code in config.languages for table in tables)}


def files(config: Config) -> str:
    """Digest of the local files that the config names, so that a changed file is evaluated again."""
    entries = (entry.replace("{language}", code) for entry in config.benchmarks for code in config.languages)
    return catalog.fingerprint(dict.fromkeys(entries))


def run(config: Config, *, model: Path, corpora: Path, output: Path) -> dict[str, float]:
    """Writes results.json, rewards.parquet and the model's fingerprint. Raises ConfigError for an unknown benchmark,
    DataError for invalid rows or without any, and ArtifactError for an unavailable dataset or model."""
    engines.check(model, config)
    items = reward_results.of_corpora(corpora, config.languages)
    items |= reward_results.published(config.benchmarks, config.languages, tuple(items | {CORPUS: {}}))
    reward_results.check_any(items, corpora, config.languages)
    every = [row for languages in items.values() for rows in languages.values() for row in rows]
    scored = reward_results.score_with_fingerprint(model, every, config, output)
    left = zip(scored.rewards, scored.cut, strict=True)
    results: dict[str, Results] = {}
    heldout: dict[str, RewardModeling] = {}
    kept: list[dict] = []
    for name, languages in items.items():
        by_language = {}
        for language, rows in languages.items():
            rewards, cut = map(list, zip(*itertools.islice(left, len(rows)), strict=True))
            by_language[language] = reward_results.result(rows, rewards, config.ties, sum(cut))
            kept += reward_table.records(name, language, rows, rewards)
            if name == benchmarks.HELDOUT:
                rows_of_training = reward_results.training(corpora, language)
                heldout[language] = reward_modeling.measure(rows, rewards, rows_of_training, config.ties)
        results[name] = with_missing(f"evaluate: {name}", by_language, reward_results.comparable(languages))
    reward_table.write(output / reward_table.FILE, kept)
    own = results.pop(CORPUS, {})
    EvaluationResults(
        language=config.language, tie_policy=config.ties, model_digest=hub.folder_digest(model),
        scoring=ScoringFacts.of(config, scored.max_length), results=own, benchmarks=results, reward_modeling=heldout,
    ).write(output)  # fmt: skip
    return reward_results.metrics(config.language, own, results) | reward_modeling.metrics(heldout)
