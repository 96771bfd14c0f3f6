"""Records of HelpSteer2 and HelpSteer3 as preference pairs."""

import itertools
import re
from collections.abc import Iterable, Iterator

from xlrm.data import conversations
from xlrm.data.conversations import Turns

_TURN = re.compile(r"\s*<extra_id_1>(User|Assistant)\n")
"""Beginning of a further turn in a prompt of HelpSteer2, with the role of who speaks."""
Record = dict
Row = dict


def helpsteer2(records: Iterable[Record]) -> Iterator[Row]:
    """The more helpful of two consecutive responses to one prompt, which may have turns; ties are dropped."""
    for prompt, group in itertools.groupby(records, key=lambda record: record["prompt"]):
        responses = list(group)
        for first, second in zip(responses[::2], responses[1::2], strict=False):
            if first["helpfulness"] != second["helpfulness"]:
                chosen, rejected = sorted((first, second), key=lambda r: r["helpfulness"], reverse=True)
                margin = {"margin": float(chosen["helpfulness"] - rejected["helpfulness"])}
                yield _row(_turns(prompt), chosen["response"], rejected["response"]) | margin


def helpsteer2_preference(records: Iterable[Record]) -> Iterator[Row]:
    """`preference_strength` is -3..3, positive for the second response; 0 is dropped."""
    for record in records:
        strength = record["preference_strength"]
        if strength:
            chosen, rejected = (2, 1) if strength > 0 else (1, 2)
            pair = _row(_turns(record["prompt"]), record[f"response_{chosen}"], record[f"response_{rejected}"])
            yield pair | {"margin": float(abs(strength))}


def _turns(prompt: str) -> Turns:
    """A prompt of HelpSteer2, in which the first turn is the user's and marks begin the others, as messages."""
    first, *others = _TURN.split(prompt)
    turns = [("User", first), *zip(others[::2], others[1::2], strict=True)]
    return conversations.prompt([{"role": role.lower(), "content": text} for role, text in turns])


LANGUAGES = {
    "en": "english", "zh": "chinese", "ko": "korean", "fr": "french", "es": "spanish", "ru": "russian", "ja": "japanese",
    "de": "german", "it": "italian", "pt": "portuguese", "pl": "polish", "id": "indonesian", "nl": "dutch", "vi": "vietnamese",
}  # fmt: skip
"""Language -> its name in the column `language` of HelpSteer3. Code has that of a programming language there, and its
prompts are in English."""


def helpsteer3(records: Iterable[Record]) -> Iterator[Row]:
    """`context` is the conversation so far; `overall_preference` is -3..3, positive for the second response; 0 is
    dropped."""
    for record in records:
        strength = record["overall_preference"]
        if strength:
            chosen, rejected = (2, 1) if strength > 0 else (1, 2)
            prompt = conversations.prompt(record["context"], "context")
            pair = _row(prompt, record[f"response{chosen}"], record[f"response{rejected}"])
            yield pair | {"margin": float(abs(strength))}


def is_in(record: Record, language: str) -> bool:
    named = record["language"].lower()
    return named == LANGUAGES[language] or (language == "en" and record["domain"].lower() == "code")


def _row(prompt: Turns, chosen: Turns, rejected: Turns) -> Row:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
