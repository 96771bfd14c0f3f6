"""A saved model's folder, made to mean the same to older readers: transformers 4 (seen with 4.51), and what is built on it.

transformers 5 saves some things under new names. A reader that does not know them fails on one, and goes on with a default
on another: with another rope base, rewards are other rewards, and nothing says so. The old names are written beside the new
ones, which transformers 5 reads as before.

| file | new | old | without the old one, transformers 4 |
|---|---|---|---|
| config.json | rope_parameters | rope_theta, rope_scaling | computes positions with a base of 10,000 and no scaling |
| tokenizer_config.json | extra_special_tokens, a list | additional_special_tokens | stops: a list has no keys |
| tokenizer_config.json | TokenizersBackend | PreTrainedTokenizerFast | stops: no such class |
| tokenizer_config.json | nothing | model_input_names | gives a decoder token_type_ids, which it does not take |
"""

import json
from collections.abc import Callable
from pathlib import Path


def write_older_names(folder: Path) -> None:
    """Adds the old names to config.json and tokenizer_config.json of `folder`. Done twice, it changes nothing."""
    _rewrite(folder / "config.json", _config)
    _rewrite(folder / "tokenizer_config.json", _tokenizer)


def _config(config: dict) -> dict:
    rope = dict(config.get("rope_parameters") or {})
    old = {}
    if "rope_theta" in rope:  # absent where each kind of layer has its own, which transformers 4 cannot say
        old["rope_theta"] = rope.pop("rope_theta")
        old["rope_scaling"] = rope if rope.get("rope_type", "default") != "default" else None
    return config | old


def _tokenizer(config: dict) -> dict:
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config.setdefault("model_input_names", ["input_ids", "attention_mask"])
    return config


def _rewrite(path: Path, change: Callable[[dict], dict]) -> None:
    if path.is_file():
        config = change(json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
