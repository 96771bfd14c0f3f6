"""What reward models that a policy is not trained on say of its responses during the training (paper B, figures 3b and 10b).

Some steps' responses are kept in the training's log history, and so in its checkpoints, beside those of the policy that the
training started from to the same prompts, drawn with the same seeds; the observers score them when the training has ended. So
they take no memory while it runs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from xlrm.errors import ConfigError
from xlrm.evaluation.policy_gains import ObservedStep, ObservedTraining
from xlrm.scorers import engines, labelers
from xlrm.scorers.interface import Scoring
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.store.unfinished import Sender
from xlrm.tracking import mlflow_runs
from xlrm.training import curves
from xlrm.training.recipes import OnlineTraining

FIELD = "observed"
"""Field of an entry of the log history."""
FILE = "observed_responses.jsonl"
"""Rows with step, prompt, response, first (the first policy's response to the prompt) and kl (of the response, in nats), both
null without a reference; beside the trained policy also rewards and first_rewards, by observer."""


def due(step: int, last: int, config: OnlineTraining) -> bool:
    """Whether the responses of a step, from 1, are kept: those of the first, of every `observe_steps`-th and of the last."""
    return bool(config.observers) and (step in (1, last) or step % config.observe_steps == 0)


def check(observers: Sequence[Path], config: OnlineTraining, scoring: Scoring) -> None:
    """Raises ConfigError for other reward models than `observers` names, for a name twice, and as `engines.check` does."""
    if len(observers) != len(config.observers):
        raise ConfigError(
            f"{len(config.observers)} reward models are required", where="rl.observers", value=len(observers)
        )
    if len(set(config.observers)) < len(config.observers):
        raise ConfigError("each name is allowed once", where="rl.observers", value=config.observers)
    for folder in observers:
        engines.check(folder, scoring)


def write_responses(history: Iterable[Mapping[str, Any]], folder: Path) -> None:
    """Writes the responses that were kept in the log history of a training."""
    rows = [
        {"step": entry["step"], **{name: row[name] for name in ("prompt", "response", "first", "kl")}}
        for entry in history if FIELD in entry for row in entry[FIELD]
    ]  # fmt: skip
    write_jsonl(folder / FILE, rows)


def score(folder: Path, observers: Sequence[Path], config: OnlineTraining, scoring: Scoring, output: Path) -> None:
    """Scores the responses that a training kept in its `folder`, and writes them with their rewards, observed.json and points
    of the curves beside the policy in `output`."""
    rows = read_rows(folder / FILE, ("prompt",))
    answered = [
        (json.loads(row["prompt"]), [row["response"], *([] if row["first"] is None else [row["first"]])])
        for row in rows
    ]
    rewards: dict[str, list[list[float]]] = {}
    for name, given, _ in labelers.label(answered, config.observers, observers, scoring, output, "rl"):
        rewards[name] = given
    for place, row in enumerate(rows):
        row["prompt"] = json.loads(row["prompt"])
        row["rewards"] = {name: of[place][0] for name, of in rewards.items()}
        row["first_rewards"] = None if row["first"] is None else {name: of[place][1] for name, of in rewards.items()}
    write_jsonl(output / FILE, rows)
    steps = tuple(summary(step, [row for row in rows if row["step"] == step]) for step in _steps(rows))
    ObservedTraining(language=config.language, steps=steps).write(output)
    _add_to_curves([point(step) for step in steps], output / curves.FILE)


def summary(step: int, rows: Sequence[Mapping[str, Any]]) -> ObservedStep:
    """Means of the rows of a step as `FILE` has them."""
    names = list(rows[0]["rewards"])
    means = {name: fmean(row["rewards"][name] for row in rows) for name in names}
    if rows[0]["first_rewards"] is None:
        return ObservedStep(step=step, responses=len(rows), rewards=means)
    increases = {name: fmean(row["rewards"][name] - row["first_rewards"][name] for row in rows) for name in names}
    divergence = fmean(row["kl"] for row in rows)
    return ObservedStep(step=step, responses=len(rows), kl=divergence, rewards=means, increases=increases)


def point(step: ObservedStep) -> curves.Point:
    """A point of the curves: `observed_kl`, and `observed_reward/NAME` and `observed_increase/NAME` of each observer."""
    divergence = {} if step.kl is None else {"observed_kl": step.kl}
    rewards = {f"observed_reward/{name}": value for name, value in step.rewards.items()}
    increases = {f"observed_increase/{name}": value for name, value in step.increases.items()}
    return {"step": step.step, **divergence, **rewards, **increases}


def _steps(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    return list(dict.fromkeys(row["step"] for row in rows))


def _add_to_curves(points: list[curves.Point], path: Path) -> None:
    with path.open("a") as file:
        file.writelines(f"{json.dumps(each, allow_nan=False)}\n" for each in points)
    if run := curves.run_at_work():
        sender = Sender()
        sender.start("curves", lambda: mlflow_runs.Run(run).log_points(points, set()))
        sender.wait()
