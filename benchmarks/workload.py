"""Rows and models that the speed benchmarks share.

The rows are as long as 60 RewardBench pairs (every 25th of 1,528), in tokens of a byte-level BPE with 1,024 tokens.
Their text is synthetic: each word is one token, drawn at random, so that every contestant's tokeniser finds exactly
these lengths, plus four tokens for the marks of the turns. The model has the architecture and proportions of Qwen2.5-3B
(an MLP of 11,008 for hidden states of 2,048), or those of Gemma 3 270M or Gemma 2 2B, and weights drawn from a seed. Or it
is a real one, with its own tokenizer (`--model`), whose texts consist of words that are one token each.
"""

import argparse
import itertools
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

# fmt: off
LENGTHS = (
    (74, 37, 34), (70, 892, 534), (148, 74, 618), (44, 22, 28), (26, 12, 24), (25, 62, 206), (19, 126, 316), (12, 646,
    833), (149, 72, 1141), (306, 194, 613), (20, 101, 952), (27, 385, 778), (90, 47, 1070), (16, 429, 181), (14, 411,
    353), (22, 330, 399), (17, 409, 415), (14, 239, 423), (16, 17, 79), (14, 198, 219), (16, 441, 172), (15, 335, 105),
    (120, 60, 63), (78, 146, 146), (111, 98, 98), (148, 90, 88), (119, 96, 96), (377, 192, 158), (360, 117, 133), (94,
    131, 131), (54, 302, 293), (201, 105, 105), (261, 146, 146), (235, 156, 161), (103, 51, 55), (129, 136, 136), (66,
    48, 48), (114, 49, 49), (291, 104, 104), (214, 69, 69), (336, 218, 218), (272, 325, 313), (184, 163, 148), (89, 37,
    37), (107, 22, 20), (65, 39, 39), (252, 77, 78), (138, 52, 57), (294, 85, 91), (130, 147, 133), (66, 73, 66), (129,
    85, 65), (137, 119, 137), (104, 153, 143), (161, 197, 108), (163, 122, 87), (85, 86, 81), (58, 115, 103), (122, 145,
    180), (65, 83, 41),
)
"""Tokens of (prompt, chosen, rejected)."""
# fmt: on
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MARKS = ("<|user|>", "<|assistant|>", "<|end|>", "<|pad|>")
_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvz", "aeiou"
WORDS = [a + v + b for a in _CONSONANTS for v in _VOWELS for b in _CONSONANTS]
Row = dict[str, Any]
"""prompt: a text; responses: texts, which are chosen and rejected in a pair."""


def lengths(count: int) -> list[tuple[int, int, int]]:
    """`count` of the lengths at equal distances; repeated if there are not that many."""
    return [LENGTHS[i * len(LENGTHS) // count if count < len(LENGTHS) else i % len(LENGTHS)] for i in range(count)]


def pairs(count: int, seed: int = 0) -> list[Row]:
    rng = random.Random(seed)
    return [_row(rng, prompt, responses) for prompt, *responses in lengths(count)]


def of_options(rows: list[Row], options: argparse.Namespace) -> list[Row]:
    """The rows in words of the model's tokenizer (`--model`), and the last row's chosen response as long as `--long`."""
    given = vars(options)
    if given.get("long"):
        *others, last = rows
        chosen, *rest = last["responses"]
        words = chosen.split() * (1 + given["long"] // max(1, len(chosen.split())))
        rows = [*others, last | {"responses": [" ".join(words[: given["long"]]), *rest]}]
    if not given.get("model"):
        return rows
    table = dict(zip(WORDS, words_of(given["model"]), strict=True))

    def reworded(text: str) -> str:
        return " ".join(table[word] for word in text.split())

    return [{"prompt": reworded(row["prompt"]), "responses": [*map(reworded, row["responses"])]} for row in rows]


@cache
def words_of(folder: str) -> tuple[str, ...]:
    """As many words as `WORDS`, each one token after a space."""
    from xlrm.models import loading

    tokenizer = loading.own_tokenizer(folder)
    known = sorted({str(tokenizer.decode([place])) for place in range(min(len(tokenizer), 60_000))})
    words = [
        text[1:] for text in known if text[:1] == " " and len(text) > 3 and text[1:].isascii() and text[1:].isalpha()
    ]
    single = (word for word in words if len(tokenizer(f" {word} {word}", add_special_tokens=False)["input_ids"]) == 2)
    taken = tuple(itertools.islice(single, len(WORDS)))
    if len(taken) < len(WORDS):
        raise SystemExit(
            f"--model {folder}: its tokenizer has {len(taken)} words of one token; {len(WORDS)} are required"
        )
    return taken


def lists(count: int, responses: int, seed: int = 0) -> list[Row]:
    """Prompts of about the mean length, each with `responses` responses."""
    rng = random.Random(seed)
    mean = sum(prompt for prompt, *_ in LENGTHS) / len(LENGTHS)
    prompts = sorted((prompt for prompt, *_ in LENGTHS), key=lambda length: abs(length - mean))
    sizes = itertools.cycle(size for _, *both in LENGTHS for size in both)
    return [_row(rng, prompts[i % len(prompts)], [next(sizes) for _ in range(responses)]) for i in range(count)]


def _row(rng: random.Random, prompt: int, responses: Sequence[int]) -> Row:
    def text(length: int) -> str:
        return " ".join(rng.choices(WORDS, k=length))

    return {"prompt": text(prompt), "responses": [text(length) for length in responses]}


def conversations(rows: list[Row]) -> list[list[dict]]:
    from xlrm.models import chat_templates

    return [chat_templates.conversation(row["prompt"], text) for row in rows for text in row["responses"]]


def messages(rows: list[Row]) -> list[dict]:
    """Pairs in the format of TRL's trainers."""
    return [
        {"prompt": [{"role": "user", "content": row["prompt"]}]}
        | {
            side: [{"role": "assistant", "content": text}]
            for side, text in zip(("chosen", "rejected"), row["responses"], strict=True)
        }
        for row in rows
    ]


def _shapes(rows: list[Row]) -> list[tuple[int, list[int]]]:
    return [(len(row["prompt"].split()), [len(text.split()) for text in row["responses"]]) for row in rows]


def described(rows: list[Row]) -> str:
    shapes = _shapes(rows)
    sizes = [size for _, responses in shapes for size in responses]
    once = sum(prompt + sum(responses) for prompt, responses in shapes)
    plain = sum(prompt * len(responses) + sum(responses) for prompt, responses in shapes)
    longest = max(prompt + max(responses) for prompt, responses in shapes)
    return (
        f"{len(rows)} prompts of {sum(prompt for prompt, _ in shapes) / len(rows):.0f} tokens with {len(sizes)} responses of "
        f"{sum(sizes) / len(sizes):.0f}, the longest sequence {longest}; {plain / once:.2f}x fewer tokens with prompts once"
    )


def tokens_of(rows: list[Row]) -> int:
    """Tokens of all prompts, once, and responses."""
    return sum(prompt + sum(responses) for prompt, responses in _shapes(rows))


def operations(rows: list[Row], config: dict, policy: bool = False) -> float:
    """Operations of a forward pass: each prompt once, no padding, every layer in full; of a policy, also the head at the
    tokens of responses."""
    return sum(operations_of_parts(rows, config, policy))


def operations_of_parts(rows: list[Row], config: dict, policy: bool = False) -> tuple[float, float]:
    """`operations` of (matrices of weights, attention)."""
    from xlrm.models import compute

    shapes = _shapes(rows)
    tokens = sum(prompt + sum(responses) for prompt, responses in shapes)
    seen = sum(p * p / 2 + sum(r * (p + r / 2) for r in responses) for p, responses in shapes)
    shape = compute.shape(config)
    assert shape, config
    size = shape.size(head=False)
    head = 2 * shape.hidden * shape.vocabulary * sum(sum(responses) for _, responses in shapes) if policy else 0
    matrices = 2 * size.parameters * tokens
    return matrices + head, compute.flops(size, tokens, 2 * seen / tokens, "forward") - matrices


# The model


def save_model(folder: Path, options: argparse.Namespace, policy: bool = False, seed: int = 0) -> None:
    """Saves a policy, or a reward model whose head is drawn from N(0, 1 / (hidden + 1)), in the project's format."""
    if vars(options).get("model"):
        return _save_real(folder, options.model, policy, seed)
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from benchmarks.rewardbench_parity import draw_weights
    from xlrm.models import loading
    from xlrm.models.transformers4 import write_older_names

    tokenizer = _tokenizer()
    config = _config(options, tokenizer)
    kind = AutoModelForCausalLM if policy else AutoModelForSequenceClassification
    model = kind.from_config(config, dtype=torch.float32)
    draw_weights(model, seed)
    if not policy:
        torch.manual_seed(seed)
        torch.nn.init.normal_(loading.score_head(model).weight, std=(options.hidden + 1) ** -0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_older_names(folder)


def _save_real(folder: Path, model: str, policy: bool, seed: int) -> None:
    """The policy in the folder `model`, or a reward model with its weights and a new head; float32."""
    from xlrm.models import loading
    from xlrm.models.transformers4 import write_older_names

    tokenizer = loading.load_tokenizer(model) if policy else loading.reward_tokenizer(model)
    network = loading.load_causal_lm(model) if policy else loading.new_reward_model(model, tokenizer, seed)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_older_names(folder)


def _config(options: argparse.Namespace, tokenizer: Any) -> Any:
    from transformers import AutoConfig

    given, hidden = vars(options), options.hidden
    family = given.get("family", "qwen2")
    shape: dict[str, Any] = {
        "qwen2": {
            "intermediate_size": hidden * 43 // 8, "num_attention_heads": max(1, hidden // 64), "max_position_embeddings": 16384,
            "num_key_value_heads": max(1, min(2, hidden // 128)), "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        "gemma3_text": {
            "intermediate_size": hidden * 16 // 5, "num_attention_heads": max(1, hidden // 160), "num_key_value_heads": 1,
            "head_dim": 256, "sliding_window": 512, "max_position_embeddings": 32768,
        },
        "gemma2": {
            "intermediate_size": hidden * 4, "num_attention_heads": max(2, hidden // 288), "head_dim": 256,
            "num_key_value_heads": max(1, hidden // 576),
        },
    }[family]  # fmt: skip
    return AutoConfig.for_model(
        family, vocab_size=max(len(tokenizer), given.get("vocabulary", 0)), hidden_size=hidden,
        num_hidden_layers=options.layers, num_labels=1, problem_type="regression", pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, **shape,
    )  # fmt: skip


FAMILIES = ("qwen2", "gemma3_text", "gemma2")


def _tokenizer() -> Any:
    """A tokenizer of the class that transformers loads for models of the kind; its merges make each of WORDS, with
    and without a space before it, one token."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    starts = sorted({word[:2] for word in WORDS})
    tokens = [*sorted(ByteLevel.alphabet()), *starts, *WORDS, *(f"Ġ{word}" for word in WORDS)]
    merges = [*((one[0], one[1]) for one in starts), *((w[:2], w[2]) for w in WORDS), *(("Ġ", word) for word in WORDS)]
    kind: Any = Qwen2Tokenizer  # its types know neither pairs of merges nor a tokenizer without an unknown token
    tokenizer = kind(
        vocab={token: place for place, token in enumerate(tokens)}, merges=merges, unk_token=None, eos_token="<|end|>",
        pad_token="<|pad|>", additional_special_tokens=list(MARKS[:2]),
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer
