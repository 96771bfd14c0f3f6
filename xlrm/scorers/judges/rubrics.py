"""Rubrics: the prompts that ask a judge to rate one response from 1 to 10, one text or Markdown file each, and the
reading of its rating.

The rating is the expected value over the log-probabilities of the numbers, as in G-Eval (Liu et al. 2023), where the
engine gives them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.models.decoding import Completion
from xlrm.store.local_copies import local_copy

LOWEST, HIGHEST = 1, 10
_SHIPPED = {path.name.removesuffix(".rubric.md"): path for path in sorted(Path(__file__).parent.glob("*.rubric.md"))}
NAMES = tuple(_SHIPPED)
_PLACES = re.compile(r"\{(prompt|response|reference)\}")
_COMMENT = re.compile(r"\A\s*<!--.*?-->\s*", re.DOTALL)
_RATING = re.compile(r"\W*rating\W*?[:：][^\w-]*?(?P<number>\d+(?:\.\d+)?)(\s*(/|out of)\s*10)?\W*", re.IGNORECASE)
"""The last line of an answer: `Rating: 7`, also as **Rating: 7/10**, Rating: [[7]] and the like."""
_ALLOWED = f"{', '.join(NAMES)}, or a text or Markdown file, here or at s3://bucket/key, are allowed"


@dataclass(frozen=True)
class Rubric:
    name: str
    text: str
    """Template with {prompt}, {response} and perhaps {reference}, which are inserted unchanged."""

    @property
    def needs_reference(self) -> bool:
        return "{reference}" in self.text

    def messages(self, prompt: str, response: str, reference: str = "") -> list[dict[str, str]]:
        texts = {"prompt": prompt, "response": response, "reference": reference}
        return [{"role": "user", "content": _PLACES.sub(lambda place: texts[place[1]], self.text)}]


class Rating(NamedTuple):
    value: float
    """From 1 to 10."""
    weighted: bool
    """Whether it is an expected value over log-probabilities, rather than the number that was written."""


def find(name: str) -> Rubric:
    """The rubric of this name, or in the file of this path. A comment (<!-- -->) at its beginning is not shown to the
    judge. Raises ConfigError for a file that is not there, and for one that asks for no rating of a response."""
    try:
        path = _SHIPPED.get(name) or local_copy(name)
        text = _COMMENT.sub("", path.read_text("utf-8-sig")).strip()
    except (OSError, UnicodeDecodeError, ArtifactError, DataError) as error:
        raise ConfigError("no such rubric", value=name, hint=_ALLOWED) from error
    for part in ("{prompt}", "{response}", "Rating:"):
        if part not in text:
            raise ConfigError(
                f"the rubric has no {part}", value=name,
                hint="it shows {prompt} and {response}, perhaps a {reference}, and asks for a last line `Rating: N`",
            )  # fmt: skip
    return Rubric(name, text)


def rating(answer: Completion) -> Rating | None:
    """The rating in the last line of the answer, after any thinking; None if there is none from 1 to 10.

    With log-probabilities it is sum_n n p(n) / sum_n p(n) over the numbers n that the judge could have written there. Where
    a number may be written in two tokens, `1` is left out unless it was written: it may be the beginning of 10.
    """
    match = _RATING.fullmatch(_last_line(answer))
    if not match or not LOWEST <= float(match["number"]) <= HIGHEST:
        return None
    written = float(match["number"])
    place = place_of(answer) if written.is_integer() else None
    expected = None if place is None else _expected(answer.logprobs[place : place + 2], int(written))
    return Rating(written, False) if expected is None else Rating(expected, True)


def place_of(answer: Completion) -> int | None:
    """Position of the token that begins with the rating's number; None without log-probabilities, or where the number
    shares a token with the text before it."""
    line, text = _last_line(answer), "".join(answer.pieces)
    match, begins = _RATING.fullmatch(line), text.rfind(line)
    if not match or begins < 0:
        return None
    start, before = begins + match.start("number"), 0
    for place, piece in enumerate(answer.pieces):
        if before + len(piece) > start:
            return None if text[before:start].strip() else place
        before += len(piece)
    return None


def trimmed(answer: Completion) -> Completion:
    """The answer with the log-probabilities at the rating only, which an explanation would multiply."""
    place = place_of(answer)
    if place is None:
        return replace(answer, logprobs=(), pieces=())
    kept = [table if place <= i <= place + 1 else {} for i, table in enumerate(answer.logprobs)]
    return replace(answer, logprobs=tuple(kept))


def _last_line(answer: Completion) -> str:
    return answer.answer.rstrip().rpartition("\n")[2]


def _expected(likely: Sequence[Mapping[str, float]], written: int) -> float | None:
    """Mean of the numbers weighted by their probabilities, at the position of the number and the one after it; None if
    the number written has no probability there."""
    numbers: dict[int, float] = {}
    long = False  # whether the tokenizer has numbers of two digits
    for token, value in likely[0].items():
        digits = token.strip()
        if digits.isascii() and digits.isdigit():
            long = long or len(digits) > 1
            if str(int(digits)) == digits and LOWEST <= int(digits) <= HIGHEST:
                numbers[int(digits)] = numbers.get(int(digits), 0.0) + math.exp(value)
    if not long and 1 in numbers:
        first = numbers.pop(1)
        if written in (1, HIGHEST):
            zero = sum(math.exp(v) for token, v in (likely[1] if len(likely) > 1 else {}).items() if token[:1] == "0")
            numbers |= {1: first * max(0.0, 1 - zero), HIGHEST: first * min(1.0, zero)}
    total = sum(numbers.values())
    return sum(number * p for number, p in numbers.items()) / total if written in numbers and total > 0 else None
