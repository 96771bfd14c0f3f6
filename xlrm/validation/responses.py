"""Responses to prompts as rows, with the language that each is in: a policy's, or those written elsewhere."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlrm.data import given_responses
from xlrm.errors import ConfigError
from xlrm.models import sampling
from xlrm.validation.language_id import Identifier
from xlrm.validation.limits import Limits
from xlrm.validation.texts import prose


class Settings(sampling.Settings, given_responses.Settings):
    """How responses are generated, or where they are taken from."""


@dataclass
class Writer:
    """Writes the rows of `sample`: by a policy, or from responses written elsewhere."""

    settings: Settings
    policy: sampling.Policy | None
    """None for responses written elsewhere."""

    def respond(self, rows: Sequence[dict], language: str, count: int, split: str) -> list[dict]:
        """Rows as `xlrm.models.samples.read` returns them, with `count` responses each. `rows`: prompts with their ids, of
        the split train (for alignment) or eval (to be judged)."""
        if self.policy is None:
            seed = self.settings.seed
            given = given_responses.respond(self.settings, rows, language, count, seed)
            return _rows(rows, [[(each.text, each.finished) for each in several] for several in given], language)
        completions = self.policy.respond([row["prompt"] for row in rows], count, split == "eval")
        return _rows(rows, [[(each.text, each.whole) for each in several] for several in completions], language)

    def decoding(self, split: str) -> dict[str, Any]:
        """Everything that decides on the responses to the prompts of a split, for the record."""
        if self.policy is None:
            return self.settings.model_dump(include={"given", "right_share", "seed"})
        return self.policy.decoding(split == "eval")

    @property
    def usd(self) -> float | None:
        """Cost in US dollars of this run; None without a price."""
        return self.policy.usd if self.policy else None


@contextlib.contextmanager
def writer(settings: Settings, policy: Path | None, work: Path) -> Iterator[Writer]:
    """Context manager of a writer. Raises ConfigError for a policy beside `given` or `served`, and as `sampling.policy`
    does."""
    for field in ("given", "served"):
        if policy and getattr(settings, field):
            raise ConfigError("not allowed with policies", where=f"sample.{field}", value=getattr(settings, field))
    if settings.given is not None:
        yield Writer(settings, None)
        return
    with sampling.policy(policy, settings, work) as loaded:
        yield Writer(settings, loaded)


def languages_of(responses: Sequence[str], language: str) -> list[str | None]:
    """The likeliest language of each response to a prompt in `language`, code left out: its code without region, None
    for a response that is too short for an identification (`Limits.language_letters`) and for a language that lingua does
    not know."""
    limits = Limits()
    identifier = Identifier(language, limits.language_letters, limits.language_probability)
    return identifier.languages([prose(response) for response in responses])


def _rows(rows: Sequence[dict], responses: Sequence[list[tuple[str, bool]]], language: str) -> list[dict]:
    """`responses`: text of each, and whether its writer ended it."""
    identified = iter(languages_of([text for several in responses for text, _ in several], language))
    return [
        {**row, "responses": [text for text, _ in several], "finished": [whole for _, whole in several],
         "languages": [next(identified) for _ in several]}
        for row, several in zip(rows, responses, strict=True)
    ]  # fmt: skip
