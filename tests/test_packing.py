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


FAMILIES = {
    **{name: (name, {}) for name in packing.FAMILIES if name not in ("gemma2", "gemma3")},
    "gemma2": ("gemma2", {"attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 16, "sliding_window": 40}),
    "gemma2, no soft caps": ("gemma2", {"attn_logit_softcapping": None, "query_pre_attn_scalar": 16}),
    "gemma3": ("gemma3", {"sliding_window": 40}),
    "gemma3_text, last layer slides": ("gemma3_text", {"sliding_window": 40, "sliding_window_pattern": 2}),
    **{f"gemma3_text, window {width}": ("gemma3_text", {"sliding_window": width, "sliding_window_pattern": 3})
       for width in (1, 2, 25, 64, 129)},
    **{f"mistral, window {width}": ("mistral", {"sliding_window": width}) for width in (1, 7, 40)},
    "qwen2, window": ("qwen2", {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}),
    "qwen3, window": ("qwen3", {"use_sliding_window": True, "sliding_window": 25, "max_window_layers": 2}),
}  # fmt: skip
"""Name -> (family, changes of the config). The sequences have up to 129 tokens."""
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
          "patch_size": 14}  # fmt: skip


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


def config(family: str, **given):
    if family != "gemma3":
        return transformers.AutoConfig.for_model(family, **given)
    return transformers.Gemma3Config(
        text_config=given, vision_config=VISION, num_labels=1, mm_tokens_per_image=4, image_token_index=199
    )


def model(kind, family: str = "qwen2", **changes):
    torch.manual_seed(1)
    made = kind.from_config(config(family, **SIZES | changes)).train()
    for weight in made.parameters():
        if weight.ndim == 2:  # as large as is needed for scores that a soft cap and positions change
            torch.nn.init.normal_(weight, std=0.15)
    if kind is CAUSAL:
        add_fused_lm_head(made, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return made


def both(kind, family: str = "qwen2", changes: dict | None = None):
    """The same model, plain and packed."""
    plain, packed = (model(kind, family, **changes or {}) for _ in range(2))
    if getattr(plain.config.get_text_config(), "attn_logit_softcapping", None):
        plain.set_attn_implementation("eager")  # which alone computes them
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


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", [SCORE, CAUSAL, BARE], ids=["rewards", "likelihoods", "states"])
def test_answers_and_gradients_are_those_of_padded_batches(kind, name) -> None:
    plain, packed = both(kind, *FAMILIES[name])
    inputs = asked(kind)
    expected, found = (answer(kind, one(**inputs), inputs["attention_mask"]) for one in (plain, packed))
    assert found.shape == expected.shape and (found - expected).abs().max() < 1e-5
    weight = torch.randn_like(expected)
    for one in (expected, found):
        (one * weight).sum().backward()
    assert_same_gradients(packed, plain)


def assert_same_gradients(packed, plain) -> None:
    learned = [weight.grad for weight in plain.parameters() if weight.grad is not None]
    largest = max(gradient.abs().max() for gradient in learned)
    assert len(learned) > 20
    for (name, mine), theirs in zip(packed.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:  # that of queries is zero where a window has one token
            allowed = 1e-5 * theirs.grad.abs().max() + 5e-7 * largest
            assert (mine.grad - theirs.grad).abs().max() <= allowed, name


def test_what_trl_logs_of_labels_is_where_they_were() -> None:
    plain, packed = both(CAUSAL)
    expected, found = (one(**asked(CAUSAL)) for one in (plain, packed))
    assert torch.equal(found.label_mask, expected.label_mask) and torch.equal(found.is_top1, expected.is_top1)
    for name in ("entropy", "mean_logits"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=1e-5)


@pytest.mark.parametrize("name", ["qwen2", "gemma2", "gemma3", "gemma3_text, window 25"])
def test_gradient_checkpointing_computes_the_same(name) -> None:
    plain, packed = both(SCORE, *FAMILIES[name])
    packed.gradient_checkpointing_enable({"use_reentrant": False})
    for one in (plain, packed):
        one(**asked(SCORE)).logits.square().sum().backward()
    assert_same_gradients(packed, plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_reward_of_a_sequence_does_not_depend_on_its_batch(name) -> None:
    """Nor on what it shares with others."""
    plain, packed = both(SCORE, *FAMILIES[name])
    many = sequences(5)
    with torch.no_grad():
        alone = torch.cat([plain(torch.tensor([one])).logits for one in many])
        assert alone.std() > 0.1
        for together in (many, many[:4], many[::-1]):
            found = packed(**padded(together)).logits
            expected = alone if together is many else alone[:4] if len(together) == 4 else alone.flip(0)
            assert (found - expected).abs().max() < 1e-5 * max(1, alone.abs().max())


@pytest.mark.parametrize("size", [24, 25, 26, 49, 50, 51, 75, 76])
@pytest.mark.parametrize("shared", [0, 20, 24, 25, 26, 40])
def test_the_edges_of_a_window(size: int, shared: int) -> None:
    """Sequences as long as one, two and three windows, and shared beginnings that end at the edge of one."""
    rng = random.Random(size)
    begin = [rng.randrange(3, 200) for _ in range(min(shared, size - 1))]
    many = [begin + [rng.randrange(3, 200) for _ in range(size - len(begin))] for _ in range(3)]
    for name in ("gemma3_text, window 25", "gemma2, window 25"):
        family, changes = FAMILIES[name.replace("gemma2, window 25", "gemma2")]
        plain, packed = both(SCORE, family, changes | {"sliding_window": 25})
        expected, found = (one(**padded(many)).logits for one in (plain, packed))
        assert (found - expected).abs().max() < 1e-5 * max(1, expected.abs().max()), name
        for one in (expected, found):
            one.square().sum().backward()
        assert_same_gradients(packed, plain)


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


@pytest.mark.parametrize("name", ["qwen2", "gemma2", "gemma3", "mistral, window 7"])
def test_other_passes_go_the_plain_way(name) -> None:
    plain, packed = both(CAUSAL, *FAMILIES[name])
    inputs = padded(sequences()[:3])
    left = {name: value.flip(1) for name, value in inputs.items()}
    for given in (inputs, left, inputs | {"use_cache": True}):
        real = given["attention_mask"].bool()
        assert torch.allclose(packed(**given).logits[real], plain(**given).logits[real], atol=1e-5)
    asked = {"input_ids": inputs["input_ids"][:1, :5], "max_new_tokens": 5, "do_sample": False}
    assert torch.equal(packed.generate(**asked), plain.generate(**asked))


def test_a_window_is_computed_in_parts() -> None:
    """So that work grows with the sequence, not with its square."""
    layout = lay_out([list(range(3, 103))], None, None, 100, "cpu")
    narrow = layout.inner.within(30)
    assert [(len(asked), len(seen)) for asked, seen in narrow.segments] == [(30, 30), (30, 59), (30, 59), (10, 39)]
    assert layout.inner.within(30) is narrow
    assert layout.inner.within(100) is layout.inner is layout.inner.within(None)


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("phi3", {}, "a family that is not known to pack"),
        (
            "gemma3_text",
            {"rope_parameters": {"full_attention": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}},
            "positions of type dynamic",
        ),
        ("gemma3_text", {"use_bidirectional_attention": True}, "attention to later tokens"),
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
        assert window_size[1] == 0 and enable_gqa and cu_q.dtype == cu_k.dtype == torch.int32
        given.append((max_q, max_k, window_size[0]))
        parts = []
        for (q0, k0), (q1, k1) in itertools.pairwise(zip(cu_q.tolist(), cu_k.tolist(), strict=True)):
            heads = query.shape[1] // key.shape[1]
            left = query[q0:q1].transpose(0, 1)
            right, values = (one[k0:k1].repeat_interleave(heads, 1).transpose(0, 1) for one in (key, value))
            weights = left @ right.transpose(1, 2) * scale
            ahead = k1 - k0 - (q1 - q0)
            unseen = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool).triu(ahead + 1)
            if window_size[0] >= 0:
                unseen |= torch.ones(q1 - q0, k1 - k0, dtype=torch.bool).tril(ahead - window_size[0] - 1)
            parts.append((weights.masked_fill(unseen, -math.inf).softmax(-1) @ values).transpose(0, 1))
        return torch.cat(parts)

    from torch.nn.attention import varlen

    monkeypatch.setattr(varlen, "varlen_attn", varlen_attn)
    many = sequences()
    layout = lay_out(many, [(len(one) - 2, len(one)) for one in many], None, 200, "cpu")
    tokens = layout.ids.shape[1]
    query, key, value = (torch.randn(tokens, heads, 16) for heads in (4, 2, 2))
    for attention in (layout.inner, layout.last, layout.inner.within(30), layout.last.within(30)):
        assert isinstance(attention, Attention)
        expected = attention._by_buckets(query, key, value, 0.25)
        assert torch.allclose(attention._flash(query, key, value, 0.25), expected, atol=1e-5)
    longest = max(map(len, many))
    assert [one[1:] for one in given] == [(longest, -1), (longest, -1), (59, 29), (31, 29)] and given[1][0] == 2


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
