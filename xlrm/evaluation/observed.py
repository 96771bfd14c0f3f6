"""Rewards in the course of a policy's training (paper B, figures 3b and 10b). The stage rl keeps the responses of some steps,
beside those of the policy that the training started from to the same prompts, drawn with the same seeds; the stage gains scores
them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xlrm.errors import DataError
from xlrm.models.decoding import Prompt
from xlrm.store.jsonl import read_rows, write_jsonl

FILE = "observed_responses.jsonl"
"""Beside a policy, the kept responses of its training, as rows of `ObservedResponse`."""
SCORED = "observed_rewards.jsonl"
"""What the stage gains writes: rows of `ScoredResponse`, and the labeler that trained the policy."""


class ObservedResponse(BaseModel):
    """A response of a policy in training."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    step: int
    """It was written before the update of this step, from 1: those of step 1 are the first policy's own."""
    prompt: Prompt
    response: str
    first: str | None = None
    """The first policy's response to the prompt; None for a training without a reference (beta 0)."""
    kl: float | None = None
    """KL divergence from the first policy, in nats; None without a reference."""


class ScoredResponse(ObservedResponse):
    """Such a response with its rewards."""

    rewards: dict[str, float]
    """Evaluator -> reward."""
    first_rewards: dict[str, float] | None = None
    """Evaluator -> reward of the first policy's response; None without a reference."""


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


def write(folder: Path, responses: Iterable[ObservedResponse]) -> None:
    write_jsonl(folder / FILE, (each.model_dump(mode="json") for each in responses))


def write_scored(folder: Path, responses: Mapping[str, Sequence[ScoredResponse]]) -> None:
    """`responses`: by labeler."""
    rows = ({"labeler": name} | each.model_dump(mode="json") for name, own in responses.items() for each in own)
    write_jsonl(folder / SCORED, rows)


def read(folder: Path) -> list[ObservedResponse]:
    """The kept responses of a policy's training, none without the file. Raises DataError for a row with other content."""
    path = folder / FILE
    rows = read_rows(path) if path.is_file() else []
    return [_response(row, f"{path}:{number}: ") for number, row in enumerate(rows, 1)]


def _response(row: dict, place: str) -> ObservedResponse:
    try:
        return ObservedResponse(**row)
    except ValidationError as error:
        raise DataError.invalid(error.errors(include_url=False)[0], place, "the stage rl writes it") from error


def texts(responses: Iterable[ObservedResponse]) -> list[tuple[Prompt, list[str]]]:
    """Each prompt with all different texts to score, those of the first policy too. Trainings from one policy share the first
    policy's, and each the responses of its step 1."""
    asked: dict[str, tuple[Prompt, dict[str, None]]] = {}
    for each in responses:
        _, own = asked.setdefault(_key(each.prompt), (each.prompt, {}))
        own |= dict.fromkeys(text for text in (each.response, each.first) if text is not None)
    return [(prompt, list(own)) for prompt, own in asked.values()]


def scored(
    responses: Sequence[ObservedResponse], answered: Sequence[tuple[Prompt, Sequence[str]]],
    rewards: Mapping[str, Sequence[Sequence[float]]],
) -> list[ScoredResponse]:  # fmt: skip
    """The responses with the rewards of their texts. `rewards`: by evaluator, those of the texts in `answered`."""
    known = {
        name: {
            (_key(prompt), text): value
            for (prompt, own), values in zip(answered, of, strict=True)
            for text, value in zip(own, values, strict=True)
        }
        for name, of in rewards.items()
    }

    def by_evaluator(prompt: Prompt, text: str) -> dict[str, float]:
        place = (_key(prompt), text)
        return {name: of[place] for name, of in known.items()}

    return [
        ScoredResponse(
            **dict(each), rewards=by_evaluator(each.prompt, each.response),
            first_rewards=None if each.first is None else by_evaluator(each.prompt, each.first),
        )
        for each in responses
    ]  # fmt: skip


def curve(responses: Sequence[ScoredResponse]) -> list[ObservedStep]:
    """Means over the responses of each step."""
    steps: dict[int, list[ScoredResponse]] = {}
    for each in responses:
        steps.setdefault(each.step, []).append(each)
    return [_mean(step, own) for step, own in steps.items()]


def _mean(step: int, responses: Sequence[ScoredResponse]) -> ObservedStep:
    names = list(responses[0].rewards)
    means = {name: fmean(each.rewards[name] for each in responses) for name in names}
    pairs = [(each, each.first_rewards) for each in responses if each.first_rewards is not None]
    if not pairs:
        return ObservedStep(step=step, responses=len(responses), rewards=means)
    increases = {name: fmean(each.rewards[name] - first[name] for each, first in pairs) for name in names}
    divergence = fmean(each.kl for each in responses if each.kl is not None)
    return ObservedStep(step=step, responses=len(responses), kl=divergence, rewards=means, increases=increases)


def points(curves: Mapping[str, Sequence[ObservedStep]]) -> list[dict[str, float]]:
    """Points for MLflow: by labeler `observed_kl/LABELER`, and by labeler and evaluator `observed_reward/LABELER/EVALUATOR` and
    `observed_increase/LABELER/EVALUATOR`."""
    made: list[dict[str, float]] = []
    for labeler, steps in curves.items():
        for each in steps:
            divergence = {} if each.kl is None else {f"observed_kl/{labeler}": each.kl}
            rewards = {f"observed_reward/{labeler}/{name}": value for name, value in each.rewards.items()}
            increases = {f"observed_increase/{labeler}/{name}": value for name, value in each.increases.items()}
            made.append({"step": each.step, **divergence, **rewards, **increases})
    return made


def _key(prompt: Prompt) -> str:
    return json.dumps(prompt, ensure_ascii=False, allow_nan=False)
