"""RewardBench's rules for generative reward models (rewardbench/generative.py and scripts/run_generative.py): rows as
pairs in which response a is the chosen one, and the credit for a verdict.

The credit is 1 for naming the chosen response, 0 for the rejected one, 0.5 for neither. RewardBench's rule for more
than four messages (0.5 without asking) never applies: a judge reads all turns of a prompt or refuses the row.
"""

from collections.abc import Sequence

from xlrm.scorers.judges.pairs import Judgement, Pair
from xlrm.scorers.judges.pairwise import Judge


def pairs(rows: Sequence[dict], language: str = "") -> list[Pair]:
    """Pairs from rows with id, prompt, chosen and rejected in a language. Raises DataError for a row with lists of
    responses."""
    return [Pair.of(row["id"], row["prompt"], row["chosen"], row["rejected"], language=language) for row in rows]


def judge(model: Judge, rows: Sequence[dict], language: str = "") -> list[dict]:
    """For each row, in order: order, verdicts, credit in [0, 1], raw answers, and refusals if any. Raises the errors of
    `Judge.judge`."""
    return [_judged(judgement) for judgement in model.judge(pairs(rows, language))]


def credit(judgement: Judgement) -> float:
    """Credit in [0, 1], the mean over the orders, each 0.5 if unreadable."""
    credits = [0.5 if value is None else 2 - value for value in judgement.mapped]
    return sum(credits) / len(credits)


def bias(judged: Sequence[dict]) -> dict[str, float | None]:
    """Position bias of the verdicts, as shares; None for a share of nothing.

    errors: verdicts that are unreadable. first: other verdicts that name the first response, a tie counting as half; 0.5
    for an unbiased judge, since the order is pseudo-random. For items judged in both orders also consistent: items in
    which the same response won twice; position_bias: items in which the first position won twice, minus those for the
    second. For credits between, of a judge that gives probabilities, also decided: items whose credit is above one half,
    one half counting as half, which is the accuracy of a judge that has to decide (paper B, Table 5).
    """
    verdicts = [verdict for row in judged for verdict in row["verdicts"]]
    named = [verdict for verdict in verdicts if verdict != "error"]
    firsts = named.count("A") + named.count("tie") / 2
    errors = _share(len(verdicts) - len(named), len(verdicts))
    shares: dict[str, float | None] = {"errors": errors, "first": _share(firsts, len(named))}
    twice = [tuple(row["verdicts"]) for row in judged if len(row["verdicts"]) == 2]
    if twice:
        shares["consistent"] = _share(twice.count(("A", "B")) + twice.count(("B", "A")), len(twice))
        shares["position_bias"] = _share(twice.count(("A", "A")) - twice.count(("B", "B")), len(twice))
    if any(row.get("credit") not in (None, 0, 0.25, 0.5, 0.75, 1) for row in judged):
        shares["decided"] = _share(
            sum((row["credit"] > 0.5) + (row["credit"] == 0.5) / 2 for row in judged), len(judged)
        )
    return shares


def unreadable(judged: Sequence[dict]) -> dict[str, int]:
    """Number of verdicts, and of those that could not be read, which earn 0.5 each."""
    verdicts = [verdict for row in judged for verdict in row["verdicts"]]
    return {"verdicts": len(verdicts), "unreadable": verdicts.count("error")}


def _judged(judgement: Judgement) -> dict:
    order = "both" if len(judgement.a_first) > 1 else "chosen first" if judgement.a_first[0] else "rejected first"
    return {"order": order, "credit": credit(judgement)} | judgement.record()


def _share(count: float, of: int) -> float | None:
    return count / of if of else None
