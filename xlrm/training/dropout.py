"""Dropout of a model while it is trained. A trained model's config has the base's values again: dropout plays no part when it
is used, and a rate of attention would keep decoders from packed batches."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm import progress

if TYPE_CHECKING:
    from transformers import PretrainedConfig

FIELDS = (
    "dropout_rate", "dropout", "hidden_dropout", "hidden_dropout_prob", "attention_dropout", "attention_probs_dropout_prob",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "resid_dropout", "embed_dropout", "embedding_dropout", "classifier_dropout",
)  # fmt: skip
"""Fields of configs of transformers' families. T5 has one for all layers (`dropout_rate`) and one for the head of a classifier;
Llama, Qwen and Gemma have one for the attention alone."""


def fields(config: "PretrainedConfig") -> list[str]:
    """Fields of a config, or of its part for texts, that are a rate of dropout."""
    return [name for name in FIELDS if hasattr(config.get_text_config(), name)]


def configured(config: "PretrainedConfig", rate: float, label: str) -> "PretrainedConfig":
    """The config with this rate in all of its fields. Logs which they are, if it is above 0."""
    names = fields(config)
    for each in (config, config.get_text_config()):
        for name in names:
            if hasattr(each, name):
                setattr(each, name, rate)
    if rate:
        known = f"in {', '.join(names)}" if names else "has no place: the config has no field for one"
        progress.say(f"{label}: dropout {rate:g} {known} ({config.model_type})")
    return config


def is_on(config: "PretrainedConfig") -> bool:
    """Whether a rate of the config is above 0."""
    return any(getattr(config.get_text_config(), name) for name in fields(config))


def restore(folder: Path, base: Path) -> None:
    """Gives the config.json of a trained model the base's rates of dropout."""
    before = (folder / "config.json").read_text(encoding="utf-8")
    trained, origin = json.loads(before), json.loads((base / "config.json").read_text(encoding="utf-8"))
    for part, source in ((trained, origin), (trained.get("text_config"), origin.get("text_config"))):
        for name in FIELDS if isinstance(part, dict) else ():
            if name in part and name in (source or {}):
                part[name] = source[name]
            elif name in part:
                del part[name]  # the family's default
    if trained != json.loads(before):
        (folder / "config.json").write_text(json.dumps(trained, indent=2, sort_keys=True, allow_nan=False) + "\n")
