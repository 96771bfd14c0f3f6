"""Prompts that ask for the number, 1 or 2, of the better of two responses in a language, and the reading of the answer.

The words are those of Wu et al. (2024), "Reuse Your Rewards" (arXiv 2404.12318), appendix G.2: SUMMARIZATION adapts Lee et
al. (2023), DIALOG adapts AlpacaEval's. Line breaks stand where the print begins a paragraph, and the indentation within
DIALOG is AlpacaEval's, because the print shows none. The paper prints each as one text, and it is sent as one message of
the user.

The preference is P("2") among "1" and "2" at the first position of the answer. The paper averages it over both orders
where a judge gives probabilities, and shows one random order to GPT-4 and to people, who name a number.
"""

import math
import re

from xlrm.models import logprobs
from xlrm.models.decoding import Completion

SUMMARIZATION = """A good summary is a shorter piece of text that has the essence of the original. It tries to accomplish \
the same purpose and conveys the key information from the original post. Below we define four evaluation axes for \
summary quality: coherence, accuracy, coverage, and overall quality.
Coherence: This axis answers the question “how coherent is the summary on its own?” A summary is coherent if it's easy to \
understand when read on its own and free of English errors. A summary is not coherent if it's difficult to understand \
what the summary is trying to say. Generally, it's more important that the summary is understandable than it being free \
of grammar errors.
Accuracy: This axis answers the question “does the factual information in the summary accurately match the post?” A \
summary is accurate if it doesn't say things that aren't in the article, it doesn't mix up people, and generally is not \
misleading.
Coverage: This axis answers the question “how well does the summary cover the important information in the post?” A \
summary has good coverage if it mentions the main information from the post that's important to understand the \
situation described in the post. A summary has poor coverage if someone reading only the summary would be missing \
several important pieces of information about the situation in the post. A summary with good coverage should also match \
the purpose of the original post (e.g. to ask for advice).
Overall quality: This axis answers the question “how good is the summary overall at representing the post?” This can \
encompass all of the above axes of quality, as well as others you feel are important. If it's hard to find ways to make \
the summary better, the overall quality is good. If there are lots of different ways the summary can be made better, the \
overall quality is bad.
You are an expert summary rater and are knowledgeable in {language}. Given a piece of text in {language} and two of its \
possible summaries, also in {language}, output 1 or 2 to indicate which summary best adheres to coherence, accuracy, \
coverage, and overall quality as defined above.
Text - {question}
Summary 1 - {a}
Summary 2 - {b}
Preferred Summary="""

DIALOG = '''You are a helpful assistant, that ranks models by the quality of their answers. You are also knowledgeable in \
{language}.
I want you to create a leaderboard of different large-language models. To do so, I will give you the instructions \
(prompts) given to the models, and the responses of two models. Please rank the models based on which response would be \
preferred by humans. All inputs are python dictionaries.
Here is the prompt, in {language}:
{
    "instruction": """{question}""",
}
Here are the outputs of the models, also in {language}:
[
    {
        "model": "model_1",
        "answer": """{a}"""
    },
    {
        "model": "model_2",
        "answer": """{b}"""
    }
]
Respond 1 or 2 to indicate the better output. Please provide the ranking that the majority of humans would give.
Better output='''

TOP_LOGPROBS = 20
"""Most likely tokens that are asked for: the most that OpenAI's API gives."""
_NUMBER = re.compile(r"""[\s"'*(\[]*([12])(?![0-9])(?!\s+(?:or|and)\b)""")
"""The number at the beginning of an answer, perhaps quoted or emphasised."""


def preference(answer: Completion) -> float | None:
    """1 + P("2") / (P("1") + P("2")), of the tokens whose text without white space is 1 or 2, at the first position of the
    answer; without log-probabilities 1 or 2 as written; None if there is neither.

    A number that is not among the most likely tokens has at most the probability of the last of them, and at most what all
    of them leave: this bound is its probability, so that the preference is never more decided than the judge."""
    table = next(iter(answer.answer_logprobs), {})
    if not table:
        match = _NUMBER.match(answer.answer)
        return float(match[1]) if match else None
    merged = logprobs.by_text((text.strip(), value) for text, value in table.items())
    if not {"1", "2"} & merged.keys():
        return None
    left = 1 - math.fsum(map(math.exp, table.values()))
    bound = min(min(table.values()), math.log(left) if left > 0 else -math.inf)
    first, second = (merged.get(number, bound) for number in ("1", "2"))
    return 1 + 1 / (1 + math.exp(min(700.0, first - second)))
