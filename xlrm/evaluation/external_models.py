"""Evaluates reward models from elsewhere on benchmark rows: classifiers by their rewards, generative ones by their
verdicts."""

import contextlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from xlrm import progress
from xlrm.errors import ConfigError
from xlrm.evaluation import reward_results, reward_table
from xlrm.evaluation.credit import Ties, responses
from xlrm.evaluation.facts import ScoringFacts, text_digest
from xlrm.evaluation.results import Bias, Cost, ExternalModelResults, Results
from xlrm.evaluation.reward_table import CORPUS
from xlrm.evaluation.statistics import summary, with_missing
from xlrm.models import reward_models
from xlrm.models.precisions import Precision
from xlrm.models.reward_models import RewardModel
from xlrm.scorers import classifiers, reward_journal
from xlrm.scorers.interface import Scoring
from xlrm.scorers.judges import pairwise, rewardbench
from xlrm.scorers.judges.pairwise import Judge
from xlrm.store.fields import CountedIf
from xlrm.store.jsonl import write_jsonl

SECTION = "external.judge"
"""Where the settings of judges are, for messages."""
VERDICTS = "verdicts.jsonl"
_LABELS = ("id", "subset", "section", "weight")
Rows = dict[str, list[dict]]
"""Language -> rows of a benchmark."""


def _depends_on_the_batch(settings: "Settings") -> bool:
    """Whether a classifier's rewards depend on the batch, as they do in bfloat16."""
    classifiers = (model for model in reward_models.find_all(settings.models) if model.kind == "classifier")
    return any((settings.precision or model.precision) != "float32" for model in classifiers)


class Settings(Scoring):
    """How reward models from elsewhere are evaluated. The fields of all scoring are those of classifiers."""

    models: tuple[str, ...] = ()
    """Reward models to evaluate, each as NAME[=REPOSITORY][@REVISION] of `xlrm.models.reward_models`, or a scalar
    classifier's folder or OWNER/NAME. Paper A: armorm, offsetbias, self-taught, gpt-4o. Without models, the stage
    does nothing."""
    ties: Ties = "lost"
    """Credit of a classifier for equal rewards: lost, as in RewardBench, or half."""
    max_length: int = Field(4096, ge=16)
    """Tokens of a conversation, or the classifier's limit if that is lower; a longer one is cut. 4096 as on ArmoRM's
    card."""
    batch_tokens: Annotated[int, CountedIf(_depends_on_the_batch)] = Field(16384, ge=256)
    """Limit on the tokens of a classifier's forward pass; float32 rewards do not depend on it."""
    precision: Precision | None = None  # type: ignore[assignment]  # None until a model is chosen, see `for_model`
    """Number format of a classifier; null: that of its card's example. In bfloat16, rewards have 8 bits and depend on the
    batch. int8 and 4bit compute in bfloat16 with the weights of linear layers in 8 or 4 bits (NF4), by bitsandbytes."""
    judge: pairwise.Settings = pairwise.Settings()
    """How generative models are asked."""

    def for_model(self, model: RewardModel) -> Scoring:
        """How a classifier is scored: with its own precision, unless another is set."""
        return self.model_copy(update={"precision": self.precision or model.precision})


def version(settings: Settings) -> str:
    """Versions of the models as JSON, because a name stays the same when a folder or the newest commit on the Hub
    changes."""
    return json.dumps([_version(model, settings) for model in reward_models.find_all(settings.models)], allow_nan=False)


def evaluate_all(rows: Rows, settings: Settings, output: Path) -> dict[str, ExternalModelResults]:
    """Model -> its results. They and its rewards.parquet or verdicts.jsonl go to a folder of its name in `output`; a
    model that is finished there is not run again.

    Raises ConfigError for unknown models or too high costs, ArtifactError for unavailable models, and GateError if a
    judge refuses to answer.
    """
    models = reward_models.find_all(settings.models)
    for model in (model for model in models if model.kind == "classifier"):
        classifiers.check(model, settings.for_model(model))
    judges = _judges([model for model in models if not _finished(output, model)], rows, settings)
    results: dict[str, ExternalModelResults] = {}
    for model in sorted(models, key=lambda item: item.kind):  # classifiers first: vLLM takes the rest of a GPU's memory
        results[model.name] = _finished(output, model) or _evaluate(model, judges, rows, settings, output)
    return {model.name: results[model.name] for model in models}


def judge(entry: str, rows: Rows, settings: Settings, output: Path) -> ExternalModelResults:
    """Results of one generative model on one benchmark; its verdicts are written to `output`. Raises ConfigError for
    settings of classifiers, and the errors of `evaluate_all`."""
    model = reward_models.find(entry)
    check_kind(model, settings)
    return _results(model, _judges([model], rows, settings), rows, settings, output)


def check_kind(model: RewardModel, settings: Settings) -> None:
    """Raises ConfigError for settings that do not fit the model or this machine."""
    if model.kind == "classifier":
        classifiers.check(model, settings.for_model(model))
        return
    for field in sorted(settings.model_fields_set & Scoring.model_fields.keys()):
        raise ConfigError(
            f"{model.name} is a judge, which gives no rewards", where=field, value=getattr(settings, field)
        )


def _version(model: RewardModel, settings: Settings) -> str | None:
    return pairwise.version(model, settings.judge) if model.kind == "generative" else model.version()


def _judges(models: Sequence[RewardModel], rows: Rows, settings: Settings) -> dict[str, Judge]:
    """Name -> judge; logs the estimated cost of each and checks the budget before any of them is asked."""
    judges = {
        model.name: pairwise.load(model, settings.judge, SECTION) for model in models if model.kind == "generative"
    }
    pairs = [pair for code, table in rows.items() for pair in rewardbench.pairs(table, code)] if judges else []
    pairwise.prepare(judges, pairs, settings.judge, SECTION)
    return judges


def _finished(output: Path, model: RewardModel) -> ExternalModelResults | None:
    return ExternalModelResults.find(output / model.name)


def _evaluate(
    model: RewardModel, judges: dict[str, Judge], rows: Rows, settings: Settings, output: Path
) -> ExternalModelResults:
    journal = reward_journal.Journal.beside(output, model.name)
    results = _results(model, judges, rows, settings, output / model.name, journal)
    results.write(output / model.name)  # last, because it marks the folder as complete
    return results


def _results(
    model: RewardModel, judges: dict[str, Judge], rows: Rows, settings: Settings, output: Path,
    journal: reward_journal.Journal | None = None,
) -> ExternalModelResults:  # fmt: skip
    """The model's results; its result for each item is written to `output`."""
    kinds: dict[str, Any] = {}
    if judge := judges.pop(model.name, None):
        results, kinds["bias"] = _judged(model, judge, rows, output)
        cost = Cost(**judge.cost.as_json())
    else:
        results, kinds["scoring"] = _rewarded(model, rows, settings, output, journal)
        kinds["tie_policy"] = settings.ties
        cost = cost_of([row for table in rows.values() for row in table])
    return ExternalModelResults(
        kind=model.kind, repository=model.repository, licence=model.licence, version=_version(model, settings), cost=cost,
        results=with_missing(f"external[{model.name}]: benchmark", results, rows), **kinds,
    )  # fmt: skip


def cost_of(rows: list[dict]) -> Cost:
    """Cost of a classifier's rewards for the rows."""
    return Cost(conversations=sum(len(side) for row in rows for side in responses(row)))


def _judged(model: RewardModel, judge: Judge, rows: Rows, output: Path) -> tuple[Results, Bias]:
    import numpy as np

    with contextlib.closing(judge):
        items = {language: rewardbench.judge(judge, table, language) for language, table in rows.items()}
    progress.say(f"external[{model.name}]: {judge.cost}")
    write_jsonl(output / VERDICTS, _verdicts(rows, items))
    credits = {code: np.array([row["credit"] for row in records]) for code, records in items.items()}
    results = {
        code: summary(rows[code], earned).model_copy(update=rewardbench.unreadable(items[code]))
        for code, earned in credits.items()
    }
    return results, {code: rewardbench.bias(records) for code, records in items.items()}


def _verdicts(rows: Rows, judged: Rows) -> list[dict]:
    return [
        {"language": code, "text": text_digest(row), **{key: row[key] for key in _LABELS if key in row}, **verdict}
        for code, table in rows.items()
        for row, verdict in zip(table, judged[code], strict=True)
    ]


def _rewarded(
    model: RewardModel,
    rows: Rows,
    settings: Settings,
    output: Path,
    journal: reward_journal.Journal | None,
) -> tuple[Results, ScoringFacts]:
    from xlrm.models import loading

    every = [row for table in rows.values() for row in table]
    progress.say(f"external[{model.name}]: {len(every):,} items in {', '.join(rows)}")
    scoring = settings.for_model(model)
    scorer = classifiers.load(model, scoring)
    facts = ScoringFacts.of(scoring, scorer.max_length)
    rewards = iter(reward_table.score_items(every, scorer, journal))
    cut = iter(reward_table.cut_items(every, scorer))
    del scorer
    loading.free_gpu()
    results: Results = {}
    kept: list[dict] = []
    for language, table in rows.items():
        scored = list(itertools.islice(rewards, len(table)))
        shortened = sum(itertools.islice(cut, len(table)))
        results[language] = reward_results.result(table, scored, settings.ties, shortened)
        kept += reward_table.records(CORPUS, language, table, scored)
    reward_table.write(output / reward_table.FILE, kept)
    return results, facts
