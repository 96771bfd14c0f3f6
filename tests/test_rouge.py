"""ROUGE-L over tokens that fit each script, against values computed by hand."""

import subprocess
import sys

import pytest

from xlrm.evaluation import rouge

TOKENS = {
    "en": ("Three cats, 2 dogs.", ["three", "cats", "2", "dogs"]),
    "de": ("Größe STRASSE", ["grösse", "strasse"]),
    "ru": ("Новый год!", ["новый", "год"]),
    "tr": ("ISPARTA'nın İli", ["ısparta", "nın", "ili"]),
    "vi": ("Việt Nam", ["việt", "nam"]),
    "zh": ("我有iPhone 15。", ["我", "有", "iphone", "15"]),
    "ko": ("고양이가", ["고", "양", "이", "가"]),
    "xx": ("ab cd", ["ab", "cd"]),
}


@pytest.mark.parametrize("language", TOKENS)
def test_tokens(language: str) -> None:
    text, expected = TOKENS[language]
    assert rouge.tokens(text, language) == expected


def test_scores_computed_by_hand() -> None:
    """Longest common subsequence "the cat mat": 3 of 4 tokens of the reference, 3 of 5 of the response; F = 2 * 3 / (4 + 5)."""
    assert rouge.rouge_l(["The cat, the mat"], ["the cat sat on mat"], "en") == [pytest.approx(100 * 6 / 9)]
    assert rouge.rouge_l(["кот сидит"], ["сидит кот"], "ru") == [pytest.approx(50.0)], "one of two, in order"
    assert rouge.rouge_l(["我有猫"], ["我有狗"], "zh") == [pytest.approx(100 * 2 / 3)], "two of three characters"
    assert rouge.rouge_l(["猫", "...", "cat"], ["", "猫", "..."], "zh") == [0, 0, 0], "without tokens"


def test_logging_configured_anew_closes_no_stream_that_stands_in_for_stderr() -> None:
    """As under a test runner, or in a notebook."""
    program = (
        "import io, logging.config, sys\n"
        "sys.stderr = stand_in = io.StringIO()\n"
        "from xlrm.evaluation import rouge\n"
        "assert rouge.rouge_l(['a b'], ['a b'], 'en') == [100.0]\n"
        "sys.stderr = io.StringIO()\n"
        "logging.config.dictConfig({'version': 1})\n"
        "assert not stand_in.closed\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
