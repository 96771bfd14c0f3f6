"""Preference pairs made of sampled responses: the best and the worst by each reward model, and how far the reward models
agree on the same responses before a policy is trained on them."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from xlrm.errors import ArtifactError
from xlrm.store.json_file import JsonFile

FINITE = ConfigDict(frozen=True, allow_inf_nan=False)


class LabelerPairs(JsonFile):
    """Preference pairs by one reward model: in ranking.json, and alone in {labeler}/pairs.json for its alignment."""

    FILE: ClassVar[str] = "pairs.json"
    WRITTEN_BY: ClassVar[str] = "the stage rank writes it"

    pairs: int
    too_few: int = 0
    """Prompts without two responses to choose from."""
    equal_texts: int = 0
    """Prompts whose responses are all the same text."""
    equal_rewards: int = 0
    """Prompts whose best and worst response have the same reward."""
    margin: float | None = None
    """Mean of chosen - rejected reward over the pairs; None without a pair."""
    chosen_characters: float | None = None
    """Mean length of the chosen responses."""
    rejected_characters: float | None = None
    """Mean length of the rejected responses."""
    chosen_longer: float | None = None
    """Share of the pairs whose chosen response is the longer one; equal lengths count as a half."""
    cut: int = 0
    """Conversations that were longer than `max_length`, and were ranked without one of their ends."""

    @property
    def why_few(self) -> tuple[str, str]:
        """Why prompts gave no pair, with their numbers, and which fields give more pairs; the most frequent reason first."""
        reasons = [
            (self.too_few, "fewer than two responses that may be in one",
             "raise sample.max_new_tokens or set rank.unfinished=keep, if they were cut"),
            (self.equal_texts, "only equal responses", "raise sample.temperature or sample.samples"),
            (self.equal_rewards, "only equal rewards", "raise sample.samples, and see whether the reward model was trained"),
        ]  # fmt: skip
        named = sorted((each for each in reasons if each[0]), key=lambda each: -each[0])
        return ", ".join(f"{count} prompts have {what}" for count, what, _ in named), "; ".join(h for *_, h in named)


class Agreement(BaseModel):
    """Two reward models on the same responses: prompts with at least two different ones. Correlations are None where a
    reward model gives all responses the same reward."""

    model_config = FINITE

    first: str
    second: str
    prompts: int
    responses: int
    same_best: float | None = None
    """Share of the prompts with the same best response, the first of equals."""
    same_pair: float | None = None
    """Share of the prompts with the same best and the same worst response."""
    ordered_alike: float | None = None
    """Share of the pairs of responses to a prompt that both order the same way. Two equal rewards are an order of their
    own: alike if both reward models give them, not alike if one does."""
    kendall_tau: float | None = None
    """Kendall's tau-b within a prompt, which corrects for equal rewards, averaged over the prompts that have one."""
    kendall_prompts: int = 0
    """Prompts that have a tau: neither reward model gives all of their responses the same reward."""
    pearson: float | None = None
    """Pearson's correlation of the rewards over all responses."""
    pearson_within: float | None = None
    """The same of the rewards minus their prompt's mean, as only the order within a prompt decides."""


class Ranking(JsonFile):
    """ranking.json of the stage rank."""

    FILE: ClassVar[str] = "ranking.json"
    WRITTEN_BY: ClassVar[str] = "the stage rank writes it"

    language: str
    prompts: int
    responses: int
    unfinished: int = 0
    """Responses that were cut at the limit of new tokens."""
    other_language: int = 0
    """Responses in another language than `language`, as far as they were identified."""
    candidates: int
    """Responses that pairs are made of."""
    labelers: dict[str, LabelerPairs]
    """Reward model, by the language it was trained in -> its pairs."""
    agreements: tuple[Agreement, ...] = ()
    """An entry for each two reward models."""

    @property
    def metrics(self) -> dict[str, float]:
        """Pairs, prompts without one, margin and cut conversations by reward model, and agreement by two of them."""
        values: dict[str, float | None] = {"unfinished": self.unfinished, "other_language": self.other_language}
        for name, each in self.labelers.items():
            none = each.too_few + each.equal_texts + each.equal_rewards
            values |= {f"pairs/{name}": each.pairs, f"no_pair/{name}": none, f"cut/{name}": each.cut}
            values |= {f"margin/{name}": each.margin, f"chosen_longer/{name}": each.chosen_longer}
        for both in self.agreements:
            for field in ("same_best", "same_pair", "ordered_alike", "kendall_tau", "pearson", "pearson_within"):
                values[f"{field}/{both.first}-{both.second}"] = getattr(both, field)
        return {name: float(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Candidates:
    """The responses to a prompt that a pair may be made of: different texts, the first of equal ones."""

    row: dict
    texts: tuple[str, ...]
    allowed: int
    """Number of responses before equal texts are joined."""


Dropped = Literal["drop", "keep"]


def candidates(row: dict, language: str, unfinished: Dropped, other_language: Dropped) -> Candidates:
    """`row`: as `xlrm.models.samples.read` returns it."""
    allowed = [
        text for text, *lacks in zip(row["responses"], *_lacks(row, language), strict=True)
        if not any(lack and rule == "drop" for lack, rule in zip(lacks, (unfinished, other_language), strict=True))
    ]  # fmt: skip
    return Candidates(row, tuple(dict.fromkeys(allowed)), len(allowed))


def _lacks(row: dict, language: str) -> tuple[list[bool], list[bool]]:
    """Whether each response was cut, and whether each is in another language. One whose language was not identified
    is taken for the prompt's."""
    own = language.partition("_")[0]
    return [not finished for finished in row["finished"]], [code not in (None, own) for code in row["languages"]]


def counts(ranked: Sequence[Candidates], language: str) -> dict[str, int]:
    """The fields of `Ranking` that count prompts and responses."""
    marks = [_lacks(of.row, language) for of in ranked]
    return {
        "prompts": len(ranked), "responses": sum(len(of.row["responses"]) for of in ranked),
        "unfinished": sum(sum(cut) for cut, _ in marks), "other_language": sum(sum(other) for _, other in marks),
        "candidates": sum(of.allowed for of in ranked),
    }  # fmt: skip


def extremes(rewards: Sequence[float]) -> tuple[int, int]:
    """Indices of the highest and the lowest reward, each the first of equals. Raises ArtifactError for a reward that is
    not finite."""
    for reward in rewards:
        if not math.isfinite(reward):
            raise ArtifactError("a finite reward is required", where="reward", value=reward)
    return rewards.index(max(rewards)), rewards.index(min(rewards))


def pair(of: Candidates, rewards: Sequence[float]) -> dict | None:
    """The best and the worst response as a preference pair (paper A, section 4.1); None for fewer than two different
    texts, and for equal rewards."""
    if len(of.texts) < 2:
        return None
    best, worst = extremes(rewards)
    if rewards[best] == rewards[worst]:
        return None
    chosen, rejected = of.texts[best], of.texts[worst]
    return {
        "id": of.row["id"], "prompt": of.row["prompt"], "chosen": chosen, "rejected": rejected,
        "chosen_reward": rewards[best], "rejected_reward": rewards[worst], "margin": rewards[best] - rewards[worst],
        "chosen_characters": len(chosen), "rejected_characters": len(rejected),
    }  # fmt: skip


def summary(prompts: Sequence[Candidates], pairs: Sequence[dict], cut: int) -> LabelerPairs:
    """Counts and means of a reward model's pairs. Every prompt without a pair has one of the three reasons."""
    too_few = sum(of.allowed < 2 for of in prompts)
    equal_texts = sum(of.allowed >= 2 and len(of.texts) == 1 for of in prompts)
    counts = {"pairs": len(pairs), "too_few": too_few, "equal_texts": equal_texts, "cut": cut}
    counts["equal_rewards"] = len(prompts) - len(pairs) - too_few - equal_texts
    if not pairs:
        return LabelerPairs(**counts)
    longer = [row["chosen_characters"] - row["rejected_characters"] for row in pairs]
    means = {
        name: sum(row[name] for row in pairs) / len(pairs)
        for name in ("margin", "chosen_characters", "rejected_characters")
    }
    share = sum((each > 0) + (each == 0) / 2 for each in longer) / len(pairs)
    return LabelerPairs(**counts, **means, chosen_longer=share)


def reward_rows(ranked: Sequence[Candidates], rewards: Mapping[str, Sequence[Sequence[float]]]) -> list[dict]:
    """A row per prompt: id, the responses that were ranked, and their rewards by reward model."""
    return [
        {
            "id": of.row["id"], "responses": list(of.texts),
            "rewards": {name: list(values[place]) for name, values in rewards.items()},
        }
        for place, of in enumerate(ranked)
    ]  # fmt: skip


def agreements(rewards: Mapping[str, Sequence[Sequence[float]]]) -> tuple[Agreement, ...]:
    """Agreement of each two reward models. `rewards`: by name, those of the candidates of each prompt."""
    return tuple(
        agreement(first, second, (rewards[first], rewards[second]))
        for first, second in itertools.combinations(rewards, 2)
    )


def agreement(
    first: str, second: str, rewards: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]]
) -> Agreement:
    """`rewards`: of each of the two reward models, the rewards of the candidates of each prompt."""
    compared = [(left, right) for left, right in zip(*rewards, strict=True) if len(left) > 1]
    responses = sum(len(left) for left, _ in compared)
    if not compared:
        return Agreement(first=first, second=second, prompts=0, responses=0)
    both = [(extremes(left), extremes(right)) for left, right in compared]
    orders = [alike for left, right in compared for alike in _ordered_alike(left, right)]
    taus = [tau for left, right in compared if (tau := _correlation(left, right, kendall=True)) is not None]
    flat = [[reward for each in side for reward in each] for side in zip(*compared, strict=True)]
    centred = [
        [reward - sum(each) / len(each) for each in side for reward in each] for side in zip(*compared, strict=True)
    ]
    return Agreement(
        first=first, second=second, prompts=len(compared), responses=responses,
        same_best=sum(left[0] == right[0] for left, right in both) / len(both),
        same_pair=sum(left == right for left, right in both) / len(both), ordered_alike=sum(orders) / len(orders),
        kendall_tau=sum(taus) / len(taus) if taus else None, kendall_prompts=len(taus),
        pearson=_correlation(flat[0], flat[1]), pearson_within=_correlation(centred[0], centred[1]),
    )  # fmt: skip


def _ordered_alike(left: Sequence[float], right: Sequence[float]) -> list[bool]:
    """Whether both reward models order each pair of responses to a prompt the same way."""
    order = [[(a > b) - (a < b) for a, b in itertools.combinations(rewards, 2)] for rewards in (left, right)]
    return [a == b for a, b in zip(*order, strict=True)]


def _correlation(left: Sequence[float], right: Sequence[float], kendall: bool = False) -> float | None:
    """Kendall's tau-b or Pearson's r; None if all of a side are the same."""
    from scipy import stats

    if len(set(left)) == 1 or len(set(right)) == 1:
        return None
    result = stats.kendalltau(left, right, variant="b") if kendall else stats.pearsonr(left, right)
    return float(result.statistic)
