"""Evaluates reward models from elsewhere on the benchmark of every language (paper A, section 5, Table 2)."""

import json
from pathlib import Path

from xlrm.evaluation import external_models
from xlrm.store.jsonl import read_rows

COLUMNS = ("id", "prompt", "chosen", "rejected", "subset", "section")


class Config(external_models.Settings):
    languages: tuple[str, ...] = ("en",)
    """Languages to evaluate on."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/benchmark.jsonl" for language in config.languages)}


def fingerprint(config: Config) -> str:
    """What the models' names do not say: a folder and the Hub's newest may change."""
    return external_models.version(config)


def run(config: Config, *, corpora: Path, output: Path) -> dict[str, float]:
    """Writes results.json, and for each model its rewards.parquet or verdicts.jsonl. A run that was stopped goes on with
    the model it stopped at, with the conversations that have no reward, and with the questions that no judge has answered yet.

    Raises ConfigError for models that cannot be or cost too much, ArtifactError for those that cannot be had, DataError
    for a benchmark that cannot be read, GateError for a judge that refuses to.
    """
    languages = config.languages if config.models else ()
    rows = {one: read_rows(corpora / one / "benchmark.jsonl", COLUMNS) for one in languages}
    results = external_models.evaluate_all(rows, config, output)
    (output / "results.json").write_text(json.dumps({"models": results}, indent=2), encoding="utf-8")
    return {
        key: value for name, result in results.items() for key, value in _metrics(f"external/{name}", result).items()
    }


def _metrics(prefix: str, result: dict) -> dict[str, float]:
    """Accuracies by language; of a judge also what its places had to do with it, and the dollars."""
    found = {
        f"{prefix}/accuracy/{language}/{name}": value
        for language, one in result["results"].items()
        for name, value in one["accuracy"].items()
    }
    for language, shares in result.get("bias", {}).items():
        found |= {f"{prefix}/{name}/{language}": value for name, value in shares.items()}
    found[f"{prefix}/usd"] = result["cost"].get("usd")
    return {key: value for key, value in found.items() if value is not None}
