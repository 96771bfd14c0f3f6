"""Evaluates reward models trained elsewhere on the benchmark in every language (paper A, section 5, Table 2)."""

from pathlib import Path

from xlrm.data.corpus_schema import BENCHMARK_ITEMS
from xlrm.evaluation import external_models
from xlrm.evaluation.results import ExternalModelResults, ExternalResults


class Config(external_models.Settings):
    languages: tuple[str, ...] = ("en",)
    """Languages to evaluate on."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/{BENCHMARK_ITEMS.file}" for language in config.languages)}


def fingerprint(config: Config) -> str:
    """Versions of the models, since a folder or the newest commit on the Hub may change."""
    return external_models.version(config)


def run(config: Config, *, corpora: Path, output: Path) -> dict[str, float]:
    """Writes results.json, and rewards.parquet or verdicts.jsonl for each model. A run that was stopped continues with
    the conversations that have no reward yet and the questions that no judge has answered yet.

    Raises ConfigError for unknown or too expensive models, ArtifactError for unavailable ones, DataError for an
    unreadable benchmark, and GateError for a judge that refuses too many questions or costs too much.
    """
    languages = config.languages if config.models else ()
    rows = {language: BENCHMARK_ITEMS.read(corpora / language) for language in languages}
    results = external_models.evaluate_all(rows, config, output)
    ExternalResults(models=results).write(output)
    return {
        key: value for name, result in results.items() for key, value in _metrics(f"external/{name}", result).items()
    }


def _metrics(prefix: str, result: ExternalModelResults) -> dict[str, float]:
    """Flat metrics: accuracies by language; for a judge also its position bias, the share of verdicts that could not be
    read (errors), and its cost in US dollars."""
    metrics: dict[str, float | None] = {
        f"{prefix}/accuracy/{language}/{name}": value
        for language, entry in result.results.items()
        for name, value in entry.accuracy.items()
    }
    for language, shares in result.bias.items():
        metrics |= {f"{prefix}/{name}/{language}": value for name, value in shares.items()}
    metrics[f"{prefix}/usd"] = result.cost.usd
    return {key: value for key, value in metrics.items() if value is not None}
