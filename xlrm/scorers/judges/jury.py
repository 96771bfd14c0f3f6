"""Several judges of the same pairs: the preference is the mean of theirs."""

from collections.abc import Mapping, Sequence

from xlrm.scorers.judges import agreement
from xlrm.scorers.judges.pairs import Judgement
from xlrm.scorers.judges.verdicts import Verdicts, Voted, vote


def combined(members: Mapping[str, Verdicts]) -> Verdicts:
    """The verdicts of a jury. Its preference for a pair is the mean of those of its members, whatever the prompt and scale
    of each, so that a judge that is not sure weighs less; a member whose verdict is unreadable has no vote, and without
    any vote the jury's is unreadable."""
    votes = {name: [vote(judgement) for judgement in verdicts.judgements] for name, verdicts in members.items()}
    judgements = [_judgement(dict(zip(votes, each, strict=True))) for each in zip(*votes.values(), strict=True)]
    return Verdicts(judgements, members=members, agreement=agreement.of_all(votes))


def _judgement(votes: Mapping[str, float | None]) -> Judgement:
    return Voted((True,), (_mean([given for given in votes.values() if given is not None]),), votes=votes)


def _mean(votes: Sequence[float]) -> float | None:
    return sum(votes) / len(votes) if votes else None
