"""Makes a saved model readable by transformers 4 (seen with 4.51) and tools built on it.

transformers 5 saves some settings under new names. transformers 4 fails on some of them, and silently uses a default for
others: with the default rope base, rewards are different. So the old names are written beside the new ones, and
transformers 5 reads the folder as before.

| file | new | old | without the old name, transformers 4 |
|---|---|---|---|
| config.json | rope_parameters | rope_theta, rope_scaling, partial_rotary_factor | computes positions with its defaults |
| with YaRN | the original context, also if it is the whole | not the original context | scales by 1 instead of by `factor` |
| of Gemma 3 | also by type of layer | rope_local_base_freq, sliding_window_pattern | the same |
| of ModernBERT | also by type of layer | global_rope_theta, local_rope_theta | the same |
| of GPT-NeoX | rope_parameters | rotary_emb_base, rotary_pct | the same |
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
    parts = {name: _config(config[name]) for name in ("text_config",) if isinstance(config.get(name), dict)}
    rope = config.get("rope_parameters") or {}
    layered = "full_attention" in rope
    return config | parts | (_by_layer(config, rope) if layered else _positions(config, rope))


def _positions(config: dict, rope: dict) -> dict:
    """Old names of the parameters of rotary positions, from those of all layers or of those with full attention."""
    rope, old = dict(rope), {}
    if rope.get("rope_type") == "yarn" and rope.get("original_max_position_embeddings") == config.get(
        "max_position_embeddings"
    ):
        del rope["original_max_position_embeddings"]  # beside which transformers 4 takes their ratio for the factor
    if "rope_theta" in rope:
        old["rope_theta"] = rope.pop("rope_theta")
        old["rope_scaling"] = rope if rope.get("rope_type", "default") != "default" else None
    if "partial_rotary_factor" in rope:
        old["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    if config.get("model_type") == "gpt_neox" and old:
        old |= {"rotary_emb_base": old["rope_theta"], "rotary_pct": old.get("partial_rotary_factor", 1.0)}
    if rope.get("rope_type") == "longrope" and config.get("model_type") == "phi3":  # which takes these keys alone
        factors = {name: rope[name] for name in ("short_factor", "long_factor")}
        old["rope_scaling"] = {"type": "longrope"} | factors
        original = rope.get("original_max_position_embeddings")
        old |= {"original_max_position_embeddings": original} if original else {}
    return old


def _by_layer(config: dict, rope: dict) -> dict:
    """Old names where layers with full and with sliding attention have positions of their own."""
    old, local = _positions(config, rope["full_attention"]), rope.get("sliding_attention", {}).get("rope_theta")
    kinds = config.get("layer_types") or []
    full = [place for place, kind in enumerate(kinds) if kind == "full_attention"]
    if config.get("model_type") == "modernbert":
        every = {"global_attn_every_n_layers": full[1] - full[0]} if len(full) > 1 else {}
        return {"global_rope_theta": old.get("rope_theta"), "local_rope_theta": local} | every
    pattern = {"sliding_window_pattern": (full or [len(kinds)])[0] + 1} if kinds else {}
    return old | {"rope_local_base_freq": local} | pattern


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
