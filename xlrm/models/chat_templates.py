"""Conversations as token ids: applying a model's chat template, and finding the tokens that end its turn."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from xlrm.errors import ConfigError, DataError
from xlrm.models import decoding, prompt_limits, templates
from xlrm.models.decoding import Prompt
from xlrm.models.templates import TemplateRefusal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, Any]
Side = Literal["left", "right"]
"""End of a conversation that is cut off: left is its beginning."""
_ANSWER = "4"
"""An answer that appears in no template; `turn_ends` reads the token after it."""


def as_chats(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each prompt, ending with the start of the assistant's turn; only the template adds special tokens.

    Raises ConfigError if the template rejects the messages."""
    return tokenizer(_each_asking(tokenizer, prompts), add_special_tokens=False)["input_ids"]


def as_encoded(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each prompt for the encoder of an encoder-decoder, in its chat template and with the special tokens that the
    tokenizer adds (T5's end token)."""
    return tokenizer(_each_asking(tokenizer, prompts))["input_ids"] if prompts else []


def as_policies_read(tokenizer: Any, prompts: Sequence[Prompt], encoder_decoder: bool) -> list[list[int]]:
    """Token ids of prompts as a policy of this project reads them: `as_encoded` or `as_trained`."""
    return (as_encoded if encoder_decoder else as_trained)(tokenizer, prompts)


def asking(tokenizer: Any, prompt: Prompt) -> str:
    """Text of a prompt with the start of the assistant's turn. Raises ConfigError if the template rejects the messages."""
    return _asking(tokenizer, messages(prompt))[1]


def _each_asking(tokenizer: Any, prompts: Sequence[Prompt]) -> list[str]:
    """`asking` of each prompt; equal ones, as those of several responses are, go through the template once."""
    keys = [json.dumps(prompt, allow_nan=False) for prompt in prompts]
    texts = {key: asking(tokenizer, prompt) for key, prompt in dict(zip(keys, prompts, strict=True)).items()}
    return [texts[key] for key in keys]


def accepted(tokenizer: Any, prompt: Prompt) -> list[Message]:
    """The messages of a prompt as a policy reads them: `without_system` if its template rejects the system message or drops
    it, and within the policy's `prompt_limits`. Raises ConfigError if the template rejects them still."""
    return _asking(tokenizer, messages(prompt))[0]


def _asking(tokenizer: Any, chat: list[Message]) -> tuple[list[Message], str]:
    """The messages that are `accepted`, and their text in the model's template with the start of an answer."""
    system = chat[0]["content"].strip() if chat[0]["role"] == "system" else ""
    try:
        (text,) = templates.render(tokenizer, [chat], add_generation_prompt=True)
    except TemplateRefusal as error:
        if not system:
            raise ConfigError(
                f"the model's chat template rejects the conversation: {error.reason}", where="chat template"
            ) from error
        text = ""
    if system not in text:
        return _asking(tokenizer, without_system(chat))
    if (limit := prompt_limits.of(tokenizer)) is not None and prompt_limits.tokens(tokenizer, text) > limit:
        chat = prompt_limits.shortened(tokenizer, chat, limit)
        (text,) = templates.render(tokenizer, [chat], add_generation_prompt=True)
    return chat, text


def without_system(chat: list[Message]) -> list[Message]:
    """The chat for models without a system role: the system message's text, a blank line, and the user's text are one
    message of the user."""
    if len(chat) < 2 or chat[0]["role"] != "system":
        return chat
    system, user, *later = chat
    return [user | {"content": f"{system['content']}\n\n{user['content']}"}, *later]


def encoded(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Same as `as_chats`; without a chat template, the token ids of the plain texts."""
    if tokenizer.chat_template is None:
        return tokenizer([plain(prompt) for prompt in prompts])["input_ids"]
    return as_chats(tokenizer, prompts)


def as_trained(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each prompt exactly as conversations begin in `encode`, the encoding used in training, including a
    BOS that only the tokenizer adds. `tokenizer` must come from `loading.load_tokenizer`."""
    return as_read(tokenizer, as_chats(tokenizer, prompts))


def as_read(tokenizer: Any, conversations: Sequence[list[int]]) -> list[list[int]]:
    """Token ids that a template wrote, after the special tokens that the tokenizer adds before a text."""
    added = added_first(tokenizer)
    return [ids if ids[: len(added)] == added else added + ids for ids in conversations]


def as_rendered(tokenizer: Any, chats: Sequence[list[Message]]) -> list[list[int]]:
    """Token ids of whole conversations, which begin as those of `as_trained`."""
    texts = templates.render(tokenizer, chats)
    ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
    return as_read(tokenizer, ids)


def shared(asked: list[int], answered: list[int]) -> int:
    """Number of first tokens that both have. A template may write a prompt otherwise once a response follows it, and
    tokens may merge across the boundary; the response begins where they differ, as in TRL."""
    return next(
        (place for place, (a, b) in enumerate(zip(asked, answered, strict=False)) if a != b),
        min(len(asked), len(answered)),
    )


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
    """Decoded text of a completion, without the token that ended it and without special tokens, unless they mark its
    thinking."""
    end = len(written) - 1 if written and written[-1] in ends else len(written)
    text, whole = (tokenizer.decode(written[:end], skip_special_tokens=skipped) for skipped in (True, False))
    return whole if decoding.has_thinking(whole) else text


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


def conversation(prompt: Prompt, response: Prompt) -> list[Message]:
    """The messages of a prompt and a response, each a text or messages."""
    return [*messages(prompt), *answer(response)]


def answer(response: Prompt) -> list[Message]:
    """The messages of a response."""
    return [{"role": "assistant", "content": response}] if isinstance(response, str) else response


def encode(
    tokenizer: "PreTrainedTokenizerBase", conversations: Sequence[list[Message]], max_length: int
) -> list[list[int]]:
    """Token ids of each conversation as a reward model reads it; one longer than `max_length` loses its beginning.

    Raises TemplateRefusal for a conversation that the template does not accept."""
    return [ids for ids, _ in encode_texts(tokenizer, as_scored(tokenizer, conversations), max_length)]


def as_scored(tokenizer: Any, conversations: Sequence[list[Message]]) -> list[str]:
    """Text of each conversation in the chat template, its prompt within the reward model's `prompt_limits`. Raises
    TemplateRefusal for a conversation that the template does not accept."""
    return templates.render(tokenizer, prompt_limits.scored(tokenizer, conversations))


def encode_texts(
    tokenizer: "PreTrainedTokenizerBase", texts: list[str], max_length: int, side: Side = "left"
) -> Iterator[tuple[list[int], bool]]:
    """Token ids of texts to which a chat template was applied, and whether they were cut to `max_length` on this side.

    The tokenizer adds its special tokens (BOS, [CLS], EOS), and truncation keeps them. If the template writes the first
    ones too, they are there only once. The text is tokenised as it is, since without the template's BOS some tokenizers
    would begin it with a space."""
    if not texts:
        return
    added = added_first(tokenizer)
    first, last = added or [tokenizer.bos_token_id], _added_last(tokenizer) if side == "right" else 0
    for ids in tokenizer(texts, verbose=False)["input_ids"]:  # else it warns of texts that are cut below
        once = ids[len(added) :] if added and ids[: 2 * len(added)] == added * 2 else ids
        if len(once) <= max_length:
            yield once, False
        elif side == "left":
            yield without_beginning(once, first, max_length), True
        else:
            yield [*once[: max_length - last], *once[len(once) - last :]], True


def added_first(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Special tokens that the tokenizer adds before a text, whether it names them (as BOS or [CLS]) or not."""
    probe = tokenizer("a", return_special_tokens_mask=True)
    added = probe["special_tokens_mask"]
    return probe["input_ids"][: added.index(0) if 0 in added else 0]


def without_beginning(ids: list[int], first: list[int], max_length: int) -> list[int]:
    """The last `max_length` ids if there are more, among them the `first` ones if they begin with them."""
    if len(ids) <= max_length:
        return ids
    kept = len(first) if ids[: len(first)] == first else 0
    return [*ids[:kept], *ids[len(ids) - max_length + kept :]]


def _added_last(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Number of special tokens that the tokenizer adds after a text."""
    special = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    return special[::-1].index(0) if 0 in special else 0
