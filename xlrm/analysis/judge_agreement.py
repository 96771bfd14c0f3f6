"""How far two judges of aligned policies agree, and how often a judge agrees with people's labels (paper B, section 5.1 and
appendices C and D).

A verdict is the share of a win of the first of two responses, from 0 to 1: above a half the first is preferred, below it the
second, and a half is a draw. None is an unreadable verdict.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from xlrm.analysis.source_ranking import Matrix, OrderAgreement, order_agreement
from xlrm.evaluation.estimates import Estimate
from xlrm.evaluation.statistics import mean_interval
from xlrm.scorers.judges.agreement import cohens_kappa

if TYPE_CHECKING:
    import numpy as np

Verdicts = Mapping[str, float | None]
"""Item -> verdict."""


@dataclass(frozen=True)
class InstanceAgreement:
    """Two judges, people among them, on the items that both judged."""

    items: int
    share: Estimate
    """Share of items with equal verdicts; a draw equals only a draw. The 95 % interval resamples items."""
    draws: tuple[int, int]
    """Draws of the first and of the second judge."""
    decided: int
    """Items on which neither has a draw."""
    share_of_decided: float | None
    kappa: float | None
    """Cohen's kappa over all items; None if both always give the same verdict."""


def by_instance(first: Verdicts, second: Verdicts) -> InstanceAgreement:
    """Agreement item by item. Raises ValueError if no item has a verdict of both."""
    both = [
        (_sign(a), _sign(b)) for name, a in first.items() if a is not None and (b := second.get(name)) is not None
    ]  # fmt: skip
    if not both:
        raise ValueError("no item was judged by both")
    decided = [a == b for a, b in both if a and b]
    draws = Counter(a for a, _ in both)[0], Counter(b for _, b in both)[0]
    labels = [str(a) for a, _ in both], [str(b) for _, b in both]
    share = Estimate(*mean_interval(_array([a == b for a, b in both])))
    return InstanceAgreement(
        len(both), share, draws, len(decided), sum(decided) / len(decided) if decided else None, cohens_kappa(*labels)
    )


def by_ranking(judgments: Iterable[tuple[Matrix, Matrix]]) -> OrderAgreement:
    """Agreement of two judges on the order of each two sources for a target, over all targets of several settings, such as
    best of n and RL: one pair of matrices each, the first judge's and the second's."""
    return sum((order_agreement(*both) for both in judgments), OrderAgreement(0, 0, 0))


def labelled_pairs(rows: Sequence[Mapping]) -> list[dict]:
    """Pairs whose better response is known from single judgments, as a judge is asked about them (table 5): each two responses
    to one prompt, one with a label above a half and one without. Each has an id, `FIRST+SECOND` of the rows' ids, the good
    one first, and prompt, chosen, rejected and subset."""
    by_prompt: dict[str, list[Mapping]] = {}
    for row in rows:
        by_prompt.setdefault(json.dumps(row["prompt"], sort_keys=True, allow_nan=False), []).append(row)
    return [
        _pair(*sorted(both, key=lambda row: float(row["label"]) <= 0.5))
        for own in by_prompt.values()
        for both in combinations(own, 2)
        if (both[0]["label"] > 0.5) != (both[1]["label"] > 0.5)
    ]


def _pair(good: Mapping, bad: Mapping) -> dict:
    texts = {"prompt": good["prompt"], "chosen": good["response"], "rejected": bad["response"]}
    return {"id": f"{good['id']}+{bad['id']}", **texts, "subset": good.get("subset") or ""}


@dataclass(frozen=True)
class JudgeAccuracy:
    """A judge on pairs whose better response people named."""

    comparisons: int
    """Pairs with a readable verdict."""
    accuracy: Estimate
    """Share in which the judge prefers the better response, a draw counting as half. The 95 % interval resamples pairs, or
    the prompts that they are from: pairs of one prompt share responses."""
    draws: int
    unreadable: int


def accuracy(verdicts: Sequence[float | None], prompts: Sequence[str] | None = None) -> JudgeAccuracy:
    """Accuracy from verdicts (n) in which the first response is the better one; `prompts` (n) names the prompt of each pair.
    Raises ValueError without a readable verdict."""
    import numpy as np

    places = [place for place, verdict in enumerate(verdicts) if verdict is not None]
    if not places:
        raise ValueError("no verdict is readable")
    right = _array([(_sign(verdicts[place] or 0.0) + 1) / 2 for place in places])
    numbers = {name: number for number, name in enumerate(dict.fromkeys(prompts or ()))}
    labels = np.array([numbers[prompts[place]] if prompts else place for place in places])
    _, labels = np.unique(labels, return_inverse=True)
    sums, sizes = np.bincount(labels, weights=right), np.bincount(labels)
    drawn = np.random.default_rng(0).integers(0, len(sums), (1000, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), (0.025, 0.975))
    estimate = Estimate(float(right.mean()), float(low), float(high))
    return JudgeAccuracy(len(places), estimate, int((right == 0.5).sum()), len(verdicts) - len(places))


def _sign(verdict: float) -> int:
    return (verdict > 0.5) - (verdict < 0.5)


def _array(values: Sequence[float]) -> "np.ndarray":
    import numpy as np

    return np.array(values, dtype=float)
