"""Loads a registered reward model for MLflow. A copy of this file is in the model's folder, so that
`mlflow.pyfunc.load_model` needs only torch and transformers. If xlrm is installed, its engine scores, which gives the
same rewards faster."""

import datetime
import json
from pathlib import Path
from typing import Any

MAX_LENGTH = 2048
"""Tokens; a longer conversation loses its beginning."""
_COLUMNS = {"messages", "prompt", "response"}
_ROW = "a row has messages, or prompt and response, as text"


def _load_pyfunc(path: str) -> "RewardModel":
    try:
        from xlrm.scorers.engines import load
        from xlrm.scorers.interface import Scoring
    except ImportError:
        return RewardModel(_plain(Path(path)))
    return RewardModel(load(Path(path), Scoring(max_length=MAX_LENGTH)).score)


class RewardModel:
    def __init__(self, rewards_of: Any):
        self.rewards_of = rewards_of

    def predict(self, model_input: Any, params: dict | None = None) -> Any:
        """Raw rewards (n): logits, not their sigmoids. `model_input` is a data frame or a list of n rows, all with
        `messages` or all with `prompt` and `response`, since MLflow accepts no mixture. Raises ValueError for any other
        row."""
        import numpy as np

        columns = getattr(model_input, "columns", _COLUMNS)
        if not _COLUMNS & set(columns):  # MLflow drops the columns it does not know, and with the last of them the rows
            raise ValueError(f"{_ROW}; there are none of these columns")
        rows = model_input.to_dict("records") if hasattr(model_input, "to_dict") else list(model_input)
        chats = [_conversation(number, row) for number, row in enumerate(rows)]
        return np.array(self.rewards_of(chats), dtype=np.float64)


def _conversation(number: int, row: Any) -> list[dict[str, str]]:
    """Follows the rule of `xlrm.data.conversations`, without importing it because xlrm may be missing. In a data frame,
    lists may be arrays, and missing values None or NaN. Raises ValueError."""
    messages, prompt, response = (_listed(row.get(key)) for key in ("messages", "prompt", "response"))
    if isinstance(response, str) and isinstance(prompt, str | list):
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        chat = [*_checked(number, turns), {"role": "assistant", "content": response}]
    elif isinstance(messages, list) and messages:
        chat = _checked(number, messages)
    else:
        raise ValueError(f"row {number}: {_ROW}; it has {sorted(row)}")
    if any("\ud800" <= character <= "\udfff" for one in chat for text in one.values() for character in text):
        raise ValueError(f"row {number}: a message holds half of a surrogate pair, which is no character")
    if chat[-1]["role"] != "assistant":
        raise ValueError(f"row {number}: the last message is the one to score: its role is assistant")
    return chat


def _listed(value: Any) -> Any:
    return list(value) if hasattr(value, "tolist") and hasattr(value, "__len__") else value


def _checked(number: int, messages: list) -> list[dict[str, str]]:
    for one in messages:
        texts = (one.get("role"), one.get("content")) if isinstance(one, dict) else (None,)
        if not all(isinstance(text, str) for text in texts) or not one["role"]:
            raise ValueError(f"row {number}: a message has role and content as text, got {one!r}")
    if not messages:
        raise ValueError(f"row {number}: {_ROW}; its prompt is empty")
    return [{"role": one["role"], "content": one["content"]} for one in messages]


def _plain(folder: Path) -> Any:
    """Scores with transformers alone, one conversation at a time, in float32. Raises ValueError for a model whose
    rewards differ from its fingerprint."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    text = config.get_text_config()
    if (text.pad_token_id or 0) >= text.vocab_size:  # a token without an embedding, which some families cannot load
        text.pad_token_id = None
    # Other implementations of attention leave out soft caps (Gemma 2).
    eager = {"attn_implementation": "eager"} if getattr(text, "attn_logit_softcapping", None) else {}
    model = AutoModelForSequenceClassification.from_pretrained(folder, config=config, dtype=torch.float32, **eager)
    model = model.eval()
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    limit = _limit(model)

    def rewards(chats: list, max_length: int = MAX_LENGTH) -> list[float]:
        found = []
        for chat in chats:
            for module in model.modules():  # positions that depend on the longest text (dynamic NTK): on this one
                if hasattr(module, "max_seq_len_cached"):
                    module.max_seq_len_cached = 0
            ids = torch.tensor([_ids(tokenizer, chat, min(max_length, limit))], device=model.device)
            with torch.inference_mode():
                found.append(float(model(ids).logits[0, 0]))
        return found

    _check(folder, rewards)
    return rewards


def _limit(model: Any) -> int:
    """Tokens that a model reads, as `xlrm.models.loading` has them; MAX_LENGTH if it states no limit."""
    text, rope = model.config.get_text_config(), getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    lengths = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    scale = (rope.get("factor") or 1) if rope.get("rope_type") in ("linear", "dynamic") else 1
    limits = [] if model.config.is_encoder_decoder else [int(each * scale) for each in lengths if each and each > 0]
    for name, module in model.named_modules():  # a table of positions, whose first rows are unused
        if name.endswith(("position_embeddings", "wpe", "embed_positions")) and hasattr(module, "num_embeddings"):
            before = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - getattr(module, "offset", before))
            break
    return min([MAX_LENGTH, *limits])


def _ids(tokenizer: Any, chat: list, max_length: int) -> list[int]:
    """Token ids of a conversation in the model's chat template, with a fixed date for today's, and one BOS if both it
    and the tokenizer write one. A longer one loses its beginning except the BOS."""
    fixed = datetime.datetime(2024, 7, 26).strftime
    ids = tokenizer(tokenizer.apply_chat_template(chat, tokenize=False, strftime_now=fixed))["input_ids"]
    first = {tokenizer.bos_token_id, tokenizer.cls_token_id} - {None}
    ids = ids[1:] if len(ids) > 1 and ids[0] == ids[1] and ids[0] in first else ids
    if len(ids) <= max_length:
        return ids
    return [ids[0], *ids[len(ids) - max_length + 1 :]] if ids[0] in first else ids[-max_length:]


def _check(folder: Path, rewards_of: Any) -> None:
    kept = json.loads((folder / "fingerprint.json").read_text(encoding="utf-8"))
    expected = [one["reward"] for one in kept["probes"]]
    found = rewards_of([one["messages"] for one in kept["probes"]], kept["max_length"])
    allowed = kept["tolerance"]["float32"] * (max(expected) - min(expected)) + 1e-5 * max(map(abs, expected))
    if not all(abs(one - other) <= allowed for one, other in zip(found, expected, strict=True)):
        raise ValueError(f"{folder}: not the model that was registered: its probes get other rewards; fetch it again")
