"""AlpacaEval's judges: prompts, the reading of their answers, and the order in which two responses are shown.

The words are alpaca_eval's (Apache-2.0, tatsu-lab/alpaca_eval 0.6.6, src/alpaca_eval/evaluators_configs), as its client
sends them: parts between <|im_start|> and <|im_end|> are messages, without white space at their ends
(utils.prompt_to_chatml). Responses go between the quotation marks unchanged; alpaca_eval would also replace a
placeholder such as {output_1} in an instruction.
"""

import ast
import math
import random
import warnings

from xlrm.models import logprobs
from xlrm.models.decoding import Completion

# alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt, of AlpacaEval 2 (weighted_alpaca_eval_gpt4_turbo).
WEIGHTED_SYSTEM = (
    "You are a highly efficient assistant, who evaluates and selects the best large language model (LLMs) based on the "
    "quality of their responses to a given instruction. This process will be used to create a leaderboard reflecting the "
    "most accurate and human-preferred answers."
)
WEIGHTED_USER = '''I require a leaderboard for various large language models. I'll provide you with prompts given to \
these models and their corresponding outputs. Your task is to assess these responses, and select the model that \
produces the best output from a human perspective.

## Instruction

{
    "instruction": """{question}""",
}

## Model Outputs

Here are the unordered outputs from the models. Each output is associated with a specific model, identified by a \
unique model identifier.

{
    {
        "model_identifier": "m",
        "output": """{a}"""
    },
    {
        "model_identifier": "M",
        "output": """{b}"""
    }
}

## Task

Evaluate the models based on the quality and relevance of their outputs, and select the model that generated the best \
output. Answer by providing the model identifier of the best model. We will use your output as the name of the best \
model, so make sure your output only contains one of the following model identifiers and nothing else (no quotes, no \
spaces, no new lines, ...): m or M.

## Best Model Identifier'''
# alpaca_eval_gpt4/alpaca_eval.txt, of AlpacaEval 1.
RANKING_SYSTEM = "You are a helpful assistant, that ranks models by the quality of their answers."
RANKING_USER = '''I want you to create a leaderboard of different of large-language models. To do so, I will give you \
the instructions (prompts) given to the models, and the responses of two models. Please rank the models based on which \
responses would be preferred by humans. All inputs and outputs should be python dictionaries.

Here is the prompt:
{
    "instruction": """{question}""",
}

Here are the outputs of the models:
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

Now please rank the models by the quality of their answers, so that the model with rank 1 has the best output. Then \
return a list of the model names and ranks, i.e., produce the following output:
[
    {'model': <model-name>, 'rank': <model-rank>},
    {'model': <model-name>, 'rank': <model-rank>}
]

Your response must be a valid Python dictionary and should contain nothing else because we will directly execute it in \
Python. Please provide the ranking that the majority of humans would give.'''


def weighted(answer: Completion) -> float | None:
    """2 - p(m), with the probability of m among m and M at the first position of the answer (logprob_parser); None if
    neither is among its most likely tokens.

    If neither is there alone, tokens of m or M with white space count, as tokenizers write a word: alpaca_eval reads
    nothing then."""
    table = next(iter(answer.answer_logprobs), {})
    if not {"m", "M"} & table.keys():
        table = logprobs.by_text((text.strip(), value) for text, value in table.items())
    first, second = (table.get(name, -math.inf) for name in ("m", "M"))
    if first == second == -math.inf:
        return None
    return 1 + _sigmoid(second - first)


def ranking(answer: Completion) -> float | None:
    """The rank of model_1 in a list of {model, rank}, which is 1 if the first response is better and 2 if the second is
    (ranking_parser); None for anything else. The list is read as a literal, never run."""
    text = answer.answer if answer.answer == answer.text else answer.answer.strip()
    try:
        with warnings.catch_warnings(action="ignore"):  # of unknown escapes in strings
            ranks = ast.literal_eval(text)
        first, *_ = (row for row in ranks if row["model"] == "model_1")
        return float(first["rank"]) if first["rank"] in (1, 2) else None
    except (ValueError, SyntaxError, TypeError, LookupError, MemoryError, RecursionError):
        return None


def a_first(instruction: str, seed: int = 0) -> bool:
    """Whether response a (alpaca_eval's output_1, the reference) is shown first: drawn for each instruction with a
    generator of its own (processors.RandomSwitchTwoColumnsProcessor, by annotators/pairwise_evaluator.py). `seed` is
    that of the annotator, 0 on the leaderboard."""
    return not random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True], k=1)[0]


def _sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow; exactly 0.5 for 0."""
    small = math.exp(-abs(x))
    return 1 / (1 + small) if x >= 0 else small / (1 + small)
