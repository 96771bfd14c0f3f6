"""Norms of a model's token embeddings by language, and distances between their distributions (paper A, section 3.2).

The paper compares disjoint sets A_l of the vocabulary, one per language, without defining them. Here a token belongs to
the language whose texts use it, by the two thresholds of `TokenSets`. Using the script of a token would be simpler, but
could not separate English, Spanish and Italian.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.models import loading
from xlrm.store import hub
from xlrm.tracking import named_models

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

CONFIGURATION = ("*.json", "*.model", "*.txt", "*.jinja")
"""Patterns of a model's files other than weights."""
_ROWS_AT_ONCE = 8192


class TokenSets(BaseModel):
    """Thresholds for the tokens that belong to a language. Special tokens belong to none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_count: int = Field(2, ge=1)
    """Fewest uses of a token in the language's texts; a token used once may be a name or an error."""
    min_share: float = Field(1.0, gt=0.5, le=1)
    """Smallest share of a token's uses in all languages that are in this language. Above one half, no token belongs to
    two languages; at 1, no other language uses it."""


class Distance(BaseModel):
    """Distance of the norms of a language's tokens from those of the source language."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    wasserstein: float
    """1-Wasserstein, in units of the norms."""
    relative: float | None
    """The same, divided by the source's standard deviation; None if that is 0."""
    ks: float
    """Kolmogorov-Smirnov, 0 to 1."""
    shift: float | None
    """Mean minus the source's, in standard deviations of the source; None if that is 0."""


class EmbeddingNorms(BaseModel):
    """Norms of a model's token embeddings, by language."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    norms: dict[str, list[float]]
    distances: dict[str, Distance]
    """From the first language; languages without tokens are left out."""


def own_tokens(
    tokenizer: "PreTrainedTokenizerBase", texts: Mapping[str, Sequence[str]], sets: TokenSets
) -> dict[str, list[int]]:
    """Language -> sorted ids of the tokens that belong to it; the sets are disjoint."""
    special = set(tokenizer.all_special_ids)
    uses: dict[str, Counter[int]] = {}
    for language, corpus in texts.items():
        uses[language] = Counter(
            token
            for text in corpus
            for token in tokenizer(text, add_special_tokens=False)["input_ids"]
            if token not in special
        )
    total = sum(uses.values(), Counter())
    return {
        language: sorted(
            token
            for token, count in counts.items()
            if count >= sets.min_count and count >= sets.min_share * total[token]
        )
        for language, counts in uses.items()
    }


def norms(model: str, texts: Mapping[str, Sequence[str]], sets: TokenSets) -> dict[str, list[float]]:
    """Language -> Euclidean norms of the input embeddings of its tokens, rounded to six places.

    `model`: a name as in `xlrm.tracking.named_models`; of a model of the Hub, only its tokenizer, configuration and the
    file with the embeddings are downloaded. Raises ArtifactError if these are unavailable.
    """
    folder = _files(model, CONFIGURATION)
    tokenizer = loading.load_tokenizer(folder)
    vocabulary = vocabulary_norms(model, folder)
    own = own_tokens(tokenizer, texts, sets)
    return {
        language: [round(value, 6) for value in vocabulary[[t for t in tokens if t < len(vocabulary)]].tolist()]
        for language, tokens in own.items()
    }


def compare(
    models: Mapping[str, str], texts: Mapping[str, Sequence[str]], sets: TokenSets
) -> dict[str, EmbeddingNorms]:
    """Model name -> its norms and their distances from the first language of `texts`."""
    results = {}
    for name, model in models.items():
        by_language = norms(model, texts, sets)
        results[name] = EmbeddingNorms(norms=by_language, distances=distances(by_language))
        sizes = ", ".join(f"{language} {len(values)}" for language, values in by_language.items())
        progress.say(f"represent: {name}: tokens of one language only: {sizes}")
    return results


def vocabulary_norms(model: str, folder: Path) -> "np.ndarray":
    """Norms of all input embeddings (vocabulary), float64, read from the weights a few rows at a time. Raises
    ArtifactError for one that is not finite."""
    import numpy as np
    from safetensors import safe_open

    file, key = _place(model, folder)
    chunks = []
    with safe_open(file, "pt") as weights:
        rows = weights.get_slice(key)
        for start in range(0, rows.get_shape()[0], _ROWS_AT_ONCE):
            chunks.append(rows[start : start + _ROWS_AT_ONCE].double().norm(dim=1).numpy())
    vocabulary = np.concatenate(chunks)
    if (broken := np.flatnonzero(~np.isfinite(vocabulary))).size:
        row = int(broken[0])
        raise ArtifactError(
            "weights are finite numbers", where=f"{file}: {key}[{row}]: norm", value=float(vocabulary[row]),
            hint="download the model again",
        )  # fmt: skip
    return vocabulary


def _place(model: str, folder: Path) -> tuple[Path, str]:
    """File and tensor name of the input embeddings. The name is that in the model's class, built without weights."""
    import json

    index = folder / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"] if index.is_file() else {}
    name = _parameter(folder)
    files = sorted(set(weight_map.values())) or ["model.safetensors"]
    if key := _ends_with(weight_map, name):
        files = [weight_map[key]]
    folder = _files(model, files)
    for file in files:
        if not (folder / file).is_file():
            raise ArtifactError("no such file; only weights in safetensors are loaded", where=folder / file)
        if key := _ends_with(_keys(folder / file), name):
            return folder / file, key
    raise ArtifactError(f"no weights named {name} in {', '.join(files)}", where=model)


def _files(model: str, patterns: Sequence[str]) -> Path:
    """A folder with at least the files of a model that match."""
    return hub.model_folder(model, patterns) if named_models.is_on_hub(model) else named_models.folder(model)


def _parameter(folder: Path) -> str:
    import torch
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    weight = model.get_input_embeddings().weight
    return next(name for name, parameter in model.named_parameters() if parameter is weight)


def _ends_with(keys: "Mapping[str, str] | Sequence[str]", name: str) -> str | None:
    """The key that is `name`, or ends with it after a prefix as in models with a head; None if there is none."""
    return next((key for key in keys if f".{key}".endswith(f".{name}")), None)


def _keys(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, "pt") as weights:
        return list(weights.keys())


def distances(norms: Mapping[str, Sequence[float]]) -> dict[str, Distance]:
    """Distances of each language from the first one, the source; languages without tokens are left out."""
    import numpy as np
    from scipy import stats

    source, *others = norms
    reference = np.array(norms[source])
    results: dict[str, Distance] = {}
    for language in others:
        other = np.array(norms[language])
        if not len(reference) or not len(other):
            continue
        moved, spread = float(stats.wasserstein_distance(reference, other)), float(reference.std())
        results[language] = Distance(
            wasserstein=moved,
            relative=moved / spread if spread else None,
            ks=float(stats.ks_2samp(reference, other, method="asymp").statistic),
            shift=float(other.mean() - reference.mean()) / spread if spread else None,
        )
    return results
