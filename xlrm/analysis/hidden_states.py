"""Similarity of a model's hidden states for the same text in different languages (paper A, section 3.1).

f(x) = sigma_1 / sum(sigma_i), with the singular values of the matrix (languages x hidden) of the states for text x. It
ranges from 1 / languages, if all states are orthogonal and equally long, to 1, if all are parallel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.evaluation.results import Estimate
from xlrm.evaluation.statistics import mean_interval
from xlrm.models.cards import RewardModelCard
from xlrm.store.fields import NotCounted

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BASE = "base"
"""Name of the base model; reward models are named by their language."""
TEXTS_AT_ONCE = 64
"""Texts whose states in all languages are in memory together: 8 MB for five languages and 3072 dimensions in float64,
plus temporary copies."""


class Reading(BaseModel):
    """Which hidden state represents a text; the paper only says "last hidden state"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    position: Literal["last", "mean", "first"] = "last"
    """Token whose state is used, or mean for that over all tokens; padding does not count."""
    template: Literal["raw", "chat"] = "raw"
    """raw: the text alone; chat: the text as a user message in the model's chat template."""
    layer: int = -1
    """Index of the hidden state: -1 after the last layer and the final norm (last_hidden_state of AutoModel), 0 the
    embeddings, n the output of the n-th layer, -2 the output of the last but one (without a norm)."""
    max_length: int = Field(1024, ge=16)
    """Limit on the tokens of a text; a longer one loses its beginning, and is counted in `truncated`."""
    batch_tokens: Annotated[int, NotCounted] = Field(8192, ge=16)
    """Limit on the tokens of a forward pass, with padding; the results do not depend on it."""


class Similarity(BaseModel):
    """Similarity of one model's hidden states across languages."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    mean: float
    """Mean of f over the texts."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the mean."""
    values: list[float]
    """f of each text."""
    spectrum: list[float]
    """sigma_i / sum(sigma), mean over the texts (min(languages, hidden))."""
    cosine: list[list[float]]
    """Cosine of the states of two languages, mean over the texts (languages, languages)."""
    truncated: int
    """Number of truncated texts, each language counted separately."""

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.mean, *self.interval)

    @property
    def mean_cosine(self) -> float:
        """Mean over pairs of two languages."""
        cells = [value for i, row in enumerate(self.cosine) for value in row[i + 1 :]]
        return sum(cells) / len(cells)


@dataclass
class Sameness:
    """Similarity of one model's states across languages, accumulated over texts."""

    shares: list[float] = field(default_factory=list)
    """f of each text."""
    cosine: "np.ndarray | int" = 0
    """Cosine of the states of two languages, mean over the texts (languages, languages)."""
    spectrum: "np.ndarray | int" = 0
    """sigma_i / sum(sigma), mean over the texts (min(languages, hidden)); the first value is the mean of f."""
    truncated: int = 0
    """Number of truncated texts, each language counted separately."""

    def add(self, states: "np.ndarray") -> None:
        """Adds the measurements of `states` (texts, languages, hidden), without storing the states."""
        import numpy as np

        sigma = spectrum(states)
        unit = states / np.linalg.norm(states, axis=2, keepdims=True)
        done, more = len(self.shares), len(states)
        self.shares += sigma[:, 0].tolist()
        self.spectrum = (done * self.spectrum + sigma.sum(axis=0)) / (done + more)
        self.cosine = (done * self.cosine + (unit @ unit.swapaxes(1, 2)).sum(axis=0)) / (done + more)

    def similarity(self) -> Similarity:
        """Values, spectrum and cosine are rounded to six places."""
        import numpy as np

        mean, low, high = mean_interval(np.array(self.shares))
        return Similarity(
            mean=mean, interval=(low, high), values=[round(value, 6) for value in self.shares],
            spectrum=np.round(self.spectrum, 6).tolist(), cosine=np.round(self.cosine, 6).tolist(), truncated=self.truncated,
        )  # fmt: skip


def named(base: Path, reward_models: Sequence[Path]) -> dict[str, Path]:
    """Name -> folder: `base`, and each reward model by the language in its xlrm.json, else by the name of its folder.
    Raises DataError if two models have the same name."""
    folders = {BASE: base}
    for path in reward_models:
        card = RewardModelCard.find(path)
        name = card.language if card else path.name
        if name in folders:
            raise DataError(
                f"{folders[name]} and {path} have the same name; names must differ",
                where="represent.reward_models",
                value=name,
            )
        folders[name] = path
    return folders


def spectrum(states: "np.ndarray") -> "np.ndarray":
    """Singular values of each text's matrix as shares of their sum, in descending order; the first is f.

    `states`: (texts, languages, hidden). Returns (texts, min(languages, hidden)), float64.
    """
    import numpy as np

    sigma = np.linalg.svd(states.astype(np.float64), compute_uv=False)
    return sigma / sigma.sum(axis=1, keepdims=True)


def measure(path: Path, texts: Mapping[str, Sequence[str]], reading: Reading, label: str) -> Sameness:
    """Sameness of the model at `path` on parallel `texts` (language -> texts). Each text passes through the model once
    per language, and at most the states of `TEXTS_AT_ONCE` texts are in memory.

    Raises ConfigError for a layer that the model does not have, or an encoder-decoder; ArtifactError if the
    tokenizer cannot be loaded, weights are missing or not finite, or a state is zero or not finite.
    """
    import numpy as np

    from xlrm.models import loading

    tokenizer, model = loading.load_tokenizer(path), _load(path, reading.layer)
    count = len(next(iter(texts.values())))
    sameness, counter = Sameness(), progress.Counter(f"represent[{label}]", count, "texts")
    for start in range(0, count, TEXTS_AT_ONCE):
        block = [column[start : start + TEXTS_AT_ONCE] for column in texts.values()]
        encoded = _encode(tokenizer, [text for column in block for text in column], reading)
        sameness.truncated += sum(longer for _, longer in encoded)
        states = hidden_states(model, [ids for ids, _ in encoded], reading)
        if not (np.linalg.norm(states, axis=1) > 0).all() or not np.isfinite(states).all():
            raise ArtifactError("the hidden state of a text is zero or not finite, so it has no direction", where=path)
        sameness.add(np.stack(np.split(states, len(block)), axis=1))
        counter.advance(len(block[0]))
    counter.close()
    return sameness


def hidden_states(model: "PreTrainedModel", encoded: Sequence[Sequence[int]], reading: Reading) -> "np.ndarray":
    """States (sequences, hidden) in float64, in the order of `encoded`; sequences of similar length share a batch."""
    import numpy as np
    import torch

    from xlrm.models import padding
    from xlrm.models.packing import model as packing
    from xlrm.models.packing import sharing

    pooled = np.empty((len(encoded), model.config.get_text_config().hidden_size))
    kinds = padding.kinds(model.config, encoded)
    with torch.inference_mode():
        for places in sharing.batches(encoded, reading.batch_tokens, packing.enabled(model), kinds):
            with padding.padded(model, [encoded[i] for i in places]) as inputs:
                if reading.layer == -1:
                    states = model(**inputs).last_hidden_state
                else:
                    states = model(**inputs, output_hidden_states=True).hidden_states[reading.layer]
            pooled[places] = _pool(states.double(), inputs["attention_mask"], reading.position).cpu().numpy()
    return pooled


def _pool(states: "torch.Tensor", mask: "torch.Tensor", position: str) -> "torch.Tensor":
    """Hidden states (sequences, tokens, hidden), padded on the right -> (sequences, hidden)."""
    import torch

    lengths = mask.sum(dim=1)
    if position == "mean":
        return (states * mask[:, :, None]).sum(dim=1) / lengths[:, None]
    return states[torch.arange(len(states), device=states.device), lengths - 1 if position == "last" else 0]


def _encode(tokenizer: "PreTrainedTokenizerBase", texts: list[str], reading: Reading) -> list[tuple[list[int], bool]]:
    """Token ids of each text, and whether the text was truncated."""
    from xlrm.models.chat_templates import encode

    if reading.template == "chat":
        asked = [[{"role": "user", "content": text}] for text in texts]
        whole = encode(tokenizer, asked, max_length=10**9)
        return [(ids[-reading.max_length :], len(ids) > reading.max_length) for ids in whole]
    kept = tokenizer(texts, truncation=True, max_length=reading.max_length)["input_ids"]
    # A truncated text has exactly `max_length` tokens, as may a complete one: encoding in full tells them apart.
    full = [i for i, ids in enumerate(kept) if len(ids) >= reading.max_length]
    uncut = dict(zip(full, tokenizer([texts[i] for i in full])["input_ids"], strict=True)) if full else {}
    return [(ids, len(uncut.get(i, ids)) > len(ids)) for i, ids in enumerate(kept)]


def _load(path: Path, layer: int) -> "PreTrainedModel":
    """The model without a head, in float32, so that measurements do not depend on the batch."""
    import torch
    from transformers import AutoModel

    from xlrm.models import loading, weights
    from xlrm.models.packing import model as packing

    model, report = AutoModel.from_pretrained(
        path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True,
        **loading.attention(loading.load_config(path)),
    )  # fmt: skip
    if missing := sorted(name for name in report["missing_keys"] if "pooler" not in name):  # no state needs it
        raise ArtifactError(f"missing weights: {', '.join(missing[:3])} ({len(missing)} in all)", where=path)
    weights.check_finite(path)
    if model.config.is_encoder_decoder:
        raise ConfigError("a model with only an encoder or only a decoder is allowed", where=path)
    layers = model.config.get_text_config().num_hidden_layers
    if not -layers - 1 <= layer <= layers:
        raise ConfigError(f"{path} has layers -{layers + 1} to {layers}", where="represent.layer", value=layer)
    model = model.eval().to(loading.device())
    packing.enable(model)
    return model
