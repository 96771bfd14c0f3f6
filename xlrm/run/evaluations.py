"""Finds the evaluations that a name stands for, and makes those of models that have none:

| name | evaluations |
|---|---|
| a folder of `xlrm evaluate`, or one above several | theirs |
| a .parquet or .jsonl file of rewards | `evaluated.REWARD_FILE` |
| URI of an artifact of evaluate, external or report | its own, or those that it was made from |
| RUN, or the name of an experiment, whose newest run counts | those of the run's models |
| models:/NAME@ALIAS, models:/NAME/VERSION | the one that it was registered with |
| a model, with a benchmark | made now, or found where an earlier command kept it |
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xlrm.data import catalog
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import evaluated, single
from xlrm.evaluation.credit import Ties
from xlrm.evaluation.evaluated import ModelEvaluation
from xlrm.evaluation.single import Items
from xlrm.models import reward_models
from xlrm.processes import locks
from xlrm.registry import releases
from xlrm.store import addresses, artifacts, objects
from xlrm.store.artifacts import Record
from xlrm.tracking import mlflow_registry, named_models

ALLOWED = (
    "a folder of `xlrm evaluate`, a file of rewards, the URI of an artifact of evaluate, external or report, a run or "
    "the name of its experiment, models:/NAME@ALIAS, and, with a benchmark, any model are allowed"
)
_STAGES = ("evaluate", "external", "report")


@dataclass(frozen=True)
class Wanted:
    """Evaluations to make of models that are named."""

    tables: Sequence[Items]
    scoring: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Scoring` that differ from the defaults."""
    ties: Ties = "lost"


def find_all(names: Sequence[str], wanted: Wanted | None = None) -> list[list[ModelEvaluation]]:
    """For each name what `find` finds. Single evaluations of one model, such as its folders of several languages, are one;
    evaluations of the same name get their place in brackets."""
    groups = [(name, find(name, wanted)) for name in names]
    shown = Counter(each.name for _, group in groups for each in group)
    renamed = [
        [replace(each, name=f"{each.name} ({name})") if shown[each.name] > 1 else each for each in group]
        for name, group in groups
    ]
    merged = {each.name: [each] for each in evaluated.merged(group[0] for group in renamed if len(group) == 1)}
    groups_once = (merged.get(group[0].name, []) if len(group) == 1 else group for group in renamed)
    return [group for group in groups_once if group]  # an evaluation that was merged into an earlier one has none


def find(name: str, wanted: Wanted | None = None) -> list[ModelEvaluation]:
    """Evaluations that the name stands for, one for each model. Raises ConfigError for a name of another form, and
    DataError or ArtifactError for what is there but cannot be read."""
    path = Path(name).expanduser()
    if path.is_file():
        return [evaluated.read_file(path, name)]
    if path.is_dir() and not (path / named_models.CONFIG).is_file():
        return evaluated.read_folder(path)
    if wanted and _is_model(name):
        return [_made(name, wanted)]
    if name.startswith(named_models.REGISTERED):
        return [_registered(name)]
    if name.startswith(("file://", "s3://")):
        return _of_artifact(name)
    if catalog.is_file(name) or named_models.is_folder(name):
        hint = "name a benchmark to evaluate it on" if path.is_dir() else ALLOWED
        message = "a model, which has no evaluation" if path.is_dir() else "no such file or folder"
        raise ConfigError(message, value=name, hint=hint)
    if named_models.is_on_hub(name):
        raise ConfigError("a model, which has no evaluation", value=name, hint="name a benchmark to evaluate it on")
    return _of_run(name)


def _is_model(name: str) -> bool:
    if name.startswith(("file://", "s3://")):
        record = artifacts.find(name)
        return record is None or record.stage not in _STAGES
    known = name.startswith(named_models.REGISTERED) or named_models.is_folder(name)
    return known or named_models.is_on_hub(name) or reward_models.in_table(name)


def _made(name: str, wanted: Wanted) -> ModelEvaluation:
    """The model's evaluation, made now unless an earlier command did it."""
    output, given = addresses.home() / "evaluations", dict(wanted.scoring)
    with locks.alone(output / ".lock", f"compare: {output}"):
        folders = [single.finished(name, items, given, wanted.ties, output) for items in wanted.tables]
        if not all(folders):
            folders = [folder for *_, folder in single.evaluate_all(name, wanted.tables, given, wanted.ties, output)]
    (made,) = evaluated.merged(each for folder in folders if folder for each in evaluated.read_folder(folder, name))
    return made


def _registered(name: str) -> ModelEvaluation:
    version = mlflow_registry.version(name)
    with TemporaryDirectory() as folder:
        file = mlflow_registry.download(version.uri, Path(folder), releases.REWARDS)
        items = evaluated.read_rewards(file)
    shown = name if name.endswith(f"/{version.number}") else f"{name} (version {version.number})"
    language, base = (version.tags.get(tag, "") for tag in ("language", "base_model"))
    return ModelEvaluation(shown, items, model=version.uri, trained_in=language, base=base)


def _of_artifact(uri: str) -> list[ModelEvaluation]:
    record = artifacts.load(uri)
    if record.stage not in _STAGES:
        raise ConfigError(f"an artifact of {record.stage}", value=uri, hint=ALLOWED)
    if record.stage != "report":
        return _of_record(uri, record)
    lineage = artifacts.lineage([uri])
    return [
        each
        for given in lineage[uri].inputs.get("evaluations", ())
        for each in _of_record(given.uri, lineage[given.uri])
    ]


def _of_record(uri: str, record: Record) -> list[ModelEvaluation]:
    folder = artifacts.fetch(uri, addresses.home() / "cache")
    base = _base(uri) if record.stage == "evaluate" else ""
    return [replace(each, base=base, model=f"{uri} {each.name}") for each in evaluated.read_folder(folder)]


def _base(uri: str) -> str:
    """Model that an evaluated reward model was trained from, as the config of the stage base names it; empty if it is
    not known."""
    lineage = artifacts.lineage([uri])
    models = [lineage[given.uri] for given in lineage[uri].inputs.get("model", ())]
    bases = [lineage[given.uri] for model in models for given in model.inputs.get("base", ())]
    return next((str(record.config["model"]) for record in bases if record.config.get("model")), "")


def _of_run(name: str) -> list[ModelEvaluation]:
    runs = objects.join(addresses.store(), "runs")
    by_run: dict[str, dict[str, float]] = {}
    for file in objects.list_files(runs):
        run, _, path = file.uri.removeprefix(f"{runs}/").partition("/")
        by_run.setdefault(run, {})[path] = file.changed
    run = name if name in by_run else _newest(runs, by_run, name)
    if not run:
        hint = f"{ALLOWED}; there are the runs {', '.join(sorted(by_run)) or '(none)'}"
        raise ConfigError("nothing that has an evaluation", value=name, hint=hint)
    if not (labels := _evaluations(by_run[run])):
        raise DataError("this run has made no evaluation yet", where=name)
    uris = [(objects.read_bytes(objects.join(runs, run, label)) or b"").decode() for label in labels]
    models = [each for uri in uris for each in _of_artifact(uri)]
    source = _experiment(runs, run).get("source")
    models.sort(key=lambda model: model.trained_in != source)
    return [replace(each, name=f"{run}: {each.trained_in or each.name}") for each in models]


def _newest(runs: str, by_run: Mapping[str, Mapping[str, float]], experiment: str) -> str:
    """The newest run of an experiment that has made an evaluation; empty if there is none."""
    begun = {run: files["run.json"] for run, files in by_run.items() if "run.json" in files and _evaluations(files)}
    for run in sorted(begun, key=begun.__getitem__, reverse=True):
        if _experiment(runs, run).get("name") == experiment:
            return run
    return ""


def _experiment(runs: str, run: str) -> dict[str, Any]:
    return json.loads(objects.read_bytes(objects.join(runs, run, "run.json")) or b"{}").get("experiment", {})


def _evaluations(files: Iterable[str]) -> list[str]:
    """Notes of the artifacts that a run's evaluations made."""
    return sorted(path for path in files if path.startswith("made/evaluate"))


def paired(groups: Sequence[Sequence[ModelEvaluation]]) -> list[tuple[ModelEvaluation, ModelEvaluation]]:
    """Each later group's models with the first group's: with its only model, or with that trained in the same language. Of
    a single group, such as a folder or a run, each later model with the first. Raises ConfigError if there is nothing to
    compare."""
    first, *others = groups if len(groups) > 1 else [[model] for model in groups[0]]
    pairs: list[tuple[ModelEvaluation, ModelEvaluation]] = []
    for group in others:
        if len(first) == 1 or len(group) == 1:
            pairs += [(before, after) for before in first for after in group]
        else:
            by_language = {model.trained_in: model for model in first}
            pairs += [(by_language[m.trained_in], m) for m in group if m.trained_in in by_language]
    if not pairs:
        raise ConfigError(
            "two or more models are required, or two runs with a model trained in the same language",
            where="xlrm compare", value=[model.name for group in groups for model in group],
        )  # fmt: skip
    return pairs
