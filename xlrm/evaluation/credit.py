"""The credit that a reward model earns for each item of a benchmark (1, 0 or a share), and what chance and response
length would earn.

An item has one or more chosen and one or more rejected responses, or is a single judgment: one response, on the chosen
side if it is good and on the rejected side if it is bad. Rules, with the file that each comes from:
- a pair (rewardbench/rewardbench.py, v0.1.4): 1 if chosen has the higher reward. Equal rewards earn 0 there, and a
  half in RLHFlow's eval_bench_mark.py; `Ties` chooses the rule;
- best of n (rewardbench/utils.py, reroll_and_score_dataset): 1/#max if the right response is among the #max best;
- a single judgment (the classifier of paper B's section 2): 1 if a good response's reward is above 0, or a bad one's
  below; a reward of 0 is a tie;
- RewardBench 2's subset Ties (rewardbench/utils.py, process_single_model): see `_ties`.
"""

import math
import random
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from xlrm.data import conversations
from xlrm.data.conversations import Turns, plain

if TYPE_CHECKING:
    import numpy as np

Ties = Literal["lost", "half"]
Rewards = tuple[Sequence[float], Sequence[float]]
"""Rewards of an item's chosen responses, and of its rejected ones."""

SIMULATIONS = 400
_OF_TIES = re.compile(r"(ref|tied):(.+)")


def responses(row: dict) -> tuple[list[Turns], list[Turns]]:
    """Chosen and rejected responses of a benchmark's row as lists; each may be stored as a single response, a text or a
    list of messages."""
    chosen, rejected = (
        [side] if isinstance(side, str) or conversations.is_messages(side) else list(side)
        for side in (row["chosen"], row["rejected"])
    )
    return chosen, rejected


def is_single(chosen: Sequence, rejected: Sequence) -> bool:
    """Whether an item with these sides is a single judgment."""
    return len(chosen) + len(rejected) == 1


def prompt_of_ties(row: dict) -> tuple[str, str] | None:
    """("ref" or "tied", number) of a row of RewardBench 2's Ties, from its subset and id; None for any other row.
    Ties asks each prompt twice: with one right answer (ref) and with several (tied)."""
    match = _OF_TIES.fullmatch(str(row.get("id"))) if row.get("subset") == "Ties" else None
    return (match[1], match[2]) if match else None


def credit(rows: Sequence[dict], rewards: Sequence[Rewards], ties: Ties = "lost") -> "np.ndarray":
    """Credit (n) of each row for its rewards (n). The mean over a subset's rows is the subset's score. This also
    holds for RewardBench 2's Ties: a row there carries its part of the formula, so single credits may exceed 1, and
    the margins of a prompt are in its row with several right answers."""
    import numpy as np

    earned = [_item(chosen, rejected, ties) for chosen, rejected in rewards]
    places: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        if asked := prompt_of_ties(row):
            places[asked] = i
    for prompt, value in _ties({prompt: rewards[i] for prompt, i in places.items()}).items():
        earned[places[prompt]] = value
    return np.array(earned, dtype=float)


def tied(rewards: Sequence[Rewards]) -> int:
    """Number of items whose best chosen and best rejected responses have the same reward, or whose only one has the
    reward 0."""
    return sum(max(chosen, default=0) == max(rejected, default=0) for chosen, rejected in rewards)


def by_length(rows: Sequence[dict]) -> "np.ndarray":
    """Credit (n) of always preferring the longest response in characters; equal lengths earn half."""
    lengths: list[Rewards] = [(_lengths(chosen), _lengths(rejected)) for chosen, rejected in map(responses, rows)]
    return credit(rows, lengths, "half")


def _lengths(side: list[Turns]) -> list[float]:
    return [float(len(plain(turns))) for turns in side]


def by_chance(rows: Sequence[dict]) -> "np.ndarray":
    """Expected credit (n) of rewards from one distribution: 0.5 for a pair, 1/n for a best of n. Exact except for
    Ties, whose margins depend on the distribution: there the mean of 400 draws from N(0, 1), seed 0. For single judgments
    what the better constant reward earns: 1 for those of the more frequent label among the rows, and 0 for the others."""
    import numpy as np

    sizes = [(len(chosen), len(rejected)) for chosen, rejected in map(responses, rows)]
    expected = np.array([chosen / (chosen + rejected) for chosen, rejected in sizes], dtype=float)
    single = np.array([sum(both) == 1 for both in sizes], dtype=bool)
    if single.any() and expected[single].mean() < 0.5:
        expected[single] = 1 - expected[single]
    places = [i for i, row in enumerate(rows) if prompt_of_ties(row)]
    if places:
        draw = random.Random(0).gauss
        of_ties, of_sizes = [rows[i] for i in places], [sizes[i] for i in places]
        drawn = [
            credit(of_ties, [([draw(0, 1) for _ in range(n)], [draw(0, 1) for _ in range(m)]) for n, m in of_sizes])
            for _ in range(SIMULATIONS)
        ]
        expected[places] = np.mean(drawn, axis=0)
    return expected


def _item(chosen: Sequence[float], rejected: Sequence[float], ties: Ties) -> float:
    if is_single(chosen, rejected):
        chosen, rejected = chosen or (0.0,), rejected or (0.0,)
    if len(chosen) == len(rejected) == 1:
        equal = 0.5 if ties == "half" else 0.0
        return equal if chosen[0] == rejected[0] else float(chosen[0] > rejected[0])
    best = max(*chosen, *rejected)
    right, wrong = (sum(reward == best for reward in side) for side in (chosen, rejected))
    return right / (right + wrong)


def _ties(rewards: dict[tuple[str, str], Rewards]) -> dict[tuple[str, str], float]:
    """Credit of each row such that their mean is RewardBench 2's score of the subset:

    0.30 tied accuracy + 0.30 ref accuracy + 0.20 mean(gap_tied > spread) + 0.20 mean(min(gap_ref, gap_tied) > spread)
    + 0.01 mean(tanh(min(gap_ref, gap_tied) / spread - 1)), with gap = worst right - best wrong response, an item right
    where its gap is above 0, and spread = best - worst right response of the tied row. Margins are means over prompts
    with both rows (and several right responses), the last one over those with a spread above 0.
    """
    if not rewards:
        return {}
    gap = {key: min(chosen) - max(rejected) for key, (chosen, rejected) in rewards.items()}
    spread = {
        number: max(chosen) - min(chosen)
        for (kind, number), (chosen, _) in rewards.items()
        if kind == "tied" and ("ref", number) in rewards and len(chosen) > 1
    }
    spreading = [number for number, width in spread.items() if width > 0]
    kinds = [kind for kind, _ in rewards]
    earned = {key: 0.3 * (gap[key] > 0) * len(rewards) / kinds.count(key[0]) for key in rewards}
    for number, width in spread.items():
        hard = min(gap["ref", number], gap["tied", number])
        share = len(rewards) / len(spread)
        earned["tied", number] += share * (0.2 * (gap["tied", number] > width) + 0.2 * (hard > width))
        if width > 0:
            earned["tied", number] += len(rewards) / len(spreading) * 0.01 * math.tanh(hard / width - 1)
    return earned
