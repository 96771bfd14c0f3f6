"""Judges of responses, one typed row each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xlrm.data.catalog import SPOKEN
from xlrm.data.phrasebook import judge as phrasebook
from xlrm.scorers.judges.pairs import Pair


@dataclass(frozen=True)
class Judge:
    name: str
    prefers: Callable[[str, str, str, str], float]
    """(prompt, response a, response b, language) -> preference, of one pair."""
    prompts: tuple[str, ...] | None = None
    """Sets of prompts that it can read; none for any."""
    languages: tuple[str, ...] | None = None
    """None for any."""

    def prefer(self, pairs: Sequence[Pair], language: str) -> list[float]:
        """Of each pair 1 where response a is better, 2 where b is, 1.5 for neither: alpaca_eval's scale."""
        return [self.prefers(pair.prompt, pair.a, pair.b, language) for pair in pairs]


JUDGES = {row.name: row for row in (Judge("phrasebook", phrasebook.judge, ("phrasebook",), SPOKEN),)}
