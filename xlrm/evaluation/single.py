"""Evaluates one model on one benchmark, in one language or more, as `xlrm evaluate`, `xlrm compare` and notebooks do.

Each language's result is in a folder of its own, MODEL--BENCHMARK--LANGUAGE, beside the rewards or verdicts.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm import __version__
from xlrm.data import catalog, cleaning
from xlrm.errors import ConfigError, within
from xlrm.evaluation import benchmarks, external_models, reward_results, reward_table
from xlrm.evaluation.credit import Rewards, Ties
from xlrm.evaluation.facts import BenchmarkFacts, ModelFacts, ScoringFacts, rows_digest
from xlrm.evaluation.results import SingleExternalResult, SingleResult
from xlrm.evaluation.statistics import with_missing
from xlrm.models import reward_models
from xlrm.scorers import classifiers, engines, parallel
from xlrm.scorers.interface import Scoring
from xlrm.scorers.reward_journal import Journal
from xlrm.store import hub
from xlrm.store.row_files import PLAIN, Reading
from xlrm.tracking import named_models

if TYPE_CHECKING:
    from xlrm.models.reward_models import RewardModel
    from xlrm.scorers.interface import Scorer

SEED = 42
"""Seed of the rows that are taken if a number of them is given."""


@dataclass(frozen=True)
class Items:
    """Rows of a benchmark in one language."""

    name: str
    """Name of the benchmark in results."""
    language: str
    rows: list[dict]
    benchmark: BenchmarkFacts


@dataclass(frozen=True)
class Subject:
    """A reward model that is loaded."""

    model: ModelFacts
    scoring: Scoring
    scorer: "Scorer"
    row: "RewardModel | None" = None
    """Row of the table of models from elsewhere, if it has one."""


def read_items(benchmark: str, languages: Sequence[str], count: int | None, reading: Reading = PLAIN) -> list[Items]:
    """Items of a benchmark in each language; in the path of a file, {language} stands for the language's code. At most
    `count` rows are taken, by a seed. Raises ConfigError and DataError as `benchmarks.load` does."""
    if len(languages) > 1 and catalog.is_file(benchmark) and "{language}" not in benchmark:
        raise ConfigError(
            "a file is in one language", where="--language", value=",".join(languages),
            hint="for a file each, write {language} in the path",
        )  # fmt: skip
    with within("benchmark: "):
        catalog.check(benchmarks.TABLE, benchmark)
    tables = []
    for language in languages:
        loaded = benchmarks.load(benchmark.replace("{language}", language), language, count, SEED, reading)
        facts = BenchmarkFacts(given=benchmark, available=loaded.origin.rows)
        tables.append(Items(benchmarks.label(benchmark), language, cleaning.unique_ids(loaded.rows), facts))
    return tables


def is_judge(entry: str) -> bool:
    """Whether the entry names a judge, which gives no rewards. Raises ConfigError for a name of no model."""
    return reward_models.in_table(entry) and reward_models.find(entry).kind == "generative"


def load(entry: str, given: dict[str, Any]) -> Subject:
    """The reward model, downloaded if necessary and loaded. `given`: fields of `Scoring` that differ from the defaults,
    which are those of a model from elsewhere for a model of its table. Raises ConfigError and ArtifactError."""
    if not reward_models.in_table(entry):
        scoring = Scoring(**given)
        engines.check_machine(scoring)
        folder = named_models.folder(entry)
        engines.check(folder, scoring)
        return Subject(_facts(entry, folder, *named_models.pinned(entry)), scoring, parallel.load(folder, scoring))
    row, settings = reward_models.find(entry), external_models.Settings(models=(entry,), **given)
    external_models.check_kind(row, settings)
    scoring = settings.for_model(row)
    folder = named_models.folder(row.repository, row.revision, row.folder)
    facts = _facts(entry, folder, *named_models.pinned(row.repository, row.revision))
    return Subject(facts, scoring, classifiers.load(row, scoring), row)


def evaluate(
    subject: Subject, items: Items, ties: Ties, journal: Journal | None = None
) -> tuple[SingleResult, list[Rewards]]:
    """The result, and the rewards of each row's chosen and rejected responses."""
    scored = reward_table.score_items(items.rows, subject.scorer, journal)
    cut = sum(reward_table.cut_items(items.rows, subject.scorer))
    result = reward_results.result(items.rows, scored, ties, cut)
    counted = with_missing(f"evaluate: {items.name}", {items.language: result}, {items.language: items.rows})
    how = ScoringFacts.of(subject.scoring, subject.scorer.max_length)
    fields = counted[items.language].model_dump(exclude_unset=True) | _expected(subject.model, items, ties, how)
    fields |= {"benchmark": items.benchmark, "date": _now(), "xlrm": __version__}
    if not (row := subject.row):
        return SingleResult(**fields), scored
    elsewhere = {"kind": row.kind, "repository": row.repository, "licence": row.licence, "version": row.version()}
    return SingleExternalResult(**fields, **elsewhere, cost=external_models.cost_of(items.rows)), scored


def evaluate_all(
    entry: str, tables: Sequence[Items], given: dict[str, Any], ties: Ties, output: Path
) -> Iterator[tuple[Items, SingleResult, Path]]:
    """Evaluates the model on each table, and yields its items, its result and the folder below `output` that has it. A
    killed run continues.

    Raises ConfigError for a folder that has the result of another evaluation, before the first reward is computed.
    """
    if is_judge(entry):
        yield from _judged(entry, tables, given, ties, output)
        return
    subject = load(entry, given)
    folders = [output / folder_name(subject.model, items) for items in tables]
    how = ScoringFacts.of(subject.scoring, subject.scorer.max_length)
    for items, folder in zip(tables, folders, strict=True):
        _check_same(folder, _expected(subject.model, items, ties, how))
    for items, folder in zip(tables, folders, strict=True):
        adapter = subject.row.adapter if subject.row else "scalar"
        version = f"{adapter} {subject.model.digest}"
        journal = Journal.of_file(folder / reward_table.FILE, version, subject.scoring)
        result, scored = evaluate(subject, items, ties, journal)
        records = reward_table.records(items.name, items.language, items.rows, scored)
        reward_table.write(folder / reward_table.FILE, list(records))
        result.write(folder)
        journal.remove()
        yield items, result, folder


def finished(entry: str, items: Items, given: dict[str, Any], ties: Ties, output: Path) -> Path | None:
    """The folder below `output` that has this evaluation already. The model's files are read, but it is not loaded."""
    if reward_models.in_table(entry):
        return None
    folder, scoring = named_models.folder(entry), Scoring(**given)
    facts = _facts(entry, folder, *named_models.pinned(entry))
    if not (result := SingleResult.find(place := output / folder_name(facts, items))):
        return None
    length = min(scoring.max_length, result.scoring.max_length) if result.scoring else 0
    expected = _expected(facts, items, ties, ScoringFacts.of(scoring, length))
    return None if _differing(result, expected) else place


def folder_name(model: ModelFacts, items: Items) -> str:
    """MODEL--BENCHMARK--LANGUAGE. MODEL is NAME-VERSION of a registered model, and else the last part of its name with
    the beginning of its digest, so that two models never share a folder."""
    name = model.resolved.removeprefix(named_models.REGISTERED).replace("/", "-")
    if not model.resolved.startswith(named_models.REGISTERED):
        name = named_models.split(model.resolved)[0].rstrip("/").rsplit("/", 1)[-1]
        name += f"-{model.digest[:8]}" if model.digest else ""
    return "--".join(re.sub(r"[^\w.-]+", "-", part) for part in (name, items.name, items.language))


def _facts(entry: str, folder: Path, name: str, revision: str | None) -> ModelFacts:
    place = str(folder.absolute()) if named_models.is_folder(name) else name
    return ModelFacts(
        given=entry, resolved=f"{place}@{revision}" if revision else place, digest=hub.folder_digest(folder)
    )


def _expected(model: ModelFacts, items: Items, ties: Ties, scoring: ScoringFacts | None) -> dict[str, Any]:
    """Fields that identify the evaluation."""
    return {
        "model": model, "rows_digest": rows_digest(items.rows), "language": items.language, "tie_policy": ties,
        "scoring": scoring,
    }  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _judged(
    entry: str, tables: Sequence[Items], given: dict[str, Any], ties: Ties, output: Path
) -> Iterator[tuple[Items, SingleResult, Path]]:
    row = reward_models.find(entry)
    settings = external_models.Settings(models=(entry,), ties=ties, **given)
    external_models.check_kind(row, settings)
    resolved = f"{row.repository}@{row.revision}" if row.revision else row.repository
    model = ModelFacts(given=entry, resolved=resolved)
    for items in tables:
        _check_same(output / folder_name(model, items), _expected(model, items, ties, None))
    for items in tables:
        folder = output / folder_name(model, items)
        results = external_models.judge(entry, {items.language: items.rows}, settings, folder)
        about = results.model_dump(exclude_unset=True, exclude={"results"})
        fields = results.results[items.language].model_dump(exclude_unset=True) | about
        fields |= _expected(model, items, ties, None) | {
            "benchmark": items.benchmark,
            "date": _now(),
            "xlrm": __version__,
        }
        result = SingleExternalResult(**fields)
        result.write(folder)
        yield items, result, folder


def _check_same(folder: Path, expected: dict[str, Any]) -> None:
    """Raises ConfigError for a folder with a result whose `expected` fields have other values."""
    if (kept := SingleResult.find(folder)) and (name := _differing(kept, expected)):
        raise ConfigError(
            f"has the result of another evaluation, whose {name} differs", where="--output", value=str(folder),
            hint="choose another folder, or remove this one",
        )  # fmt: skip


def _differing(result: SingleResult, expected: dict[str, Any]) -> str:
    """The first of the fields in which the result is not the expected one; empty if there is none."""
    for name, value in expected.items():
        kept = getattr(result, name)
        if name == "model":
            kept, value = kept and kept.identity, value.identity
        if kept != value:
            return name
    return ""
