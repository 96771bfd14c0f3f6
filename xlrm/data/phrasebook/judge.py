"""The phrasebook's gold judge, which parses prompt and response and knows the right answers."""

from functools import cache

from xlrm.data.phrasebook import language as languages
from xlrm.data.phrasebook.questions import by_prompt
from xlrm.errors import DataError

_SMALL_TALK = ("opener", "closer")


def judge(prompt: str, response_a: str, response_b: str, language: str) -> float:
    """1 if a is better, 2 if b is better, 1.5 if both are equally good. Raises DataError for a prompt outside the
    phrasebook."""
    a, b = (grade(prompt, response, language) for response in (response_a, response_b))
    return 1.5 if a == b else 1.0 if a > b else 2.0


@cache
def grade(prompt: str, response: str, language: str) -> int:
    """3: right. 2: right, but padded or not in the requested form. 1: about the question, but wrong or unfinished.
    0: anything else, such as another topic, another language or a sentence outside the phrasebook."""
    spoken = languages.load(language)
    question = by_prompt().get(spoken.parse(prompt))
    if question is None:
        raise DataError(f"not a question of the phrasebook in {language!r}", where="prompt", value=prompt)
    try:
        sentences = spoken.parse(response)
    except DataError:
        return 0
    answer = tuple(sentence for sentence in sentences if sentence.key.split(".")[0] not in _SMALL_TALK)
    content = tuple(sentence for sentence in answer if not sentence.key.startswith("padding"))
    if len(content) == 1 and content[0] in question.right:
        return 3 if len(answer) == 1 else 2
    if question.topic == "instructions" and content == question.wrong:
        return 2
    about = {sentence.key for sentence in question.right + question.wrong}
    return 1 if content and all(sentence.key in about for sentence in content) else 0
