"""Results of judges that score responses, and of several judges of the same pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

from xlrm.evaluation import win_rates
from xlrm.evaluation.results import Cost, JuryMember, Scores
from xlrm.evaluation.win_rates import Judged
from xlrm.scorers.judges.pairs import Pair
from xlrm.scorers.judges.verdicts import Scored, Verdicts, vote

_AMOUNTS = tuple(name for name, field in Cost.model_fields.items() if field.annotation in (int | None, float | None))


def fields(verdicts: Verdicts, pairs: Mapping[str, Sequence[Pair]]) -> dict[str, Any]:
    """Fields of `JudgeResults` beyond the win rates: cost, scores, members and kappa. `pairs`: system -> its pairs, in the
    order of the verdicts."""
    return {
        "cost": cost(verdicts),
        "scores": scores(win_rates.by_system(pairs, verdicts.judgements)),
        "members": {entry: _member(own, pairs) for entry, own in verdicts.members.items()},
        "kappa": tuple(verdicts.agreement),
    }


def cost(verdicts: Verdicts) -> Cost | None:
    """What the verdicts took, of a jury the sum over its members; None if no model was asked. An amount that is unknown for
    one of them is unknown in the sum."""
    own = Cost(**verdicts.cost.as_json()) if verdicts.cost else None
    costs = [each for each in (own, *map(cost, verdicts.members.values())) if each]
    if len(costs) < 2:
        return costs[0] if costs else None
    amounts = {name: [getattr(each, name) for each in costs] for name in _AMOUNTS}
    return Cost(**{name: None if None in values else sum(values) for name, values in amounts.items()})


def scores(judged: Mapping[str, Judged]) -> dict[str, Scores]:
    """System -> mean scores, over the pairs with a score of both responses; empty for judges that give none."""
    means = {name: _scores(of) for name, of in judged.items()}
    return {name: own for name, own in means.items() if own}


def _scores(judged: Judged) -> Scores | None:
    scored = [each for each in judged.judgements if isinstance(each, Scored) and None not in each.scores]
    if not scored:
        return None
    a, b = (sum(each.scores[side] or 0.0 for each in scored) / len(scored) for side in (0, 1))
    weighted = [value for each in scored for value in each.weighted]
    share = sum(weighted) / len(weighted) if weighted else None
    return Scores(unit=scored[0].unit, reference=a, system=b, weighted=share)


def _member(verdicts: Verdicts, pairs: Mapping[str, Sequence[Pair]]) -> JuryMember:
    judged = win_rates.by_system(pairs, verdicts.judgements)
    readable = {name: of for name, of in judged.items() if any(vote(each) is not None for each in of.judgements)}
    results = {name: win_rates.win_rate(of) for name, of in readable.items()}
    return JuryMember(cost=cost(verdicts), results=results, scores=scores(judged))
