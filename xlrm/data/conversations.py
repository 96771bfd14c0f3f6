"""Conversations, prompts and responses as people write them, in one form; every door of the project reads them here.

A message is a dict with role and content, both text, and any further fields that were given, such as tool_calls, name or
reasoning_content. A prompt is a text (one message of the user) or a list of messages; a response is a text (one message
of the assistant) or a list of messages of which the last is the assistant's.

`xlrm.registry.mlflow_loader`, which is copied into every registered model, has an implementation of its own.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from xlrm.errors import DataError, within
from xlrm.store.json_values import DEEPEST, HALF_CHARACTER

Message = dict[str, Any]
Turns = str | list[Message]
"""A prompt or a response: a text, or messages."""

ANSWERER = "assistant"
"""Role of the last message."""
_CALL = "function_call"
_FORMS = ({"role", "content"}, {"from", "value"})
"""Keys of a message."""
_SENDERS = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", ANSWERER, "chatgpt", "bing", "bard", "model", "bot", _CALL), ANSWERER),
    "system": "system",
    **dict.fromkeys(("tool", "observation", "function_response", "tool_response"), "tool"),
}
"""`from` of a message in ShareGPT's form -> its role."""
_NO_ROLES = ("human", "prompter", "gpt", "chatgpt", "bing", "bard", "bot")
"""Senders of ShareGPT's form that no chat template knows as roles; it would write them as they are, or nothing."""
_SPEAKERS = ("system", "developer", "user", ANSWERER)
_PYTHON = re.compile(r"\s*\[?\s*\{'(role|content|from|value)': .*\}\s*\]?\s*", re.DOTALL)
"""What Python prints for messages, and so what data frames write into the cells of CSV."""
_SPOKEN = ("reasoning_content", "reasoning", "thinking", "content")
"""Fields of a message that are text in the corpus's language, if one of `_SPEAKERS` said it; tool calls and what tools
answer are not."""
_OUTSIDE = {
    "tools": "describe the tools in the system message instead",
    "system": "make it the first message of prompt, with role system",
    "history": "make its turns the first messages of prompt",
    "chat_template_kwargs": "give the model a chat template that needs none",
}
"""Fields of a row in which others' formats have a part of the conversation -> what to do instead."""
_ASKED = ("instruction", "input")
"""Fields of a row that are one question together, as in Alpaca's format."""
_NOTHING: tuple[Any, ...] = (None, "", "[]", "{}", [], {})


def of_row(row: Mapping[str, Any]) -> list[Message]:
    """The conversation of {"messages": [...]} or {"prompt": ..., "response": ...}. In a row with both forms, prompt and
    response count. Raises DataError for any other row."""
    check_fields(row)
    if row.get("response") is not None and row.get("prompt") is not None:
        return [*messages(row["prompt"], "prompt"), *as_messages(response(row["response"], "response"), ANSWERER)]
    if given := row.get("messages"):
        listed = _json_of_messages(given) if isinstance(given, str) else given  # a text, as in a table of texts
        if listed is None:
            raise DataError("a list of messages is required", where="messages", value=given)
        conversation = messages(listed)
        check_answered(conversation[-1]["role"])
        return conversation
    raise DataError('a row needs {"messages": [...]} or {"prompt": ..., "response": ...}', value=sorted(row))


def check_fields(row: Mapping[str, Any]) -> None:
    """Raises DataError for a row with a part of the conversation outside its messages (`_OUTSIDE`), which would be lost."""
    for name, instead in _OUTSIDE.items():
        if row.get(name) not in _NOTHING:
            raise DataError(f"a row with {name} of its own cannot be read", where=name, hint=instead)
    asked = [row.get(name) for name in _ASKED]
    if not any(part in _NOTHING for part in asked) and row.get("prompt") in asked:
        lost = _ASKED[1 - asked.index(row.get("prompt"))]
        raise DataError(f"part of the question that prompt lacks, since it is {' or '.join(_ASKED)} alone", where=lost,
                        value=row[lost], hint="join both in one column")  # fmt: skip


def prompt(value: Any, where: str = "prompt") -> Turns:
    """A prompt in its one form: a text for one message of the user that has no other fields. Raises DataError."""
    return _simplest(messages(value, where), "user")


def response(value: Any, where: str = "response") -> Turns:
    """A response in its one form: a text for one message of the assistant that has no other fields. Raises DataError,
    also if the last message is not the assistant's."""
    if isinstance(value, str):
        return _text_alone(value, where)
    turns = messages(value, where)
    check_answered(turns[-1]["role"], where)
    return _simplest(turns, ANSWERER)


def _simplest(turns: list[Message], role: str) -> Turns:
    only = turns[0] if len(turns) == 1 else {}
    return only["content"] if only.keys() == {"role", "content"} and only["role"] == role else turns


def as_messages(value: Turns, role: str) -> list[Message]:
    """The messages of a prompt (role user) or response (role assistant) in its one form."""
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def messages(value: Any, where: str = "messages") -> list[Message]:
    """The messages of a text (the user's), of one message, of a list of messages, or of {"messages": a list}, as OpenAI
    writes an input; each with role and content, or with from and value as in ShareGPT's form. Keys whose value is null are
    left out at every level, because Arrow adds them to all rows; a message with tool calls and without content has the
    content "".

    Raises DataError for anything else, and for an empty list."""
    if isinstance(value, str):
        return [{"role": "user", "content": _text_alone(value, where)}]
    if isinstance(value, dict) and "messages" in value and not value.keys() & {"role", "from"}:
        with within(f"{where}: "):
            check_fields(value)
        value = value["messages"]
    if isinstance(value, dict):
        return [_message(value, where)]
    if not isinstance(value, list) or not value:
        raise DataError("a text or a list of at least one message is allowed", where=where, value=value)
    return [_message(message, where) for message in value]


def _message(given: Any, where: str) -> Message:
    if not isinstance(given, dict):
        raise DataError("a message needs role and content as text", where=where, value=given)
    known = given.get("role") not in _NO_ROLES
    if (
        given.keys() == {"role", "content"}
        and known
        and given["role"]
        and all(isinstance(text, str) for text in given.values())
    ):
        return {key: _whole(text, where) for key, text in given.items()}  # as most are: a tenth of the time
    message = _without_null(given, where)
    if "role" not in message and "from" in message:
        message = _of_sender(message, where)
    content = message.get("content", "" if message.get("tool_calls") or message.get(_CALL) else None)
    role, content = message.get("role"), _text(content, where)
    if not isinstance(role, str) or not role or not isinstance(content, str):
        raise DataError("a message needs role and content as text", where=where, value=given)
    if role in _NO_ROLES:
        raise DataError("no role of chat templates", where=f"{where}: role", value=role, hint=f"write {_SENDERS[role]}")
    _whole(json.dumps(message, ensure_ascii=False, allow_nan=False), where)
    return message | {"role": role, "content": content}  # in the order given, for templates that write a whole message


def _of_sender(message: Message, where: str) -> Message:
    """A message of ShareGPT's form with role and content; the value of a function_call is the JSON of one call, or of
    several, with name and arguments."""
    sender, value = message["from"], message.get("value")
    role = _SENDERS.get(sender) if isinstance(sender, str) else None
    if role is None:
        raise DataError(
            f"the sender of a message is one of {', '.join(_SENDERS)}", where=f"{where}: from", value=sender
        )
    others = {key: it for key, it in message.items() if key not in ("from", "value")}
    if sender != _CALL:
        return {"role": role, "content": value, **others}
    try:
        read: Any = json.loads(value) if isinstance(value, str) else value
        calls = [
            {"type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in (read if isinstance(read, list) else [read])
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            "a function_call is JSON with name and arguments", where=f"{where}: value", value=value
        ) from error
    return {"role": role, "content": "", "tool_calls": _without_null(calls, where), **others}


def _text(content: Any, where: str) -> Any:
    """The text of content with one part of type text. Raises DataError for several, which some templates join with
    nothing and some servers with a line break, and for parts of other types."""
    if not isinstance(content, list):
        return content
    only: dict = content[0] if len(content) == 1 and isinstance(content[0], dict) else {}
    if only.get("type") != "text" or not isinstance(only.get("text"), str):
        raise DataError(
            "content is a text, or one part of type text", where=f"{where}: content", value=content,
            hint="join several texts yourself; images and other media cannot be read",
        )  # fmt: skip
    return only["text"]


def _without_null(value: Any, where: str, depth: int = 0) -> Any:
    """The value without keys whose value is null. Raises DataError for what JSON does not have."""
    if depth > DEEPEST:
        raise DataError(f"a message has at most {DEEPEST} levels of lists and objects", where=where)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise DataError("the keys of a message are text", where=where, value=sorted(map(str, value)))
        return {key: _without_null(item, where, depth + 1) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_null(item, where, depth + 1) for item in value]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise DataError("a message has texts, finite numbers, lists and objects", where=where, value=value)


def _text_alone(text: str, where: str) -> str:
    """A text for a prompt or response. Raises DataError for one that is messages, written as JSON or by Python, which would
    be read as the words of one message."""
    if _are_written(text):
        raise DataError("a text that is messages", where=where, value=text, hint="give the list of messages itself")
    return _whole(text, where)


def _are_written(text: str) -> bool:
    """Whether a text is a list of messages, or one message with role and content, as JSON or as Python prints them."""
    if text[:1] not in "[{ \t\r\n":
        return False
    if _PYTHON.fullmatch(text):
        return any(all(f"'{key}': " in text for key in form) for form in _FORMS)
    listed = f"[{text}]" if text.lstrip().startswith('{"') and '"role"' in text and '"content"' in text else text
    return _json_of_messages(listed) is not None


def _json_of_messages(text: str) -> list[Any] | None:
    """The list of messages that a text is the JSON of; None for any other text."""
    if not text.lstrip().startswith("[{") or not text.rstrip().endswith("}]"):
        return None
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return (
        read if all(isinstance(each, dict) and any(form <= each.keys() for form in _FORMS) for each in read) else None
    )


def _whole(text: str, where: str) -> str:
    """The text. Raises DataError if it has half of a surrogate pair."""
    if not is_whole(text):
        raise DataError(f"contains {HALF_CHARACTER}", where=where)
    return text


def is_whole(text: str) -> bool:
    """Whether the text has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_answered(role: str, where: str = "role") -> None:
    """Raises DataError if the role of the last message is not the assistant."""
    if role != ANSWERER:
        raise DataError(
            f"the last message is the one to score, so its role must be {ANSWERER!r}", where=where, value=role
        )


def plain(value: Turns) -> str:
    """All text of a prompt or response: of each message its reasoning, its content and its tool calls, separated by blank
    lines."""
    return value if isinstance(value, str) else "\n\n".join(text for message in value if (text := _all_text(message)))


def shown(value: Turns) -> str:
    """A prompt or response for readers: a text, or messages one below the other with their roles."""
    if isinstance(value, str):
        return value
    return "\n\n".join(f"{message['role']}: {_all_text(message)}" for message in value)


def _all_text(message: Message) -> str:
    calls = [
        json.dumps(message[key], ensure_ascii=False, allow_nan=False)
        for key in ("tool_calls", _CALL)
        if message.get(key)
    ]
    spoken = [message[field] for field in _SPOKEN if isinstance(message.get(field), str)]
    return "\n\n".join(text for text in [*spoken, *calls] if text.strip())


def size(value: Any) -> int:
    """Characters of the texts in a message, those of its fields too."""
    if isinstance(value, dict):
        return sum(map(size, value.values()))
    return sum(map(size, value)) if isinstance(value, list) else len(str(value))


def texts(value: Turns) -> list[str]:
    """The texts of a prompt or response that are in the corpus's language, in order: contents and reasoning of system,
    user and assistant, but not tool calls, what tools answer, names and other fields."""
    if isinstance(value, str):
        return [value]
    return [message[field] for message in value for field in _SPOKEN if _is_spoken(message, field)]


def with_texts(value: Turns, other: Callable[[str], str]) -> Turns:
    """The prompt or response with `other` of each of its `texts`, and all else unchanged."""
    if isinstance(value, str):
        return other(value)
    return [
        message | {field: other(message[field]) for field in _SPOKEN if _is_spoken(message, field)} for message in value
    ]


def _is_spoken(message: Message, field: str) -> bool:
    """An empty content is a text too, which is a defect, unless the message calls tools."""
    text, calls = message.get(field), message.get("tool_calls") or message.get(_CALL)
    needed = field == "content" and not calls
    return message.get("role") in _SPEAKERS and isinstance(text, str) and bool(needed or text.strip())


def is_messages(value: Any) -> bool:
    """Whether the value is a list of messages in their one form."""
    return isinstance(value, list) and bool(value) and all(
        isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
        for message in value
    )  # fmt: skip
