"""Judges of responses, each behind the same door: (prompt, response a, response b, language) -> preference.

1 where a is better, 2 where b is better, 1.5 for neither: alpaca_eval's scale.
"""

from collections.abc import Callable

from xlrm.phrasebook import judge as phrasebook

Judge = Callable[[str, str, str, str], float]

JUDGES: dict[str, Judge] = {
    "phrasebook": phrasebook.judge,
}
