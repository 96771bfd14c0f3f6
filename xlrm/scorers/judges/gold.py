"""Judges of responses, one typed row each."""

from collections.abc import Callable
from dataclasses import dataclass

from xlrm.data.catalog import SPOKEN
from xlrm.data.phrasebook import judge as phrasebook


@dataclass(frozen=True)
class Judge:
    name: str
    prefers: Callable[[str, str, str, str], float]
    """(prompt, response a, response b, language) -> 1 where a is better, 2 where b is better, 1.5 for neither: alpaca_eval's
    scale."""
    prompts: tuple[str, ...] | None = None
    """Sets of prompts that it can read; none for any."""
    languages: tuple[str, ...] | None = None
    """None for any."""


JUDGES = {row.name: row for row in (Judge("phrasebook", phrasebook.judge, ("phrasebook",), SPOKEN),)}
