"""Evaluates reward models from elsewhere on the benchmark of every language (paper A, section 5, Table 2)."""

import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import classifiers, judging, progress, reward_models
from xlrm.judging import Estimate, Judge
from xlrm.reward_models import RewardModel
from xlrm.rows import read_rows, write_jsonl
from xlrm.statistics import summary

COLUMNS = ("id", "prompt", "chosen", "rejected", "subset", "section")


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ()
    """Which, each NAME[=REPOSITORY][@REVISION] of `xlrm.reward_models`, or a scalar classifier's folder or OWNER/NAME.
    Paper A: armorm, offsetbias, self-taught, gpt-4o. With none, the stage does nothing."""
    languages: tuple[str, ...] = ("en",)
    """Languages to evaluate on."""
    ties: Literal["lost", "half"] = "lost"
    """What a classifier gets for equal rewards: nothing, as in RewardBench, or half."""
    max_length: int = Field(4096, ge=16)
    """Tokens a classifier reads; a longer conversation loses its beginning. 4096 as on ArmoRM's card."""
    batch_tokens: int = Field(16384, ge=256)
    """Tokens in a classifier's batch, padding included."""
    dtype: Literal["bfloat16", "float32"] | None = None
    """Of a classifier's weights; none takes its row's. In float32, rewards do not depend on the batch."""
    judge: judging.Settings = judging.Settings()
    """How generative models are asked."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/benchmark.jsonl" for language in config.languages)}


def fingerprint(config: Config) -> str:
    """What the models' names do not say: a folder and the Hub's newest may change."""
    return json.dumps([_version(model, config) for model in reward_models.find_all(config.models)])


def run(config: Config, *, corpora: Path, output: Path) -> dict[str, float]:
    """Writes results.json, and for each model its rewards.parquet or verdicts.jsonl. A run that was stopped goes on with
    the model it stopped at, and with the questions that no judge has answered yet.

    Raises ConfigError for models that cannot be or cost too much, ArtifactError for those that cannot be had, DataError
    for a benchmark that cannot be read, GateError for a judge that refuses to.
    """
    found = reward_models.find_all(config.models)
    rows = {one: read_rows(corpora / one / "benchmark.jsonl", COLUMNS) for one in config.languages} if found else {}
    judges = _judges([model for model in found if not _finished(output, model)], rows, config)
    results = {}
    for model in sorted(found, key=lambda one: one.kind):  # classifiers first: vLLM takes what is left of a GPU
        results[model.name] = _finished(output, model) or _evaluate(model, judges, rows, config, output)
    results = {model.name: results[model.name] for model in found}
    (output / "results.json").write_text(json.dumps({"models": results}, indent=2), encoding="utf-8")
    return {
        key: value for name, result in results.items() for key, value in _metrics(f"external/{name}", result).items()
    }


def evaluate(entry: str, rows: list[dict], language: str, config: Config) -> tuple[dict, list[dict]]:
    """One model on one benchmark: what `summary` says, with cost and bias; and a row for each item."""
    model = reward_models.find(entry)
    judges = _judges([model], {language: rows}, config)
    result, items = _results(model, judges, {language: rows}, config)
    more = {key: value for key, value in result.items() if key != "results"}
    return result["results"][language] | more, items[language]


def _version(model: RewardModel, config: Config) -> str | None:
    return judging.version(model, config.judge) if model.kind == "generative" else model.version()


def _judges(models: Sequence[RewardModel], rows: dict[str, list[dict]], config: Config) -> dict[str, Judge]:
    """By name, with what they will cost said first: before any of them has been asked."""
    judges = {one.name: judging.load(one, config.judge) for one in models if one.kind == "generative"}
    estimates: dict[str, Estimate] = {}
    for name, judge in judges.items():
        estimates[name] = judge.estimate([row for many in rows.values() for row in many])
        judge.cost.estimated_usd = estimates[name].usd
        progress.say(f"external[{name}]: {estimates[name]}")
        if estimates[name].known < estimates[name].questions:
            judge.reach()
    judging.check_budget({name: one for name, one in estimates.items() if judges[name].served}, config.judge)
    return judges


def _finished(output: Path, model: RewardModel) -> dict | None:
    path = output / model.name / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _metrics(prefix: str, result: dict) -> dict[str, float]:
    """Accuracies by language; of a judge also what its places had to do with it, and the dollars."""
    found = {
        f"{prefix}/accuracy/{language}/{name.lower().replace(' ', '_')}": value
        for language, one in result["results"].items()
        for name, value in one["accuracy"].items()
    }
    for language, shares in result.get("bias", {}).items():
        found |= {f"{prefix}/{name}/{language}": value for name, value in shares.items()}
    found[f"{prefix}/usd"] = result["cost"].get("usd")
    return {key: value for key, value in found.items() if value is not None}


def _evaluate(
    model: RewardModel, judges: dict[str, Judge], rows: dict[str, list[dict]], config: Config, output: Path
) -> dict:
    result, found = _results(model, judges, rows, config)
    items = [{"language": language, **row} for language, many in found.items() for row in many]
    folder = output / model.name
    folder.mkdir(exist_ok=True)
    if model.kind == "generative":
        write_jsonl(folder / "verdicts.jsonl", items)
    else:
        _write_parquet(folder / "rewards.parquet", items)
    part = folder / "results.json.part"
    part.write_text(json.dumps(result, indent=2), encoding="utf-8")
    part.replace(folder / "results.json")  # last: it stands for the whole folder
    return result


def _results(
    model: RewardModel, judges: dict[str, Judge], rows: dict[str, list[dict]], config: Config
) -> tuple[dict, dict[str, list[dict]]]:
    """(the model's part of results.json, by language a row for each item)."""
    import numpy as np

    about = {"kind": model.kind, "repository": model.repository, "licence": model.licence}
    about["version"] = _version(model, config)
    if judge := judges.pop(model.name, None):
        items = {language: judge.judge(many) for language, many in rows.items()}
        progress.say(f"external[{model.name}]: {judge.cost}")
        about |= {"cost": judge.cost.as_json(), "bias": {code: judging.bias(many) for code, many in items.items()}}
    else:
        items = _rewarded(model, rows, config)
        about["cost"] = {"conversations": sum(2 * len(many) for many in rows.values())}
    credits = {language: np.array([row["credit"] for row in many]) for language, many in items.items()}
    return about | {"results": {code: summary(rows[code], credit) for code, credit in credits.items()}}, items


def _rewarded(model: RewardModel, rows: dict[str, list[dict]], config: Config) -> dict[str, list[dict]]:
    from xlrm.scoring import conversation

    rewards = classifiers.load(model, config.max_length, config.batch_tokens, config.dtype)
    found = {}
    for language, many in rows.items():
        progress.say(f"external[{model.name}]: {len(many):,} pairs in {language}")
        sides = [conversation(row["prompt"], row[side]) for side in ("chosen", "rejected") for row in many]
        values = rewards(sides)
        pairs = zip(many, values[: len(many)], values[len(many) :], strict=True)
        found[language] = [_scored(row, chosen, rejected, config.ties) for row, chosen, rejected in pairs]
    del rewards
    _free_gpu()
    return found


def _free_gpu() -> None:
    """For the next model, what the last one held."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _scored(row: dict, chosen: float, rejected: float, ties: str) -> dict:
    tie = 0.5 if ties == "half" else 0.0
    credit = tie if chosen == rejected else float(chosen > rejected)
    place = {key: row[key] for key in ("id", "subset", "section")}
    return place | {"chosen": chosen, "rejected": rejected, "credit": credit}


def _write_parquet(path: Path, items: list[dict]) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    pa.parquet.write_table(pa.Table.from_pylist(items), path)
