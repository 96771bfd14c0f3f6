"""Folders of models as others publish them, or as a copy leaves them: their rewards are those of plain transformers, or
they are refused in one line that names the file or weight."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from refusals import refused
from safetensors.torch import load_file, save_file
from test_families import score
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from benchmarks.families import TOLERANCE
from benchmarks.family_models import FAMILIES, SMALL, TURNS, Model, build, plain
from xlrm.errors import ArtifactError
from xlrm.models import generation, loading

LLAMA = Model("llama")


def edited(folder: Path, name: str, **changes: object) -> None:
    """`...` removes a field."""
    fields = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps({key: value for key, value in fields.items() if value is not ...}))


def renamed(folder: Path, before: str, after: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[after] = tensors.pop(before)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def adapter(folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2)).save_pretrained(folder)


def adapter_alone(folder: Path) -> None:
    adapter(folder)
    (folder / "config.json").unlink()


def quantized(method: str) -> Callable[[Path], None]:
    return lambda folder: edited(folder, "config.json", quantization_config={"quant_method": method, "bits": 4})


def with_a_bias(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors") | {"score.bias": torch.ones(1)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def a_causal_model(folder: Path) -> None:
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)


def that_also_reads_images(family: str) -> Callable[[Path], None]:
    return lambda folder: AutoConfig.for_model(family, num_labels=1).save_pretrained(folder)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n"
WRONG: dict[str, tuple[Callable[[Path], object], str, object]] = {
    # what is wrong: (change of the folder, where in it, value)
    "an adapter without its base": (adapter_alone, "/adapter_config.json", None),
    "an adapter beside a model": (adapter, "/adapter_config.json", None),
    "quantized for a library that is not there": (quantized("gptq"), "", None),
    "quantized for another one": (quantized("awq"), "", None),
    "two labels by default": (
        lambda folder: edited(folder, "config.json", id2label=..., label2id=...), "/config.json: num_labels", 2
    ),
    "a wider layer": (
        lambda folder: edited(folder, "config.json", intermediate_size=64), ": model.layers.0.mlp.down_proj.weight", [32, 48]
    ),
    "one layer less": (
        lambda folder: edited(folder, "config.json", num_hidden_layers=1), ": model.layers.1.input_layernorm.weight", None
    ),
    "one layer more": (lambda folder: edited(folder, "config.json", num_hidden_layers=3), "", None),
    "a head with a bias": (with_a_bias, ": score.bias", None),
    "a head of another name": (lambda folder: renamed(folder, "score.weight", "v_head.summary.weight"), "", None),
    "no reward model": (a_causal_model, "", None),
    "Qwen2.5-VL": (that_also_reads_images("qwen2_5_vl"), "", None),
    "Mistral 3": (that_also_reads_images("mistral3"), "", None),
    "code of its own": (
        lambda folder: edited(folder, "config.json", model_type="internlm9", auto_map={"AutoModel": "m.M"}), "", None
    ),
    "a config that is a list": (lambda folder: (folder / "config.json").write_text("[]"), "", None),
    "positions of a kind that does not exist": (
        lambda folder: edited(folder, "config.json", rope_parameters={"rope_type": "new"}), "", None
    ),
    "a tokenizer without its parts": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "", None),
    "a tokenizer that was not downloaded": (lambda folder: (folder / "tokenizer.json").write_text(POINTER), "", None),
    "weights that were not downloaded": (lambda folder: (folder / "model.safetensors").write_text(POINTER), "", None),
    "a template in another encoding": (lambda folder: (folder / "chat_template.jinja").write_bytes(b"\xe9"), "", None),
    "a template of an image processor": (
        lambda folder: (folder / "chat_template.jinja").rename(folder / "chat_template.json"), "", None
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_folder_is_one_line(tmp_path, name: str) -> None:
    change, place, value = WRONG[name]
    change(build(tmp_path, LLAMA))
    with refused(ArtifactError, f"{tmp_path}{place}", value):
        score(tmp_path)


@pytest.mark.parametrize("cut", [0, 100])
def test_one_of_several_files_that_is_missing_or_incomplete_is_one_line(tmp_path, cut: int) -> None:
    build(tmp_path, Model("llama", dtype="bfloat16"))
    file = sorted(tmp_path.glob("*.safetensors"))[1]
    file.write_bytes(file.read_bytes()[:-cut]) if cut else file.unlink()
    with refused(ArtifactError, tmp_path):
        score(tmp_path)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}<|{{ m.role }}|>{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
        "{% endif %}{% endfor %}<|end|>{% endfor %}",
        "{% for m in messages if m.role == 'user' %}<|user|>{{ m.content }}<|end|>{% endfor %}",
        "{% for m in messages if m.role == 'assistant' %}<|assistant|>{{ m.content }}<|end|>{% endfor %}",
    ],
    ids=["parts", "no answer", "no question"],
)
def test_a_template_that_leaves_out_texts_is_refused(tmp_path, template: str) -> None:
    """With it, all responses to a prompt would have the same reward, and a model would be trained on nothing."""
    build(tmp_path, Model("llama", template=template))
    for load in (score, loading.load_tokenizer):
        with refused(ArtifactError, tmp_path):
            load(tmp_path)


def named_in_one_file(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "{{ 1 / 0 }}"}, {"name": "default", "template": TURNS}]
    edited(folder, "tokenizer_config.json", chat_template=named)


def named_in_a_folder(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("{{ 1 / 0 }}")


def in_two_places(folder: Path) -> None:
    edited(folder, "tokenizer_config.json", chat_template="{{ 1 / 0 }}")


def without_names_of_labels(folder: Path) -> None:
    edited(folder, "config.json", id2label=..., label2id=..., num_labels=1)


def of_an_old_llama(folder: Path) -> None:
    edited(folder, "config.json", pad_token_id=-1)
    edited(folder, "tokenizer_config.json", pad_token=...)


RIGHT = {
    change.__name__: change
    for change in (named_in_one_file, named_in_a_folder, in_two_places, without_names_of_labels, of_an_old_llama)
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_rewards_of_a_folder_of_another_form(tmp_path, family: str, name: str) -> None:
    RIGHT[name](build(tmp_path, FAMILIES[family]))
    assert score(tmp_path) == pytest.approx(plain(tmp_path), abs=TOLERANCE)


@pytest.mark.parametrize("pad", ["</s>", "<pad>"])
@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_a_tokenizer_that_adds_an_eos(tmp_path, family: str, pad: str) -> None:
    """The reward is read there, unless it is the pad token."""
    changes = SMALL | {"pad_token_id": 2 if pad == "</s>" else 0}
    build(tmp_path, Model(family, changes, kind="encoder", tokens={"pad_token": pad}))
    assert score(tmp_path) == pytest.approx(plain(tmp_path), abs=TOLERANCE)


def test_a_base_model_that_is_no_model_is_one_line(tmp_path) -> None:
    build(tmp_path, LLAMA)
    words = loading.reward_tokenizer(tmp_path)
    edited(tmp_path, "config.json", intermediate_size=64)
    with refused(ArtifactError, tmp_path):
        loading.new_reward_model(tmp_path, words, seed=1)
    edited(tmp_path, "config.json", architectures=["LlamaForCausalLM"])
    quantized("gptq")(tmp_path)
    judge = generation.Transformers(generation.Model(str(tmp_path)))
    for load in (lambda: loading.new_reward_model(tmp_path, words, seed=1), lambda: loading.load_causal_lm(tmp_path)):
        with refused(ArtifactError, tmp_path):
            load()
    with refused(ArtifactError, tmp_path):
        judge.network  # noqa: B018


def test_a_classifier_of_two_labels_is_a_base_like_any_other(tmp_path) -> None:
    build(tmp_path / "base", Model("llama", SMALL | {"num_labels": 2}))
    words = loading.reward_tokenizer(tmp_path / "base")
    loading.new_reward_model(tmp_path / "base", words, seed=1).save_pretrained(tmp_path / "made")
    words.save_pretrained(tmp_path / "made")
    shutil.rmtree(tmp_path / "base")
    assert score(tmp_path / "made") == pytest.approx(plain(tmp_path / "made"), abs=TOLERANCE)
