"""Responses of a policy to prompts, through transformers' generate."""

from typing import TYPE_CHECKING

from xlrm import models, progress, scoring

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def sample(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: list[str], samples: int,
    temperature: float, max_new_tokens: int, batch_size: int, seed: int,
) -> list[list[str]]:  # fmt: skip
    """`samples` responses to each prompt, in order. Temperature 0 is greedy; above it, the same seed and batch size
    give the same responses."""
    import torch
    from tqdm import tqdm

    torch.manual_seed(seed)
    chats = tokenizer.apply_chat_template(
        [scoring.conversation(prompt, "")[:-1] for prompt in prompts], tokenize=False, add_generation_prompt=True
    )
    chats, special = models.one_bos(tokenizer, chats)
    how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    order = sorted(range(len(prompts)), key=lambda i: len(chats[i]))
    found: dict[int, list[str]] = {}
    with torch.inference_mode(), tqdm(total=len(prompts), desc="sampling", disable=progress.bars_hidden()) as bar:
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            inputs = tokenizer(
                [chats[i] for i in places],
                padding=True,
                padding_side="left",
                return_tensors="pt",
                add_special_tokens=special,
            )
            ids = model.generate(
                **inputs.to(model.device), max_new_tokens=max_new_tokens, num_return_sequences=samples,
                pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, **how,
            )  # fmt: skip
            texts = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            for n, place in enumerate(places):
                found[place] = [text.strip() for text in texts[n * samples : (n + 1) * samples]]
            bar.update(len(places))
    return [found[i] for i in range(len(prompts))]
