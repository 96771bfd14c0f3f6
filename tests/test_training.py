"""Reward model training: TRL's own numbers, every family of base models, one process or many, killed or not."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from refusals import refused

from benchmarks.reward_training import apart, kill_after_a_checkpoint, plain_trl, start
from benchmarks.reward_training import log_of as log
from benchmarks.reward_training import weights_of as weights
from xlrm.errors import ConfigError, DataError
from xlrm.models import chat_templates, loading
from xlrm.processes import launch
from xlrm.scorers.engines import TransformersScorer
from xlrm.stages import reward
from xlrm.store import fields
from xlrm.store.jsonl import write_jsonl
from xlrm.training import checkpoints, dropout, kept_checkpoints, recipes, trainers

ROOT = Path(__file__).parents[1]
TRAINING = {
    "language": "en", "learning_rate": 1e-3, "batch_size": 8, "device_batch_size": 4, "gradient_checkpointing": False,
    "log_steps": 1,
}  # fmt: skip


def pairs(count: int) -> list[dict]:
    from xlrm.data.catalog import PREFERENCES

    return PREFERENCES["phrasebook"].rows("en", count, 0)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    write_jsonl(folder / "en" / "preferences.jsonl", pairs(64))
    return folder


def train(base: Path, corpora: Path, work: Path, **changes) -> tuple[dict, Path]:
    config = reward.Config(**TRAINING | changes)
    output = work / "output"
    output.mkdir(parents=True, exist_ok=True)
    return reward.run(config, base=base, corpora=corpora, output=output), output


# The same as plain TRL


@pytest.mark.slow
@pytest.mark.parametrize("margin", [False, True])
def test_losses_gradients_and_weights_are_those_of_plain_trl(tiny_base, tmp_path, margin) -> None:
    rows = [row | {"margin": 0.5 + i % 3} for i, row in enumerate(pairs(61))]
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", rows)
    _, ours = train(tiny_base, tmp_path / "corpora", tmp_path / "ours", margin=margin)
    plain = rows if margin else [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows]
    curve, final = plain_trl(tmp_path / "ours" / "start", plain, tmp_path / "theirs")
    assert len(log(ours)) == len(curve) == 8, "the last of 5 pairs"
    for mine, theirs in zip(log(ours), curve, strict=True):
        assert float(mine["loss"]) == pytest.approx(float(theirs["loss"]), abs=1e-6)
        assert float(mine["gradient_norm"]) == pytest.approx(float(theirs["grad_norm"]), rel=1e-5)
    # A fiftieth of a step: where a gradient is next to nothing, Adam makes as large a step of its rounding as of any other.
    assert apart(weights(ours), {name: final[name] for name in weights(ours)}) < 2e-5
    assert apart(weights(ours), weights(tmp_path / "ours" / "start")) > 1e-3, "and it did train"


def test_margins_that_nobody_gave_are_missed(tiny_base, corpora, tmp_path) -> None:
    with refused(DataError, "reward.margin", True):
        train(tiny_base, corpora, tmp_path, margin=True)


# Pointwise


@pytest.mark.slow
def test_the_pointwise_loss_is_the_cross_entropy_of_single_judgments(tiny_base, tmp_path) -> None:
    """The first step's loss, by hand, over all judgments: pairs count as two, labelled responses as one."""
    rows = [
        *pairs(3),
        *({"prompt": r["prompt"], "response": r["chosen"], "label": i % 2} for i, r in enumerate(pairs(2))),
    ]
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", rows)
    found, output = train(
        tiny_base,
        tmp_path / "corpora",
        tmp_path / "work",
        loss="pointwise",
        batch_size=4,
        device_batch_size=2,
        epochs=2,
    )
    assert found["steps"] == 4
    fresh = tmp_path / "work" / "start"
    scorer = TransformersScorer(loading.load_reward_model(fresh), loading.load_tokenizer(fresh))
    judged = [(r["prompt"], r[s], z) for r in rows[:3] for s, z in (("chosen", 1), ("rejected", 0))]
    judged += [(r["prompt"], r["response"], r["label"]) for r in rows[3:]]
    rewards = scorer.score([chat_templates.conversation(p, text) for p, text, _ in judged])
    chances = [1 / (1 + math.exp(-reward)) for reward in rewards]
    by_hand = [-math.log(p if z else 1 - p) for p, (*_, z) in zip(chances, judged, strict=True)]
    dataset = trainers._dataset(tmp_path / "work" / "tokens")
    assert sorted(dataset["labels"]) == sorted(float(z) for *_, z in judged)
    first_two = [float(entry["loss"]) for entry in log(output)[:1]]
    assert min(by_hand) < first_two[0] < max(by_hand)
    again, _ = train(
        tiny_base, tmp_path / "corpora", tmp_path / "all", loss="pointwise", batch_size=8, device_batch_size=2, epochs=1
    )
    assert again["train_loss"] == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-5)


@pytest.mark.slow
def test_a_pointwise_reward_model_learns(tiny_base, corpora, tmp_path) -> None:
    found, output = train(tiny_base, corpora, tmp_path, loss="pointwise", epochs=4)
    assert found["train_loss"] < 0.69 < float(log(output)[0]["loss"]) + 0.3
    assert loading.load_reward_model(output).config.problem_type == "regression"


def test_rows_of_no_use_to_the_loss(tiny_base, tmp_path) -> None:
    write_jsonl(tmp_path / "corpora/en/preferences.jsonl", [{"prompt": "p", "response": "r", "label": 2}] * 8)
    with refused(DataError, "pair 1"):
        train(tiny_base, tmp_path / "corpora", tmp_path / "work", loss="pointwise")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantize": True}, "needs lora_rank above 0"),
        ({"quantize": True, "lora_rank": 8}, "needs precision bfloat16"),
        ({"margin": True, "loss": "pointwise"}, "needs the bradley_terry loss"),
        ({"language": "en+en"}, "codes of different languages"),
        ({"precision": "float16"}, "float32"),
        ({"optimizer": "adamw"}, "'adafactor'"),
    ],
)
def test_settings_that_do_not_belong_together(changes, message) -> None:
    with pytest.raises(ValidationError, match=message):
        reward.Config(**TRAINING | changes)


@pytest.mark.parametrize(
    ("changes", "place", "value"),
    [
        ({"optimizer": "paged_adamw_8bit"}, "optimizer", "paged_adamw_8bit"),
        ({"processes": 2}, "processes", 2),
    ],
)
def test_what_is_not_installed_is_said_before_anything_is_made(
    tiny_base, corpora, tmp_path, monkeypatch, changes, place, value
) -> None:
    def version(library: str) -> str:
        if library in ("bitsandbytes", "deepspeed"):  # as where these are not installed
            raise metadata.PackageNotFoundError(library)
        return metadata.version(library)

    fake = SimpleNamespace(version=version, PackageNotFoundError=metadata.PackageNotFoundError)
    monkeypatch.setattr(trainers, "metadata", fake)
    with refused(ConfigError, place, value):
        train(tiny_base, corpora, tmp_path, **changes)
    assert not (tmp_path / "start").exists()


# LoRA


@pytest.mark.slow
def test_lora_ends_as_a_whole_model_whose_embeddings_it_left_alone(tiny_base, corpora, tmp_path) -> None:
    _, output = train(tiny_base, corpora, tmp_path, lora_rank=4, epochs=3)
    begun, end = weights(tmp_path / "start"), weights(output)
    moved = {name for name in end if float((end[name] - begun[name]).abs().max()) > 1e-6}
    assert {"score.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"} <= moved
    assert "model.embed_tokens.weight" not in moved and begun.keys() == end.keys()
    change = end["model.layers.0.mlp.up_proj.weight"] - begun["model.layers.0.mlp.up_proj.weight"]
    assert torch.linalg.matrix_rank(change, rtol=1e-4) <= 4
    assert not (output / "adapter_config.json").exists()
    scorer = TransformersScorer(loading.load_reward_model(output), loading.load_tokenizer(output))
    from peft import AutoPeftModelForSequenceClassification

    adapted = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "trained", num_labels=1).eval()
    chats = [chat_templates.conversation(row["prompt"], row["chosen"]) for row in pairs(6)]
    assert replace(scorer, network=adapted).score(chats) == pytest.approx(scorer.score(chats), abs=1e-4)


@pytest.mark.slow
def test_qlora_with_the_papers_optimizer(tiny_base, corpora, tmp_path) -> None:
    """Where bitsandbytes is installed: it comes with the gpu extra and works on a CPU, without paging."""
    pytest.importorskip("bitsandbytes")
    changes = {"precision": "bfloat16", "optimizer": "paged_adamw_8bit", "quantize": True, "lora_rank": 4, "epochs": 6}
    found, output = train(tiny_base, corpora, tmp_path, **changes)
    assert found["train_loss"] < float(log(output)[0]["loss"])
    begun, end = weights(tmp_path / "start"), weights(output)
    assert begun.keys() == end.keys() and {tensor.dtype for tensor in end.values()} == {torch.float32}
    assert torch.equal(begun["model.embed_tokens.weight"], end["model.embed_tokens.weight"])
    change = end["model.layers.0.mlp.up_proj.weight"] - begun["model.layers.0.mlp.up_proj.weight"]
    assert 0 < torch.linalg.matrix_rank(change, rtol=1e-3) <= 4, "merged into the weights, not into their 4-bit copy"


# Mixtures


def test_a_mixture_has_every_pair_once_or_in_every_language(tmp_path) -> None:
    for code in ("en", "es", "ko"):
        rows = [{"id": i, "in": code, "prompt": "p", "chosen": "a", "rejected": "b"} for i in range(30)]
        write_jsonl(tmp_path / code / "preferences.jsonl", rows)
    split = reward.training_rows(reward.Config(language="en+es+ko"), tmp_path)
    assert [row["id"] for row in split] == list(range(30))
    assert {code: sum(row["in"] == code for row in split) for code in ("en", "es", "ko")} == {
        "en": 10,
        "es": 10,
        "ko": 10,
    }
    assert split == reward.training_rows(reward.Config(language="en+es+ko"), tmp_path)
    assert split != reward.training_rows(reward.Config(language="en+es+ko", seed=1), tmp_path)
    every = reward.training_rows(reward.Config(language="en+es", mixture="all"), tmp_path)
    assert [(row["id"], row["in"]) for row in every[:4]] == [(0, "en"), (0, "es"), (1, "en"), (1, "es")] and len(
        every
    ) == 60
    write_jsonl(tmp_path / "es" / "preferences.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    with refused(DataError, "es/preferences.jsonl:1: id"):
        reward.training_rows(reward.Config(language="en+es"), tmp_path)


def test_a_mixture_takes_a_pair_from_the_languages_that_kept_it(tmp_path) -> None:
    kept = {"en": range(12), "es": [*range(6), 9]}
    for code, ids in kept.items():
        rows = [{"id": f"p{i}", "in": code, "prompt": "p", "chosen": "a", "rejected": "b"} for i in ids]
        write_jsonl(tmp_path / code / "preferences.jsonl", rows)
    split = reward.training_rows(reward.Config(language="en+es"), tmp_path)
    assert [row["id"] for row in split] == [f"p{i}" for i in range(12)]
    assert all(int(row["id"][1:]) in kept[row["in"]] for row in split)
    assert {row["in"] for row in split} == {"en", "es"}
    every = reward.training_rows(reward.Config(language="en+es", mixture="all"), tmp_path)
    assert len(every) == 19 and [row["in"] for row in every if row["id"] in ("p6", "p9")] == ["en", "en", "es"]


# Every family of base models


def word_tokenizer(folder: Path, texts: list[str], family: str) -> None:
    """A tokenizer as the family has it: [CLS] and [SEP] around BERT's and XLM-R's texts, one EOS after mT5's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = {"mt5": ["<pad>", "</s>", "<unk>"], "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]}.get(
        family, ["<s>", "<pad>", "</s>", "<unk>"]
    )
    unknown = special[2] if family == "mt5" else special[1] if family == "bert" else "<unk>"
    tokenizer = Tokenizer(models.WordLevel(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=special, vocab_size=400))
    first, last = {"mt5": (None, "</s>"), "bert": ("[CLS]", "[SEP]")}.get(family, ("<s>", "</s>"))
    around = f"{first}:0 $A:0 {last}:0" if first else f"$A:0 {last}:0"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last) if token]
    )
    pad = "[PAD]" if family == "bert" else "<pad>"
    more = {} if family == "bert" else {"eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=unknown, pad_token=pad, **more).save_pretrained(
        folder
    )


def family_base(family: str, folder: Path) -> Path:
    """A tiny pretrained model without a head, as its family is published."""
    import transformers as t

    texts = [text for row in pairs(64) for text in (row["prompt"], row["chosen"], row["rejected"])]
    word_tokenizer(folder, texts, family)
    common = {"vocab_size": 400}
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    model = {
        "bert": lambda: t.BertForMaskedLM(t.BertConfig(**common, **small, max_position_embeddings=48, pad_token_id=0)),
        "xlm-roberta": lambda: t.XLMRobertaForMaskedLM(
            t.XLMRobertaConfig(
                **common, **small, max_position_embeddings=50, pad_token_id=1, bos_token_id=0, eos_token_id=2
            )
        ),
        "mt5": lambda: t.MT5ForConditionalGeneration(
            t.MT5Config(**common, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=0)
        ),
    }[family]()
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "mt5"])
def test_encoders_and_sequence_to_sequence_models_become_reward_models(family, corpora, tmp_path) -> None:
    base = family_base(family, tmp_path / "base")
    found, output = train(base, corpora, tmp_path / "work", max_length=40, epochs=8)
    assert found["train_accuracy"] > 0.6
    scorer = TransformersScorer(loading.load_reward_model(output), loading.load_tokenizer(output))
    head = loading.score_head(loading.load_reward_model(tmp_path / "work" / "start"))
    assert head.weight.shape[0] == 1 and not head.bias.any()
    chats = [chat_templates.conversation(row["prompt"] * (1 + 3 * i), row["chosen"]) for i, row in enumerate(pairs(6))]
    alone = [scorer.score([chat])[0] for chat in chats]
    assert scorer.score(chats[::-1]) == pytest.approx(alone[::-1], abs=1e-5), "no word of the batch"
    assert len(set(alone)) == 6
    tokenizer = scorer.tokenizer
    for ids in chat_templates.encode(tokenizer, chats, 16):
        assert len(ids) <= 16 and tokenizer.decode(ids[-1:]) in ("[SEP]", "</s>")
        assert family == "mt5" or tokenizer.decode(ids[:1]) in ("[CLS]", "<s>"), "truncation leaves what the head reads"


@pytest.mark.parametrize(("family", "limit"), [("bert", 48), ("xlm-roberta", 48)])
def test_more_tokens_than_an_encoder_has_positions(family, limit, corpora, tmp_path) -> None:
    base = family_base(family, tmp_path / "base")
    with refused(ConfigError, "reward.max_length", 64):
        train(base, corpora, tmp_path / "work", max_length=64)


# The folder


@pytest.mark.slow
def test_the_folder_is_what_others_load(tiny_base, corpora, tmp_path) -> None:
    _, output = train(tiny_base, corpora, tmp_path)
    names = {path.name for path in output.iterdir()}
    assert names == {
        "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "curves.jsonl", "README.md", "xlrm.json",
    }  # fmt: skip
    config = json.loads((output / "config.json").read_text())
    # vLLM's pooling runner gives raw logits for problem_type "regression" and probabilities for all else.
    assert config["architectures"] == ["Qwen2ForSequenceClassification"] and config["problem_type"] == "regression"
    assert len(config["id2label"]) == 1 and config["pad_token_id"] != config["eos_token_id"]
    card = (output / "README.md").read_text()
    assert (
        "base_model: phrasebook" not in card
        and "# Reward model: English" in card
        and "| batch size | 8 |" in card
        and str(tmp_path) not in card
        and "vllm serve FOLDER --runner pooling --dtype float32`" in card
    )
    template = (output / "chat_template.jinja").read_text()
    assert "strftime" not in template and "date" not in template
    assert str(tmp_path) not in "".join(path.read_text(errors="ignore") for path in output.glob("*.json*"))


@pytest.mark.slow
def test_trl_takes_the_folder_as_a_reward_function(tiny_base, corpora, tmp_path) -> None:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    _, output = train(tiny_base, corpora, tmp_path)
    arguments = GRPOConfig(
        output_dir=str(tmp_path / "grpo"), per_device_train_batch_size=2, num_generations=2, max_completion_length=8,
        max_steps=1, use_cpu=True, bf16=False, report_to=[], gradient_checkpointing=False, logging_steps=1, save_strategy="no",
    )  # fmt: skip
    prompts = Dataset.from_list([{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in pairs(4)])
    trainer = GRPOTrainer(str(tiny_base), reward_funcs=str(output), args=arguments, train_dataset=prompts)
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "reward" in entry)
    assert math.isfinite(float(logged["reward"])) and float(logged["reward"]) != 0


# Killed, and several processes


def killed_after_a_checkpoint(process: subprocess.Popen, work: Path) -> None:
    kill_after_a_checkpoint(process, work)
    end = time.monotonic() + 60
    while still := [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(work) in _read(path)]:
        assert time.monotonic() < end, f"processes of a killed training go on: {still}"
        time.sleep(0.1)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


@pytest.mark.parametrize("when", [(trainers, "_place"), (dropout, "restore")])
def test_a_run_killed_while_its_model_is_copied_copies_it_again(
    when, tiny_base, corpora, tmp_path, monkeypatch
) -> None:
    """Once training is done, nothing but the files of the trained model is left of it."""
    short = {"batch_size": 64, "device_batch_size": 16}
    _, whole = train(tiny_base, corpora, tmp_path / "whole", **short)
    done = getattr(*when)

    def killed(*given) -> None:
        done(*given)
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(*when, killed)
            train(tiny_base, corpora, tmp_path / "killed", **short)
    _, output = train(tiny_base, corpora, tmp_path / "killed", **short)
    files = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in (output, whole)]
    assert files[0] == files[1] and "config.json" in files[0]


@pytest.mark.slow
def test_a_killed_training_ends_where_it_would_have(tiny_base, corpora, tmp_path) -> None:
    changes = {"epochs": 5, "save_steps": 10}
    _, whole = train(tiny_base, corpora, tmp_path / "whole", **changes)
    process = start(tiny_base, corpora, tmp_path / "cut", **TRAINING | changes)
    killed_after_a_checkpoint(process, tmp_path / "cut")
    assert not list((tmp_path / "cut" / "output").iterdir())
    _, cut = train(tiny_base, corpora, tmp_path / "cut", **changes)
    assert apart(weights(whole), weights(cut)) < 1e-6
    assert [entry["loss"] for entry in log(cut)] == pytest.approx([entry["loss"] for entry in log(whole)], abs=1e-6)


def test_a_checkpoint_that_is_not_whole_is_not_gone_on_from(tmp_path) -> None:
    """One without its mark, one whose mark was cut off, and those of other processes; steps are compared as numbers."""
    for step, mark in {
        5: "",
        10: '{"proc',
        15: '{"processes": 1, "first": 0}',
        100: '{"processes": 4, "first": 0}',
    }.items():
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
        if mark:
            (tmp_path / f"checkpoint-{step}" / checkpoints.WHOLE).write_text(mark.replace("}", ', "bytes": 2}'))
    assert checkpoints.whole_steps(tmp_path, {"processes": 1, "first": 0}) == {15}
    assert checkpoints.whole_steps(tmp_path, {"processes": 4, "first": 0}) == {100}
    assert checkpoints.whole_steps(tmp_path, {"processes": 4, "first": 2}) == set(), "one node's part is not another's"


def test_checkpoints_of_other_processes_are_not_thrown_away_in_silence(tmp_path, capsys) -> None:
    marks = {15: {"processes": 1, "first": 0}, 100: {"processes": 4, "first": 0}, 110: {"processes": 4, "first": 2}}
    for step, mark in marks.items():
        (tmp_path / f"checkpoint-{step}").mkdir()
        kept_checkpoints.mark(tmp_path / f"checkpoint-{step}", mark)
    assert checkpoints.agreed(tmp_path, "reward[en]", f"file://{tmp_path}-store") == tmp_path / "checkpoint-15"
    said = capsys.readouterr().err.splitlines()
    assert [next((step for step in marks if f"checkpoint-{step} " in line), None) for line in said] == [100, 110, None]
    assert all("4 process(es)" in line and "1 process(es)" in line for line in said[:2])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-15"]


@pytest.mark.slow
def test_zero3_in_two_processes_trains_as_one_does_and_resumes(tiny_base, corpora, tmp_path, monkeypatch) -> None:
    """Gloo on CPU: the loss curve, the head it starts from, one whole safetensors model, and SIGKILL half-way; from a process
    that keeps DeepSpeed to others, as a component does."""
    changes = {"epochs": 3, "save_steps": 10}
    _, one = train(tiny_base, corpora, tmp_path / "one", device_batch_size=8, **changes)
    process = start(tiny_base, corpora, tmp_path / "two", **TRAINING | changes, processes=2)
    killed_after_a_checkpoint(process, tmp_path / "two")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "deepspeed", None)
        found, two = train(tiny_base, corpora, tmp_path / "two", processes=2, **changes)
    assert found["steps"] == 24
    assert apart(weights(tmp_path / "one" / "start"), weights(tmp_path / "two" / "start")) == 0
    for single, double in zip(log(one), log(two), strict=True):
        assert float(single["loss"]) == pytest.approx(float(double["loss"]), abs=1e-4)
    assert apart(weights(one), weights(two)) < 1e-3
    chats = [chat_templates.conversation(row["prompt"], row["chosen"]) for row in pairs(8)]
    rewards = [
        TransformersScorer(loading.load_reward_model(path), loading.load_tokenizer(path)).score(chats)
        for path in (one, two)
    ]
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-3)


def test_a_process_leaves_its_group_before_it_ends(tmp_path) -> None:
    (tmp_path / "worker.py").write_text(
        "import atexit\nfrom torch import distributed\n"
        "def work(folder):\n"
        "    distributed.init_process_group('gloo', init_method=f'file://{folder}/group', rank=0, world_size=1)\n"
        "    atexit.register(lambda: (folder / 'in_group').write_text(str(distributed.is_initialized())))\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    subprocess.run(
        [sys.executable, "-m", "xlrm.processes.launch", "worker:work", str(tmp_path)], env=environment, check=True
    )
    assert (tmp_path / "in_group").read_text() == "False"


@pytest.mark.parametrize(
    ("batch_size", "device_batch_size", "processes", "made"),
    [
        (128, 8, 4, (8, 4)),  # paper A's
        (8, 8, 4, (2, 1)),  # the demo's, on four GPUs
        (8, 8, 1, (8, 1)),
        (128, 8, 16, (8, 1)),
        (96, 8, 2, (8, 6)),
        (60, 8, 4, (5, 3)),
        (28, 8, 4, (7, 1)),
        (44, 8, 4, (1, 11)),
        (128, 1, 4, (1, 32)),
    ],
)
def test_a_batch_fits_any_number_of_gpus(batch_size, device_batch_size, processes, made) -> None:
    assert launch.split_batch(batch_size, device_batch_size, processes) == made
    assert made[0] * made[1] * processes == batch_size


@pytest.mark.parametrize(("batch_size", "processes"), [(30, 4), (2, 4)])
def test_a_batch_that_the_processes_cannot_share(batch_size, processes) -> None:
    with refused(ConfigError, "batch_size", batch_size):
        launch.split_batch(batch_size, 8, processes)


def test_every_optimizer_is_known_to_transformers_by_that_name() -> None:
    from transformers.training_args import OptimizerNames

    assert set(get_args(recipes.Optimizer)) < {name.value for name in OptimizerNames}
    assert set(get_args(recipes.OfBitsandbytes)) < set(get_args(recipes.Optimizer))


def test_what_needs_bitsandbytes_is_known_without_torch() -> None:
    code = (
        "import sys; from xlrm.training.trainers import needs_bitsandbytes as needs; from xlrm.stages.reward import Config\n"
        "q = Config(language='en', quantize=True, lora_rank=8, precision='bfloat16')\n"
        "names = ('paged_adamw_8bit', 'lion_32bit', 'adamw_bnb_8bit', 'adamw_torch_fused', 'adafactor')\n"
        "print(needs(q), *(needs(Config(language='en', optimizer=n)) for n in names), 'torch' in sys.modules)"
    )
    found = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert found.split() == ["True", "True", "True", "True", "False", "False", "False"]


def test_the_batch_is_looked_at_without_torch() -> None:
    code = (
        "import sys; from xlrm.processes.launch import split_batch; print(split_batch(8, 8, 4), 'torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "(2, 1) False\n"


def test_a_global_batch_is_made_of_all_processes_of_all_nodes(monkeypatch) -> None:
    recipe = reward.Config(language="en", processes=4)
    monkeypatch.setenv("PET_NNODES", "2")
    trainers.check_batch(recipe, 86_400)
    monkeypatch.setenv("PET_NNODES", "3")
    with refused(ConfigError, "batch_size", 128):
        trainers.check_batch(recipe, 86_400)


@pytest.mark.slow
def test_how_much_fits_a_device_changes_nothing_but_rounding(tiny_base, corpora, tmp_path) -> None:
    found = {}
    for size in (8, 3, 1):
        metrics, output = train(tiny_base, corpora, tmp_path / str(size), device_batch_size=size, epochs=2)
        found[size] = output
        assert metrics["steps"] == 16
    for size in (3, 1):
        losses = [float(entry["loss"]) for entry in log(found[size])]
        assert losses == pytest.approx([float(entry["loss"]) for entry in log(found[8])], abs=1e-5)
        assert apart(weights(found[8]), weights(found[size])) < 1e-4


def test_how_often_a_checkpoint_is_written_makes_no_other_artifact() -> None:
    counted = fields.counted(reward.Config(language="en", device_batch_size=3))
    assert counted["device_batch_size"] == 3, "a last step of fewer pairs depends on it"
    assert "save_steps" not in counted


# GPUs: none can be here, so torch is made to say that there are some


def visible(function_folder: Path, wanted: int) -> str:
    """CUDA_VISIBLE_DEVICES as the process of a training finds it."""
    (function_folder / "look.py").write_text(
        "import os\ndef work(folder): (folder / 'seen').write_text(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))\n"
    )
    launch.launch("look:work", function_folder, wanted, "float32")
    return (function_folder / "seen").read_text()


@pytest.mark.parametrize(
    ("gpus", "given", "seen"),
    [
        (4, None, "0"),
        (2, "2,3", "2"),
        (2, "GPU-1a,GPU-2b", "GPU-1a"),
        (1, "3", "3"),
        (1, None, "all"),
        (0, None, "all"),
        (0, "", ""),
    ],
)
def test_a_training_in_one_process_sees_one_gpu(monkeypatch, tmp_path, gpus, given, seen) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.syspath_prepend(tmp_path)
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible(tmp_path, 1) == seen
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == given, "another stage of this process sees what it did"


def test_a_process_that_sees_several_gpus_does_not_train(tiny_base, corpora, tmp_path, monkeypatch) -> None:
    """As where CUDA was begun before the others were hidden. TRL's trainers refuse it, transformers' own does not."""
    from transformers import TrainingArguments

    monkeypatch.setattr(TrainingArguments, "n_gpu", 4)
    with refused(ConfigError, "CUDA_VISIBLE_DEVICES"):
        train(tiny_base, corpora, tmp_path, loss="pointwise")


def test_more_processes_than_gpus(monkeypatch, corpora, tiny_base, tmp_path) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with refused(ConfigError, "processes", 4):
        train(tiny_base, corpora, tmp_path, processes=4)
    assert launch.processes(0) == launch.processes(2) == 2 and launch.processes(1) == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert launch.processes(4) == 4, "on a CPU as many as wanted"


@pytest.mark.parametrize(
    ("name", "value"), [("PET_NNODES", "two"), ("PET_NODE_RANK", "1"), ("PET_MASTER_PORT", "http")]
)
def test_nodes_that_make_no_sense(monkeypatch, name, value) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as raised:
        launch.Nodes.from_environment()
    assert name in raised.value.where and value in raised.value.value
