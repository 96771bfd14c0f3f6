"""Published benchmarks that are evaluated beside the corpus's own, a reward model's rewards for their rows, and the
results."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from xlrm import progress
from xlrm.data.corpus_schema import BENCHMARK_ITEMS, HELDOUT_PAIRS, JUDGMENTS, PAIR, PREFERENCE_PAIRS, is_judgment
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import benchmarks, reward_table
from xlrm.evaluation.credit import Rewards, Ties, credit, tied
from xlrm.evaluation.results import Result, Results
from xlrm.evaluation.reward_table import CORPUS
from xlrm.evaluation.statistics import summary
from xlrm.models import loading
from xlrm.scorers import engines, fingerprints, parallel
from xlrm.scorers.interface import Scorer, Scoring
from xlrm.scorers.reward_journal import Journal
from xlrm.store.jsonl import read_rows


class Scored(NamedTuple):
    """A benchmark's rows as one model scored them."""

    rewards: list[Rewards]
    """Rewards of each row's chosen and rejected responses."""
    cut: list[int]
    """Number of each row's conversations that were cut."""
    max_length: int
    """Tokens to which conversations were cut."""


def of_corpora(corpora: Path, languages: Sequence[str]) -> dict[str, dict[str, list[dict]]]:
    """The corpora's own tables: name -> language -> items of their benchmark, unless no language has one, and of their
    held-out rows, if any has some."""
    names = [code for code in languages if (corpora / code / BENCHMARK_ITEMS.file).is_file()]
    tables = {CORPUS: {code: BENCHMARK_ITEMS.read(corpora / code) for code in languages}} if names else {}
    return tables | ({benchmarks.HELDOUT: held} if (held := heldout(corpora, languages)) else {})


def check_any(items: Mapping[str, object], corpora: Path, languages: Sequence[str]) -> None:
    """Raises DataError if there is nothing to evaluate on."""
    if not items:
        raise DataError(
            "no such file, nor held-out rows beside it", where=corpora / languages[0] / BENCHMARK_ITEMS.file,
            hint="curate a corpus with curate.benchmark or a train_share below 1, or name evaluate.benchmarks",
        )  # fmt: skip


def comparable(languages: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """The items of a benchmark by language, or none if several languages have items and none of theirs in common, as corpora
    of independent data sets: a subset of one language is not missing in another."""
    times = Counter(name for rows in languages.values() for name in {row["id"] for row in rows})
    return languages if len(languages) < 2 or max(times.values(), default=0) > 1 else {}


def heldout(corpora: Path, languages: Sequence[str]) -> dict[str, list[dict]]:
    """Language -> held-out rows of its corpus, as items of a benchmark whose sections are the datasets that the rows come
    from; only languages with such rows. Single judgments have a label, and their subsets. Raises DataError for a single
    judgment without a label."""
    paths = {code: corpora / code / HELDOUT_PAIRS.file for code in languages}
    tables = {code: read_rows(path, numbers=JUDGMENTS.numbers) for code, path in paths.items() if path.is_file()}
    return {
        code: _apart(
            _judged(row, f"{paths[code]}:{number}") if is_judgment(row) else _item(row)
            for number, row in enumerate(rows, 1)
        )
        for code, rows in tables.items()
        if rows
    }


def _apart(items: Iterable[dict]) -> list[dict]:
    """The items; subsets of one name in several sections get the names of both."""
    items = list(items)
    places = Counter(subset for subset, _ in {(item["subset"], item["section"]) for item in items})
    return [
        item if places[item["subset"]] == 1 else item | {"subset": f"{item['section']}/{item['subset']}"}
        for item in items
    ]


def _item(row: dict) -> dict:
    source = benchmarks.label(row["source"])
    return {key: row[key] for key in ("id", *PAIR)} | {"subset": source, "section": source}


def _judged(row: dict, where: str) -> dict:
    if row.get("label") is None:
        raise DataError("missing; a single judgment has a number from 0 (bad) to 1 (good)", where=f"{where}: label")
    source, good = benchmarks.label(row["source"]), row["label"] > 0.5
    sides = {"chosen": [row["response"]] if good else [], "rejected": [] if good else [row["response"]]}
    subset = str(row.get("subset") or source)
    return {
        "id": row["id"],
        "prompt": row["prompt"],
        **sides,
        "label": row["label"],
        "subset": subset,
        "section": source,
    }


def training(corpora: Path, language: str) -> list[dict]:
    """Rows that reward models of a language are trained on; empty if its corpus has none."""
    path = corpora / language / PREFERENCE_PAIRS.file
    return read_rows(path, numbers=JUDGMENTS.numbers) if path.is_file() else []


def published(
    entries: Sequence[str], languages: Sequence[str], own: Sequence[str] = (CORPUS,)
) -> dict[str, dict[str, list[dict]]]:
    """Label -> language -> rows of the benchmarks in `evaluate.benchmarks`, in each language that they exist in; the
    first language is the source. `own`: names of the corpus's own tables. Raises ConfigError if two have the same
    label, DataError if none of a benchmark's files exists."""
    names = Counter([*own, *map(benchmarks.label, entries)])
    if duplicated := [name for name, times in names.items() if times > 1]:
        raise ConfigError(
            f"names must differ, and the corpus's own are {', '.join(own)}",
            where="evaluate.benchmarks",
            value=", ".join(duplicated),
        )
    tables: dict[str, dict[str, list[dict]]] = {}
    for entry in entries:
        loaded = {code: benchmarks.load_published(entry, code, languages[0]) for code in languages}
        if absent := [code for code, dataset in loaded.items() if dataset is None]:
            if "{language}" in entry and len(absent) == len(loaded):
                raise DataError(
                    f"no such file for any of {', '.join(absent)}", where="evaluate.benchmarks", value=entry
                )
            progress.say(f"evaluate: {entry} has no items in {', '.join(absent)}")
        tables[benchmarks.label(entry)] = {code: dataset.rows for code, dataset in loaded.items() if dataset}
    return tables


def score_with_fingerprint(folder: Path, rows: list[dict], scoring: Scoring, output: Path) -> Scored:
    """Rewards of the rows from the reward model in `folder`, whose fingerprint is written to `output`. A killed run
    continues from the journal beside `output`."""
    try:
        return _score(_load(folder, scoring, output), rows, Journal.beside(output, "rewards"))
    finally:
        loading.free_gpu()


def _score(scorer: Scorer, rows: list[dict], journal: Journal) -> Scored:
    rewards = reward_table.score_items(rows, scorer, journal)
    return Scored(rewards, reward_table.cut_items(rows, scorer), scorer.max_length)


def _load(folder: Path, scoring: Scoring, output: Path) -> Scorer:
    """The scorer that `scoring` asks for. The fingerprint is taken in the same precision, by transformers, if necessary
    from a model loaded for it, before vLLM takes all of a GPU's memory."""
    if scoring.engine == "transformers":
        scorer = parallel.load(folder, scoring)
        fingerprints.write(output, scorer, scoring.precision)
        return scorer
    plain = scoring.model_copy(update={"engine": "transformers"})
    fingerprints.write(output, engines.load(folder, plain), scoring.precision)
    loading.free_gpu()
    return engines.load(folder, scoring)


def result(rows: list[dict], scored: list[Rewards], ties: Ties, cut: int | None = None) -> Result:
    """Result on a benchmark in one language. `cut`: number of conversations that were cut."""
    return summary(rows, credit(rows, scored, ties), tied(scored)).model_copy(update={"cut": cut})


def metrics(language: str | None, own: Results, others: dict[str, Results]) -> dict[str, float]:
    """Flat metrics: accuracy/LANGUAGE/SECTION, and NAME/accuracy/LANGUAGE/SECTION for the further benchmarks; cut/LANGUAGE
    and NAME/cut/LANGUAGE; own_accuracy is the average in the model's language, on held-out rows without a benchmark."""
    metrics = {}
    for prefix, results in [("", own), *((f"{name}/", results) for name, results in others.items())]:
        for on, result in results.items():
            for name, value in result.accuracy.items():
                metrics[f"{prefix}accuracy/{on}/{name}"] = value
            metrics[f"{prefix}cut/{on}"] = float(result.cut or 0)
    average = metrics.get(f"{'' if own else f'{benchmarks.HELDOUT}/'}accuracy/{language}/{benchmarks.AVERAGE}")
    return ({"own_accuracy": average} if average is not None else {}) | metrics
