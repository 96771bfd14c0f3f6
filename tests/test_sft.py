"""Supervised fine-tuning: losses and weights are those of plain torch, for decoders and encoder-decoders; what is cut, mixed,
selected and written."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_mt5 as tiny_mt5_model
import torch
from refusals import refused
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments

from benchmarks.reward_training import kill_after_a_checkpoint
from xlrm import progress
from xlrm.errors import ConfigError, DataError
from xlrm.models import chat_templates, instructions, loading, prompt_limits
from xlrm.stages import sft
from xlrm.store.jsonl import write_jsonl
from xlrm.training import demonstrations, trainers
from xlrm.training import sft as training

ROOT = Path(__file__).parents[1]
SETTINGS: dict[str, Any] = {
    "language": "en", "batch_size": 8, "device_batch_size": 4, "gradient_checkpointing": False, "log_steps": 1,
    "validations": 2, "max_prompt_length": 64, "max_response_length": 24,
}  # fmt: skip


def rows(language: str = "en", train: int = 24, validation: int = 8) -> list[dict]:
    from xlrm.data.catalog import PREFERENCES

    pairs = PREFERENCES["phrasebook"].rows(language, train + validation, 0)
    return [
        {
            "id": str(number), "prompt": row["prompt"], "response": row["chosen"], "subset": "abb"[number % 3],
            "split": "train" if number < train else "validation",
        }
        for number, row in enumerate(pairs)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    for language in ("en", "ko"):
        write_jsonl(folder / language / demonstrations.FILE, rows(language))
    return folder


@pytest.fixture(scope="module")
def tiny_mt5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_mt5_model.save(tmp_path_factory.mktemp("mt5"))


def train(base: Path, corpora: Path, work: Path, **changes: Any) -> tuple[dict[str, float], Path]:
    output = work / "output"
    output.mkdir(parents=True, exist_ok=True)
    return sft.run(sft.Config(**SETTINGS | changes), base=base, corpora=corpora, output=output), output


def curve(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "curves.jsonl").read_text().splitlines()]


# The same as plain torch


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny_base", "tiny_mt5"])
def test_losses_and_weights_are_those_of_plain_torch(
    kind: str, corpora: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two steps of Adafactor over batches of eight in two passes of different numbers of tokens, each demonstration computed
    alone, without padding."""
    from transformers.optimization import Adafactor

    base = request.getfixturevalue(kind)
    scaled = kind == "tiny_mt5"
    options = {
        "scale_parameter": scaled,
        "steps": 2,
        "dropout": 0.0 if kind == "tiny_mt5" else None,
        "validations": 0,
        "keep": "last",
    }
    _, output = train(base, corpora, tmp_path, **options)
    described = loading.load_config(base)
    if kind == "tiny_mt5":
        described.dropout_rate = 0.0
    model = loading.load_language_model(base, described).train()
    optimizer = Adafactor(model.parameters(), lr=1e-3, scale_parameter=scaled, relative_step=False)
    dataset = trainers._dataset(tmp_path / "tokens")
    for batch, point in zip((range(8), range(8, 16)), curve(output), strict=True):
        losses, count = [], 0
        for example in (dataset[place] for place in batch):
            ids, labels = (torch.tensor([example[name]]) for name in ("input_ids", "labels"))
            losses.append(model(input_ids=ids, labels=labels).loss * (labels != -100).sum())
            count += int((labels != -100).sum())
        loss = sum(losses) / count
        optimizer.zero_grad()
        loss.backward()
        norm = torch.stack([weight.grad.norm() for weight in model.parameters() if weight.grad is not None]).norm()
        optimizer.step()
        assert point["loss"] == pytest.approx(loss.item(), abs=2e-6)
        assert point["gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
    trained, expected = load_file(output / "model.safetensors"), model.state_dict()
    start = load_file(base / "model.safetensors")
    apart = max(float((trained[name] - expected[name]).abs().max()) for name in trained)
    moved = max(float((trained[name] - start[name]).abs().max()) for name in trained)
    assert apart < 2e-5 and moved > 5e-4


# Demonstrations as tokens


@pytest.mark.parametrize("kind", ["tiny_base", "tiny_mt5"])
def test_the_loss_is_on_the_response_and_its_end_alone(kind: str, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(kind)
    config = sft.Config(**SETTINGS | {"instruction": "summarization"})
    words, encoded = training.tokenizer(base, config), kind == "tiny_mt5"
    prompt = "How much is one plus two?"
    columns = demonstrations.Encoder(words, config, encoded).columns([{"prompt": prompt, "response": "Three."}])
    ((ids,), (labels,)) = columns["input_ids"], columns["labels"]
    asked = f"Summarize the following text in English:\n\n{prompt}"
    if encoded:
        assert ids == words(asked)["input_ids"] and ids[-1] == words.eos_token_id
        assert labels == [*words("Three.", add_special_tokens=False)["input_ids"], words.eos_token_id]
        return
    read = words(f"<|user|>{asked}<|assistant|>")["input_ids"]
    assert ids[: len(read)] == read and labels[: len(read)] == [-100] * len(read)
    assert words.decode(labels[len(read) :]) == "Three.<|end|>" and ids[len(read) :] == labels[len(read) :]


@pytest.mark.parametrize("kind", ["tiny_base", "tiny_mt5"])
def test_what_is_too_long_loses_its_end_and_is_counted(kind: str, request: pytest.FixtureRequest) -> None:
    """The instruction, the marks of the template and the token that ends a response stay."""
    base = request.getfixturevalue(kind)
    settings = {"instruction": "dialog", "max_prompt_length": 96, "max_response_length": 12}
    config = sft.Config(**SETTINGS | settings)
    words = training.tokenizer(base, config)
    long = " ".join(f"number{count}" for count in range(200))
    chat = [
        {"role": "user", "content": long},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "And?"},
    ]
    encoder = demonstrations.Encoder(words, config, kind == "tiny_mt5")
    columns = encoder.columns([{"prompt": chat, "response": long}, {"prompt": "Hi", "response": "Yes."}])
    assert (encoder.counts.rows, encoder.counts.cut_prompts, encoder.counts.cut_responses) == (2, 1, 1)
    labels = [token for token in columns["labels"][0] if token != -100]
    read = columns["input_ids"][0] if kind == "tiny_mt5" else columns["input_ids"][0][: -len(labels)]
    assert len(labels) <= 12 and len(labels) >= 10 and encoder.ends.intersection(labels[-1:])
    assert 90 <= len(read) <= 96
    text = words.decode(read)
    assert "in English" in text and "Yes." in text and "And?" in text and "number0 number1" in text
    assert "number199" not in text
    (again,) = (
        chat_templates.as_encoded(words, [chat]) if kind == "tiny_mt5" else chat_templates.as_trained(words, [chat])
    )
    assert again == read, "every reader of the policy cuts it so"


def test_the_limit_is_in_the_files_of_the_tokenizer(tiny_base: Path, tmp_path: Path) -> None:
    words = loading.load_tokenizer(tiny_base)
    assert prompt_limits.of(words) is None
    prompt_limits.write(words, 20)
    words.save_pretrained(tmp_path)
    again = loading.load_tokenizer(tmp_path)
    assert prompt_limits.of(again) == 20
    (ids,) = chat_templates.as_trained(again, ["word " * 50])
    assert len(ids) <= 20 and again.decode(ids).endswith("<|assistant|>")
    with refused(DataError, prompt_limits.FIELD, 1):
        prompt_limits.shortened(again, chat_templates.messages("word"), 1)


def test_instructions_replace_each_other() -> None:
    german = instructions.text("dialog", ["de"])
    assert german == (
        "You are given a dialog between a human and an assistant in German. "
        "Please write one turn of the assistant side in German.\n\n"
    )
    assert instructions.text("summarization", ["de", "en"]) == "Summarize the following text in German or English:\n\n"
    written = instructions.instructed(loading.PLAIN, german)
    assert written != loading.PLAIN and instructions.instructed(written, german) == written
    assert instructions.instructed(written, None) == loading.PLAIN


# Order and validation


def test_even_mixing_takes_turns() -> None:
    """Sixteen of a, four of b: as many of both, b four times over, and each of a group before any comes again."""
    groups = ["en/a"] * 16 + ["en/b"] * 4
    order = demonstrations.order(groups, sft.Config(**SETTINGS | {"steps": 4}))
    assert len(order) == 32
    assert all(groups[first] != groups[second] for first, second in zip(order[::2], order[1::2], strict=True))
    a, b = ([place for place in order if groups[place] == name] for name in ("en/a", "en/b"))
    assert (
        sorted(a) == list(range(16))
        and [sorted(b[start : start + 4]) for start in (0, 4, 8, 12)] == [[16, 17, 18, 19]] * 4
    )
    as_is = demonstrations.order(groups, sft.Config(**SETTINGS | {"mixing": "as_is", "epochs": 2}))
    assert sorted(as_is[:20]) == sorted(as_is[20:]) == list(range(20)) and as_is[:20] != as_is[20:]


def test_a_sample_for_validation_is_even_over_groups() -> None:
    given = [{"language": "en", "subset": name, "id": number} for number, name in enumerate("aaaaaaaaaabbbbbbbbbbcc")]
    taken = [row["subset"] for row in demonstrations.sample(given, 12, 0)]
    assert {name: taken.count(name) for name in "abc"} == {"a": 5, "b": 5, "c": 2} and taken == sorted(taken)
    assert demonstrations.sample(given, None, 0) == given == demonstrations.sample(given, 22, 0)


def test_the_macro_average_counts_each_subset_once() -> None:
    assert training.macro_average([("en/a", 10.0), ("en/a", 30.0), ("en/a", 20.0), ("en/b", 50.0)]) == 35.0


# The stage


@pytest.mark.slow
def test_the_best_weights_by_rouge_are_kept(tiny_base: Path, corpora: Path, tmp_path: Path, monkeypatch) -> None:
    """ROUGE-L of the first evaluation is above the second's, so the weights are those after half of the steps."""
    values = iter([2.0, 1.0])
    monkeypatch.setattr(training, "macro_average", lambda scores: next(values))
    metrics, output = train(tiny_base, corpora, tmp_path / "best", steps=2, dropout=None)
    assert (metrics["heldout_rouge_l"], metrics["heldout_rows"], metrics["steps"]) == (2.0, 8, 2)
    points = [point for point in curve(output) if "heldout_rouge_l" in point]
    assert points == [{"step": 1, "heldout_rouge_l": 2.0}, {"step": 2, "heldout_rouge_l": 1.0}]
    _, half = train(tiny_base, corpora, tmp_path / "half", steps=1, dropout=None, validations=0, keep="last")
    kept, other = ((folder / "model.safetensors").read_bytes() for folder in (output, half))
    assert kept == other


@pytest.mark.slow
def test_a_pooled_policy_in_two_languages_and_its_files(tiny_base: Path, corpora: Path, tmp_path: Path) -> None:
    metrics, output = train(
        tiny_base,
        corpora,
        tmp_path,
        language="en+ko",
        epochs=1,
        instruction="summarization",
        validation_rows=8,
        validations=1,
    )
    assert metrics["steps"] == 6 and metrics["heldout_rows"] == 8
    words = loading.load_tokenizer(output)
    (ids,) = chat_templates.as_trained(words, ["Hello"])
    assert words.decode(ids) == "<|user|>Summarize the following text in English or Korean:\n\nHello<|assistant|>"
    assert json.loads((output / "config.json").read_text())["attention_dropout"] == 0.0, "that of the base"
    assert prompt_limits.of(words) == 64


def test_what_is_refused(tiny_base: Path, corpora: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "en" / demonstrations.FILE, rows(validation=0))
    with refused(ConfigError, "sft.keep", "best"):
        train(tiny_base, tmp_path, tmp_path / "work")
    with refused(ConfigError, "sft.max_prompt_length", 5048):
        train(tiny_base, corpora, tmp_path / "work", max_prompt_length=5024)
    path = tmp_path / "ko" / demonstrations.FILE
    write_jsonl(path, [row | {"split": "eval"} for row in rows()[:1]])
    with refused(DataError, f"{path}:1: split", "eval"):
        train(tiny_base, tmp_path, tmp_path / "work", language="ko")
    write_jsonl(path, [row | {"split": "validation"} for row in rows()[:1]])
    with refused(DataError, path):
        train(tiny_base, tmp_path, tmp_path / "work", language="ko")


# Killed, and several processes

RUN = """
import json, sys
from pathlib import Path
from xlrm.stages import sft
if __name__ == "__main__":
    config, base, corpora, output = sys.argv[1:]
    Path(output).mkdir(parents=True, exist_ok=True)
    sft.run(sft.Config(**json.loads(config)), base=Path(base), corpora=Path(corpora), output=Path(output))
"""


def start(base: Path, corpora: Path, work: Path, **changes: Any) -> subprocess.Popen:
    """Starts the stage in a process of its own."""
    arguments = [json.dumps(SETTINGS | changes), base, corpora, work / "output"]
    with work.with_suffix(".log").open("a") as log:
        return subprocess.Popen([sys.executable, "-c", RUN, *map(str, arguments)], stdout=log, stderr=log, cwd=ROOT)


def ended(process: subprocess.Popen, work: Path) -> None:
    """Asserts that a training ends well, or shows what it said last."""
    assert process.wait() == 0, work.with_suffix(".log").read_text()[-3000:]


@pytest.mark.slow
def test_a_killed_training_continues_with_the_best_weights_so_far(
    tiny_mt5: Path, corpora: Path, tmp_path: Path
) -> None:
    options = {"steps": 8, "save_steps": 1, "validations": 4, "validation_rows": 4}
    killed = start(tiny_mt5, corpora, tmp_path / "killed", **options)
    kill_after_a_checkpoint(killed, tmp_path / "killed")
    for name in ("killed", "whole"):
        ended(start(tiny_mt5, corpora, tmp_path / name, **options), tmp_path / name)
    log = (tmp_path / "killed.log").read_text()
    assert "sft[en]: continues from step" in log
    assert curve(tmp_path / "killed" / "output") == curve(tmp_path / "whole" / "output")
    first, second = ((tmp_path / name / "output" / "model.safetensors").read_bytes() for name in ("killed", "whole"))
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny_base", "tiny_mt5"])
def test_two_processes_are_as_one(kind: str, corpora: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Adafactor works by rows and columns of whole matrices, so each process has all of them."""
    base = request.getfixturevalue(kind)
    for count in (1, 2):
        options = {"steps": 3, "processes": count, "dropout": 0.0, "validation_rows": 5, "validations": 1}
        ended(start(base, corpora, tmp_path / str(count), **options), tmp_path / str(count))
    points = [curve(tmp_path / str(count) / "output") for count in (1, 2)]
    for one_process, two in zip(*points, strict=True):
        for name in {"loss", "gradient_norm", "heldout_rouge_l"}.intersection(one_process):
            assert two[name] == pytest.approx(one_process[name], rel=1e-5)
    weights = [load_file(tmp_path / str(count) / "output" / "model.safetensors") for count in (1, 2)]
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-5


@pytest.mark.parametrize(
    ("steps", "warmup", "line"),
    [
        (1, 0.1, "sft: 1 step(s), all of them warm-up: the learning rate is 0"),
        (5, 9, "sft: 5 step(s), all of them warm-up: the learning rate stays below 0.25"),
        (10, 0.1, ""),
        (1, 0, ""),
    ],
)
def test_a_warm_up_that_lasts_to_the_end_is_said(tmp_path, capsys, steps: int, warmup: float, line: str) -> None:
    """transformers rounds a share of the steps up, and the first step of a warm-up has the rate 0."""
    args = TrainingArguments(str(tmp_path), learning_rate=0.25, warmup_steps=warmup, use_cpu=True, report_to=[])
    progress.training_steps("sft").on_train_begin(args, TrainerState(max_steps=steps), TrainerControl())
    printed = capsys.readouterr().err
    assert line in printed and bool(printed) == bool(line)
