"""ROUGE-L (Lin 2004) of responses against references, by Google's library rouge-score, with tokens fit for each script.

The library's own tokeniser keeps a to z and 0 to 9 alone, which leaves nothing of a Russian text. Here tokens are words, as in
its English mode without the stemmer, and characters in languages that write no spaces between words, and in Korean, whose
words carry particles. Scores depend on the tokens: those over SentencePiece's pieces are others.
"""

import contextlib
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from xlrm.languages import LANGUAGES

_WORD = r"[\p{L}\p{M}\p{N}]+"
_CHARACTER = r"[\p{Latin}\p{N}]+|\p{L}\p{M}*"
"""Characters with their marks; words in Latin letters and numbers stay whole."""
_BY_CHARACTER = ("Han", "Japanese", "Hangul", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
"""Scripts whose texts are split into characters."""


def tokens(text: str, language: str) -> list[str]:
    """Tokens of a text without regard to case and punctuation. `language`: a code; in one that is unknown, they are words."""
    import regex

    if language.partition("_")[0] == "tr":
        text = text.replace("I", "ı").replace("İ", "i")
    row = LANGUAGES.get(language)
    split = row is not None and (row.script in _BY_CHARACTER or not row.spaces)
    return regex.findall(_CHARACTER if split else _WORD, text.casefold())


def rouge_l(references: Sequence[str], responses: Sequence[str], language: str) -> list[float]:
    """F-measure of the longest common subsequence of tokens, from 0 to 100, of each response; 0 for a response or a reference
    without tokens."""
    scorer = _scorer(language)
    return [
        100 * scorer.score(reference, response)["rougeL"].fmeasure
        for reference, response in zip(references, responses, strict=True)
    ]


@cache
def _scorer(language: str) -> Any:
    # It imports absl, whose log handler keeps the stream that it finds as sys.stderr and closes it when logging is configured
    # anew, unless that is the process's own.
    with contextlib.redirect_stderr(sys.__stderr__ or sys.stderr):
        from rouge_score.rouge_scorer import RougeScorer

    class Tokens:
        def tokenize(self, text: str) -> list[str]:
            return tokens(text, language)

    return RougeScorer(["rougeL"], tokenizer=Tokens())
