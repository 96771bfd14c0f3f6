"""Folders that transformers 4 understands, and transformers 5 as before. That transformers 4 does is seen in
test_rewardbench_parity.py, whose oracle runs on it."""

import json

import pytest
import torch
from transformers import AutoConfig

from xlrm.models import chat_templates, loading
from xlrm.models.transformers4 import write_older_names
from xlrm.scorers.engines import TransformersScorer

CHAT = chat_templates.conversation("How much is one plus two?", "Three, decomposed: e\u0301.")


@pytest.fixture
def folder(tiny_base, tmp_path):
    tokenizer = loading.load_tokenizer(tiny_base)
    loading.new_reward_model(tiny_base, tokenizer, seed=3).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def read(folder, name: str) -> dict:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_the_old_names_stand_beside_the_new_ones(folder) -> None:
    path = folder / "config.json"
    scaled = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0}
    path.write_text(json.dumps(read(folder, "config.json") | {"rope_parameters": scaled | {"rope_theta": 5e5}}))
    write_older_names(folder)
    config = read(folder, "config.json")
    assert (config["rope_theta"], config["rope_scaling"]) == (5e5, scaled)
    assert config["rope_parameters"] == scaled | {"rope_theta": 5e5}
    tokenizer = read(folder, "tokenizer_config.json")
    assert "<|user|>" in tokenizer["additional_special_tokens"] and "extra_special_tokens" not in tokenizer


def test_positions_without_scaling_have_none(folder) -> None:
    write_older_names(folder)
    config = read(folder, "config.json")
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] and config["rope_scaling"] is None


FULL, SLIDING = ({"rope_type": "default", "rope_theta": theta} for theta in (2e6, 3e4))
LAYERS = ["sliding_attention", "sliding_attention", "full_attention"] * 2
LONG = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}


@pytest.mark.parametrize(
    ("family", "changes", "old"),
    [
        (
            "gemma3_text",
            {"rope_parameters": {"full_attention": FULL | {"rope_type": "linear", "factor": 8.0}, "sliding_attention": SLIDING},
             "layer_types": LAYERS, "num_hidden_layers": 6},
            {"rope_theta": 2e6, "rope_local_base_freq": 3e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
             "sliding_window_pattern": 3},
        ),
        (
            "gemma3_text",
            {"rope_parameters": {"full_attention": FULL, "sliding_attention": SLIDING}, "layer_types": LAYERS[:1] * 7,
             "num_hidden_layers": 7},
            {"rope_theta": 2e6, "rope_local_base_freq": 3e4, "rope_scaling": None, "sliding_window_pattern": 8},
        ),
        (
            "qwen3",
            {"rope_parameters": FULL | {"rope_type": "yarn", "factor": 4.0}, "max_position_embeddings": 512},
            {"rope_theta": 2e6, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        ),
        (
            "qwen3",
            {"rope_parameters": FULL | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
             "max_position_embeddings": 512},
            {"rope_theta": 2e6,
             "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}},
        ),
        (
            "modernbert",
            {"rope_parameters": {"full_attention": FULL, "sliding_attention": SLIDING}, "layer_types": LAYERS[2:5] * 2,
             "num_hidden_layers": 6},
            {"global_rope_theta": 2e6, "local_rope_theta": 3e4, "global_attn_every_n_layers": 3},
        ),
        (
            "gpt_neox",
            {"rope_parameters": FULL | {"partial_rotary_factor": 0.5}},
            {"rotary_emb_base": 2e6, "rotary_pct": 0.5},
        ),
        (
            "phi3",
            {"rope_parameters": LONG | {"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.5,
                                        "original_max_position_embeddings": 64},
             "hidden_size": 64, "num_attention_heads": 4, "original_max_position_embeddings": 64},
            {"rope_theta": 1e4, "partial_rotary_factor": 0.5, "original_max_position_embeddings": 64,
             "rope_scaling": {"type": "longrope"} | LONG},
        ),
    ],
    ids=["gemma3", "gemma3, all sliding", "yarn", "yarn, original", "modernbert", "gpt_neox", "phi3"],
)  # fmt: skip
@pytest.mark.parametrize("composite", [False, True])
def test_positions_of_other_families_have_the_old_names_too(tmp_path, family, changes, old, composite) -> None:
    """As the configs of transformers 4.51 take them; transformers 5 reads what it read before."""
    made = AutoConfig.for_model(family, **changes)
    made.save_pretrained(tmp_path)
    plain = read(tmp_path, "config.json")
    before = AutoConfig.from_pretrained(tmp_path).to_dict()
    if composite:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": plain}))
    write_older_names(tmp_path)
    found = read(tmp_path, "config.json")
    found = found["text_config"] if composite else found
    assert {name: found[name] for name in old} == old
    (tmp_path / "config.json").write_text(json.dumps(found))
    after = AutoConfig.from_pretrained(tmp_path).to_dict()
    (after["rope_parameters"] or {}).pop("type", None)  # the old name of rope_type, beside it
    assert {name: after[name] for name in before} == before


def test_a_class_that_transformers_4_lacks_has_its_name_there(tmp_path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "TokenizersBackend"}))
    write_older_names(tmp_path)
    assert read(tmp_path, "tokenizer_config.json") == {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"],
    }  # fmt: skip


def test_transformers_5_reads_the_folder_as_before_and_twice_changes_nothing(folder) -> None:
    before = TransformersScorer(loading.load_reward_model(folder), loading.load_tokenizer(folder)).score([CHAT])
    ids = chat_templates.encode(loading.load_tokenizer(folder), [CHAT], 2048)
    write_older_names(folder)
    once = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_older_names(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == once
    model, tokenizer = loading.load_reward_model(folder), loading.load_tokenizer(folder)
    assert chat_templates.encode(tokenizer, [CHAT], 2048) == ids
    assert TransformersScorer(model, tokenizer).score([CHAT]) == before
    assert model.dtype == torch.float32 and tokenizer.pad_token_id != tokenizer.eos_token_id
