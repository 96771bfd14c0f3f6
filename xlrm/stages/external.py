"""Evaluates reward models from elsewhere on the benchmark of every language (paper A, section 5, Table 2)."""

import contextlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.evaluation import reward_table
from xlrm.evaluation.credit import Rewards, Ties, credit, responses, tied
from xlrm.evaluation.reward_table import CORPUS
from xlrm.evaluation.statistics import summary
from xlrm.models import reward_models
from xlrm.models.reward_models import RewardModel
from xlrm.scorers import classifiers, reward_journal
from xlrm.scorers.judges import pairwise, rewardbench
from xlrm.scorers.judges.pairwise import Estimate, Judge
from xlrm.store.fields import CountedIf
from xlrm.store.jsonl import read_rows, write_jsonl

COLUMNS = ("id", "prompt", "chosen", "rejected", "subset", "section")


def _depends_on_the_batch(config: "Config") -> bool:
    """Whether a classifier's rewards do: in bfloat16."""
    classifiers = (model for model in reward_models.find_all(config.models) if model.kind == "classifier")
    return any((config.dtype or model.dtype) != "float32" for model in classifiers)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ()
    """Which, each NAME[=REPOSITORY][@REVISION] of `xlrm.models.reward_models`, or a scalar classifier's folder or OWNER/NAME.
    Paper A: armorm, offsetbias, self-taught, gpt-4o. With none, the stage does nothing."""
    languages: tuple[str, ...] = ("en",)
    """Languages to evaluate on."""
    ties: Ties = "lost"
    """What a classifier gets for equal rewards: lost, as in RewardBench, or half."""
    max_length: int = Field(4096, ge=16)
    """Tokens a classifier reads, or its context where that is less; a longer conversation loses its beginning. 4096 as on
    ArmoRM's card."""
    batch_tokens: Annotated[int, CountedIf(_depends_on_the_batch)] = Field(16384, ge=256)
    """Tokens in a classifier's batch, padding included; rewards in float32 do not depend on it."""
    dtype: Literal["bfloat16", "float32"] | None = None
    """Of a classifier's weights; none takes its row's. In float32, rewards do not depend on the batch."""
    judge: pairwise.Settings = pairwise.Settings()
    """How generative models are asked."""


def reads(config: Config) -> dict[str, tuple[str, ...]]:
    return {"corpora": tuple(f"{language}/benchmark.jsonl" for language in config.languages)}


def fingerprint(config: Config) -> str:
    """What the models' names do not say: a folder and the Hub's newest may change."""
    return json.dumps([_version(model, config) for model in reward_models.find_all(config.models)])


def run(config: Config, *, corpora: Path, output: Path) -> dict[str, float]:
    """Writes results.json, and for each model its rewards.parquet or verdicts.jsonl. A run that was stopped goes on with
    the model it stopped at, with the conversations that have no reward, and with the questions that no judge has answered yet.

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


def evaluate(entry: str, rows: list[dict], language: str, config: Config, output: Path) -> dict:
    """One model on one benchmark: what `summary` says, with cost and bias; what it gave each item goes to `output`."""
    model = reward_models.find(entry)
    result = _results(model, _judges([model], {language: rows}, config), {language: rows}, config, output)
    return result["results"][language] | {key: value for key, value in result.items() if key != "results"}


def _version(model: RewardModel, config: Config) -> str | None:
    return pairwise.version(model, config.judge) if model.kind == "generative" else model.version()


def _judges(models: Sequence[RewardModel], rows: dict[str, list[dict]], config: Config) -> dict[str, Judge]:
    """By name, with what they will cost said first: before any of them has been asked."""
    judges = {one.name: pairwise.load(one, config.judge) for one in models if one.kind == "generative"}
    estimates: dict[str, Estimate] = {}
    for name, judge in judges.items():
        estimates[name] = judge.estimate(rewardbench.pairs([row for many in rows.values() for row in many]))
        judge.cost.estimated_usd = estimates[name].usd
        progress.say(f"external[{name}]: {estimates[name]}")
        if estimates[name].known < estimates[name].questions:
            judge.reach()
    pairwise.check_budget({name: one for name, one in estimates.items() if judges[name].served}, config.judge)
    return judges


def _finished(output: Path, model: RewardModel) -> dict | None:
    path = output / model.name / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


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


def _evaluate(
    model: RewardModel, judges: dict[str, Judge], rows: dict[str, list[dict]], config: Config, output: Path
) -> dict:
    journal = reward_journal.Journal.beside(output, model.name)
    result = _results(model, judges, rows, config, output / model.name, journal)
    part = output / model.name / "results.json.part"
    part.write_text(json.dumps(result, indent=2), encoding="utf-8")
    part.replace(output / model.name / "results.json")  # last: it stands for the whole folder
    return result


def _results(
    model: RewardModel, judges: dict[str, Judge], rows: dict[str, list[dict]], config: Config, output: Path,
    journal: reward_journal.Journal | None = None,
) -> dict:  # fmt: skip
    """The model's part of results.json; what it gave each item is written to `output`."""
    about = {"kind": model.kind, "repository": model.repository, "licence": model.licence}
    about["version"] = _version(model, config)
    if judge := judges.pop(model.name, None):
        return about | _judged(model, judge, rows, output)
    cost = {"conversations": sum(len(side) for many in rows.values() for row in many for side in responses(row))}
    return about | {"cost": cost, "results": _rewarded(model, rows, config, output, journal)}


def _judged(model: RewardModel, judge: Judge, rows: dict[str, list[dict]], output: Path) -> dict:
    import numpy as np

    with contextlib.closing(judge):
        items = {language: rewardbench.judge(judge, many) for language, many in rows.items()}
    progress.say(f"external[{model.name}]: {judge.cost}")
    write_jsonl(output / "verdicts.jsonl", _verdicts(rows, items))
    credits = {code: np.array([row["credit"] for row in many]) for code, many in items.items()}
    return {
        "cost": judge.cost.as_json(), "bias": {code: rewardbench.bias(many) for code, many in items.items()},
        "results": {code: summary(rows[code], earned) for code, earned in credits.items()},
    }  # fmt: skip


def _verdicts(rows: dict[str, list[dict]], judged: dict[str, list[dict]]) -> list[dict]:
    return [
        {"language": code, "id": row["id"], "subset": row["subset"], "section": row["section"], **one}
        for code, many in rows.items()
        for row, one in zip(many, judged[code], strict=True)
    ]


def _rewarded(
    model: RewardModel,
    rows: dict[str, list[dict]],
    config: Config,
    output: Path,
    journal: reward_journal.Journal | None,
) -> dict[str, dict]:
    """Results by language of a classifier."""
    from xlrm.models import loading

    every = [row for many in rows.values() for row in many]
    progress.say(f"external[{model.name}]: {len(every):,} items in {', '.join(rows)}")
    found = iter(_scored(model, every, config, journal))
    loading.free_gpu()
    results, kept = {}, []
    for language, many in rows.items():
        scored = list(itertools.islice(found, len(many)))
        results[language] = summary(many, credit(many, scored, config.ties), tied(scored))
        kept += reward_table.records(CORPUS, language, many, scored)
    reward_table.write(output / reward_table.FILE, kept)
    return results


def _scored(
    model: RewardModel, rows: list[dict], config: Config, journal: reward_journal.Journal | None
) -> list[Rewards]:
    from xlrm.evaluation import reward_table

    given = "max_length" in config.model_fields_set
    rewards_of = classifiers.load(model, config.max_length, config.batch_tokens, config.dtype, given)
    return reward_table.score_items(rows, lambda asked: rewards_of(asked, journal))
