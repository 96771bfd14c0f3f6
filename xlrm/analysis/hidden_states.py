"""How alike a model's hidden states of one text are across languages (paper A, section 3.1).

f(x) = sigma_1 / sum(sigma_i), of the matrix (languages x hidden) of the states of text x in each language: from
1 / languages, where all are orthogonal and of one length, to 1, where all point one way.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.evaluation.statistics import mean_interval
from xlrm.store.fields import NotCounted

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXTS_AT_ONCE = 64
"""Texts whose states, in all languages, are in memory together: 8 MB for five languages and 3072 dimensions in float64, and
the copies that measuring takes."""


class Reading(BaseModel):
    """Which hidden state stands for a text: the paper says "last hidden state" and leaves the rest open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    position: Literal["last", "mean", "first"] = "last"
    """Token whose state is taken, or the mean over all of them; padding is none."""
    template: Literal["raw", "chat"] = "raw"
    """The bare text, or the text as a user's message in the model's chat template."""
    layer: int = -1
    """-1 is after the last layer and the final norm, what AutoModel returns as last_hidden_state; 0 is the embeddings, n
    what the n-th layer returns, -2 what the last but one does (no norm after it)."""
    max_length: int = Field(1024, ge=16)
    """Tokens of a text; a longer one loses its beginning, and is counted."""
    batch_tokens: Annotated[int, NotCounted] = Field(8192, ge=16)
    """Tokens in a forward pass, padding included; what is measured does not depend on it."""


@dataclass
class Sameness:
    """Of one model."""

    shares: list[float] = field(default_factory=list)
    """f of each text."""
    cosine: "np.ndarray | int" = 0
    """(languages, languages): mean over the texts of the cosine of two languages' states."""
    spectrum: "np.ndarray | int" = 0
    """(languages): mean over the texts of sigma_i / sum(sigma); the first is the mean of f."""
    truncated: int = 0
    """Texts, in any language, that were longer than allowed."""

    def add(self, states: "np.ndarray") -> None:
        """Measures `states` (texts, languages, hidden), of which nothing is kept."""
        import numpy as np

        sigma = spectrum(states)
        unit = states / np.linalg.norm(states, axis=2, keepdims=True)
        done, more = len(self.shares), len(states)
        self.shares += sigma[:, 0].tolist()
        self.spectrum = (done * self.spectrum + sigma.sum(axis=0)) / (done + more)
        self.cosine = (done * self.cosine + (unit @ unit.swapaxes(1, 2)).sum(axis=0)) / (done + more)

    def as_json(self) -> dict[str, Any]:
        """Mean of f with its 95 % interval (bootstrap over texts), the values, spectrum and cosine, to six places."""
        import numpy as np

        mean, low, high = mean_interval(np.array(self.shares))
        return {
            "mean": mean, "interval": [low, high], "values": [round(value, 6) for value in self.shares],
            "spectrum": np.round(self.spectrum, 6).tolist(), "cosine": np.round(self.cosine, 6).tolist(),
            "truncated": self.truncated,
        }  # fmt: skip


def named(base: Path, reward_models: Sequence[Path]) -> dict[str, Path]:
    """Name -> folder: `base`, and each reward model by its language, or by its folder where it does not say one. Raises
    DataError for two of one name."""
    found = {"base": base}
    for path in reward_models:
        card = path / "xlrm.json"
        name = json.loads(card.read_text(encoding="utf-8"))["language"] if card.exists() else path.name
        if name in found:
            raise DataError(f"represent: {found[name]} and {path} are both {name!r}; one model of a name is allowed")
        found[name] = path
    return found


def spectrum(states: "np.ndarray") -> "np.ndarray":
    """Singular values of each text's matrix, as shares of their sum, the largest first: the first one is f.

    `states`: (texts, languages, hidden). Returns (texts, min(languages, hidden)), float64.
    """
    import numpy as np

    sigma = np.linalg.svd(states.astype(np.float64), compute_uv=False)
    return sigma / sigma.sum(axis=1, keepdims=True)


def measure(path: Path, texts: Mapping[str, Sequence[str]], reading: Reading, label: str) -> Sameness:
    """Sameness of the model at `path` on parallel `texts` (language -> texts): one forward pass a text and language, and
    never more states in memory than those of TEXTS_AT_ONCE texts.

    Raises ConfigError for a layer the model does not have, or a model with an encoder and a decoder; ArtifactError for one
    whose weights are not all there.
    """
    import numpy as np

    from xlrm.models import loading

    tokenizer, model = loading.load_tokenizer(path), _load(path, reading.layer)
    count = len(next(iter(texts.values())))
    found, counter = Sameness(), progress.Counter(f"represent[{label}]", count, "texts")
    for start in range(0, count, TEXTS_AT_ONCE):
        block = [many[start : start + TEXTS_AT_ONCE] for many in texts.values()]
        encoded = _encode(tokenizer, [text for many in block for text in many], reading)
        found.truncated += sum(longer for _, longer in encoded)
        states = hidden_states(model, tokenizer, [ids for ids, _ in encoded], reading)
        found.add(np.stack(np.split(states, len(block)), axis=1))
        counter.advance(len(block[0]))
    counter.close()
    return found


def hidden_states(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", encoded: Sequence[Sequence[int]], reading: Reading
) -> "np.ndarray":
    """(sequences, hidden) in float64, in the order of `encoded`; sequences of like length share a forward pass."""
    import numpy as np
    import torch

    from xlrm.models.packing import model as packing
    from xlrm.models.packing import sharing

    found = np.empty((len(encoded), model.config.hidden_size))
    with torch.inference_mode():
        for places in sharing.batches(encoded, reading.batch_tokens, packing.enabled(model)):
            inputs = tokenizer.pad(
                {"input_ids": [list(encoded[i]) for i in places]}, padding_side="right", return_tensors="pt"
            ).to(model.device)
            if reading.layer == -1:
                states = model(**inputs).last_hidden_state
            else:
                states = model(**inputs, output_hidden_states=True).hidden_states[reading.layer]
            found[places] = _pool(states.double(), inputs["attention_mask"], reading.position).cpu().numpy()
    return found


def _pool(states: "torch.Tensor", mask: "torch.Tensor", position: str) -> "torch.Tensor":
    """(sequences, tokens, hidden), padded on the right -> (sequences, hidden)."""
    import torch

    lengths = mask.sum(dim=1)
    if position == "mean":
        return (states * mask[:, :, None]).sum(dim=1) / lengths[:, None]
    return states[torch.arange(len(states), device=states.device), lengths - 1 if position == "last" else 0]


def _encode(tokenizer: "PreTrainedTokenizerBase", texts: list[str], reading: Reading) -> list[tuple[list[int], bool]]:
    """Token ids of each text, and whether it lost its beginning."""
    from xlrm.models.chat_templates import encode

    if reading.template == "chat":
        asked = [[{"role": "user", "content": text}] for text in texts]
        whole = encode(tokenizer, asked, max_length=10**9)
        return [(ids[-reading.max_length :], len(ids) > reading.max_length) for ids in whole]
    kept = tokenizer(texts, truncation=True, max_length=reading.max_length)["input_ids"]
    # A text that was cut is as long as allowed; whether one of that length was cut only shows without the cut.
    full = [i for i, ids in enumerate(kept) if len(ids) >= reading.max_length]
    whole = dict(zip(full, tokenizer([texts[i] for i in full])["input_ids"], strict=True)) if full else {}
    return [(ids, len(whole.get(i, ids)) > len(ids)) for i, ids in enumerate(kept)]


def _load(path: Path, layer: int) -> "PreTrainedModel":
    """Without a head, in float32: what is measured does not depend on the batch then."""
    import torch
    from transformers import AutoModel

    from xlrm.models import loading
    from xlrm.models.packing import model as packing

    model, report = AutoModel.from_pretrained(
        path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    if missing := sorted(name for name in report["missing_keys"] if "pooler" not in name):  # what no state depends on
        raise ArtifactError(f"{path}: weights are missing: {', '.join(missing[:3])} ({len(missing)} in all)")
    if model.config.is_encoder_decoder:
        raise ConfigError(f"represent: {path} has an encoder and a decoder; a model with one of them is allowed")
    layers = model.config.num_hidden_layers
    if not -layers - 1 <= layer <= layers:
        raise ConfigError(f"represent.layer: {path} has no layer {layer}; -{layers + 1} to {layers} are allowed")
    model = model.eval().to(loading.device())
    packing.enable(model)
    return model
