"""Judges that know the right answers, one typed row each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xlrm.data.catalog import SPOKEN
from xlrm.data.phrasebook import judge as phrasebook
from xlrm.scorers.judges.pairs import Judgement, Pair, check_single


@dataclass(frozen=True)
class Judge:
    name: str
    prefers: Callable[[str, str, str, str], float]
    """(prompt, response a, response b, language) -> preference: 1 if a is better, 2 if b is, 1.5 for neither."""
    prompts: tuple[str, ...] | None = None
    """Names of prompt sets that it can judge; None for any."""
    languages: tuple[str, ...] | None = None
    """Codes of languages that it can judge; None for any."""

    def judge(self, pairs: Sequence[Pair], language: str) -> list[Judgement]:
        """Judgements in the order of `pairs`; the order in which responses are shown makes no difference. Raises DataError
        for a prompt of several turns."""
        check_single(pairs)
        preferences = [self.prefers(pair.prompt, pair.a, pair.b, language) for pair in pairs]
        return [Judgement((True,), (preference,)) for preference in preferences]


JUDGES = {row.name: row for row in (Judge("phrasebook", phrasebook.judge, ("phrasebook",), SPOKEN),)}
