"""How much of a reward model's rewards a bag of words explains (paper B, section 5.2): least squares of the rewards on the
counts of words, and R2 as a measure of how far the reward model looks at words alone.

The paper reports R2 on the rows that the regression was fitted on. That R2 rises with the number of words whatever they
say: rewards that have nothing to do with the words reach words / (rows - 1). It can be compared between reward models on
the same texts, which share words and rows, and little else. `held_out` is of rows that the regression has not seen.

Words: texts are normalised (NFC) and case-folded. A word is a run of letters, marks and digits, as Unicode classes them;
in scripts that do not separate words (Han, Japanese, Thai, Lao, Khmer, Burmese) each character is one, a vowel sign too.
The most frequent words are counted, by the number of texts that they are in.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MOST_WORDS = 1000
"""Words counted at most: 10,000 texts are a matrix of 80 MB."""
ROWS_PER_WORD = 4
"""Fewest rows for each word that is counted; with fewer, the R2 on the fitted rows says nothing."""
FOLDS = 5
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""Penalties of the ridge regression, one of which is chosen on the rows that are fitted."""
_UNSPACED = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"


@dataclass(frozen=True)
class BagOfWords:
    """How well a bag of words predicts a reward model's rewards of some texts."""

    rows: int
    words: int
    """Words that are counted."""
    in_sample: float
    """R2 of least squares on the rows that it was fitted on: the paper's."""
    chance: float
    """In-sample R2 expected of rewards that have nothing to do with the words: words / (rows - 1)."""
    held_out: float
    """R2 of ridge regression on rows left out, five-fold; below 0 if the mean of all rewards predicts better."""


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    folded = unicodedata.normalize("NFC", text.casefold())
    kept = "".join(each if unicodedata.category(each)[0] in "LMN" else " " for each in folded)
    return re.findall(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+", kept)


def fit(
    texts: Sequence[str], rewards: Mapping[str, Sequence[float]], groups: Sequence[str] | None = None,
    most_words: int = MOST_WORDS, seed: int = 0,
) -> dict[str, BagOfWords]:  # fmt: skip
    """Name of a reward model -> how a bag of words predicts its rewards of the texts (n). All have the same words and folds.
    `groups` (n): rows of one group, such as responses to one prompt, are left out together. Raises ValueError for fewer
    than 20 texts or fewer than five groups, for a number of rewards that is not n, and for texts without a common word."""
    if len(texts) < FOLDS * ROWS_PER_WORD or len(set(groups or range(FOLDS))) < FOLDS:
        raise ValueError(f"a bag of words takes at least {FOLDS * ROWS_PER_WORD} texts, of {FOLDS} groups")
    counts = _counts(texts, min(most_words, len(texts) // ROWS_PER_WORD))
    names = list(rewards)
    values = _columns([rewards[name] for name in names], len(texts))
    in_sample, held_out = _in_sample(counts, values), _held_out(counts, values, groups, seed)
    rows, width = counts.shape
    return {
        name: BagOfWords(rows, width, float(in_sample[i]), width / (rows - 1), float(held_out[i]))
        for i, name in enumerate(names)
    }


def _counts(texts: Sequence[str], most: int) -> "np.ndarray":
    """Counts (texts, words) of the words that most texts have; words of a single text are left out."""
    import numpy as np

    bags = [Counter(words(text)) for text in texts]
    texts_with = Counter(word for bag in bags for word in bag)
    ranked = sorted(
        (word for word, count in texts_with.items() if count > 1), key=lambda word: (-texts_with[word], word)
    )
    if not ranked:
        raise ValueError("no word is in two texts")
    places = {word: place for place, word in enumerate(ranked[:most])}
    counts = np.zeros((len(texts), len(places)))
    for row, bag in enumerate(bags):
        for word, count in bag.items():
            if word in places:
                counts[row, places[word]] = count
    return counts


def _columns(rewards: Sequence[Sequence[float]], rows: int) -> "np.ndarray":
    """Rewards (rows, reward models)."""
    import numpy as np

    if wrong := [len(values) for values in rewards if len(values) != rows]:
        raise ValueError(f"{rows} texts have {rows} rewards, not {wrong[0]}")
    return np.array(rewards, dtype=float).T


def _in_sample(counts: "np.ndarray", values: "np.ndarray") -> "np.ndarray":
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score

    return r2_score(values, LinearRegression().fit(counts, values).predict(counts), multioutput="raw_values")


def _held_out(
    counts: "np.ndarray", values: "np.ndarray", groups: Sequence[str] | None, seed: int
) -> "np.ndarray":  # fmt: skip
    """Each reward model has a penalty of its own, chosen by leaving out single rows of those fitted."""
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score
    from sklearn.model_selection import GroupKFold, KFold, cross_val_predict

    folds = (GroupKFold if groups else KFold)(FOLDS, shuffle=True, random_state=seed)
    model = RidgeCV(PENALTIES, alpha_per_target=True)
    predicted = cross_val_predict(model, counts, values, groups=groups, cv=folds)
    return r2_score(values, predicted.reshape(values.shape), multioutput="raw_values")


@dataclass(frozen=True)
class InLanguage:
    """R2 of reward models in their own language and in others, over pairs of a data set and a reward model of another
    language than the set's."""

    own: float
    """Mean R2 of the reward model of the data set's language, once for each pair."""
    crossed: float
    """Mean R2 of the reward models of other languages."""
    higher: int
    """Pairs in which the data set's own reward model has the larger R2."""
    pairs: int


def in_language(explained: Mapping[tuple[str, str], Mapping[str, float]]) -> InLanguage:
    """`explained`: (language, data set) -> language of a reward model -> R2 of its rewards on the data set. Raises ValueError
    if no data set has its own language's reward model and another."""
    pairs = [
        (by_model[language], value)
        for (language, _), by_model in explained.items()
        if language in by_model
        for model, value in by_model.items()
        if model != language
    ]
    if not pairs:
        raise ValueError("no data set has the rewards of its own language's reward model and of another's")
    own, crossed = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
    return InLanguage(own, crossed, sum(a > b for a, b in pairs), len(pairs))
