"""Small pretrained models as reward models and as policies: rewards, templates, texts and packed batches are those of plain
transformers, in float32 and within its rounding in bfloat16."""

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REAL_MODELS
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.trainer.utils import add_fused_lm_head

from benchmarks import families, pretrained
from benchmarks.families import TOLERANCE
from benchmarks.family_models import Asked
from xlrm.models.decoding import Decoding
from xlrm.models.packing import model as packing
from xlrm.models.transformers_engine import Model, Transformers
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring

pytestmark = pytest.mark.slow
GEMMA, QWEN, SMOL = REAL_MODELS
PROMPTS = ["The capital of France is Paris. The capital of Italy is", "Uno, dos, tres,", "한국의 수도는"]


@pytest.fixture(scope="module", params=REAL_MODELS)
def base(request: pytest.FixtureRequest, real_models: Path) -> Path:
    return real_models / request.param


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The reward model."""
    folder = tmp_path_factory.mktemp("pretrained")
    yield pretrained.reward_model(base, folder / base.name)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def scorer(trained: Path) -> engines.TransformersScorer:
    loaded = engines.load(trained, Scoring())
    assert isinstance(loaded, engines.TransformersScorer) and packing.enabled(loaded.network)
    return loaded


@cache
def plain(folder: Path, days: int, precision: str = "float32") -> list[float]:
    return pretrained.rewards(folder, pretrained.asked(days).chats, precision)


def days(folder: Path) -> int:
    """Only Gemma has a window, which the prompt of many sentences exceeds."""
    return pretrained.DAYS if folder.name == GEMMA else pretrained.FEW_DAYS


def test_rewards_in_float32(trained: Path, scorer: engines.TransformersScorer) -> None:
    chats = pretrained.asked(days(trained)).chats
    assert (max(map(len, scorer.encode(chats))) > 512) == (trained.name == GEMMA)
    expected = plain(trained, days(trained))
    assert np.ptp(expected) > 0.3
    assert scorer.score(chats) == pytest.approx(expected, abs=TOLERANCE)


def test_rewards_in_bfloat16_are_as_near_to_those_in_float32_as_plain_transformers(trained: Path) -> None:
    """No two ways to add up in bfloat16 agree better than each of them with float32."""
    if trained.name == QWEN:
        pytest.skip("half a billion parameters; the other two are enough")
    exact, rounded = (np.array(plain(trained, 0, kind)) for kind in ("float32", "bfloat16"))
    scored = engines.load(trained, Scoring(precision="bfloat16")).score(pretrained.asked(0).chats)
    ours, theirs = (np.sqrt(np.mean((each - exact) ** 2)) for each in (np.array(scored), rounded))
    print(f"{trained.name}: root mean square of the differences {ours:.3f}, plain transformers {theirs:.3f}")
    assert 0 < ours < 2 * theirs < exact.std()


@pytest.mark.parametrize("door", families.DOORS)
def test_rewards_at_every_door(trained: Path, door: str, tmp_path: Path) -> None:
    if trained.name != SMOL and (trained.name, door) != (GEMMA, "card"):
        pytest.skip(
            "only the smallest model goes through all; `python -m benchmarks.pretrained` takes each through all"
        )
    questions = pretrained.asked(0).questions
    asked = Asked(dict(list(questions.items())[: 1 if door == "card" else None]))  # it loads the model for each chat
    expected = plain(trained, 0)[: len(asked.chats)]
    assert families.DOORS[door](trained, tmp_path, asked) == pytest.approx(expected, abs=TOLERANCE)
    shutil.rmtree(tmp_path)


TEXTS = {
    GEMMA: "<bos><start_of_turn>user\n한국?<end_of_turn>\n<start_of_turn>model\n`서울`<end_of_turn>\n",
    QWEN: (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n한국?<|im_end|>\n<|im_start|>assistant\n`서울`<|im_end|>\n"
    ),
    SMOL: (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\n한국?<|im_end|>\n<|im_start|>assistant\n`서울`<|im_end|>\n"
    ),
}


def test_the_conversation_that_a_model_reads_is_that_of_its_publisher(
    trained: Path, scorer: engines.TransformersScorer
) -> None:
    messages = [{"role": "user", "content": "한국?"}, {"role": "assistant", "content": "`서울`"}]
    (ids,) = scorer.encode([messages])
    words = AutoTokenizer.from_pretrained(trained)
    assert words.decode(ids, clean_up_tokenization_spaces=False) == TEXTS[trained.name]
    marks = [id_ for id_ in ids if id_ in words.added_tokens_decoder and "<" in words.decode([id_])]
    assert len(marks) == (5 if trained.name == GEMMA else 6), "each mark is one token, and written once"


@torch.inference_mode()
def test_texts_of_a_batch(base: Path) -> None:
    """In float32 they are those of one prompt at a time; in bfloat16 each token is one of the likeliest."""
    engine, rounding = (Transformers(Model(str(base)), 3, precision=name) for name in ("float32", "bfloat16"))
    found, rounded = (each.complete(PROMPTS, 1, Decoding(max_new_tokens=8)) for each in (engine, rounding))
    words, model = AutoTokenizer.from_pretrained(base), engine.network
    for ids, (exact,), (near,) in zip(engine.encode(PROMPTS), found, rounded, strict=True):
        told = torch.tensor([ids])
        written = model.generate(told, attention_mask=torch.ones_like(told), max_new_tokens=8, do_sample=False)
        assert exact.text == words.decode(written[0, len(ids) :], skip_special_tokens=True) != ""
        tokens = words(near.text, add_special_tokens=False)["input_ids"]
        scores = model(torch.tensor([ids + tokens])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
        lost = scores.max(-1).values - scores.gather(1, torch.tensor(tokens)[:, None])[:, 0]
        assert lost.max() < 0.3, near.text


def _packed_and_padded(model: Any, inputs: dict, answer: str) -> None:
    """Compares answers, and the gradients of the first layer's queries and the last layer's norm."""
    model.requires_grad_(False)
    layers = model.base_model.layers
    learned = [layers[0].self_attn.q_proj.weight, layers[-1].post_attention_layernorm.weight]
    for weight in learned:
        weight.requires_grad_(True)
    seen = []
    for packed in (False, True):
        assert packed is False or packing.enable(model)
        found = getattr(model(**inputs), answer)
        found.sum().backward()
        seen.append((found.detach(), [weight.grad.clone() for weight in learned]))
        model.zero_grad()
    (expected, gradients), (found, packed_gradients) = seen
    assert expected.std() > 0.1 and (found - expected).abs().max() < 2e-5 * max(1, expected.abs().max())
    for mine, theirs in zip(packed_gradients, gradients, strict=True):
        assert (mine - theirs).abs().max() < 1e-4 * theirs.abs().max()


def _padded(words: Any, chats: list) -> dict:
    texts = words.apply_chat_template(chats, tokenize=False)
    words.padding_side = "right"
    words.pad_token = words.pad_token or words.eos_token
    return dict(words(texts, return_tensors="pt", padding=True, add_special_tokens=False))


def test_packed_batches_of_a_reward_model(trained: Path) -> None:
    words = AutoTokenizer.from_pretrained(trained)
    model = AutoModelForSequenceClassification.from_pretrained(trained, dtype=torch.float32)
    _packed_and_padded(model, _padded(words, pretrained.asked(0).chats[:4]), "logits")


def test_packed_batches_of_a_policy(base: Path) -> None:
    """Log-probabilities of the tokens of which there are labels, as training by preferences computes them."""
    if base.name == QWEN:
        pytest.skip("its family's packed batches are those of the reward model")
    words, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    inputs = _padded(words, pretrained.asked(0).chats[:4])
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    add_fused_lm_head(model, outputs=("log_probs",))
    _packed_and_padded(model, inputs | {"labels": labels, "fused_lm_head": True}, "log_probs")
