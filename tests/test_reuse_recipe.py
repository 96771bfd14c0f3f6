"""Paper B's recipe of reward models and policies, from an encoder-decoder to its rewards: Adafactor at a constant rate after
warm-up, dropout, texts with delimiters, and the same numbers as plain transformers at every door."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_mt5 as mt5
import torch
from refusals import refused
from safetensors.torch import load_file
from test_sft import rows
from test_sft import train as train_sft
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    MT5Config,
    Qwen2Config,
)
from transformers.optimization import Adafactor

from xlrm.errors import ArtifactError, ConfigError
from xlrm.models import chat_templates, instructions, loading, templates
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring
from xlrm.stages import base as base_stage
from xlrm.stages import reward, sample
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.training import dpo, dropout, sft, trainers
from xlrm.training.demonstrations import FILE
from xlrm.training.recipes import DpoTraining, SftTraining

RECIPE: dict[str, Any] = {
    "language": "en", "loss": "pointwise", "learning_rate": 1e-4, "optimizer": "adafactor", "scheduler": "constant",
    "warmup_steps": 1, "batch_size": 8, "device_batch_size": 4, "gradient_checkpointing": False, "log_steps": 1,
    "template": "plain",
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny_mt5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mt5.save(tmp_path_factory.mktemp("mt5"))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations, prompts and single judgments: every second response is that to another prompt."""
    folder = tmp_path_factory.mktemp("corpora")
    made = rows(train=24)
    write_jsonl(folder / "en" / FILE, made)
    judged = [
        {
            "id": str(place), "prompt": row["prompt"], "response": made[place - place % 2]["response"], "subset": "a",
            "source": "s", "label": 1 - place % 2,
        }
        for place, row in enumerate(made)
    ]  # fmt: skip
    write_jsonl(folder / "en" / "preferences.jsonl", judged[:24])
    write_jsonl(folder / "en" / "heldout.jsonl", judged[24:])
    write_jsonl(
        folder / "en" / "prompts.jsonl",
        [{"id": row["id"], "prompt": row["prompt"], "split": "eval"} for row in made[:6]],
    )
    return folder


@pytest.fixture(scope="module")
def policy(tiny_mt5: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("policy")
    return train_sft(tiny_mt5, corpora, work, steps=4, instruction="summarization", validations=1)[1]


def train(base: Path, corpora: Path, work: Path, **changes: Any) -> tuple[dict[str, float], Path]:
    output = work / "output"
    output.mkdir(parents=True, exist_ok=True)
    return reward.run(reward.Config(**RECIPE | changes), base=base, corpora=corpora, output=output), output


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny_base", "policy"])
def test_steps_are_those_of_plain_transformers(
    kind: str, corpora: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Three steps on single judgments, computed one by one without padding: a rate of 0 in the first, of 1e-4 then."""
    # Similar lengths: the rows stay in the order of the file.
    options = {"similar_lengths": True, "scale_parameter": kind == "policy"}
    _, output = train(request.getfixturevalue(kind), corpora, tmp_path, **options)
    model: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "start", dtype=torch.float32).eval()
    optimizer = Adafactor(model.parameters(), lr=1e-4, scale_parameter=kind == "policy", relative_step=False)
    curve = [json.loads(line) for line in (output / "curves.jsonl").read_text().splitlines()]
    curve = [point for point in curve if "loss" in point]
    dataset = trainers._dataset(tmp_path / "tokens")
    for number, point in enumerate(curve):
        judged = [dataset[place] for place in range(8 * number, 8 * number + 8)]
        losses = []
        for example in judged:
            logit = model(input_ids=torch.tensor([example["input_ids"]])).logits[0, 0]
            sign = 1 if example["labels"] == 1 else -1
            losses.append(torch.nn.functional.softplus(-sign * logit))
        loss = torch.stack(losses).mean()
        optimizer.param_groups[0]["lr"] = 0 if number == 0 else 1e-4
        assert point["learning_rate"] == optimizer.param_groups[0]["lr"]
        assert point["loss"] == pytest.approx(loss.item(), abs=1e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trained, start = load_file(output / "model.safetensors"), load_file(tmp_path / "start" / "model.safetensors")
    expected = model.state_dict()
    assert len(curve) == 3
    assert max(float((trained[name] - expected[name]).abs().max()) for name in trained) < 2e-6
    assert max(float((trained[name] - start[name]).abs().max()) for name in trained) > 5e-5


@pytest.mark.slow
def test_the_reward_model_of_a_policy_reads_texts_with_delimiters(policy: Path, corpora: Path, tmp_path: Path) -> None:
    """Every door gives the number of plain transformers for the text without instruction, and the best weights are kept."""
    metrics, output = train(policy, corpora, tmp_path, dropout=0.1, keep="best", heldout_scorings=3)
    assert metrics["heldout_rows"] == 8 and 0.5 < metrics["heldout_loss"] < 1
    words: Any = AutoTokenizer.from_pretrained(output)
    network: Any = AutoModelForSequenceClassification.from_pretrained(output, dtype=torch.float32).eval()
    assert network.config.architectures == ["MT5ForSequenceClassification"] and network.config.dropout_rate == 0.1
    chats = [chat_templates.conversation(row["prompt"], row["response"]) for row in rows()[:4]]
    expected = []
    for chat in chats:
        ids = words(instructions.DELIMITER.join(message["content"] for message in chat), return_tensors="pt")[
            "input_ids"
        ]
        assert ids[0, -1] == mt5.EOS and "|||" in words.decode(ids[0]) and "Summarize" not in words.decode(ids[0])
        with torch.inference_mode():
            expected.append(float(network(ids).logits[0, 0]))
    assert engines.load(output, Scoring()).score(chats) == pytest.approx(expected, abs=1e-5)
    assert "| template | plain |" in (output / "README.md").read_text()


@pytest.mark.slow
def test_samples_of_an_encoder_decoder_are_those_of_plain_generate(policy: Path, corpora: Path, tmp_path: Path) -> None:
    """Greedy responses, with the instruction before each prompt."""
    config = sample.Config(languages=("en",), split="eval", max_new_tokens=8)
    sample.run(config, corpora=corpora, policies=[policy], output=tmp_path / "output")
    written = read_rows(tmp_path / "output" / "0" / "eval" / "en.jsonl")
    words: Any = AutoTokenizer.from_pretrained(policy)
    network: Any = AutoModelForSeq2SeqLM.from_pretrained(policy, dtype=torch.float32).eval()
    for row in written:
        text = f"Summarize the following text in English:\n\n{row['prompt']}"
        ids = words(text, return_tensors="pt")["input_ids"]
        assert len(ids[0]) <= 64
        made = network.generate(input_ids=ids, max_new_tokens=8, do_sample=False, num_beams=1)
        assert row["responses"] == [words.decode(made[0], skip_special_tokens=True).strip()]
    assert len(written) == 6


# Dropout


def test_dropout_is_in_every_field_of_a_config(tmp_path: Path) -> None:
    assert dropout.fields(MT5Config()) == ["dropout_rate", "classifier_dropout"]
    assert dropout.fields(Qwen2Config()) == ["attention_dropout"]
    config = dropout.configured(MT5Config(dropout_rate=0.2), 0.1, "sft[en]")
    assert (config.dropout_rate, config.classifier_dropout) == (0.1, 0.1)
    MT5Config(dropout_rate=0.2).save_pretrained(tmp_path / "base")
    config.save_pretrained(tmp_path / "trained")
    dropout.restore(tmp_path / "trained", tmp_path / "base")
    again = MT5Config.from_pretrained(tmp_path / "trained")
    assert (again.dropout_rate, again.classifier_dropout) == (0.2, 0.0)


@pytest.mark.slow
def test_dropout_changes_the_losses_and_none_gives_those_without(policy: Path, corpora: Path, tmp_path: Path) -> None:
    losses = {}
    for rate in (None, 0.0, 0.3):
        _, output = train(policy, corpora, tmp_path / str(rate), dropout=rate, heldout_scorings=0)
        losses[rate] = [json.loads(line)["loss"] for line in (output / "curves.jsonl").read_text().splitlines()]
    assert losses[None] == losses[0.0] != losses[0.3]


# The plain template


def test_the_plain_template_ends_with_the_end_token_once(tiny_base: Path, tiny_mt5: Path) -> None:
    chat = chat_templates.conversation("Ask", "Reply")
    for base in (tiny_base, tiny_mt5):
        words = loading.reward_tokenizer(base, plain=True)
        (ids,) = chat_templates.encode(words, [chat], 100)
        assert ids.count(words.eos_token_id) == 1 and ids[-1] == words.eos_token_id
        assert words.decode(ids[:-1]).split("|||")[0].strip() == "Ask"
        assert words.decode(ids[:-1]).split("|||")[1].strip() == "Reply"
        assert words.pad_token_id != words.eos_token_id


@pytest.mark.parametrize("plain", [True, False])
def test_a_reward_model_has_no_instruction_in_its_policys_language(
    tiny_base: Path, tmp_path: Path, plain: bool
) -> None:
    """It scores responses in other languages, and the paper's reads no instruction at all."""
    shutil.copytree(tiny_base, tmp_path / "policy")
    words = sft.tokenizer(tiny_base, SftTraining(language="ko", instruction="dialog"))
    words.save_pretrained(tmp_path / "policy")
    chat = chat_templates.conversation("Ask", "Reply")
    (asked,) = templates.render(loading.load_tokenizer(tmp_path / "policy"), [chat])
    assert asked.count("in Korean") == 2
    policy, base = (loading.reward_tokenizer(folder, plain=plain) for folder in (tmp_path / "policy", tiny_base))
    assert policy.chat_template == base.chat_template and templates.render(policy, [chat]) == templates.render(
        base, [chat]
    )


def test_dpo_of_an_encoder_decoder_is_refused(tiny_mt5: Path, corpora: Path, tmp_path: Path) -> None:
    config = DpoTraining(language="en", learning_rate=1e-6, batch_size=2)
    with refused(ConfigError, f"{tiny_mt5 / 'config.json'}: model_type", "mt5"):
        dpo.train_dpo(tiny_mt5, [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2, config, tmp_path / "output")


# A base without safetensors, as docs/training.md converts it


def test_a_base_of_pickled_weights_is_converted_without_running_code(tiny_mt5: Path, tmp_path: Path) -> None:
    pickled = shutil.copytree(tiny_mt5, tmp_path / "pickled")
    weights = load_file(pickled / "model.safetensors")
    (pickled / "model.safetensors").unlink()
    torch.save(weights, pickled / "pytorch_model.bin")
    (tmp_path / "refused").mkdir()
    with refused(ArtifactError, f"base.model: {pickled}"):
        base_stage.run(base_stage.Config(model=str(pickled)), output=tmp_path / "refused")
    AutoModelForSeq2SeqLM.from_pretrained(pickled, dtype="auto").save_pretrained(tmp_path / "converted")
    AutoTokenizer.from_pretrained(pickled).save_pretrained(tmp_path / "converted")
    converted = load_file(tmp_path / "converted" / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in converted.items() if name in weights} == {
        name: weights[name].tolist() for name in converted if name in weights
    }
    (tmp_path / "output").mkdir()
    base_stage.run(base_stage.Config(model=str(tmp_path / "converted")), output=tmp_path / "output")

    torch.save(weights | {"shared.weight": Touch(tmp_path / "touched")}, pickled / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        AutoModelForSeq2SeqLM.from_pretrained(pickled, dtype="auto")
    assert not (tmp_path / "touched").exists()


class Touch:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mknod, (str(self.path),)
