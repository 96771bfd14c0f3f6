"""Judges of the responses of policies, one typed row each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xlrm.data.catalog import SPOKEN
from xlrm.data.phrasebook import judge as phrasebook
from xlrm.scorers.judges.pairs import Pair


@dataclass(frozen=True)
class Judge:
    name: str
    prefers: Callable[[str, str, str, str], float]
    """(prompt, response a, response b, language) -> preference, on the scale of `prefer`."""
    prompts: tuple[str, ...] | None = None
    """Names of prompt sets that it can judge; None for any."""
    languages: tuple[str, ...] | None = None
    """Codes of languages that it can judge; None for any."""

    def prefer(self, pairs: Sequence[Pair], language: str) -> list[float]:
        """Preference for each pair on alpaca_eval's scale: 1 if response a is better, 2 if b is, 1.5 for neither."""
        return [self.prefers(pair.prompt, pair.a, pair.b, language) for pair in pairs]


JUDGES = {row.name: row for row in (Judge("phrasebook", phrasebook.judge, ("phrasebook",), SPOKEN),)}
