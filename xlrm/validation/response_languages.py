"""The languages that a policy's responses are in."""

from collections.abc import Sequence

from xlrm.validation.language_id import Identifier
from xlrm.validation.limits import Limits
from xlrm.validation.texts import prose


def identify(responses: Sequence[str], language: str) -> list[str | None]:
    """The likeliest language of each response to a prompt in `language`, code left out: its code without region, None
    for a response that is too short for an identification (`Limits.language_letters`) and for a language that lingua does
    not know."""
    limits = Limits()
    return Identifier(language, limits.language_letters, limits.language_probability).languages(
        [prose(response) for response in responses]
    )
