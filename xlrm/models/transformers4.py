"""Makes a saved model readable by transformers 4 (seen with 4.51) and tools built on it.

transformers 5 saves some settings under new names. transformers 4 fails on some of them, and silently uses a default for
others: with the default rope base, rewards are different. So the old names are written beside the new ones, and
transformers 5 reads the folder as before.

| file | new | old | without the old name, transformers 4 |
|---|---|---|---|
| config.json | rope_parameters | rope_theta, rope_scaling | computes positions with a base of 10,000 and no scaling |
| tokenizer_config.json | extra_special_tokens, a list | additional_special_tokens | fails: a list has no keys |
| tokenizer_config.json | TokenizersBackend | PreTrainedTokenizerFast | fails: no such class |
| tokenizer_config.json | nothing | model_input_names | passes token_type_ids to a decoder, which rejects them |
"""

import json
from collections.abc import Callable
from pathlib import Path


def write_older_names(folder: Path) -> None:
    """Adds the old names to config.json and tokenizer_config.json in `folder`; idempotent."""
    _rewrite(folder / "config.json", _config)
    _rewrite(folder / "tokenizer_config.json", _tokenizer)


def _config(config: dict) -> dict:
    rope = dict(config.get("rope_parameters") or {})
    old = {}
    if "rope_theta" in rope:  # absent if layer types have different bases, which transformers 4 cannot express
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
        path.write_text(
            json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
        )
