"""Model cards: what a trained reward model is, what it was trained from and how to load it, as README.md for people and
the Hugging Face Hub, and as xlrm.json for stages."""

import hashlib
import json
from pathlib import Path
from typing import Any

from xlrm.languages import LANGUAGES
from xlrm.models import chat_templates, templates
from xlrm.models.cards import BaseModelCard, RewardModelCard
from xlrm.models.loading import attention, load_config, own_tokenizer

_CARD = """---
library_name: transformers
pipeline_tag: text-classification
language: {languages}
base_model: {base_model}
tags: [reward-model, trl, xlrm]
---

# Reward model: {language}

{base_model} with one scalar head. It reads a conversation through its chat template and gives the last response a reward, a
raw logit. Rewards of responses to the same prompt can be compared; a reward has no meaning by itself.

## Training

{rows:,} rows in {language}. {loss}

| setting | value |
|---|---|
{settings}
| loss over the last tenth | {train_loss:.4f} |

`curves.jsonl` has the whole curves.

## Use

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # of this file
messages = [{{"role": "user", "content": "..."}}, {{"role": "assistant", "content": "..."}}]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder{options}).eval()
ids = {reading}
reward = model(**ids).logits[0, 0]
```

- `xlrm score --model FOLDER --input responses.jsonl --output rewards.jsonl`: rows have `prompt` and `response`, or `messages`
- `xlrm evaluate --model FOLDER --benchmark pairs.jsonl --output results`: rows have `prompt`, `chosen` and `rejected`
- TRL: the folder as `reward_funcs` of a trainer
- vLLM: `vllm serve FOLDER --runner pooling --dtype {dtype}`; without `--dtype`, vLLM computes float32 weights in 16 bits.
  `problem_type` "regression" in config.json makes it return the logit
- RewardBench: `rewardbench --model FOLDER --not_quantized`{limit}
The chat template does not use the current date (SHA-256 `{template}`). Padding is on the right, with a token of its own.
"""
_LIMIT = """

The model was trained on prompts of at most {limit} tokens: all messages but the last, with the start of an answer. In a longer
one, the longest message loses its end. Only xlrm and MLflow's loader of this folder shorten prompts by themselves."""
_LOSS = {
    "bradley_terry": "Bradley-Terry: -log sigmoid(reward of chosen - reward of rejected).",
    "pointwise": "Pointwise: binary cross-entropy of each response's reward against good or bad.",
}
_SETTINGS = (
    "learning_rate", "batch_size", "epochs", "warmup", "max_length", "optimizer", "precision", "lora_rank", "seed",
)  # fmt: skip


_OTHERWISE = {
    "max_prompt_length": None,
    "warmup_steps": None,
    "scheduler": "cosine",
    "dropout": None,
    "template": "base",
}
"""Settings that are listed where they have another value than this default."""


def write_base_model(folder: Path, model: str, revision: str | None) -> None:
    """Writes base.json, from which the card of a reward model reads its base model's name and revision."""
    BaseModelCard(model=model, revision=revision).write(folder)


def write_reward_model(
    folder: Path, base: Path, language: str, rows: int, config: dict[str, Any], metrics: dict[str, float]
) -> None:
    """Writes xlrm.json and README.md into the model's `folder`. `language`: codes joined by +. `base`: folder of the
    base model; its name is read from base.json if a stage wrote the folder."""
    origin = BaseModelCard.find(base) or BaseModelCard(model=base.name, revision=None)
    template = hashlib.sha256((folder / "chat_template.jinja").read_bytes()).hexdigest()
    dtype = json.loads((folder / "config.json").read_text())["dtype"]
    as_float32 = {} if dtype == "float32" else {"torch_dtype": "float32"}  # transformers 4.51 knows no `dtype`
    card = RewardModelCard(
        kind="reward model", language=language, pairs=rows, base_model=origin, chat_template_sha256=template
    )
    card.write(folder)
    text = _CARD.format(
        languages=json.dumps(card.languages, allow_nan=False), base_model=origin.model, language=_spoken(language),
        rows=rows, loss=_LOSS[config["loss"]] + (" Each pair has a margin of its own." if config["margin"] else ""),
        settings="\n".join(f"| {name.replace('_', ' ')} | {config[name]} |" for name in _listed(config)),
        train_loss=metrics["train_loss"], template=template, dtype=dtype, reading=_reading(folder),
        limit=_LIMIT.format(limit=config["max_prompt_length"]) if config.get("max_prompt_length") else "",
        options="".join(f', {name}="{value}"' for name, value in (attention(load_config(folder)) | as_float32).items()),
    )  # fmt: skip
    (folder / "README.md").write_text(text, encoding="utf-8")


def _listed(config: dict[str, Any]) -> list[str]:
    return [*_SETTINGS, *(name for name, default in _OTHERWISE.items() if config.get(name, default) != default)]


def _reading(folder: Path) -> str:
    """The expression by which plain transformers reads the variable `messages` as this project does. Whether the
    tokenizer or the template writes special tokens differs between models."""
    tokenizer = own_tokenizer(folder)
    probe = chat_templates.conversation("1", "2")
    (ids,) = chat_templates.encode(tokenizer, [probe], 10**9)
    (text,) = templates.render(tokenizer, [probe])
    written = "tokenizer.apply_chat_template(messages, tokenize=False)"
    readings = {
        'tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)': tokenizer(
            text, add_special_tokens=False
        ),
        f'tokenizer({written}, return_tensors="pt")': tokenizer(text),
        f'tokenizer({written}.removeprefix(tokenizer.bos_token), return_tensors="pt")': tokenizer(
            text.removeprefix(tokenizer.bos_token or "")
        ),
    }
    return next((reading for reading, tokens in readings.items() if tokens["input_ids"] == ids), list(readings)[-1])


def _spoken(language: str) -> str:
    names = [LANGUAGES[code].name if code in LANGUAGES else code for code in language.split("+")]
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
