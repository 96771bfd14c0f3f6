"""Base models that reward models and policies are trained from, one typed row each."""

import json
from dataclasses import dataclass
from pathlib import Path

from xlrm.models import compute
from xlrm.models.compute import Shape
from xlrm.tracking import named_models

TINY = "phrasebook-tiny"


@dataclass(frozen=True)
class BaseModel:
    name: str
    """Id on the Hugging Face Hub, or `TINY` for the demo's model."""
    licence: str
    gated: bool = False
    """Whether a download needs the token (HF_TOKEN) of an account that accepted the licence on the Hub."""
    context: int | None = None
    """Longest input in tokens: `max_position_embeddings` of config.json."""
    shape: Shape | None = None
    """Dimensions from config.json, used by estimates; those of `TINY` are in `xlrm.training.pretraining`."""


BASE_MODELS = {
    row.name: row
    for row in (
        BaseModel(TINY, "Apache-2.0", context=4096),
        # Paper A, section 2.2 and appendix B. Shapes: each model's config.json on the Hub; they give the parameters on the
        # cards (3.21B, 3.09B, 7.61B).
        BaseModel(
            "meta-llama/Llama-3.2-3B-Instruct", "llama3.2", gated=True, context=131_072,
            shape=Shape(
                layers=28, hidden=3072, intermediate=8192, heads=24, kv_heads=8, head_width=128, vocabulary=128_256
            ),
        ),
        BaseModel(
            "Qwen/Qwen2.5-3B-Instruct", "qwen-research", context=32_768,
            shape=Shape(
                layers=36, hidden=2048, intermediate=11_008, heads=16, kv_heads=2, head_width=128, vocabulary=151_936
            ),
        ),
        BaseModel(
            "Qwen/Qwen2.5-7B-Instruct", "apache-2.0", context=32_768,
            shape=Shape(
                layers=28, hidden=3584, intermediate=18_944, heads=28, kv_heads=4, head_width=128, vocabulary=152_064,
                tied=False,
            ),
        ),
        # Paper B. mT5-XL (Xue et al. 2021), an encoder-decoder of 3.7B parameters, as summaries are written by; and the
        # substitute for PaLM-2-XXS, which is not public. Shapes: each model's config.json on the Hub.
        BaseModel(
            "google/mt5-xl", "apache-2.0",
            shape=Shape(
                layers=24, hidden=2048, intermediate=5120, heads=32, kv_heads=32, head_width=64, vocabulary=250_112,
                tied=False, encoder_layers=24,
            ),
        ),
        BaseModel(
            "Qwen/Qwen2.5-1.5B", "apache-2.0", context=131_072,
            shape=Shape(
                layers=28, hidden=1536, intermediate=8960, heads=12, kv_heads=2, head_width=128, vocabulary=151_936
            ),
        ),
    )
}  # fmt: skip


def find(model: str) -> BaseModel | None:
    """Row of a model, which may be named with a revision."""
    return BASE_MODELS.get(named_models.split(model)[0])


def shape(model: str) -> Shape | None:
    """Shape of a model in the table, at any revision, or in a local folder; None if neither states it."""
    if (row := find(model)) is not None:
        return row.shape
    try:
        return compute.shape(json.loads(Path(model, "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, KeyError):
        return None


def context(model: str) -> int | None:
    """Longest input in tokens of a model in the table, at any revision, or in a local folder; None if neither states
    it."""
    if (row := find(model)) is not None:
        return row.context
    try:
        return json.loads(Path(model, "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        return None
