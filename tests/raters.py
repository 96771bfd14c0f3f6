"""A tiny model that has learned to rate: it ends its answers with the ratings that it was trained on, in their shares."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from xlrm.models import loading


def train(base: Path, folder: Path, answers: Mapping[str, Mapping[str, float]], steps: int = 120) -> Path:
    """Saves a copy of the base model, trained on the answers to each user message and their shares."""
    tokenizer, model = loading.load_tokenizer(base), AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rows = [
        (prompt_ids(tokenizer, message), tokenizer(answer, add_special_tokens=False)["input_ids"], share)
        for message, given in answers.items()
        for answer, share in given.items()
    ]
    rows = [(begin, [*end, tokenizer.eos_token_id], share) for begin, end, share in rows]
    longest = max(len(begin) + len(end) for begin, end, _ in rows)
    ids = torch.tensor([a + b + [tokenizer.pad_token_id] * (longest - len(a) - len(b)) for a, b, _ in rows])
    labels = torch.tensor([[-100] * len(a) + b + [-100] * (longest - len(a) - len(b)) for a, b, _ in rows])
    shares = torch.tensor([[share] for _, _, share in rows])
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(steps):
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none")
        (losses * shares).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prompt_ids(tokenizer: Any, message: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]
