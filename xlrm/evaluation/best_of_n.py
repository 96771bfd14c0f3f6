"""Best-of-n: of n responses of a policy, the one with the highest reward by a reward model, the labeler (Stiennon et al. 2020).
What any smaller number of responses would have given is computed from the same n."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xlrm.errors import DataError
from xlrm.evaluation import rankings, statistics
from xlrm.evaluation.results import Estimate
from xlrm.models.samples import OF_A_RESPONSE

if TYPE_CHECKING:
    import numpy as np


def sizes(n: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to n, and n."""
    return (*(1 << power for power in range((n - 1).bit_length())), n)


def kl_bound(n: int) -> float:
    """log n - (n - 1)/n, in nats per response: the KL divergence of best-of-n from the policy that it draws from is at most this
    (the formula of Stiennon et al. 2020; an upper bound of the actual divergence by Beirami et al. 2024, theorem 3.1). 3.1745
    for n = 64."""
    return math.log(n) - (n - 1) / n


def expected(labeler: "np.ndarray", evaluator: "np.ndarray", counts: Sequence[int]) -> "np.ndarray":
    """Expected value of the best of k responses, for each k in `counts` (prompts, counts): the mean over all subsets of k of the
    n responses, which is unbiased for k fresh responses.

    `labeler`, which chooses, and `evaluator`, whose values count: rewards (prompts, n). In the order of the labeler's rewards,
    response i of n is the best of C(i - 1, k - 1) of the C(n, k) subsets. Equal rewards of the labeler are ties, which are
    broken at random: their responses together are the best of C(last, k) - C(first - 1, k) subsets, an equal share each."""
    import numpy as np

    n = labeler.shape[1]
    below = np.array([[math.comb(place, k) / math.comb(n, k) for k in counts] for place in range(n + 1)])
    means = np.empty((len(labeler), len(counts)))
    for line, (rewards, values) in enumerate(zip(labeler, evaluator, strict=True)):
        _, group, members = np.unique(rewards, return_inverse=True, return_counts=True)
        last = members.cumsum()
        shares = (below[last] - below[last - members]) / members[:, None]
        means[line] = values @ shares[group]
    return means


def increases(
    rewards: Mapping[str, Sequence[Sequence[float]]], subsets: Sequence[str], counts: Sequence[int]
) -> dict[str, dict[str, list[Estimate]]]:
    """Labeler -> evaluator -> for each k in `counts`, by how much the evaluator's reward of the labeler's best of k is above that
    of response 0: mean of the means of the subsets, with its interval over prompts. `rewards`: by reward model, of each prompt's
    response 0 and n more; each reward model is labeler and evaluator."""
    import numpy as np

    tables = {name: np.array(of, dtype=float) for name, of in rewards.items()}
    own = {
        (labeler, evaluator): expected(chooses[:, 1:], values[:, 1:], counts) - values[:, :1]
        for labeler, chooses in tables.items()
        for evaluator, values in tables.items()
    }
    columns = np.concatenate(list(own.values()), axis=1)
    estimates = iter(statistics.macro_means(statistics.by_label(columns, subsets).values()))
    return {
        labeler: {evaluator: [next(estimates) for _ in counts] for evaluator in tables} for labeler in tables
    }  # fmt: skip


def candidates(row: dict, n: int) -> dict:
    """A row of `xlrm.models.samples` with response 0 and n more. Raises DataError for fewer."""
    if len(row["responses"]) < n + 1:
        raise DataError(
            f"{n + 1} responses are required: number 0, which the others are compared with, and n={n} to choose from",
            where=f"samples: {row['id']}: responses", value=len(row["responses"]), hint=f"set sample.runs to {n + 1}",
        )  # fmt: skip
    return row | {field: row[field][: n + 1] for field in OF_A_RESPONSE}


def choice(row: dict, rewards: Sequence[float]) -> dict:
    """The row with the response that has the highest reward, the first of equals; number 0 is none of them. Raises ArtifactError
    for a reward that is not finite."""
    best = 1 + rankings.extremes(rewards[1:])[0]
    return row | {field: [row[field][best]] for field in OF_A_RESPONSE}


def reward_rows(rows: Sequence[dict], rewards: Mapping[str, Sequence[Sequence[float]]]) -> list[dict]:
    """A row per prompt: id, subset (null without one), and by reward model the rewards of response 0 and the n others."""
    return [
        {
            "id": row["id"], "subset": row.get("subset"),
            "rewards": {name: list(values[place]) for name, values in rewards.items()},
        }
        for place, row in enumerate(rows)
    ]  # fmt: skip
