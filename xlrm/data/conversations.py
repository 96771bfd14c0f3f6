"""The format of a conversation to score: messages with role and content in text, the last one by the assistant.

`xlrm score`, the server, preference records and registered models follow this rule. `xlrm.registry.mlflow_loader`,
which is copied into every registered model, has an implementation of its own.
"""

from collections.abc import Mapping
from typing import Any

from xlrm.errors import DataError

Message = dict[str, str]

ANSWERER = "assistant"
"""Role of the last message."""
HALF_CHARACTER = "half of a surrogate pair, which is not a character"
"""JSON can encode it, but no tokenizer accepts it."""


def of_row(row: Mapping[str, Any]) -> list[Message]:
    """The conversation of {"messages": [...]} or {"prompt": ..., "response": ...}, where the prompt is a text or a
    list of messages. In a row with both forms, prompt and response count. Raises DataError for any other row."""
    if isinstance(row.get("response"), str) and isinstance(row.get("prompt"), str | list):
        prompt = row["prompt"]
        before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else messages(prompt)
        conversation = [*before, {"role": ANSWERER, "content": row["response"]}]
    elif isinstance(row.get("messages"), list) and row["messages"]:
        conversation = messages(row["messages"])
    else:
        raise DataError('a row needs {"messages": [...]} or {"prompt": ..., "response": ...}', value=sorted(row))
    for message in conversation:
        if not all(map(is_whole, message.values())):
            raise DataError(
                f"a message contains {HALF_CHARACTER}", where="messages" if "messages" in row else "prompt, response"
            )
    check_answered(conversation[-1]["role"])
    return conversation


def messages(value: Any) -> list[Message]:
    """Role and content of each message, without other fields. Raises DataError if `value` is not a list of messages,
    or is empty."""
    if not isinstance(value, list) or not value:
        raise DataError("a list of at least one message is allowed", where="messages", value=value)
    for message in value:
        if not _is_message(message):
            raise DataError("a message needs role and content as text", where="messages", value=message)
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _is_message(message: Any) -> bool:
    texts = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None,)
    return all(isinstance(text, str) for text in texts) and message["role"] != ""


def is_whole(text: str) -> bool:
    """Whether the text has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_answered(role: str) -> None:
    """Raises DataError if the role of the last message is not the assistant."""
    if role != ANSWERER:
        raise DataError(
            f"the last message is the one to score, so its role must be {ANSWERER!r}", where="role", value=role
        )
