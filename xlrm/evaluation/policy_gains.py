"""What policies gained by being trained with rewards, and how far they moved from the policy that they were trained from."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import ClassVar, NamedTuple

from pydantic import Field

from xlrm.errors import DataError
from xlrm.evaluation import observed, statistics
from xlrm.evaluation.observed import ObservedResponse, ObservedStep, ScoredResponse
from xlrm.evaluation.results import Estimate
from xlrm.scorers import labelers
from xlrm.scorers.interface import Scoring
from xlrm.store.json_file import JsonFile


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
    """Labeler -> rewards in the course of its training; without an entry, the training kept no responses."""

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
    rows: Sequence[tuple[dict, dict[str, dict]]], kept: Mapping[str, Sequence[ObservedResponse]], names: Sequence[str],
    folders: Sequence[Path], scoring: Scoring, output: Path,
) -> tuple[dict[str, list[Rewarded]], dict[str, list[ScoredResponse]]]:  # fmt: skip
    """Evaluator -> rewards of the responses to each prompt; labeler -> rewards of the responses in `kept`, those of its
    training. Each evaluator is loaded once. Other arguments as for `labelers.label`."""
    answered = [
        (row["prompt"], [row["responses"][0], *(text for own in others.values() for text in own["responses"])])
        for row, others in rows
    ]
    texts = observed.texts(chain.from_iterable(kept.values()))
    given = {
        name: own for name, own, _ in labelers.label([*answered, *texts], names, folders, scoring, output, "gains")
    }
    in_training = {name: own[len(rows) :] for name, own in given.items()}
    return (
        {name: _rewarded(rows, own[: len(rows)]) for name, own in given.items()},
        {name: observed.scored(responses, texts, in_training) for name, responses in kept.items()},
    )


def _rewarded(rows: Sequence[tuple[dict, dict[str, dict]]], rewards: Sequence[Sequence[float]]) -> list[Rewarded]:
    result = []
    for (_, others), values in zip(rows, rewards, strict=True):
        left = iter(values[1:])
        own = {name: [next(left) for _ in each["responses"]] for name, each in others.items()}
        result.append(Rewarded(values[0], own))
    return result


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
