"""Classifier reward models from elsewhere: tiny random ones in the files of the real ones, against sums done by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
    PreTrainedTokenizerFast,
    pipeline,
)

from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.models import chat_templates, reward_models
from xlrm.scorers import classifiers, engines
from xlrm.scorers.interface import Scorer, Scoring

SPECIAL = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[PAD]"]
TEMPLATE = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}<|start_header_id|>{{ m['role'] }}"
    "<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
)
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
CHATS = [
    chat_templates.conversation("How far is the moon?", answer)
    for answer in ("Far.", "About 384,400 km on average, and it varies.", "I do not know.", "Why? " * 30)
]
CHATS.append([{"role": "user", "content": "One."}, {"role": "assistant", "content": "Two."},
              {"role": "user", "content": "Three?"}, {"role": "assistant", "content": "Four."}])  # fmt: skip


def tokenizer(folder: Path, template: str = TEMPLATE, pad: str | None = "[PAD]") -> PreTrainedTokenizerFast:
    """Llama 3's special tokens and template; every other character is a token. Its tokenizer writes BOS, too."""
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *map(chr, range(32, 127)), "\n", "<unk>"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.post_processor = TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=SPECIAL[0], eos_token="<|eot_id|>", unk_token="<unk>", pad_token=pad,
        additional_special_tokens=SPECIAL[1:3],
    )  # fmt: skip
    fast.chat_template = template
    fast.save_pretrained(folder)
    return fast


def llama(vocabulary: int, **more) -> LlamaConfig:
    return LlamaConfig(vocab_size=vocabulary, **SIZE, bos_token_id=0, eos_token_id=3, **more)


@pytest.fixture(scope="module")
def armorm(tmp_path_factory) -> Path:
    """Names, shapes and files as in RLHFlow/ArmoRM-Llama3-8B-v0.1, in two shards, with random weights throughout."""
    folder = tmp_path_factory.mktemp("armorm")
    size, objectives, width = len(tokenizer(folder)), 19, 24
    torch.manual_seed(1)
    config = llama(size, pad_token_id=4, num_labels=objectives, architectures=["LlamaForRewardModelWithGating"],
                   auto_map={"AutoModelForSequenceClassification": "modeling_custom.LlamaForRewardModelWithGating"},
                   num_objectives=objectives, gating_temperature=2, gating_hidden_dim=width, gating_n_hidden=3)  # fmt: skip
    body = {f"model.{name}": tensor for name, tensor in LlamaModel(config).state_dict().items()}
    heads = {"regression_layer.weight": torch.randn(objectives, 32), "gating.logit_scale": torch.tensor([1.3]),
             "reward_transform_matrix": torch.randn(objectives, objectives)}  # fmt: skip
    for i, (given, made) in enumerate([(32, width), (width, width), (width, width), (width, objectives)]):
        heads |= {f"gating.layers.{i}.weight": torch.randn(made, given), f"gating.layers.{i}.bias": torch.randn(made)}
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name, part in zip(names, (body, heads), strict=True):
        save_file({key: value.contiguous() for key, value in part.items()}, folder / name, {"format": "pt"})
    index = dict.fromkeys(body, names[0]) | dict.fromkeys(heads, names[1])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def offsetbias(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("offsetbias")
    torch.manual_seed(2)
    config = llama(len(tokenizer(folder)), pad_token_id=4, num_labels=1)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


def scorer(entry: str, max_length: int = 2048, batch_tokens: int = 8192) -> Scorer:
    limits = {"max_length": max_length, "batch_tokens": batch_tokens}
    return classifiers.load(reward_models.find(entry), Scoring.model_construct(set(), **limits))


def by_hand(folder: Path, chat: list[dict]) -> float:
    """ArmoRM's reward of one conversation, in NumPy from the files, the Llama apart."""
    tokens = AutoTokenizer.from_pretrained(folder)
    ids = tokens.apply_chat_template(chat, tokenize=True, return_dict=False)
    assert ids[:2] == [0, 1], "one BOS"
    header = tokens.convert_tokens_to_ids(["<|eot_id|>", "<|start_header_id|>", *"assistant", "<|end_header_id|>"])
    place = max(i for i in range(len(ids)) if ids[i : i + len(header)] == header)
    with torch.inference_mode():
        states = LlamaModel.from_pretrained(folder, dtype=torch.float32)(torch.tensor([ids])).last_hidden_state[0]
    states = states.numpy().astype(np.float64)
    held = {name: t.double().numpy() for name, t in load_file(folder / "model-00002-of-00002.safetensors").items()}
    x = states[place]
    for i in range(4):
        x = held[f"gating.layers.{i}.weight"] @ x + held[f"gating.layers.{i}.bias"]
        x = np.maximum(x, 0) if i < 3 else x
    gate = np.exp(x / 2 - (x / 2).max())
    gate = 1.3 * gate / gate.sum()
    objectives = held["regression_layer.weight"] @ states[-1]
    return float(gate @ (held["reward_transform_matrix"].T @ objectives))


def test_armorm_is_what_it_says_by_hand(armorm) -> None:
    expected = [by_hand(armorm, chat) for chat in CHATS]
    assert scorer(f"armorm={armorm}").score(CHATS) == pytest.approx(expected, abs=1e-4)
    assert np.std(expected) > 0.1


@pytest.mark.parametrize("name", ["armorm", "offsetbias"])
def test_rewards_do_not_depend_on_the_batch(name: str, request) -> None:
    entry = f"{name}={request.getfixturevalue(name)}"
    score = scorer(entry).score
    alone = [score([chat])[0] for chat in CHATS]
    for tokens in (1, 300, 10_000):
        assert scorer(entry, batch_tokens=tokens).score(CHATS) == pytest.approx(alone, abs=1e-5)
    assert score(CHATS[::-1]) == pytest.approx(alone[::-1], abs=1e-5)


def test_armorm_needs_the_end_of_the_prompt(armorm) -> None:
    with refused(DataError, "max_length", 64):
        scorer(f"armorm={armorm}", max_length=64).score(CHATS)
    assert len(scorer(f"armorm={armorm}", max_length=64).score(CHATS[:1])) == 1


@pytest.mark.parametrize("name", ["armorm", "offsetbias"])
def test_what_is_longer_than_the_models_context_loses_its_beginning(name: str, request, tmp_path) -> None:
    """By a default of max_length that gives way; one that was given is refused. What is left is read as a shorter one is."""
    whole = request.getfixturevalue(name)
    folder = shutil.copytree(whole, tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 96}))
    chat = chat_templates.conversation("How far is the moon? " * 20, "Far.")
    assert len(chat_templates.encode(engines.tokenizer_of(folder), [chat], 4096)[0]) > 400
    (found,) = scorer(f"{name}={folder}", max_length=4096).score([chat])
    assert [found] == pytest.approx(scorer(f"{name}={whole}", max_length=96).score([chat]), abs=1e-5)
    with refused(ConfigError, "max_length", 4096):
        classifiers.load(reward_models.find(f"{name}={folder}"), Scoring(max_length=4096))


def test_an_answer_longer_than_armorms_context_is_one_line(armorm, tmp_path) -> None:
    folder = shutil.copytree(armorm, tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 96}))
    with refused(DataError, "max_length", 96) as raised:
        scorer(f"armorm={folder}", max_length=4096).score(CHATS)
    assert "82 tokens" in raised.value.message


@pytest.mark.parametrize("lost", ["regression_layer.weight", "gating.layers.3.bias", "gating.logit_scale"])
def test_an_armorm_without_a_head_is_refused(armorm, tmp_path, lost: str) -> None:
    folder = shutil.copytree(armorm, tmp_path / "m")
    shard = folder / "model-00002-of-00002.safetensors"
    save_file({name: t for name, t in load_file(shard).items() if name != lost}, shard, {"format": "pt"})
    with refused(ArtifactError, folder) as raised:
        scorer(f"armorm={folder}")
    assert lost in raised.value.message


def test_offsetbias_is_what_its_cards_pipeline_says(offsetbias) -> None:
    """text-classification, function_to_apply none, batches of one, the template's BOS taken away."""
    tokens = AutoTokenizer.from_pretrained(offsetbias)
    texts = [tokens.apply_chat_template(chat, tokenize=False).replace(tokens.bos_token, "") for chat in CHATS]
    pipe = pipeline("text-classification", model=str(offsetbias), tokenizer=tokens, device="cpu", dtype=torch.float32)
    expected = [pipe(text, function_to_apply="none", top_k=None)[0]["score"] for text in texts]
    assert scorer(f"offsetbias={offsetbias}").score(CHATS) == pytest.approx(expected, abs=1e-5)
    assert scorer(str(offsetbias)).score(CHATS) == pytest.approx(expected, abs=1e-5), "without a row, by its folder"


@pytest.mark.parametrize("pad", [None, "<|eot_id|>"])
def test_the_models_own_padding_counts(tmp_path, pad: str | None) -> None:
    """A config without a padding token reads the last token; one that pads with the end of a turn, the one before."""
    tokens = tokenizer(tmp_path, pad=pad)
    torch.manual_seed(3)
    config = llama(len(tokens), num_labels=1, pad_token_id=pad and 3)
    model = LlamaForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    with torch.inference_mode():
        ids = [tokens.apply_chat_template(chat, return_tensors="pt", return_dict=True)["input_ids"] for chat in CHATS]
        last = -1 if pad is None else -2
        expected = [float(model.score(model.model(one).last_hidden_state[0, last])) for one in ids]
    assert scorer(str(tmp_path)).score(CHATS) == pytest.approx(expected, abs=1e-5)


def test_truncation_takes_the_beginning(offsetbias) -> None:
    tokens = engines.tokenizer_of(offsetbias)
    (whole,), (short,) = (chat_templates.encode(tokens, [CHATS[3]], length) for length in (2048, 64))
    assert short == [0, *whole[-63:]] and len(whole) > 150
    with torch.inference_mode():
        model = LlamaForSequenceClassification.from_pretrained(offsetbias)
        expected = float(model.score(model.model(torch.tensor([short])).last_hidden_state[0, -1]))
    assert scorer(str(offsetbias), max_length=64).score(CHATS)[3] == pytest.approx(expected, abs=1e-5)


def test_a_template_with_todays_date_has_a_fixed_one(tmp_path, offsetbias) -> None:
    folder = shutil.copytree(offsetbias, tmp_path / "dated")
    dated = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    tokenizer(folder, dated + "{{ bos_token }}{{ date_string }}" + TEMPLATE.replace("{{ bos_token }}", ""))
    loaded = engines.tokenizer_of(folder)
    assert loaded.apply_chat_template(CHATS[0], tokenize=False).startswith("<|begin_of_text|>26 Jul 2024<|start")


def test_what_is_no_scalar_reward_model_is_refused(tmp_path, offsetbias) -> None:
    two = tmp_path / "two"
    config = llama(len(tokenizer(two)), pad_token_id=4, num_labels=2)
    LlamaForSequenceClassification(config).save_pretrained(two)
    with refused(ArtifactError, f"{two / 'config.json'}: num_labels", 2):
        scorer(str(two))
    headless = tmp_path / "headless"
    LlamaModel(llama(len(tokenizer(headless)), pad_token_id=4, num_labels=1)).save_pretrained(headless)
    with refused(ArtifactError, headless) as raised:
        scorer(str(headless))
    assert "score.weight" in raised.value.message
    mute = shutil.copytree(offsetbias, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with refused(ArtifactError, mute):
        scorer(str(mute))
    with refused(ArtifactError, tmp_path):
        scorer(str(tmp_path))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("armorm", ("armorm", "RLHFlow/ArmoRM-Llama3-8B-v0.1", None, "armorm")),
        ("offsetbias@abc", ("offsetbias", "NCSOFT/Llama-3-OffsetBias-RM-8B", "abc", "scalar")),
        ("armorm=me/copy@v1", ("armorm", "me/copy", "v1", "armorm")),
        ("Skywork/Skywork-Reward-V2@v2", ("Skywork-Reward-V2", "Skywork/Skywork-Reward-V2", "v2", "scalar")),
        ("sky=Skywork/Skywork-Reward-V2", ("sky", "Skywork/Skywork-Reward-V2", None, "scalar")),
        ("gpt-4o", ("gpt-4o", "gpt-4o-2024-08-06", None, "scalar")),
        ("gpt-4o=gpt-4.1", ("gpt-4.1", "gpt-4.1", None, "scalar")),
        ("served=Qwen/Qwen3-32B", ("Qwen3-32B", "Qwen/Qwen3-32B", None, "scalar")),
    ],
)
def test_an_entry_names_a_model(entry: str, expected: tuple) -> None:
    row = reward_models.find(entry)
    assert (row.name, row.repository, row.revision, row.adapter) == expected


def test_another_served_model_has_no_price() -> None:
    assert reward_models.find("gpt-4o").usd_per_million == (2.5, 10.0)
    assert reward_models.find("gpt-4o=gpt-4.1").usd_per_million is None
    assert reward_models.find("armorm=me/copy").licence == "llama3 (assumed)"


@pytest.mark.parametrize(
    "entries", [["nosuch"], ["=x"], ["."], ["a/b=RLHFlow/ArmoRM"], ["served"], ["armorm", "armorm@abc"]]
)
def test_an_entry_that_names_none_is_one_line(entries: list[str]) -> None:
    with refused(ConfigError, "", entries[-1]):
        reward_models.find_all(entries)
