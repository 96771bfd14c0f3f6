"""Rewards of (prompt, response) pairs under one reward model.

A reward does not depend on what else is in the batch: right padding with a mask, a pad token of its own, no dropout,
and one precision throughout.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from xlrm import models, progress
from xlrm.credit import Rewards, responses

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Message = dict[str, str]
Item = TypeVar("Item")


def conversation(prompt: str | list[Message], response: str) -> list[Message]:
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return [*turns, {"role": "assistant", "content": response}]


def encode(
    tokenizer: "PreTrainedTokenizerBase", conversations: Sequence[list[Message]], max_length: int
) -> list[list[int]]:
    """Token ids through the chat template; a sequence over `max_length` loses its beginning, never its end.

    Special tokens are those of the tokenizer (BOS, [CLS], EOS), which truncation leaves, with no second BOS where the
    template writes one too.
    """
    if not conversations:
        return []
    texts, special = models.one_bos(tokenizer, tokenizer.apply_chat_template(list(conversations), tokenize=False))
    return tokenizer(texts, truncation=True, max_length=max_length, add_special_tokens=special)["input_ids"]


def score(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    conversations: Sequence[list[Message]],
    max_length: int = 2048,
    batch_tokens: int = 8192,
) -> list[float]:
    """Rewards (raw logits), in input order. Each different sequence is scored once.

    `batch_tokens`: tokens in a batch, padding included; sequences of like length go together.
    """
    import torch
    from tqdm import tqdm

    length = min(max_length, models.positions(model) or max_length)
    encoded = [tuple(ids) for ids in encode(tokenizer, conversations, length)]
    rewards: dict[tuple[int, ...], float] = {}
    todo = sorted(set(encoded), key=len)
    with torch.inference_mode(), tqdm(total=len(todo), desc="scoring", disable=progress.bars_hidden()) as bar:
        for batch in batches(todo, len, batch_tokens):
            inputs = tokenizer.pad(
                {"input_ids": [list(ids) for ids in batch]}, padding_side="right", return_tensors="pt"
            )
            logits = model(**inputs.to(model.device)).logits[:, 0].float().tolist()
            rewards.update(zip(batch, logits, strict=True))
            bar.update(len(batch))
    return [rewards[ids] for ids in encoded]


def score_items(rows: Sequence[dict], rewards_of: Callable[[list[list[Message]]], list[float]]) -> list[Rewards]:
    """Rewards of each benchmark row's responses, of the chosen and of the rejected ones; all are asked for at once."""
    sides = [responses(row) for row in rows]
    asked = [
        conversation(row["prompt"], text)
        for row, both in zip(rows, sides, strict=True)
        for side in both
        for text in side
    ]
    found = iter(rewards_of(asked))
    return [([next(found) for _ in chosen], [next(found) for _ in rejected]) for chosen, rejected in sides]


def batches(items: Iterable[Item], length: Callable[[Item], int], batch_tokens: int) -> Iterator[list[Item]]:
    """Items, given from short to long, in runs of at most `batch_tokens` tokens when padded, at least one each."""
    batch: list[Item] = []
    for item in items:
        if batch and length(item) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
