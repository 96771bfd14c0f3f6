"""A policy's responses as rows, with the language that each is in."""

from collections.abc import Sequence

from xlrm.models.decoding import Completion
from xlrm.validation.language_id import Identifier
from xlrm.validation.limits import Limits
from xlrm.validation.texts import prose


def languages_of(responses: Sequence[str], language: str) -> list[str | None]:
    """The likeliest language of each response to a prompt in `language`, code left out: its code without region, None
    for a response that is too short for an identification (`Limits.language_letters`) and for a language that lingua does
    not know."""
    limits = Limits()
    identifier = Identifier(language, limits.language_letters, limits.language_probability)
    return identifier.languages([prose(response) for response in responses])


def records(rows: Sequence[dict], responses: Sequence[list[Completion]], language: str) -> list[dict]:
    """Rows as `xlrm.models.samples.read` returns them. `rows`: prompts with their ids; `responses`: those to each."""
    texts = [[each.text for each in completions] for completions in responses]
    identified = iter(languages_of([text for several in texts for text in several], language))
    return [
        {**row, "responses": several, "finished": [each.whole for each in completions],
         "languages": [next(identified) for _ in several]}
        for row, several, completions in zip(rows, texts, responses, strict=True)
    ]  # fmt: skip
