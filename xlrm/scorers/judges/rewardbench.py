"""RewardBench's rules for generative reward models (rewardbench/generative.py and scripts/run_generative.py): a chosen and a
rejected answer as a pair, the chosen one being a, and what a verdict earns.

Naming the chosen answer is worth 1, the other 0, neither 0.5. Its rule for more than four messages (0.5, unread) has nothing
to apply to: a row is one prompt and one answer each.
"""

from collections.abc import Sequence

from xlrm.errors import DataError
from xlrm.scorers.judges.pairs import Judgement, Pair
from xlrm.scorers.judges.pairwise import Judge


def pairs(rows: Sequence[dict]) -> list[Pair]:
    """Of rows with id, prompt, chosen and rejected. Raises DataError for one with lists of answers."""
    return [_pair(row) for row in rows]


def judge(model: Judge, rows: Sequence[dict]) -> list[dict]:
    """A row's order, verdicts, credit in [0, 1] and raw answers, in order. Raises as `Judge.judge`."""
    return [_judged(judgement) for judgement in model.judge(pairs(rows))]


def credit(judgement: Judgement) -> float:
    """In [0, 1], the mean over the orders."""
    return 2 - judgement.preference


def bias(judged: Sequence[dict]) -> dict[str, float | None]:
    """What the places of the answers had to do with the verdicts, as shares.

    errors: of the verdicts, that name neither answer. first: of the others, that name the one in first place; 0.5 for a
    judge who does not mind, as the chosen answer stands there by a coin. Where each item was judged in both orders,
    consistent: of the items, that the same answer won twice; position_bias: the first place won twice, minus the second
    place won twice. None where there is nothing to count.
    """
    verdicts = [verdict for row in judged for verdict in row["verdicts"]]
    named = [verdict for verdict in verdicts if verdict != "error"]
    found: dict[str, float | None] = {
        "errors": _share(len(verdicts) - len(named), len(verdicts)), "first": _share(named.count("A"), len(named)),
    }  # fmt: skip
    twice = [tuple(row["verdicts"]) for row in judged if len(row["verdicts"]) == 2]
    if twice:
        found["consistent"] = _share(twice.count(("A", "B")) + twice.count(("B", "A")), len(twice))
        found["position_bias"] = _share(twice.count(("A", "A")) - twice.count(("B", "B")), len(twice))
    return found


def _pair(row: dict) -> Pair:
    if not (isinstance(row["chosen"], str) and isinstance(row["rejected"], str)):
        raise DataError(f"{row['id']}: a judge compares two answers; this benchmark has lists of them")
    return Pair(row["id"], row["prompt"], row["chosen"], row["rejected"])


def _judged(judgement: Judgement) -> dict:
    order = "both" if len(judgement.a_first) > 1 else "chosen first" if judgement.a_first[0] else "rejected first"
    found = {
        "order": order, "verdicts": list(judgement.verdicts), "credit": credit(judgement),
        "answers": [answer.text for answer in judgement.answers],
    }  # fmt: skip
    refusals = [answer.refused for answer in judgement.answers if answer.refused]
    return found | ({"refused": refusals} if refusals else {})


def _share(count: int, of: int) -> float | None:
    return count / of if of else None
