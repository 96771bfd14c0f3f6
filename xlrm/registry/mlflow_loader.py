"""Loads a registered reward model for MLflow. A copy of this file is in the model's folder, so that
`mlflow.pyfunc.load_model` needs only torch and transformers. If xlrm is installed, its engine scores, which gives the
same rewards faster."""

import datetime
import hashlib
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

MAX_LENGTH = 2048
"""Tokens; a longer conversation loses its beginning."""
_FILES = "files.json"
_META = "registered_model_meta"
"""What MLflow writes into a folder that it downloads."""
_COLUMNS = {"messages", "prompt", "response"}
_OUTSIDE = ("tools", "system", "history", "chat_template_kwargs")
"""Fields in which a part of the conversation would be lost."""
_ASKED = ("instruction", "input")
"""Fields that are one question together."""
_NO_ROLES = ("human", "prompter", "gpt", "chatgpt", "bing", "bard", "bot")
_FORMS = ({"role", "content"}, {"from", "value"})
_PYTHON = re.compile(r"\s*\[?\s*\{'(role|content|from|value)': .*\}\s*\]?\s*", re.DOTALL)
"""What Python prints for messages."""
_NOTHING: tuple = (None, "", "[]", "{}", [], {})
_ROW = "a row has messages, or prompt and response, as texts or lists of messages"
_SENDERS = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model", "bot", "function_call"), "assistant"),
    "system": "system",
    **dict.fromkeys(("tool", "observation", "function_response", "tool_response"), "tool"),
}
"""`from` of a message in ShareGPT's form -> its role."""


def _load_pyfunc(path: str) -> "RewardModel":
    """Raises ValueError for a folder whose files are not those that were registered."""
    _check_files(Path(path))
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
        row, and for a reward that is not finite."""
        import numpy as np

        columns = getattr(model_input, "columns", _COLUMNS)
        if not _COLUMNS & set(columns):  # MLflow drops the columns it does not know, and with the last of them the rows
            raise ValueError(f"{_ROW}; there are none of these columns")
        rows = model_input.to_dict("records") if hasattr(model_input, "to_dict") else list(model_input)
        chats = [_conversation(number, row) for number, row in enumerate(rows)]
        rewards = np.array(self.rewards_of(chats), dtype=np.float64)
        if len(broken := np.flatnonzero(~np.isfinite(rewards))):
            raise ValueError(f"row {broken[0]}: its reward is {rewards[broken[0]]}; a finite number is allowed")
        return rewards


def _conversation(number: int, row: Any) -> list[dict[str, Any]]:
    """Follows the rule of `xlrm.data.conversations`, without importing it because xlrm may be missing. In a data frame,
    lists may be arrays, and missing values None or NaN. Raises ValueError."""
    given = {key: _listed(row.get(key)) for key in (*_COLUMNS, *_OUTSIDE, *_ASKED)}
    given = {key: value for key, value in given.items() if value is not None and value == value}  # NaN is not itself
    _check_fields(number, given)
    asked = [given.get(key) for key in _ASKED]
    if not any(part in _NOTHING for part in asked) and given.get("prompt") in asked:
        raise ValueError(f"row {number}: prompt is {' or '.join(_ASKED)} alone; join both in one column")
    if "prompt" in given and "response" in given:
        turns, response = _messages(number, given["prompt"], "user"), _messages(number, given["response"], "assistant")
        chat = [*turns, *response]
    elif messages := given.get("messages"):
        chat = _messages(number, _json_of_messages(messages) if isinstance(messages, str) else messages, "user")
    else:
        raise ValueError(f"row {number}: {_ROW}; it has {sorted(row)}")
    if any("\ud800" <= character <= "\udfff" for character in json.dumps(chat, ensure_ascii=False, allow_nan=False)):
        raise ValueError(f"row {number}: a message holds half of a surrogate pair, which is not a character")
    if chat[-1]["role"] != "assistant":
        raise ValueError(f"row {number}: the last message is the one to score: its role is assistant")
    return chat


def _check_fields(number: int, given: dict) -> None:
    if outside := [key for key in _OUTSIDE if given.get(key) not in _NOTHING]:
        raise ValueError(
            f"row {number}: a row with {outside[0]} of its own cannot be read; make it part of the messages"
        )


def _listed(value: Any) -> Any:
    """The value with lists for arrays, and numbers of Python for those of NumPy."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _messages(number: int, value: Any, role: str) -> list[dict[str, Any]]:
    """The messages of a text in this role, of one message, of a list of messages, or of {"messages": a list}."""
    if isinstance(value, str):
        if _are_written(value):
            raise ValueError(
                f"row {number}: a text that is messages, as JSON or Python write them; give the list itself"
            )
        return [{"role": role, "content": value}]
    if isinstance(value, dict) and "messages" in value and not value.keys() & {"role", "from"}:
        _check_fields(number, value)
        value = value["messages"]
    if not isinstance(value, list | dict) or not value:
        raise ValueError(f"row {number}: {_ROW}, got {value!r}")
    return [_message(number, message) for message in (value if isinstance(value, list) else [value])]


def _are_written(text: str) -> bool:
    if text[:1] not in "[{ \t\r\n":
        return False
    if _PYTHON.fullmatch(text):
        return any(all(f"'{key}': " in text for key in form) for form in _FORMS)
    listed = f"[{text}]" if text.lstrip().startswith('{"') and '"role"' in text and '"content"' in text else text
    return _json_of_messages(listed) is not None


def _json_of_messages(text: str) -> list | None:
    if not text.lstrip().startswith("[{") or not text.rstrip().endswith("}]"):
        return None
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return (
        read if all(isinstance(each, dict) and any(form <= each.keys() for form in _FORMS) for each in read) else None
    )


def _message(number: int, given: Any) -> dict[str, Any]:
    message = _without_null(number, given) if isinstance(given, dict) else {}
    if "role" not in message and "from" in message:
        message = _of_sender(number, message)
    content = message.get("content", "" if message.get("tool_calls") or message.get("function_call") else None)
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):  # one part of type text
        content = content[0].get("text") if content[0].get("type") == "text" else None
    role = message.get("role")
    if not isinstance(role, str) or not isinstance(content, str) or not role:
        raise ValueError(f"row {number}: a message has role and content as text, got {given!r}")
    if role in _NO_ROLES:
        raise ValueError(f"row {number}: {role!r} is no role of chat templates; write user or assistant")
    return message | {"role": role, "content": content}


def _of_sender(number: int, message: dict) -> dict[str, Any]:
    """A message of ShareGPT's form, with role and content."""
    sender = message.pop("from")
    role = _SENDERS.get(sender) if isinstance(sender, str) else None
    if role is None:
        raise ValueError(f"row {number}: the sender of a message is one of {', '.join(_SENDERS)}, got {sender!r}")
    value = message.pop("value", None)
    if sender != "function_call":
        return {"role": role, "content": value, **message}
    try:
        read = json.loads(value) if isinstance(value, str) else value
        calls = [
            {"type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in (read if isinstance(read, list) else [read])
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"row {number}: a function_call is JSON with name and arguments, got {value!r}") from None
    return {"role": role, "content": "", "tool_calls": _without_null(number, calls), **message}


def _without_null(number: int, value: Any, depth: int = 0) -> Any:
    """The value without keys whose value is None, which Arrow and data frames add to all rows."""
    if depth > 64:
        raise ValueError(f"row {number}: a message has at most 64 levels of lists and objects")
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _without_null(number, item, depth + 1) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_null(number, item, depth + 1) for item in value]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"row {number}: a message has texts, finite numbers, lists and objects, got {value!r}")


def _plain(folder: Path) -> Any:
    """Scores with transformers alone, one conversation at a time, in float32. Raises ValueError for a model with a
    weight that is not finite, or whose rewards differ from its fingerprint."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    text = config.get_text_config()
    if (text.pad_token_id or 0) >= text.vocab_size:  # a token without an embedding, which some families cannot load
        text.pad_token_id = None
    if config.num_labels != 1:
        raise ValueError(f"{folder / 'config.json'}: num_labels={config.num_labels}: a reward model has 1 label")
    # Other implementations of attention leave out soft caps (Gemma 2).
    eager = {"attn_implementation": "eager"} if getattr(text, "attn_logit_softcapping", None) else {}
    model = AutoModelForSequenceClassification.from_pretrained(folder, config=config, dtype=torch.float32, **eager)
    model = model.eval()
    for name, tensor in model.state_dict().items():
        known = not tensor.is_floating_point() or not tensor.numel()
        if not known and not all(torch.isfinite(bound) for bound in torch.aminmax(tensor)):
            raise ValueError(f"{folder}: {name} has values that are not finite; fetch the model again")
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    limit = _limit(model)

    def rewards(chats: list, max_length: int = MAX_LENGTH) -> list[float]:
        rewards = []
        for chat in chats:
            for module in model.modules():  # positions that depend on the longest text (dynamic NTK): on this one
                if hasattr(module, "max_seq_len_cached"):
                    module.max_seq_len_cached = 0
            ids = torch.tensor(
                [_ids(tokenizer, _shortened(tokenizer, chat), min(max_length, limit))], device=model.device
            )
            with torch.inference_mode():
                rewards.append(float(model(ids).logits[0, 0]))
        return rewards

    _check(folder, rewards)
    return rewards


def _limit(model: Any) -> int:
    """Tokens that a model reads, as `xlrm.models.loading` has them; MAX_LENGTH if it states no limit."""
    text, rope = model.config.get_text_config(), getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    lengths = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    scale = (rope.get("factor") or 1) if rope.get("rope_type") in ("linear", "dynamic") else 1
    limits = [] if model.config.is_encoder_decoder else [int(each * scale) for each in lengths if each and each > 0]
    for name, module in model.named_modules():  # a table of positions, whose first rows are unused
        if name.endswith(("position_embeddings", "wpe", "embed_positions")) and hasattr(module, "weight"):
            before = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(len(module.weight) - getattr(module, "offset", before))
            break
    return min([MAX_LENGTH, *limits])


def _shortened(tokenizer: Any, chat: list) -> list:
    """The conversation with the messages before the last within the model's limit on a prompt's tokens, if it has one: the
    longest message loses its end, by the rule of `xlrm.models.prompt_limits`."""
    *prompt, last = chat
    if not isinstance(limit := tokenizer.init_kwargs.get("max_prompt_length"), int) or not prompt:
        return chat
    while (excess := len(_ids(tokenizer, prompt, sys.maxsize, add_generation_prompt=True)) - limit) > 0:
        texts = [tokenizer(each["content"], add_special_tokens=False, return_offsets_mapping=True) for each in prompt]
        offsets = max((text["offset_mapping"] for text in texts), key=len)
        place = [text["offset_mapping"] for text in texts].index(offsets)
        if len(offsets) < 2:
            raise ValueError(f"the chat template alone is longer than the model's limit of {limit} tokens for a prompt")
        count = max(1, len(offsets) - excess)
        end, following = offsets[count - 1][1], offsets[count][0]
        content = prompt[place]["content"][: min(end, following)]
        prompt = [*prompt[:place], {**prompt[place], "content": content}, *prompt[place + 1 :]]
    return [*prompt, last]


def _ids(tokenizer: Any, chat: list, max_length: int, **options: Any) -> list[int]:
    """Token ids of a conversation in the model's chat template, with a fixed date for today's, and the special tokens that
    both it and the tokenizer write first (BOS) once. A longer one loses its beginning except those."""
    fixed = datetime.datetime(2024, 7, 26).strftime
    ids = tokenizer(tokenizer.apply_chat_template(chat, tokenize=False, strftime_now=fixed, **options))["input_ids"]
    probe = tokenizer("a", return_special_tokens_mask=True)
    special = probe["special_tokens_mask"]
    added = probe["input_ids"][: special.index(0) if 0 in special else 0]
    ids = ids[len(added) :] if added and ids[: 2 * len(added)] == added * 2 else ids
    first = added or [tokenizer.bos_token_id]
    kept = len(first) if ids[: len(first)] == first else 0
    return ids if len(ids) <= max_length else [*ids[:kept], *ids[len(ids) - max_length + kept :]]


def _check(folder: Path, rewards_of: Any) -> None:
    path = folder / "fingerprint.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        expected = [float(probe["reward"]) for probe in kept["probes"]]
        allowed = kept["tolerance"]["float32"] * (max(expected) - min(expected)) + 1e-5 * max(map(abs, expected))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a fingerprint: {error!r}; fetch the folder again") from error
    rewards = rewards_of([probe["messages"] for probe in kept["probes"]], kept["max_length"])
    # Written so that NaN, on either side, fails.
    apart = [abs(reward - other) for reward, other in zip(rewards, expected, strict=True)]
    if not (allowed < float("inf") and all(distance <= allowed for distance in apart)):
        raise ValueError(f"{folder}: not the model that was registered: its probes get other rewards; fetch it again")


def _check_files(folder: Path) -> None:
    """Raises ValueError for a file that is missing, changed or added, by the rules of `xlrm.tracking.version_files`."""
    path = folder / _FILES
    if not path.is_file():
        raise ValueError(f"{path}: missing; it lists the files that were registered: fetch the folder again")
    try:
        listed = {entry["path"]: entry["sha256"] for entry in json.loads(path.read_text(encoding="utf-8"))}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a list of files: {error!r}: fetch the folder again") from error
    for name, digest in listed.items():
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: missing, and listed in {_FILES}: fetch the folder again")
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ValueError(f"{folder / name}: corrupted: its sha256 is not that in {_FILES}: fetch it again")
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        unread = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if not path.is_dir() and not unread and "/".join(parts) not in (*listed, _FILES, _META):
            raise ValueError(f"{path}: not listed in {_FILES}, so added later; remove the file")
