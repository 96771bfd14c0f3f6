"""Chat templates of policies that are fine-tuned on demonstrations, and of their reward models (paper B, appendix G.1)."""

import json
import re
from typing import Any, Literal

from xlrm.languages import LANGUAGES

Instruction = Literal["summarization", "dialog"]
INSTRUCTIONS: dict[Instruction, str] = {
    "summarization": "Summarize the following text in [LANGUAGE]:\n\n",
    "dialog": (
        "You are given a dialog between a human and an assistant in [LANGUAGE]. "
        "Please write one turn of the assistant side in [LANGUAGE].\n\n"
    ),
}
"""Paper B prints the blank line after the second one alone."""
ENCODER = (
    "{% if messages | length == 1 %}{{ messages[0]['content'] }}{% else %}{% for message in messages %}"
    "{{ message['role'] }}: {{ message['content'] }}{{ '' if loop.last else '\n' }}{% endfor %}{% endif %}"
)
"""For encoder-decoders without a template, which read a text as it is; the turns of a dialog have their roles before them."""
DELIMITER = "\n|||\n"
"""Between the texts that a reward model reads. It stays visible where a tokenizer collapses white space (mT5's)."""
_TEXTS = (
    "{% for message in messages %}{{ message['content'] }}{{ '' if loop.last else DELIMITER }}{% endfor %}"
    "{{ DELIMITER if add_generation_prompt else '' }}"
).replace("DELIMITER", repr(DELIMITER))
"""Line breaks are in expressions: transformers removes one that follows a block (trim_blocks)."""
_HEAD = (
    "{%- set messages = [{'role': messages[0]['role'], 'content': TEXT + messages[0]['content']}] + messages[1:] -%}\n"
)
_WRITTEN = re.compile(re.escape(_HEAD).replace("TEXT", r'"(?:[^"\\]|\\.)*"'))


def text(instruction: Instruction, languages: list[str]) -> str:
    """The instruction with the English names of the languages; several are joined by "or"."""
    names = [LANGUAGES[code].name if code in LANGUAGES else code for code in languages]
    return INSTRUCTIONS[instruction].replace("[LANGUAGE]", " or ".join(names))


def instructed(template: str, instruction: str | None) -> str:
    """A chat template that writes this text before the first message's, in place of another one that it may have."""
    plain = _WRITTEN.sub("", template)
    return plain if instruction is None else _HEAD.replace("TEXT", json.dumps(instruction, allow_nan=False)) + plain


def plain_texts(tokenizer: Any) -> str:
    """The template of a reward model that reads texts with delimiters between them, as paper B's do. A conversation ends with
    the EOS, which the template writes where the tokenizer does not add it."""
    mask = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    adds = mask[-1] or not tokenizer.eos_token
    return _TEXTS if adds else _TEXTS + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
