"""What policies gained by being trained with rewards, and how far they moved from the policy that they were trained from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from xlrm.errors import DataError
from xlrm.evaluation import statistics
from xlrm.evaluation.results import Estimate
from xlrm.scorers import labelers
from xlrm.scorers.interface import Scoring
from xlrm.store.json_file import JsonFile


class ObservedStep(BaseModel):
    """Responses of a step of a training, beside those of the policy that the training started from to the same prompts."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    step: int
    """The responses are those before the update of this step, from 1: those of step 1 are the first policy's own."""
    responses: int
    kl: float | None = None
    """KL divergence from the first policy, in nats per response; None for a training without a reference (beta 0)."""
    rewards: dict[str, float]
    """Evaluator -> mean reward of the responses."""
    increases: dict[str, float] = Field({})
    """Evaluator -> mean reward minus that of the first policy's responses to the same prompts; empty without a reference."""


class ObservedTraining(JsonFile):
    """observed.json, beside a policy that was trained online: what reward models that it was not trained on say of it."""

    FILE: ClassVar[str] = "observed.json"
    WRITTEN_BY: ClassVar[str] = "the stage rl writes it, with rl.observers"

    language: str
    steps: tuple[ObservedStep, ...]


class PolicyGains(JsonFile):
    """results.json of the stage gains."""

    FILE: ClassVar[str] = "results.json"
    WRITTEN_BY: ClassVar[str] = "the stage gains writes it"

    language: str
    prompts: int
    subsets: dict[str, int] = Field({})
    """Prompts by subset; empty if they have none."""
    labelers: tuple[str, ...]
    """Reward models: each of them trained a policy, and evaluates all policies."""
    increases: dict[str, dict[str, Estimate]]
    """Labeler -> evaluator -> by how much the evaluator's reward of the labeler's policy is above that of the policy before the
    training (its response number 0); the mean of the subsets' means, with its 95 % interval over prompts."""
    temperature: float | None = None
    """Temperature of the trained policies' responses; None if unknown. `kl` is an estimate of the KL divergence only of responses
    that were drawn: of greedy ones (0) it is the divergence along them, at temperature 1."""
    kl: dict[str, Estimate]
    """Labeler -> KL divergence of its policy from the one before the training, in nats per response, on its own responses."""
    characters: dict[str, float]
    """Labeler -> mean length of its policy's responses."""
    reference_characters: float | None = None
    """Mean length of the responses of the policy before the training."""
    curves: dict[str, list[ObservedStep]] = Field({})
    """Labeler -> what was observed during the training; without an entry, nothing was."""

    @property
    def metrics(self) -> dict[str, float]:
        gains = {
            f"increase/{labeler}/{evaluator}": estimate.value
            for labeler, of in self.increases.items()
            for evaluator, estimate in of.items()
        }
        return {"prompts": float(self.prompts), **gains, **{f"kl/{name}": each.value for name, each in self.kl.items()}}


def together(reference: Sequence[dict], policies: Mapping[str, Sequence[dict]]) -> list[tuple[dict, dict[str, dict]]]:
    """For each row of the reference, that row and the rows of the policies, by name. Raises DataError for responses to different
    prompts."""
    own = {name: {row["id"]: row for row in rows} for name, rows in policies.items()}
    for name, rows in own.items():
        if different := rows.keys() ^ {row["id"] for row in reference}:
            raise DataError(
                "only one of two policies answers this prompt", where=f"gains: {name}", value=min(different)
            )
    return [(row, {name: rows[row["id"]] for name, rows in own.items()}) for row in reference]


class Rewarded(NamedTuple):
    """Rewards of the responses to a prompt by one evaluator."""

    reference: float
    """That of the response number 0 of the policy before the training."""
    policies: dict[str, list[float]]
    """Labeler -> those of all responses of its policy."""


def rewards(
    rows: Sequence[tuple[dict, dict[str, dict]]], names: Sequence[str], folders: Sequence[Path], scoring: Scoring, output: Path
) -> dict[str, list[Rewarded]]:  # fmt: skip
    """Evaluator -> rewards of the responses to each prompt. Arguments as for `labelers.label`."""
    answered = [
        (row["prompt"], [row["responses"][0], *(text for own in others.values() for text in own["responses"])])
        for row, others in rows
    ]
    rewarded: dict[str, list[Rewarded]] = {}
    for evaluator, given, _ in labelers.label(answered, names, folders, scoring, output, "gains"):
        rewarded[evaluator] = []
        for (_, others), values in zip(rows, given, strict=True):
            left = iter(values[1:])
            own = {name: [next(left) for _ in each["responses"]] for name, each in others.items()}
            rewarded[evaluator].append(Rewarded(values[0], own))
    return rewarded


def increases(
    rewarded: Mapping[str, Sequence[Rewarded]], names: Sequence[str], subsets: Sequence[str]
) -> dict[str, dict[str, Estimate]]:
    """Labeler -> evaluator -> mean increase. `rewarded`: by evaluator; `subsets`: of each prompt."""
    import numpy as np

    columns = [
        [fmean(each.policies[labeler]) - each.reference for each in of] for labeler in names for of in rewarded.values()
    ]
    estimates = iter(statistics.macro_means(statistics.by_label(np.array(columns).T, subsets).values()))
    return {labeler: {evaluator: next(estimates) for evaluator in rewarded} for labeler in names}


def mean_divergence(values: Sequence[Sequence[float]], subsets: Sequence[str]) -> Estimate:
    """`values`: of each prompt, those of its responses."""
    import numpy as np

    means = np.array([[fmean(own)] for own in values])
    (estimate,) = statistics.macro_means(statistics.by_label(means, subsets).values())
    return estimate


def reward_rows(
    rows: Sequence[tuple[dict, dict[str, dict]]], rewarded: Mapping[str, Sequence[Rewarded]],
    divergences: Mapping[str, Sequence[Sequence[float]]],
) -> list[dict]:  # fmt: skip
    """A row per prompt: id, subset (null without one), by evaluator the rewards of the reference and of each labeler's policy,
    and by labeler the KL divergence of each response of its policy."""
    return [
        {
            "id": row["id"], "subset": row.get("subset"),
            "reference": {evaluator: of[place].reference for evaluator, of in rewarded.items()},
            "rewards": {evaluator: of[place].policies for evaluator, of in rewarded.items()},
            "kl": {name: list(of[place]) for name, of in divergences.items()},
        }
        for place, (row, _) in enumerate(rows)
    ]  # fmt: skip
