"""The options of scoring are the same in every command, fit together, and mean what transformers means by them."""

import importlib.metadata
import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch
import typer
from refusals import refused
from test_classifiers import tokenizer as classifiers_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, T5Config, T5ForSequenceClassification
from typer.testing import CliRunner

from xlrm.cli import app
from xlrm.errors import ArtifactError, ConfigError
from xlrm.evaluation import external_models
from xlrm.evaluation.external_models import Settings
from xlrm.models import chat_templates, loading, precisions, reward_models
from xlrm.scorers import engines, parallel
from xlrm.scorers.engines import TransformersScorer
from xlrm.scorers.interface import Scoring
from xlrm.store.fields import counted, sentences

COMMANDS = {
    "score": ["score", "--model", "/no/model", "--input", "{rows}", "--output", "{rows}.out"],
    "evaluate": ["evaluate", "--model", "/no/model", "--benchmark", "phrasebook", "--output", "{rows}.out"],
    "serve": ["serve", "/no/model"],
}
TEMPLATE = "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} {% endfor %}"
QUANTIZED = pytest.mark.skipif(not importlib.util.find_spec("bitsandbytes"), reason="bitsandbytes is not installed")


def parameters(command: str) -> dict[str, str | None]:
    """Name -> help of the command's options."""
    group = typer.main.get_command(app)
    return {parameter.name: getattr(parameter, "help", None) for parameter in group.commands[command].params}


@pytest.mark.parametrize(("command", "without"), [("score", set()), ("evaluate", set()), ("serve", {"processes"})])
def test_every_command_has_the_fields_of_scoring(command: str, without: set[str]) -> None:
    found = parameters(command)
    expected = Scoring.model_fields.keys() - without
    assert expected <= found.keys() and not without & found.keys()
    for name in expected:
        assert found[name] == f"{sentences(Scoring)[name]} (default: {Scoring.model_fields[name].default})"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--precision", "fp8"], "precision='fp8'"),
        (["--precision", "int8", "--engine", "vllm"], "precision='int8'"),
        (["--device", "cuda:0", "--engine", "vllm"], "device='cuda:0'"),
        (["--device", "tpu"], "device='tpu'"),
        (["--device", "cuda:99"], "device='cuda:99'"),
        (["--truncation-side", "middle"], "truncation_side='middle'"),
        (["--max-length", "1"], "max_length=1"),
        (["--batch-tokens", "1"], "batch_tokens=1"),
        (["--engine", "onnx"], "engine='onnx'"),
    ],
)
def test_what_cannot_work_is_one_line_before_a_model_is_looked_for(command, options, shown, tmp_path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "a", "response": "b"}) + "\n")
    arguments = [text.format(rows=rows) for text in COMMANDS[command]]
    result = CliRunner().invoke(app, [*arguments, *options])
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert shown in line and "/no/model" not in line
    assert list(tmp_path.iterdir()) == [rows]


@pytest.mark.parametrize(("items", "benchmark"), [(0, "phrasebook"), (-1, "phrasebook"), (5, "{rows}")])
def test_an_evaluation_has_at_least_one_item(items: int, benchmark: str, tmp_path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("")
    arguments = ["evaluate", "--model", "/no/model", "--benchmark", benchmark.format(rows=rows), "--items", str(items)]
    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "out")])
    assert result.exit_code == 2 and "/no/model" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {rows}: " if items == 5 else f"error: --items={items}: ")


@pytest.mark.parametrize("command", ["score", "evaluate"])
def test_an_output_that_is_taken_is_refused_first_and_left_as_it_is(command: str, tmp_path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "a", "response": "b"}) + "\n")
    taken = {"score": [tmp_path, Path("/dev/full")], "evaluate": [rows, Path("/dev/full")]}[command]
    for output in taken:
        before = output.stat()
        arguments = [text.format(rows=rows) for text in COMMANDS[command][:-1]]
        result = CliRunner().invoke(app, [*arguments, str(output)])
        assert result.exit_code == 2 and f"--output='{output}'" in result.stderr and "/no/model" not in result.stderr
        assert output.stat().st_mode == before.st_mode and output.stat().st_ino == before.st_ino


@pytest.mark.parametrize("how", [{"engine": "vllm", "processes": 2}, {"device": "cuda:0", "processes": 2}])
def test_processes_that_do_not_fit(how: dict) -> None:
    with pytest.raises(ValueError, match="processes"):
        Scoring(**how)


def test_no_more_processes_than_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert engines.processes(Scoring(device="cpu", processes=cores)) == cores
    with refused(ConfigError, "processes", cores + 1):
        engines.check_machine(Scoring(device="cpu", processes=cores + 1))


@pytest.mark.parametrize("precision", ["int8", "4bit"])
def test_a_library_that_is_missing(precision, tmp_path, monkeypatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(precisions.metadata, "version", missing)
    with refused(ConfigError, "precision", precision) as raised:
        engines.check(tmp_path, Scoring(precision=precision))
    assert "pip install" in raised.value.hint


@pytest.mark.parametrize(
    ("entry", "how", "field"),
    [
        ("gpt-4o", {"precision": "int8"}, "precision"),
        ("armorm", {"engine": "vllm"}, "engine"),
        ("armorm", {"processes": 2}, "processes"),
    ],
)
def test_what_a_model_from_elsewhere_cannot_do(entry: str, how: dict, field: str, tmp_path) -> None:
    with refused(ConfigError, field, how[field]):
        external_models.check_kind(reward_models.find(entry), Settings(models=(entry,), **how))


def test_what_counts_for_a_result() -> None:
    plain = counted(Scoring())
    assert counted(Scoring(device="cpu", processes=7, batch_tokens=999)) == plain
    for how in ({"precision": "int8"}, {"max_length": 99}, {"truncation_side": "right"}, {"engine": "vllm"}):
        assert counted(Scoring(**how)) != plain
    coarse = [counted(Scoring(precision="bfloat16", batch_tokens=tokens)) for tokens in (256, 512)]
    assert coarse[0] != coarse[1]
    settings = {"models": ("armorm",), "device": "cpu", "processes": 2}
    assert counted(Settings(**settings)) == counted(Settings(models=("armorm",)))


# Truncation


def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer of words that adds the special tokens of a family."""
    words = ["<s>", "</s>", "[CLS]", "[SEP]", "<unk>", "user", "assistant", ":", *map(str, range(100))]
    fast = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    around = {"llama": ("<s> $A", ["<s>"]), "bert": ("[CLS] $A [SEP]", ["[CLS]", "[SEP]"]), "t5": ("$A </s>", ["</s>"])}
    if kind in around:
        single, special = around[kind]
        fast.post_processor = TemplateProcessing(
            single=single, special_tokens=[(token, words.index(token)) for token in special]
        )
    names = {"llama": {"bos_token": "<s>"}, "t5": {"eos_token": "</s>"}}
    names["bert"] = {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    found = PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="<unk>", **names.get(kind, {}))
    found.chat_template = TEMPLATE
    return found


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["plain", "llama", "bert", "t5"])
def test_a_cut_conversation_is_what_transformers_makes_of_it(kind: str, side) -> None:
    tokens = tokenizer(kind)
    chats = [chat_templates.conversation(" ".join(map(str, range(n))), "7 8 9") for n in (1, 30, 31, 32, 33, 60)]
    texts = [tokens.apply_chat_template(chat, tokenize=False) for chat in chats]
    whole = [tokens(text)["input_ids"] for text in texts]
    tokens.truncation_side = side
    expected = [tokens(text, truncation=True, max_length=40)["input_ids"] for text in texts]
    found = list(chat_templates.encode_texts(tokens, texts, 40, side))
    assert [ids for ids, _ in found] == expected
    assert [cut for _, cut in found] == [len(ids) > 40 for ids in whole]
    assert len({cut for _, cut in found}) == 2


def test_a_doubled_bos_is_one_token_when_the_end_is_cut() -> None:
    tokens = tokenizer("llama")
    tokens.chat_template = "<s> " + TEMPLATE
    (text,) = [tokens.apply_chat_template(chat_templates.conversation("1 2 3 4 5", "6"), tokenize=False)]
    ((ids, cut),) = chat_templates.encode_texts(tokens, [text], 5, "right")
    assert cut and tokens.convert_ids_to_tokens(ids) == ["<s>", "user", ":", "1", "2"]


@pytest.fixture
def model(tiny_base, tmp_path) -> Path:
    folder = tmp_path / "model"
    tokens = loading.load_tokenizer(tiny_base)
    loading.new_reward_model(tiny_base, tokens, seed=3).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("side", ["left", "right"])
def test_score_and_evaluate_say_how_many_were_cut(model, tmp_path, side: str) -> None:
    texts = ["Three.", "One plus two is three. " * 9, "Three, I hope this helps. " * 9]
    rows = [{"prompt": "How much is one plus two?", "response": text} for text in texts]
    pairs = [{"prompt": row["prompt"], "chosen": row["response"], "rejected": texts[0]} for row in rows[1:]]
    for name, content in (("rows", rows), ("pairs", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    options = ["--max-length", "32", "--truncation-side", side]
    arguments = ["score", "--model", model, "--input", tmp_path / "rows.jsonl", "--output", tmp_path / "out.jsonl"]
    result = CliRunner().invoke(app, [*map(str, arguments), *options])
    assert result.exit_code == 0, result.output
    assert "2 of 3 conversations are longer than 32 tokens" in result.stderr
    expected = by_transformers(model, [chat_templates.conversation(**row) for row in rows], side)
    rewards = [json.loads(line)["reward"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rewards == pytest.approx(expected, abs=1e-5)
    arguments = ["evaluate", "--model", model, "--benchmark", tmp_path / "pairs.jsonl", "--output", tmp_path / "out"]
    result = CliRunner().invoke(app, [*map(str, arguments), *options])
    assert result.exit_code == 0, result.output
    assert json.loads(next((tmp_path / "out").glob("*/results.json")).read_text())["cut"] == 2


def by_transformers(folder: Path, chats: list[list[dict]], side: str) -> list[float]:
    """Rewards of conversations one at a time, cut to 32 tokens by the tokenizer, which adds no special tokens."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder, truncation_side=side)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = [tokens.apply_chat_template(chat, tokenize=False) for chat in chats]
    with torch.inference_mode():
        encoded = [tokens(text, truncation=True, max_length=32, return_tensors="pt")["input_ids"] for text in texts]
        return [float(network(ids).logits[0, 0]) for ids in encoded]


# Precision


def test_weights_are_in_the_precision(model) -> None:
    assert {p.dtype for p in loading.load_reward_model(model, "bfloat16").parameters()} == {torch.bfloat16}
    assert {p.dtype for p in loading.load_reward_model(model, "float32").parameters()} == {torch.float32}


@QUANTIZED
@pytest.mark.parametrize(("precision", "share"), [("int8", 0.2), ("4bit", 1.0)])
def test_quantized_rewards_are_near_those_of_float32(tmp_path, precision, share: float) -> None:
    """By less than this share of their spread; the head is not quantized."""
    from types import SimpleNamespace

    from benchmarks import workload

    workload.save_model(tmp_path, SimpleNamespace(hidden=512, layers=2))
    chats = workload.conversations(workload.pairs(4))
    expected = engines.load(tmp_path, Scoring()).score(chats)
    scorer = engines.load(tmp_path, Scoring(precision=precision))
    assert isinstance(scorer, TransformersScorer)
    rewards = scorer.score(chats)
    apart = max(abs(a - b) for a, b in zip(rewards, expected, strict=True)) / (max(expected) - min(expected))
    print(f"{precision}: {apart:.3f} of the spread")
    assert 0 < apart < share
    assert loading.score_head(scorer.network).weight.dtype == torch.bfloat16
    layers = [module.weight.element_size() for name, module in scorer.network.named_modules() if name.endswith("_proj")]
    assert set(layers) == {1} and len(layers) == 14


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_model_refuses_is_one_line(processes: int, tmp_path) -> None:
    """T5 reads its reward from an EOS, which a text that is cut at its end has lost."""
    tokens = classifiers_tokenizer(tmp_path / "t5")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "num_labels": 1}
    ends = {"pad_token_id": 4, "eos_token_id": 3, "decoder_start_token_id": 4}
    network = T5ForSequenceClassification(T5Config(vocab_size=len(tokens), **sizes, **ends)).eval()
    network.save_pretrained(tmp_path / "t5")
    chat = chat_templates.conversation("How far is the moon?", "About 384,400 km.")
    ids = tokens.apply_chat_template(chat, return_dict=False)
    assert ids.count(3) == 2 and 3 not in ids[:16]
    with pytest.raises(ValueError, match="eos"):
        network(torch.tensor([ids[:16]]))  # plain transformers refuses it as well
    how = Scoring(max_length=16, truncation_side="right", device="cpu", processes=processes)
    scorer = parallel.load(tmp_path / "t5", how)
    with pytest.raises(ArtifactError) as raised:
        scorer.score([chat])
    assert raised.value.where.endswith("t5") and "eos" in raised.value.message and "\n" not in str(raised.value)
