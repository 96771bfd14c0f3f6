"""Rewards that are made of words, and rewards that are not."""

import numpy as np
import pytest

from xlrm.analysis import bag_of_words
from xlrm.analysis.bag_of_words import InLanguage

WORDS = ("sun", "rain", "snow", "wind", "fog")


def texts(rows: int = 400) -> tuple[list[str], np.ndarray]:
    """Texts of five words, each 0 to 3 times, and the counts (rows, words)."""
    counts = np.random.default_rng(0).integers(0, 4, (rows, len(WORDS)))
    return [" ".join(" ".join([word] * n) for word, n in zip(WORDS, row, strict=True)) for row in counts], counts


def test_words_of_every_script() -> None:
    assert bag_of_words.words("Don't stop, 3 Äpfel!") == ["don", "t", "stop", "3", "äpfel"]
    assert bag_of_words.words("हिन्दी में") == ["हिन्दी", "में"]  # vowel signs are part of a word
    assert bag_of_words.words("天气很好。AI 模型") == ["天", "气", "很", "好", "ai", "模", "型"]
    assert bag_of_words.words("Cafe\u0301") == ["caf\u00e9"]
    assert bag_of_words.words("Việt Nam") == ["việt", "nam"]


def test_rewards_made_of_words_are_explained_and_others_are_not() -> None:
    written, counts = texts()
    made = counts @ np.array([1.0, -2.0, 0.5, 0.0, 3.0]) + 7
    noise = np.random.default_rng(1).normal(size=len(made))
    fits = bag_of_words.fit(written, {"words": made.tolist(), "noise": noise.tolist()})
    assert (fits["words"].rows, fits["words"].words) == (400, 5)
    assert fits["words"].in_sample == pytest.approx(1) and fits["words"].held_out > 0.999
    assert fits["noise"].chance == pytest.approx(5 / 399) and fits["noise"].in_sample < 0.05
    assert fits["noise"].held_out < fits["noise"].in_sample


def test_r2_by_hand_of_one_word() -> None:
    """With one word, R2 is the square of Pearson's r."""
    written, counts = texts(40)
    rewards = [1.0, 5.0, 2.0, 4.0] * 10
    fitted = bag_of_words.fit(written, {"m": rewards}, most_words=1)["m"]
    with_word = (counts > 0).sum(axis=0)
    word = min(range(5), key=lambda i: (-with_word[i], WORDS[i]))
    assert fitted.words == 1
    assert fitted.in_sample == pytest.approx(np.corrcoef(counts[:, word], rewards)[0, 1] ** 2)


def test_rows_of_one_group_are_left_out_together() -> None:
    """Each text five times, with a reward of its own: known from its other copies, unknown without them."""
    rng = np.random.default_rng(2)
    names = [f"word{i}" for i in range(12)]
    written = [" ".join(rng.choice(names, 6)) for _ in range(40)]
    rewards = rng.normal(size=40)
    rows, values, groups = (np.repeat(side, 5).tolist() for side in (written, rewards, [str(i) for i in range(40)]))
    together = bag_of_words.fit(rows, {"m": values}, groups)["m"]
    apart = bag_of_words.fit(rows, {"m": values})["m"]
    assert together.in_sample == apart.in_sample and together.held_out < apart.held_out - 0.1


def test_the_number_of_words_is_bounded_by_the_rows() -> None:
    written = [" ".join(f"w{(i * j) % 97}" for j in range(1, 30)) for i in range(60)]
    assert bag_of_words.fit(written, {"m": [float(i) for i in range(60)]})["m"].words == 15


def test_texts_that_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        bag_of_words.fit(["a"] * 19, {"m": [0.0] * 19})
    with pytest.raises(ValueError, match="not 3"):
        bag_of_words.fit(["a b"] * 20, {"m": [0.0] * 3})
    with pytest.raises(ValueError, match="no word"):
        bag_of_words.fit(["!"] * 20, {"m": [0.0] * 20})


def test_in_language_against_cross_lingual_use() -> None:
    explained = {
        ("de", "x"): {"de": 0.7, "en": 0.6, "es": 0.8},
        ("en", "y"): {"de": 0.5, "en": 0.6},
        ("es", "z"): {"en": 0.9},
    }
    assert bag_of_words.in_language(explained) == InLanguage(
        own=pytest.approx((0.7 + 0.7 + 0.6) / 3), crossed=pytest.approx((0.6 + 0.8 + 0.5) / 3), higher=2, pairs=3
    )
    with pytest.raises(ValueError):
        bag_of_words.in_language({("es", "z"): {"en": 0.9}})
