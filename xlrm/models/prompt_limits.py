"""A limit on the tokens of a prompt that a policy or a reward model was trained with. It is in the files of the tokenizer, as
the chat template is, so that every reader of the model shortens prompts as the training did."""

import json
from collections.abc import Sequence
from typing import Any

from xlrm.errors import DataError
from xlrm.models import templates
from xlrm.models.templates import TemplateRefusal

FIELD = "max_prompt_length"
"""Name of the limit in tokenizer_config.json."""

Message = dict[str, Any]


def of(tokenizer: Any) -> int | None:
    """The limit of this tokenizer; None without one."""
    limit = tokenizer.init_kwargs.get(FIELD)
    return limit if isinstance(limit, int) else None


def write(tokenizer: Any, limit: int | None) -> None:
    """Gives the tokenizer a limit, which it saves, or takes it away."""
    tokenizer.init_kwargs.pop(FIELD, None)
    if limit is not None:
        tokenizer.init_kwargs[FIELD] = limit


def shortened(tokenizer: Any, chat: list[Message], limit: int) -> list[Message]:
    """The messages without what makes their text in the chat template, with the start of an answer, longer than `limit`
    tokens, special tokens included: the longest message loses its end, and another one when that is the longest. With a single
    message this is the cut on the right of T5's preprocessing (seqio's `trim`). Raises DataError if the template alone is
    longer."""
    while (excess := length(tokenizer, chat) - limit) > 0:
        sizes = [len(_ids(tokenizer, message["content"])) for message in chat]
        place = sizes.index(max(sizes))
        if sizes[place] < 2:
            raise DataError(f"{length(tokenizer, chat)} tokens without its texts", where=FIELD, value=limit)
        text = beginning(tokenizer, chat[place]["content"], max(1, sizes[place] - excess))
        chat = [*chat[:place], chat[place] | {"content": text}, *chat[place + 1 :]]
    return chat


def scored(tokenizer: Any, conversations: Sequence[list[Message]]) -> Sequence[list[Message]]:
    """Conversations as a reward model with this tokenizer reads them: if it has a limit, all messages before the last, which is
    the one to score, are `shortened` to it. Raises TemplateRefusal for messages that the chat template does not accept without
    the last one."""
    if (limit := of(tokenizer)) is None:
        return conversations
    known: dict[str, list[Message]] = {}  # responses to the same prompt come one after the other
    read = []
    for place, (*prompt, last) in enumerate(conversations):
        key = json.dumps(prompt, allow_nan=False)
        try:
            known = known if key in known else {key: shortened(tokenizer, prompt, limit) if prompt else []}
        except TemplateRefusal as error:
            raise error.after(place) from error
        read.append([*known[key], last])
    return read


def length(tokenizer: Any, chat: Sequence[Message]) -> int:
    """Number of `tokens` of the messages in the chat template, with the start of an answer."""
    (text,) = templates.render(tokenizer, [chat], add_generation_prompt=True)
    return tokens(tokenizer, text)


def tokens(tokenizer: Any, text: str) -> int:
    """Number of tokens of a text in the chat template, with the special tokens that the tokenizer adds."""
    ids, probe = _ids(tokenizer, text), tokenizer("a", return_special_tokens_mask=True)
    first = probe["input_ids"][: (probe["special_tokens_mask"] + [0]).index(0)]
    written = len(first) if first and ids[: len(first)] == first else 0
    return len(ids) + sum(probe["special_tokens_mask"]) - written


def beginning(tokenizer: Any, text: str, count: int) -> str:
    """The text of the first `count` tokens of a text, without half a character."""
    if count < 1:
        return ""
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = encoding["offset_mapping"]
    if len(offsets) <= count:
        return text
    end = offsets[count - 1][1]
    return text[: end if offsets[count][0] >= end else offsets[count][0]]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
