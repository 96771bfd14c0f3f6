"""The material of the page on reused reward models, from the results of the stages and the records of their artifacts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import get_args

from xlrm.analysis import bag_of_words, recommender
from xlrm.analysis.bag_of_words import BagOfWords
from xlrm.errors import DataError, within
from xlrm.evaluation.best_of_n_results import BestOfNResults
from xlrm.evaluation.policy_gains import PolicyGains
from xlrm.evaluation.results import EvaluationResults, JudgedItems, JudgeResults
from xlrm.models import samples as sampled
from xlrm.registry.champion import Registered
from xlrm.reporting import lineage as provenance
from xlrm.reporting import reuse_material, reuse_sft
from xlrm.reporting.facts import Facts
from xlrm.reporting.reuse_material import Material, Method, Task
from xlrm.store.artifacts import Input, Record
from xlrm.store.files import sha256_of
from xlrm.store.jsonl import read_rows
from xlrm.store.local_copies import local_copy
from xlrm.store.row_files import RowFile
from xlrm.validation.summary import Summary

Words = dict[str, dict[str, BagOfWords]]
"""Target language -> reward model -> result."""
REWARDS = "rewards.jsonl"
"""What the stage best_of_n writes: rewards of every response by every reward model."""
TEXTS = 2000
RESPONSES = 8
"""Responses to a prompt on which sources are compared."""
COLUMNS = ("lang", "feature_id", "value")
Judged = Mapping[Method, Sequence[tuple[JudgeResults, JudgedItems]]]
"""Method -> both files of each language's verdicts."""


def gather(
    languages: tuple[str, ...], run: str, lineage: dict[str, Record], validation: Summary | None, typology: str | None, *,
    evaluations: list[EvaluationResults], best_of_n: list[BestOfNResults], gains: list[PolicyGains], judged: Judged,
    registered: Registered | None, notes: list[str], words: Words, agreement: dict[str, dict[str, float]],
    translated: Mapping[str, Sequence[JudgeResults]] | None = None,
) -> Material:  # fmt: skip
    """Results in the order of `languages`, whatever the order of the inputs."""
    verdicts = {method: [each for each, _ in own] for method, own in judged.items()}
    items = {method: [each for _, each in own] for method, own in judged.items()}
    compared = {method: reuse_material.compare(own, items[method]) for method, own in verdicts.items() if own}
    return Material(
        facts=_facts(run, lineage),
        languages=languages,
        task=_task(lineage),
        evaluations=_ordered(evaluations, languages),
        best_of_n=_ordered(best_of_n, languages),
        gains=_ordered(gains, languages),
        verdicts=[each for method, own in verdicts.items() for each in reuse_material.by_judge(method, own)],
        compared={method: result for method, result in compared.items() if result},
        trained_sft=reuse_sft.policies(lineage),
        translated=reuse_sft.verdicts(translated or {}),
        words=words,
        agreement=agreement,
        items={method: _items(own) for method, own in judged.items() if own},
        features=features(typology),
        registered=registered,
        artifacts=provenance.made(lineage),
        notes=[*notes, *_validated(validation)],
    )


def _items(judged: Sequence[tuple[JudgeResults, JudgedItems]]) -> dict[str, list[JudgedItems]]:
    by_target: dict[str, list[JudgedItems]] = {}
    for results, items in judged:
        by_target.setdefault(results.language, []).append(items)
    return by_target


def words(languages: Sequence[str], samples: Sequence[Path], best_of_n: Sequence[Path]) -> Words:
    """How far words alone predict each reward model's rewards of the SFT policy's responses, in each language with both. At most
    `TEXTS` responses of a language count: the first ones to each prompt."""
    measured: Words = {}
    for folder in best_of_n:
        language = BestOfNResults.read(folder).language
        given = [each for each in samples if (each / sampled.file(0, "eval", language)).is_file()]
        if given and language in languages and (folder / REWARDS).is_file():
            texts = {row["id"]: row["responses"] for row in sampled.read(given, 0, "eval", language)}
            rows = [row for row in read_rows(folder / REWARDS) if row["id"] in texts]
            if own := _bag(texts, rows):
                measured[language] = own
    return measured


def agreement(best_of_n: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Source -> target -> how far its rewards of the SFT policy's responses, the first of each prompt, agree with the other
    sources', by rank. Empty if a source gives the same reward to all of a language: that has no order."""
    rewards: dict[str, dict[str, list[float]]] = {}
    for folder in best_of_n:
        language = BestOfNResults.read(folder).language
        for row in read_rows(folder / REWARDS) if (folder / REWARDS).is_file() else ():
            for source, values in row["rewards"].items():
                if reuse_material.is_single(source):
                    rewards.setdefault(source, {}).setdefault(language, []).extend(values[:RESPONSES])
    correlations = recommender.agreement(rewards) if len(rewards) > 1 else {}
    known = all(math.isfinite(value) for own in correlations.values() for value in own.values())
    return correlations if known else {}


def _bag(texts: Mapping[str, Sequence[str]], rows: Sequence[dict]) -> dict[str, BagOfWords]:
    """`rows`: id, and rewards by reward model of each response to the prompt. Empty for too few texts."""
    count = max(1, TEXTS // max(1, len(rows)))
    groups = [row["id"] for row in rows for _ in texts[row["id"]][:count]]
    rewards = {
        name: [value for row in rows for value in row["rewards"][name][: len(texts[row["id"]][:count])]]
        for name in (rows[0]["rewards"] if rows else {})
    }
    try:
        return bag_of_words.fit([text for row in rows for text in texts[row["id"]][:count]], rewards, groups)
    except ValueError:
        return {}


def _ordered(results: list, languages: tuple[str, ...]) -> list:
    places = {code: place for place, code in enumerate(languages)}
    return sorted(results, key=lambda each: places.get(each.language, len(places)))


def _facts(run: str, lineage: dict[str, Record]) -> Facts:
    bases = [
        record.config["model"] for record in lineage.values() if record.stage == "base" and record.config.get("model")
    ]
    evaluated = {given.uri for record in lineage.values() if record.stage == "evaluate" for given in _inputs(record)}
    pairs = {
        record.config["language"]: int(record.metrics["pairs"])
        for uri, record in lineage.items()
        if record.stage == "reward" and "pairs" in record.metrics and (uri in evaluated or not evaluated)
    }
    ends = [record.started + timedelta(seconds=record.seconds) for record in lineage.values()]
    return Facts(run=run, bases=list(dict.fromkeys(bases)), pairs=pairs, finished=max(ends, default=None))


def _inputs(record: Record) -> Iterator[Input]:
    return (given for several in record.inputs.values() for given in several)


def _task(lineage: dict[str, Record]) -> Task | None:
    """That of the instruction which the SFT policies were trained with."""
    given = [record.config.get("instruction") for record in lineage.values() if record.stage == "sft"]
    return next((task for task in given if task in get_args(Task)), None)


def _validated(summary: Summary | None) -> list[str]:
    return [f"{summary.rows_out:,} of {summary.rows_in:,} rows of the corpora passed validation."] if summary else []


def digest(typology: str | None) -> str:
    """Digest of the file of typological features; empty without one. Raises DataError for a file that is not there."""
    with within("reuse_report.typology: "):
        return sha256_of(local_copy(typology)) if typology else ""


def features(typology: str | None) -> list[dict[str, str]]:
    """Rows of the file of typological features with the columns that count. Raises DataError for a row without one."""
    rows = []
    for number, row in RowFile(typology).numbered() if typology else ():
        if missing := [name for name in COLUMNS if row.get(name) in (None, "")]:
            raise DataError(
                f"the columns {', '.join(COLUMNS)} are required", where=f"{typology}:{number}", value=missing[0]
            )
        rows.append({name: str(row[name]) for name in COLUMNS})
    return rows
