"""Conversations as token ids: applying a model's chat template, and finding the tokens that end its turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xlrm.errors import ConfigError, DataError
from xlrm.models import templates
from xlrm.models.decoding import Prompt
from xlrm.models.templates import TemplateRefusal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]
_ANSWER = "4"
"""An answer that appears in no template; `turn_ends` reads the token after it."""


def as_chats(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each prompt, ending with the start of the assistant's turn; only the template adds special tokens.

    Raises ConfigError if the template rejects the messages."""
    texts = [_asking(tokenizer, messages(prompt)) for prompt in prompts]
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def _asking(tokenizer: Any, chat: list[Message]) -> str:
    """The chat in the model's template; `without_system` if the template rejects the system message or drops it."""
    system = chat[0]["content"].strip() if chat[0]["role"] == "system" else ""
    try:
        (text,) = templates.render(tokenizer, [chat], add_generation_prompt=True)
    except TemplateRefusal as error:
        if not system:
            raise ConfigError(
                f"the model's chat template rejects the conversation: {error.reason}", where="chat template"
            ) from error
        text = ""
    return text if system in text else _asking(tokenizer, without_system(chat))


def without_system(chat: list[Message]) -> list[Message]:
    """The chat for models without a system role: the system message's text, a blank line, and the user's text are one
    message of the user."""
    if len(chat) < 2 or chat[0]["role"] != "system":
        return chat
    system, user, *later = chat
    return [{"role": user["role"], "content": f"{system['content']}\n\n{user['content']}"}, *later]


def encoded(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Same as `as_chats`; without a chat template, the token ids of the plain texts."""
    if tokenizer.chat_template is None:
        return tokenizer([plain(prompt) for prompt in prompts])["input_ids"]
    return as_chats(tokenizer, prompts)


def as_trained(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each prompt exactly as conversations begin in `encode`, the encoding used in training, including a
    BOS that only the tokenizer adds. `tokenizer` must come from `loading.load_tokenizer`."""
    bos = [tokenizer.bos_token_id] if templates.adds_bos(tokenizer) else []
    return [ids if ids[:1] == bos else bos + ids for ids in as_chats(tokenizer, prompts)]


def messages(prompt: Prompt) -> list[Message]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def plain(prompt: Prompt) -> str:
    """Contents of all messages, separated by blank lines, for models without a chat template."""
    return "\n\n".join(message["content"] for message in messages(prompt))


def turn_ends(tokenizer: Any) -> set[int]:
    """The token that the chat template writes after an assistant's answer, if it is an added token such as <|im_end|>
    or <end_of_turn>; else the empty set. A model ends its turn with this token even if its EOS is a different one."""
    if tokenizer.chat_template is None:
        return set()
    chat = [*messages("2 + 2?"), {"role": "assistant", "content": _ANSWER}]
    try:
        (written,) = templates.render(tokenizer, [chat])
    except TemplateRefusal:
        return set()
    tail = written.rpartition(_ANSWER)[2] if _ANSWER in written else ""
    behind = tokenizer(tail, add_special_tokens=False)["input_ids"][:1]
    return set(behind).intersection(tokenizer.added_tokens_decoder)


def ends(tokenizer: Any, generation_config: Any, config: Any) -> list[int]:
    """Ids of tokens that end a completion: from generation_config.json, or else config.json, the tokenizer's EOS and
    `turn_ends`."""
    given = generation_config.eos_token_id
    given = config.get_text_config().eos_token_id if given is None else given
    end_ids = set(given if isinstance(given, list) else [given]) | {tokenizer.eos_token_id} | turn_ends(tokenizer)
    return sorted(end_ids - {None})


def text_of(tokenizer: Any, written: list[int], ends: list[int]) -> str:
    """Decoded text of a completion, without the token that ended it and without special tokens."""
    end = len(written) - 1 if written and written[-1] in ends else len(written)
    return tokenizer.decode(written[:end], skip_special_tokens=True)


@dataclass(frozen=True)
class AnswerTurn:
    """What a chat template writes around an assistant's answer."""

    start: str
    """The generation prompt, such as "<|im_start|>assistant\\n"; empty for a template without one."""
    end: str
    """Such as "<|im_end|>\\n"."""
    eos: str | None
    """The tokenizer's EOS, which a policy may write where the template writes something else."""

    @classmethod
    def of(cls, tokenizer: Any) -> "AnswerTurn":
        question = messages("2 + 2?")
        asked, answered = templates.render(tokenizer, [question, conversation(question, _ANSWER)])
        (open_turn,) = templates.render(tokenizer, [question], add_generation_prompt=True)
        start = open_turn.removeprefix(asked) if open_turn.startswith(asked) else ""
        return cls(start, answered.rpartition(_ANSWER)[2], tokenizer.eos_token)

    def complete(self, text: str) -> str:
        """The text of a whole conversation from a policy's prompt and completion, which ends with the token at which
        the policy stopped, or with none if it was cut: the template's end of turn replaces it. Raises DataError for a
        text in which no assistant's turn begins as this template writes it."""
        if self.start not in text:
            raise DataError(
                f"no assistant's turn begins in the text; the model's chat template begins it with {self.start!r}"
            )
        mark = self.end.rstrip()
        if self.eos and self.eos != mark:
            text = text.removesuffix(self.eos)
        if text.endswith(self.end):
            return text
        return (text.removesuffix(mark) if mark else text) + self.end


def line(message: object) -> str:
    return " ".join(str(message).split())[:200]


def conversation(prompt: str | list[Message], response: str) -> list[Message]:
    return [*messages(prompt), {"role": "assistant", "content": response}]


def encode(
    tokenizer: "PreTrainedTokenizerBase", conversations: Sequence[list[Message]], max_length: int
) -> list[list[int]]:
    """Token ids of each conversation in the chat template; one longer than `max_length` loses its beginning.

    Raises TemplateRefusal for a conversation that the template does not accept."""
    return encode_texts(tokenizer, templates.render(tokenizer, conversations), max_length)


def encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: list[str], max_length: int) -> list[list[int]]:
    """Same as `encode`, for texts to which a chat template was applied.

    The tokenizer adds its special tokens (BOS, [CLS], EOS), and truncation keeps them. If the template writes a first
    one too, there is still only one. The text is tokenised as it is, since without the template's BOS some tokenizers
    would begin it with a space."""
    if not texts:
        return []
    empty = tokenizer("")["input_ids"]
    around = empty[:1] if len(empty) > 1 else []  # a tokenizer may add a first token that it does not name, as [CLS]
    first = {tokenizer.bos_token_id, tokenizer.cls_token_id, *around} - {None}
    encoded = tokenizer(texts, verbose=False)["input_ids"]  # else it warns of texts that are cut below
    once = (ids[1:] if len(ids) > 1 and ids[0] == ids[1] and ids[0] in first else ids for ids in encoded)
    return [_cut(ids, first, max_length) for ids in once]


def _cut(ids: list[int], first: set[int], max_length: int) -> list[int]:
    if len(ids) <= max_length:
        return ids
    return [ids[0], *ids[len(ids) - max_length + 1 :]] if ids[0] in first else ids[-max_length:]
