"""Packed batches: what models compute of them is what they compute of padded ones, forward and backward."""

import itertools
import json
import math
import random

import pytest
import torch
import transformers
from trl.trainer.utils import add_fused_lm_head

from xlrm.models.packing import model as packing
from xlrm.models.packing import sharing
from xlrm.models.packing.attention import Attention
from xlrm.models.packing.layout import lay_out
from xlrm.models.packing.sharing import shared_beginnings

SIZES = {
    "vocab_size": 200, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "num_labels": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SCORE, CAUSAL, BARE = (
    getattr(transformers, name) for name in ("AutoModelForSequenceClassification", "AutoModelForCausalLM", "AutoModel")
)


def sequences(seed: int = 0) -> list[list[int]]:
    """Prompts with one, two or four responses, in random order; one response comes twice, one is another's beginning."""
    rng = random.Random(seed)
    found = []
    for responses in (1, 2, 4, 2, 1):
        prompt = [rng.randrange(3, 200) for _ in range(rng.randrange(5, 60))]
        found += [prompt + [rng.randrange(3, 200) for _ in range(rng.randrange(1, 70))] for _ in range(responses)]
    found += [found[0], found[2][:-3]]
    rng.shuffle(found)
    return found


def padded(many: list[list[int]]) -> dict[str, torch.Tensor]:
    longest = max(map(len, many))
    return {
        "input_ids": torch.tensor([one + [0] * (longest - len(one)) for one in many]),
        "attention_mask": torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in many]),
    }


def model(kind, family: str = "qwen2", **changes):
    torch.manual_seed(1)
    made = kind.from_config(transformers.AutoConfig.for_model(family, **SIZES | changes)).train()
    if kind is CAUSAL:
        add_fused_lm_head(made, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return made


def both(kind, family: str = "qwen2", **changes):
    """The same model, plain and packed."""
    plain = model(kind, family, **changes)
    packed = model(kind, family, **changes)
    assert packing.enable(packed) and packing.enabled(packed) and not packing.enabled(plain)
    return plain, packed


def asked(kind) -> dict:
    inputs = padded(sequences())
    if kind is CAUSAL:
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        for line, size in enumerate(inputs["attention_mask"].sum(1).tolist()):
            labels[line, : min(size - 1, 3 + line)] = -100
        labels[3] = -100  # a sequence with nothing to learn from
        inputs |= {"labels": labels, "fused_lm_head": True}
    return inputs


def answer(kind, found, mask: torch.Tensor) -> torch.Tensor:
    if kind is BARE:
        return found.last_hidden_state * mask[..., None]
    return found.logits if kind is SCORE else found.log_probs


@pytest.mark.parametrize("family", packing.FAMILIES)
@pytest.mark.parametrize("kind", [SCORE, CAUSAL, BARE], ids=["rewards", "likelihoods", "states"])
def test_answers_and_gradients_are_those_of_padded_batches(kind, family) -> None:
    plain, packed = both(kind, family)
    inputs = asked(kind)
    expected, found = (answer(kind, one(**inputs), inputs["attention_mask"]) for one in (plain, packed))
    assert found.shape == expected.shape and (found - expected).abs().max() < 1e-5
    weight = torch.randn_like(expected)
    for one in (expected, found):
        (one * weight).sum().backward()
    for (name, mine), theirs in zip(packed.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            assert (mine.grad - theirs.grad).abs().max() <= 1e-5 * theirs.grad.abs().max(), name


def test_what_trl_logs_of_labels_is_where_they_were() -> None:
    plain, packed = both(CAUSAL)
    expected, found = (one(**asked(CAUSAL)) for one in (plain, packed))
    assert torch.equal(found.label_mask, expected.label_mask) and torch.equal(found.is_top1, expected.is_top1)
    for name in ("entropy", "mean_logits"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=1e-5)


def test_gradient_checkpointing_computes_the_same() -> None:
    plain, packed = both(SCORE)
    packed.gradient_checkpointing_enable({"use_reentrant": False})
    for one in (plain, packed):
        one(**asked(SCORE)).logits.square().sum().backward()
    assert (
        packed.model.layers[-1].mlp.up_proj.weight.grad - plain.model.layers[-1].mlp.up_proj.weight.grad
    ).abs().max() < 1e-6
    assert (packed.model.embed_tokens.weight.grad - plain.model.embed_tokens.weight.grad).abs().max() < 1e-6


def test_hidden_states_of_every_layer_come_padded() -> None:
    plain, packed = both(BARE)
    inputs = asked(BARE)
    expected, found = (one(**inputs, output_hidden_states=True).hidden_states for one in (plain, packed))
    mask = inputs["attention_mask"][..., None]
    assert len(found) == len(expected) == 4
    assert all((mine - theirs * mask).abs().max() < 1e-5 for mine, theirs in zip(found, expected, strict=True))


def test_the_row_holds_no_padding_and_a_group_s_beginning_once() -> None:
    prompt = list(range(10, 30))
    many = [[*prompt, 5, 6], [7, 8, 9], [*prompt, 5, 7, 8], [*prompt, 5, 6]]
    layout = lay_out(many, None, None, 23, "cpu")
    assert layout.ids[0].tolist() == [7, 8, 9, *prompt, 5, 6, 6, 7, 8]
    assert layout.positions[0].tolist() == [0, 1, 2, *range(21), 21, 21, 21, 22]
    assert layout.taken(layout.ids[0]).tolist() == [token for one in many for token in one]


def test_the_last_layer_computes_only_what_is_read() -> None:
    _, packed = both(SCORE)
    seen = []
    packed.model.layers[-1].mlp.up_proj.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    packed.model.layers[0].mlp.up_proj.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    many = sequences()
    packed(**padded(many))
    tokens = len(lay_out(many, None, None, 200, "cpu").ids[0])
    assert seen == [tokens, len({tuple(one) for one in many})] and tokens < sum(map(len, many))


def test_sequences_share_their_beginning_where_that_saves_most() -> None:
    system, one, two = [3] * 9, [4] * 30, [5] * 30
    many = [system + one + [i] for i in (11, 12)] + [system + two + [i] for i in (11, 12, 13)] + [[1, 2, 3], [1, 2, 4]]
    groups = {tuple(sorted(places)): shared for places, shared in shared_beginnings(many)}
    assert groups == {(0, 1): 39, (2, 3, 4): 39, (5,): 0, (6,): 0}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("budget", [1, 100, 700])
def test_no_batch_has_more_tokens_than_allowed(packed, budget) -> None:
    many = sequences(3)
    batches = list(sharing.batches(many, budget, packed))
    assert sorted(place for batch in batches for place in batch) == list(range(len(many)))
    for batch in batches:
        together = [many[i] for i in batch]
        tokens = (
            len(lay_out(together, None, None, 200, "cpu").ids[0]) if packed else len(batch) * max(map(len, together))
        )
        assert tokens <= budget or len(batch) == 1
    if packed and budget == 700:
        assert len(batches) < len(list(sharing.batches(many, budget, packed=False)))


def test_other_passes_go_the_plain_way() -> None:
    plain, packed = both(CAUSAL)
    inputs = padded(sequences()[:3])
    left = {name: value.flip(1) for name, value in inputs.items()}
    for given in (inputs, left, inputs | {"use_cache": True}):
        assert torch.allclose(packed(**given).logits, plain(**given).logits, atol=1e-5)
    asked = {"input_ids": inputs["input_ids"][:1, :5], "max_new_tokens": 5, "do_sample": False}
    assert torch.equal(packed.generate(**asked), plain.generate(**asked))
    _, window = both(SCORE, "mistral", sliding_window=16)
    window.model.embed_tokens.register_forward_hook(lambda _, args, __: shapes.append(tuple(args[0].shape)))
    shapes: list[tuple] = []
    window(**inputs)
    assert shapes == [tuple(inputs["input_ids"].shape)], "longer than the window: padded"


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("gemma2", {}, "a family that is not known to pack"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "positions of type dynamic",
        ),
        ("llama", {"attention_dropout": 0.1}, "attention_dropout 0.1"),
    ],
)
def test_what_cannot_be_packed_is_left_as_it_is_and_said(family, changes, reason, capsys) -> None:
    made = model(SCORE, family, **changes)
    before = made(**padded(sequences())).logits
    assert not packing.enable(made) and reason in capsys.readouterr().err
    if not changes.get("attention_dropout"):
        assert torch.equal(made(**padded(sequences())).logits, before)


def test_the_choice_is_said_once_and_not_saved(tmp_path, capsys, monkeypatch) -> None:
    _, packed = both(SCORE)
    assert "qwen2: packed batches, attention by SDPA" in capsys.readouterr().err
    packed.save_pretrained(tmp_path)
    assert "xlrm" not in json.dumps(json.loads((tmp_path / "config.json").read_text()))
    monkeypatch.setenv("RANK", "1")
    both(SCORE)
    assert "engine" not in capsys.readouterr().err


def test_a_copy_of_a_padding_token_at_the_end_is_not_read() -> None:
    """Where padding is a token of texts as well, transformers reads the last one that is not it."""
    plain, packed = both(SCORE)
    many = [[5, 6, 7, 0], [8, 9, 0, 0, 3, 0], [0, 0]]
    assert torch.allclose(packed(**padded(many)).logits, plain(**padded(many)).logits, atol=1e-6)


def test_flash_attention_is_given_the_segments(monkeypatch) -> None:
    """Its kernel runs on GPUs only: here a few lines of PyTorch take its place, with its arguments and by its documentation."""
    given = []

    def varlen_attn(query, key, value, cu_q, cu_k, max_q, max_k, *, scale, window_size, enable_gqa):
        assert window_size == (-1, 0) and enable_gqa and cu_q.dtype == cu_k.dtype == torch.int32
        given.append((max_q, max_k))
        parts = []
        for (q0, k0), (q1, k1) in itertools.pairwise(zip(cu_q.tolist(), cu_k.tolist(), strict=True)):
            heads = query.shape[1] // key.shape[1]
            left = query[q0:q1].transpose(0, 1)
            right, values = (one[k0:k1].repeat_interleave(heads, 1).transpose(0, 1) for one in (key, value))
            weights = left @ right.transpose(1, 2) * scale
            unseen = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool).triu(k1 - k0 - (q1 - q0) + 1)
            parts.append((weights.masked_fill(unseen, -math.inf).softmax(-1) @ values).transpose(0, 1))
        return torch.cat(parts)

    from torch.nn.attention import varlen

    monkeypatch.setattr(varlen, "varlen_attn", varlen_attn)
    many = sequences()
    layout = lay_out(many, [(len(one) - 2, len(one)) for one in many], None, 200, "cpu")
    tokens = layout.ids.shape[1]
    query, key, value = (torch.randn(tokens, heads, 16) for heads in (4, 2, 2))
    for attention in (layout.inner, layout.last):
        assert isinstance(attention, Attention)
        expected = attention._sdpa(query, key, value, 0.25)
        assert torch.allclose(attention._flash(query, key, value, 0.25), expected, atol=1e-5)
    assert given[0][1] == max(map(len, many)) and given[1][0] == 2


def test_adapters_of_packed_models_learn_the_same() -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    answers = []
    for one in both(SCORE):
        torch.manual_seed(3)
        config = LoraConfig(TaskType.SEQ_CLS, r=4, target_modules="all-linear", init_lora_weights=False)
        adapted = get_peft_model(one, config)
        adapted(**padded(sequences())).logits.square().sum().backward()
        answers.append({name: weight.grad for name, weight in adapted.named_parameters() if weight.grad is not None})
    plain, packed = answers
    assert plain.keys() == packed.keys() and len(plain) > 30
    assert all((packed[name] - plain[name]).abs().max() <= 1e-5 * plain[name].abs().max() for name in plain)
