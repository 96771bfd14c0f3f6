"""Prompts for generative judges, word for word as in RewardBench, AlpacaEval, paper B or the model's training, how they
are decoded, and the reading of their answers.

The wording here is RewardBench's (Apache-2.0, Allen Institute for AI), which took it from MT-Bench.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from xlrm import languages
from xlrm.errors import ConfigError
from xlrm.models.decoding import Completion
from xlrm.scorers.judges import alpaca_eval, numbered
from xlrm.scorers.judges.pairs import Verdict

_PLACES = re.compile(r"\{(question|a|b|language)\}")
_PREFERENCES: dict[Verdict, float | None] = {"A": 1.0, "B": 2.0, "error": None}


def parse(answer: str) -> Verdict:
    """Verdict by RewardBench's process_judgement: A if the answer contains [[A]], else B for [[B]], else error."""
    return "A" if "[[A]]" in answer else "B" if "[[B]]" in answer else "error"


def named(answer: Completion) -> float | None:
    """Preference by the verdict in the text after the thinking, which may name both responses."""
    return _PREFERENCES[parse(answer.answer)]


@dataclass(frozen=True)
class JudgePrompt:
    system: str
    """Empty for a prompt without a system message."""
    user: str
    """Template with {question}, {a} and {b}, which are inserted unchanged, and perhaps {language} for the English name of
    their language."""
    preference: Callable[[Completion], float | None] = named
    """Answer -> preference for the order shown, from 1 (the first response is better) to 2 (the second is), 1.5 for
    neither; None if it is unreadable."""
    max_new_tokens: int = 2048
    """Limit on the tokens of an answer."""
    temperature: float = 0.0
    top_logprobs: int = 0
    """Number of most likely tokens whose log-probabilities are asked for. An answer is then read from its beginning, so
    that it may be cut."""
    asks_equal: bool = True
    """Whether two equal responses are shown to the judge; else they are a draw (alpaca_eval)."""

    needs_logprobs: bool = True
    """Whether an answer without log-probabilities is unreadable, if any are asked for."""
    threads: bool = False
    """Whether a question may be a thread of several turns."""

    @property
    def names_language(self) -> bool:
        return "{language}" in self.user

    @property
    def characters(self) -> int:
        """Length of the prompt without question and responses."""
        return len(self.system) + len(_PLACES.sub("", self.user))

    def messages(self, question: str, a: str, b: str, language: str = "") -> list[dict[str, str]]:
        """`language`: its code. Raises ConfigError for an unknown one, if the prompt names it."""
        texts = {"question": question, "a": a, "b": b}
        if self.names_language:
            texts["language"] = languages.find(language, "language").name
        user = _PLACES.sub(lambda place: texts.get(place[1], place[0]), self.user)
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": user}]


# prompt_v2 in rewardbench/generative.py, v0.1.4.
_SYSTEM = (
    "Please act as an impartial judge and evaluate the quality of the responses provided by two AI assistants to the user "
    "question displayed below. You should choose the assistant that follows the user's instructions and answers the "
    "user's question better. Your evaluation should consider factors such as the helpfulness, relevance, accuracy, depth, "
    "creativity, and level of detail of their responses. Begin your evaluation by comparing the two responses and provide "
    "a short explanation. Avoid any position biases and ensure that the order in which the responses were presented does "
    "not influence your decision. Do not allow the length of the responses to influence your evaluation. Do not favor "
    "certain names of the assistants. Be as objective as possible. After providing your explanation, output your final "
    'verdict by strictly following this format: "[[A]]" if assistant A is better, "[[B]]" if assistant B is better.'
)
# MTBENCH_V2["prompt_template"] in the same file.
_USER = (
    "[User Question]\n{question}\n\n[The Start of Assistant A's Answer]\n{a}\n[The End of Assistant A's Answer]\n\n"
    "[The Start of Assistant B's Answer]\n{b}\n[The End of Assistant B's Answer]"
)

JUDGE_PROMPTS = {
    "rewardbench": JudgePrompt(_SYSTEM, _USER),
    # facebookresearch/RAM, projects/self_taught_evaluator/src/utils.py and the model's card, SELF_TAUGHT_WITH_SYSTEM_PROMPT:
    # the same words, with a backslash before each quotation mark and a line break at the end, as in the model's training.
    "self-taught": JudgePrompt(_SYSTEM.replace('"', '\\"'), _USER + "\n"),
    # weighted_alpaca_eval_gpt4_turbo/configs.yaml. The temperature has no influence on the log-probabilities.
    "alpacaeval": JudgePrompt(
        alpaca_eval.WEIGHTED_SYSTEM, alpaca_eval.WEIGHTED_USER, alpaca_eval.weighted, max_new_tokens=1, temperature=1.0,
        top_logprobs=5, asks_equal=False,
    ),
    # alpaca_eval_gpt4/configs.yaml.
    "alpacaeval-1": JudgePrompt(
        alpaca_eval.RANKING_SYSTEM, alpaca_eval.RANKING_USER, alpaca_eval.ranking, max_new_tokens=100, asks_equal=False
    ),
    **{
        name: JudgePrompt(
            "", text, numbered.preference, max_new_tokens=1, top_logprobs=numbered.TOP_LOGPROBS, asks_equal=False,
            needs_logprobs=False, threads=True,
        )
        for name, text in {"summarization": numbered.SUMMARIZATION, "dialog": numbered.DIALOG}.items()
    },
}  # fmt: skip
"""Prompts by name."""


def find(name: str) -> JudgePrompt:
    """Raises ConfigError for another name."""
    if name not in JUDGE_PROMPTS:
        raise ConfigError("no such judge prompt", value=name, hint=f"there are {', '.join(JUDGE_PROMPTS)}")
    return JUDGE_PROMPTS[name]
