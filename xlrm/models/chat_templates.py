"""Prompts as a model reads them: its chat template, and the tokens that end its turn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xlrm.models import loading

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

from typing import Any

from xlrm.errors import ConfigError
from xlrm.models.decoding import Prompt

# A date in a prompt would change the answer from day to day; this is what Llama 3's template says where it knows none.
_DATE = "26 Jul 2024"
_ANSWER = "4"
"""An answer that no template writes of itself; `turn_ends` looks behind it."""


def as_chats(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each, the assistant's turn begun; the template writes what special tokens there are.

    Raises ConfigError for a template that does not take these messages, such as a system's."""
    import jinja2

    chats = [messages(prompt) for prompt in prompts]
    try:
        texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True, date_string=_DATE)
    except jinja2.TemplateError as error:
        raise ConfigError(f"the model's chat template takes no such conversation: {line(error)}") from error
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def encoded(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """As `as_chats`; of a model without a chat template the bare texts."""
    if tokenizer.chat_template is None:
        return tokenizer([plain(prompt) for prompt in prompts])["input_ids"]
    return as_chats(tokenizer, prompts)


def as_trained(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """As `encode` has conversations begin, by a tokenizer of `loading.load_tokenizer`: with a BOS where only the tokenizer
    writes one."""
    chats = [messages(prompt) for prompt in prompts]
    texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    texts, special = loading.one_bos(tokenizer, texts)
    return tokenizer(texts, add_special_tokens=special)["input_ids"]


def messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def plain(prompt: Prompt) -> str:
    """For models without a chat template."""
    return "\n\n".join(message["content"] for message in messages(prompt))


def turn_ends(tokenizer: Any) -> set[int]:
    """The token that the chat template writes behind an assistant's answer, where that is one of its own (<|im_end|>,
    <end_of_turn>): what a model ends its turn with, though its EOS may be another."""
    if tokenizer.chat_template is None:
        return set()
    import jinja2

    chat = [*messages("2 + 2?"), {"role": "assistant", "content": _ANSWER}]
    try:
        written = tokenizer.apply_chat_template(chat, tokenize=False, date_string=_DATE)
    except jinja2.TemplateError:
        return set()
    tail = written.rpartition(_ANSWER)[2] if _ANSWER in written else ""
    behind = tokenizer(tail, add_special_tokens=False)["input_ids"][:1]
    return set(behind).intersection(tokenizer.added_tokens_decoder)


def ends(tokenizer: Any, generation_config: Any) -> list[int]:
    """Tokens that end a completion: those of generation_config.json, the tokenizer's EOS and the end of a turn."""
    given = generation_config.eos_token_id
    found = set(given if isinstance(given, list) else [given]) | {tokenizer.eos_token_id} | turn_ends(tokenizer)
    return sorted(found - {None})


def text_of(tokenizer: Any, written: list[int], ends: list[int]) -> str:
    """What a model wrote, without the token that ended it."""
    end = len(written) - 1 if written and written[-1] in ends else len(written)
    return tokenizer.decode(written[:end], skip_special_tokens=True)


def line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


Message = dict[str, str]


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
    return encode_texts(tokenizer, tokenizer.apply_chat_template(list(conversations), tokenize=False), max_length)


def encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: list[str], max_length: int) -> list[list[int]]:
    """As `encode`, of texts that a chat template wrote, all of them with BOS or none."""
    texts, special = loading.one_bos(tokenizer, texts)
    return tokenizer(texts, truncation=True, max_length=max_length, add_special_tokens=special)["input_ids"]
