"""alpaca_eval's length-controlled win rate: what the win rate would be if both responses were equally long (Dubois et al.
2024, arXiv 2404.04475; `length_controlled_v1` in `src/alpaca_eval/metrics/glm_winrate.py` at v0.6.6).

A logistic regression without intercept explains the preferences by tanh(length difference / its standard deviation), the
difficulty of the prompt and a constant, and is asked for its prediction at no difference. The preferences for two
baselines that were told to write long and short answers, with weight 0.2, keep the constant from standing for length.

It is valid only in English and for AlpacaEval's prompts: difficulties were fitted to AlpacaEval's leaderboard, and lengths
are in characters, which other scripts use fewer of.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.evaluation import statistics
from xlrm.evaluation.results import LengthControlled
from xlrm.store import hub
from xlrm.store.local_copies import local_copy
from xlrm.store.objects import sha256_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

HUB = "hub"
REPOSITORY, FILE = "tatsu-lab/alpaca_eval", "df_gamed.csv"
LANGUAGE = "en"
FIELD = "judge.length_control"
COLUMNS = ("index", "preference", "std_delta_len", "instruction_difficulty")
GAMED_WEIGHT = 0.2 / 2
"""Weight of a preference for one of the two baselines."""
FOLDS = 5


@dataclass(frozen=True)
class Difficulties:
    """AlpacaEval's published file for the regression."""

    label: str
    of_prompt: dict[int, float]
    """Number of the prompt in AlpacaEval, from 0 -> its difficulty."""
    gamed: "pd.DataFrame"
    """Preferences (as shares of a win) for the two baselines, with their length differences and difficulties."""


def refusal(entry: str | None, language: str) -> ConfigError | None:
    """Why the language has no length-controlled win rate; None if it can have one, or none is asked for."""
    if entry is None or language == LANGUAGE:
        return None
    message = f"it is valid only in English, on AlpacaEval's own prompts, and not in {language!r}"
    return ConfigError(message, where=FIELD, value=entry, hint="null leaves it out; mean lengths are shown in any case")


def file(entry: str | None) -> Path | None:
    """The file that the entry names, on this machine; None for the Hub's and for no entry. Raises ConfigError for one that
    is not there."""
    if entry is None or entry == HUB:
        return None
    try:
        return local_copy(entry)
    except (DataError, ArtifactError) as error:
        hint = f"`{HUB}`, or a copy of its {FILE} here or at s3://bucket/key"
        raise ConfigError(error.message, where=FIELD, value=entry, hint=hint) from error


def fingerprint(entry: str | None) -> str:
    """Digest of the file of this machine, or the dataset's commit; empty for none. Raises ConfigError, ArtifactError."""
    if path := file(entry):
        return sha256_of(path)
    return hub.dataset_commit(REPOSITORY, None) if entry else ""


def load(entry: str | None, language: str) -> Difficulties | None:
    """Raises ConfigError for another language and for a file that is not there, DataError for other content."""
    if error := refusal(entry, language):
        raise error
    if entry is None:
        return None
    import pandas as pd

    path = file(entry) or hub.dataset_file(REPOSITORY, FILE)
    table = pd.read_csv(path)
    if missing := [name for name in COLUMNS if name not in table]:
        raise DataError(f"the columns {', '.join(COLUMNS)} are required", where=f"{path}", value=missing)
    table = table[list(COLUMNS)]
    first = table.drop_duplicates("index")
    of_prompt = dict(zip(first["index"].astype(int), first["instruction_difficulty"].astype(float), strict=True))
    source = f"{FILE} of {REPOSITORY}" if entry == HUB else Path(entry).name
    return Difficulties(f"length-controlled (AlpacaEval 2), difficulties from {source}", of_prompt, table)


def number(prompt: str) -> int:
    """Number of the prompt in AlpacaEval, from 0. Raises DataError for any other prompt."""
    digest = sha256(" ".join(prompt.split()).encode()).hexdigest()[:16]
    if digest not in _numbers():
        raise DataError(
            "length control knows the difficulties of AlpacaEval's English prompts only, and this is none of them",
            where=FIELD, value=prompt[:100], hint="null leaves it out",
        )  # fmt: skip
    return _numbers()[digest]


@cache
def _numbers() -> dict[str, int]:
    """sha256, cut, of each prompt of AlpacaEval's evaluation set, without differences in white space -> its number."""
    lines = Path(__file__).with_name("alpacaeval_prompts.txt").read_text().split()
    return {digest: place for place, digest in enumerate(lines)}


def win_rate(given: Difficulties, prompts: list[str], shares: "np.ndarray", lengths: "np.ndarray") -> LengthControlled:
    """`prompts` (n) of AlpacaEval; `shares` (n, runs) of a win, NaN for a missing verdict; `lengths` (n, runs, 2) of the
    reference's and the system's responses in characters. Raises DataError for other prompts."""
    import numpy as np
    import pandas as pd

    difficulties = np.array([_difficulty(given, prompt) for prompt in prompts])
    difference = (lengths[..., 0] - lengths[..., 1]).ravel().astype(float)
    spread = pd.Series(difference).std()
    scaled = difference / spread if spread > 0 else difference
    own = _features(scaled, np.repeat(difficulties, shares.shape[1]), 1.0)
    gamed = _features(given.gamed["std_delta_len"], given.gamed["instruction_difficulty"], 0.0)
    labels = np.concatenate([given.gamed["preference"], shares.ravel()])
    weights = np.concatenate([np.full(len(gamed), GAMED_WEIGHT), np.ones(len(own))])
    known = ~np.isnan(labels)
    model = _fit(np.concatenate([gamed, own])[known], labels[known], weights[known])
    predicted = model.predict_proba(_features(np.zeros(len(prompts)), difficulties, 1.0))[:, 1]
    return LengthControlled(
        win_rate=float(predicted.mean()), standard_error=statistics.standard_error(predicted.tolist()) or 0.0,
        label=given.label,
    )  # fmt: skip


def _difficulty(given: Difficulties, prompt: str) -> float:
    place = number(prompt)
    if place not in given.of_prompt:
        raise DataError("no difficulty of this prompt of AlpacaEval", where=FIELD, value=place)
    return given.of_prompt[place]


def _features(scaled: Any, difficulties: Any, constant: float) -> "np.ndarray":
    import numpy as np

    return np.column_stack([np.tanh(scaled), difficulties, np.full(len(difficulties), constant)])


def _fit(features: "np.ndarray", shares: "np.ndarray", weights: "np.ndarray") -> Any:
    """L1 logistic regression whose strength is chosen by cross-validation. Each row (n, 3) counts as won with weight
    `shares` and as lost with the rest, and both halves are in the same fold."""
    import numpy as np
    import sklearn
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import make_scorer
    from sklearn.model_selection import GroupKFold

    halves, twice = np.concatenate([shares, 1 - shares]), np.concatenate([weights, weights])
    won = np.repeat([1, 0], len(shares))
    with sklearn.config_context(enable_metadata_routing=True):
        score = make_scorer(_log_loss, response_method="predict_proba", greater_is_better=False)
        score = score.set_score_request(half=True, weight=True)
        model = LogisticRegressionCV(
            cv=GroupKFold(FOLDS), scoring=score, l1_ratios=(1.0,), solver="liblinear", fit_intercept=False,
            random_state=123, use_legacy_attributes=False,
        ).set_fit_request(sample_weight=True)  # fmt: skip
        groups = np.tile(np.arange(len(shares)), 2)
        return model.fit(
            np.concatenate([features, features]),
            won,
            sample_weight=halves * twice,
            groups=groups,
            half=halves,
            weight=twice,
        )


def _log_loss(won: "np.ndarray", predicted: "np.ndarray", half: "np.ndarray", weight: "np.ndarray") -> float:
    """Cross-entropy between the shares of wins and the predictions. `half`: of a row's copy that counts as won its share of
    a win, of the other one the rest."""
    import numpy as np

    share, predicted = np.where(won == 1, half, 1 - half), np.clip(predicted, 1e-15, 1 - 1e-15)
    return float(-np.mean(weight * (share * np.log(predicted) + (1 - share) * np.log(1 - predicted))))
