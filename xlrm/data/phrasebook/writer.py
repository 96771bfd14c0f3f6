"""A writer of answers to the phrasebook's questions, some of them right and some wrong."""

import random
from dataclasses import astuple

from xlrm.data.phrasebook import language as languages
from xlrm.data.phrasebook.questions import by_prompt
from xlrm.errors import DataError


def answer(prompt: str, language: str, right_share: float, seed: int, number: int = 0) -> str:
    """A full answer to a question: right with probability `right_share`, else a wrong one in the same form. It follows
    from the question, the seed and the number of the answer, and is the same in every language. Raises DataError for a
    prompt outside the phrasebook."""
    spoken = languages.load(language)
    question = by_prompt().get(spoken.parse(prompt))
    if question is None:
        raise DataError(f"not a question of the phrasebook in {language!r}", where="prompt", value=prompt)
    asked = [astuple(sentence) for sentence in question.prompt]
    rng = random.Random(f"answer-{seed}-{number}-{asked}")
    full = question.right[0]
    if rng.random() < right_share:
        return spoken.render(full)
    same_form = [wrong for wrong in question.wrong if wrong.key == full.key]
    return spoken.render(rng.choice(same_form or question.wrong))
