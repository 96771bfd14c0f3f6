"""A reward model as the base of a reward model: its head is kept, and trained as TRL trains it; rewards that are centred."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from refusals import refused
from safetensors.torch import load_file
from test_classifiers import CHATS, TEMPLATE, llama, tokenizer
from test_named_models import plain
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from benchmarks.reward_training import log_of, plain_trl
from xlrm.errors import ArtifactError, ConfigError
from xlrm.models import loading, sampling
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring
from xlrm.stages import align, reward
from xlrm.store import fields
from xlrm.store.jsonl import write_jsonl

TRAINING = {
    "language": "en", "learning_rate": 1e-3, "batch_size": 4, "device_batch_size": 4, "gradient_checkpointing": False,
    "log_steps": 1,
}  # fmt: skip
PAIRS = [
    {"id": str(i), "prompt": f"How much is {i} and {i}?", "chosen": f"It is {2 * i}.", "rejected": f"Why? {'No. ' * i}"}
    for i in range(8)
]


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", PAIRS)
    return tmp_path / "corpora"


def scalar(folder: Path, labels: int = 1, pad: str | None = "[PAD]", padding: int | None = 4) -> Path:
    """A reward model with random weights, large enough for rewards that differ. `pad` is the tokenizer's, `padding` the
    model's, which reads its reward from the last token that is none: 3 ends a turn."""
    torch.manual_seed(7)
    size = len(tokenizer(folder, pad=pad))
    config = llama(size, pad_token_id=padding, num_labels=labels, initializer_range=0.3)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


def encoder(folder: Path) -> Path:
    """The same of another family: a BERT, whose head has a layer before the last, without a pooler of its own."""
    torch.manual_seed(8)
    size = len(tokenizer(folder, TEMPLATE))
    config = BertConfig(vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                        num_labels=1, pad_token_id=4, initializer_range=0.3)  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def train(base: Path, corpora: Path, work: Path, **changes) -> tuple[dict, Path]:
    output = work / "output"
    output.mkdir(parents=True, exist_ok=True)
    return reward.run(reward.Config(**TRAINING | changes), base=base, corpora=corpora, output=output), output


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    "base",
    [
        {}, {"pad": None, "padding": None}, {"pad": None, "padding": 3}, {"pad": "<|eot_id|>", "padding": 3},
        {"pad": "<|eot_id|>", "padding": None}, "encoder",
    ],
)  # fmt: skip
def test_the_head_is_kept_bit_by_bit_and_the_log_says_so(base, corpora, tmp_path, capsys) -> None:
    base = encoder(tmp_path / "base") if base == "encoder" else scalar(tmp_path / "base", **base)
    expected = plain(base)
    _, output = train(base, corpora, tmp_path / "work", max_length=512)
    assert "the base is a reward model, whose head is kept" in capsys.readouterr().err
    before, start = weights(base), weights(tmp_path / "work" / "start")
    assert before.keys() == start.keys()
    for name, tensor in before.items():
        assert torch.equal(start[name][: len(tensor)], tensor), "the embeddings may have a row more, for the pad token"
    assert plain(tmp_path / "work" / "start") == pytest.approx(expected, abs=1e-5)
    after, rewards = weights(output), plain(output)
    assert any(not torch.equal(after[name], tensor) for name, tensor in start.items()), "and it did train"
    assert engines.load(output, Scoring()).score(CHATS) == pytest.approx(rewards, abs=1e-5)


@pytest.mark.parametrize("labels", [1, 3])
def test_a_new_head_is_asked_for(labels, corpora, tmp_path, capsys) -> None:
    base = scalar(tmp_path / "base", labels)
    train(base, corpora, tmp_path / "work", reinitialize_head=True)
    assert "head is kept" not in capsys.readouterr().err
    before, start = weights(base), weights(tmp_path / "work" / "start")
    assert all(torch.equal(start[name], tensor) for name, tensor in before.items() if name.startswith("model."))
    assert start["score.weight"].shape == (1, 32)
    assert not torch.equal(start["score.weight"], before["score.weight"][:1])
    assert float(start["score.weight"].std()) == pytest.approx(33**-0.5, rel=0.4)


def test_every_layer_of_a_head_is_new_if_that_is_asked_for(corpora, tmp_path) -> None:
    """RoBERTa's head has two layers."""
    base = tmp_path / "base"
    config = RobertaConfig(vocab_size=len(tokenizer(base)), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                           intermediate_size=48, num_labels=1, pad_token_id=4, max_position_embeddings=600)  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(base)
    train(base, corpora, tmp_path / "work", reinitialize_head=True, max_length=512)
    before, start = weights(base), weights(tmp_path / "work" / "start")
    for layer in ("classifier.dense.weight", "classifier.out_proj.weight"):
        assert not torch.equal(start[layer], before[layer])


def test_a_base_without_a_head_gets_one_as_before(corpora, tmp_path, capsys) -> None:
    torch.manual_seed(9)
    LlamaForCausalLM(llama(len(tokenizer(tmp_path / "base")), pad_token_id=4)).save_pretrained(tmp_path / "base")
    train(tmp_path / "base", corpora, tmp_path / "work")
    assert "head is kept" not in capsys.readouterr().err
    torch.manual_seed(42)
    fresh = loading.new_reward_model(tmp_path / "base", loading.reward_tokenizer(tmp_path / "base"), 42)
    assert torch.equal(weights(tmp_path / "work" / "start")["score.weight"], fresh.score.weight)


def test_a_classifier_is_refused(corpora, tmp_path) -> None:
    base = scalar(tmp_path / "base", labels=2)
    with refused(ConfigError, f"{base}: num_labels", 2):
        train(base, corpora, tmp_path / "work")


def test_a_head_without_weights_is_refused(corpora, tmp_path) -> None:
    base = tmp_path / "base"
    size = len(tokenizer(base))
    LlamaModel(llama(size, pad_token_id=4)).save_pretrained(base)
    config = llama(size, pad_token_id=4, num_labels=1, architectures=["LlamaForSequenceClassification"])
    config.save_pretrained(base)
    with refused(ArtifactError, base):
        train(base, corpora, tmp_path / "work")
    train(base, corpora, tmp_path / "again", reinitialize_head=True)


def test_a_reward_model_writes_nothing(corpora, tmp_path) -> None:
    base = scalar(tmp_path / "base")
    with refused(ConfigError, "sample.policies", "LlamaForSequenceClassification"):
        next(sampling.policy(base, sampling.Settings(), tmp_path / "work" / "output").gen)
    write_jsonl(tmp_path / "ranked" / "en.jsonl", PAIRS)
    config = align.Config(labeler="en", **TRAINING)
    (tmp_path / "align" / "output").mkdir(parents=True)
    with refused(ArtifactError, base, "LlamaForSequenceClassification"):
        align.run(config, policy=base, ranked=tmp_path / "ranked", output=tmp_path / "align" / "output")


# Rewards that are centred


def by_hand(folder: Path, coefficient: float) -> float:
    """Loss of all pairs by plain transformers, one conversation at a time."""
    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = AutoTokenizer.from_pretrained(folder)

    def reward_of(prompt: str, answer: str) -> float:
        chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        with torch.inference_mode():
            ids = tokens.apply_chat_template(chat, return_tensors="pt", return_dict=True)
            return network(**ids).logits.item()

    losses, squares = [], []
    for row in PAIRS:
        chosen, rejected = (reward_of(row["prompt"], row[side]) for side in ("chosen", "rejected"))
        losses.append(math.log1p(math.exp(rejected - chosen)))
        squares.append((chosen + rejected) ** 2)
    return sum(losses) / len(losses) + coefficient * sum(squares) / len(squares)


@pytest.mark.parametrize("coefficient", [None, 0.01, 0.5])
def test_the_loss_of_centred_rewards_is_that_by_hand(coefficient: float | None, corpora, tmp_path) -> None:
    base = scalar(tmp_path / "base")
    size = {"batch_size": 8, "device_batch_size": 8, "center_rewards_coefficient": coefficient}
    _, output = train(base, corpora, tmp_path / "work", **size)
    (step,) = log_of(output)
    assert float(step["loss"]) == pytest.approx(by_hand(base, coefficient or 0.0), rel=1e-5)


def test_a_kept_head_is_trained_as_plain_trl_trains_it(corpora, tmp_path) -> None:
    _, output = train(scalar(tmp_path / "base"), corpora, tmp_path / "work", batch_size=8, device_batch_size=8)
    rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in PAIRS]
    curve, final = plain_trl(tmp_path / "work" / "start", rows, tmp_path / "trl")
    assert float(log_of(output)[0]["loss"]) == pytest.approx(float(curve[0]["loss"]), rel=1e-5)
    assert float((weights(output)["score.weight"] - final["score.weight"]).abs().max()) < 2e-5


def test_centring_needs_pairs_and_counts() -> None:
    with pytest.raises(ValidationError):
        reward.Config(**TRAINING, center_rewards_coefficient=0.01, loss="pointwise")
    with pytest.raises(ValidationError):
        reward.Config(**TRAINING, center_rewards_coefficient=-1.0)
    config = reward.Config(**TRAINING)
    assert config.center_rewards_coefficient is None and config.reinitialize_head is False
    for change in ({"center_rewards_coefficient": 0.01}, {"reinitialize_head": True}):
        assert fields.counted(reward.Config(**TRAINING | change)) != fields.counted(config)


@pytest.mark.parametrize("centred", [None, 0.01])
def test_adapters_on_a_kept_head_end_as_a_model_of_plain_transformers(centred, corpora, tmp_path) -> None:
    base = scalar(tmp_path / "base")
    adapters = {"lora_rank": 4, "learning_rate": 1e-2, "epochs": 2, "center_rewards_coefficient": centred}
    _, output = train(base, corpora, tmp_path / "work", **adapters)
    rewards = plain(output)
    assert engines.load(output, Scoring()).score(CHATS) == pytest.approx(rewards, abs=1e-5)
    assert max(abs(a - b) for a, b in zip(rewards, plain(base), strict=True)) > 1e-3, "and it did train"
    assert torch.equal(weights(output)["model.embed_tokens.weight"], weights(base)["model.embed_tokens.weight"])
    assert not any("lora" in name for name in weights(output))
