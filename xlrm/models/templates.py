"""Chat templates of any model: the one that counts, without today's date, and rendered within limits.

A template is code of a stranger. transformers runs it in a sandbox, which limits neither its time nor its output.
"""

import contextlib
import ctypes
import datetime
import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from xlrm.errors import ArtifactError, DataError

DATE = datetime.datetime(2024, 7, 26)
"""Date that templates write instead of today's, by which rewards would change from day to day; Llama 3.1's own
default."""
_DIRECTIVES = [
    f"%{each}"
    for each in ("-d -g -H -I -j -m -M -S -U -V -W -y " + " ".join("aAbBcCdDeFgGhHIjklmMpPrRSTuUVwWxXyYzZ")).split()
]
"""Those of C's strftime that write text."""
# A macro takes precedence over transformers' function of the same name, and so does every reader of the folder. The line
# break is removed with the block (trim_blocks).
_PIN = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f"|replace('{each}', '{DATE.strftime(each)}')" for each in _DIRECTIVES)
    + " }}{% endmacro %}\n"
)
SECONDS = 20.0
"""Time limit on rendering one conversation."""
_BYTES = 2**30
"""Limit on the memory for one conversation."""
_LARGEST = 1_000_000
"""Largest number that a template may name."""
_CHARACTERS, _TIMES = 1_000_000, 20
"""Limit on the text of a conversation: `_CHARACTERS`, and `_TIMES` those of its messages."""


class TemplateRefusal(DataError):
    """A conversation that a chat template does not accept, or for which it exceeds the limits."""

    def __init__(self, place: int, reason: str):
        super().__init__(f"the model's chat template rejects it: {reason}", where=f"conversation {place + 1}")
        self.place, self.reason = place, reason
        """Index of the conversation, and why it is rejected, in one line."""

    def after(self, count: int) -> "TemplateRefusal":
        """The same for a conversation that `count` others precede."""
        return TemplateRefusal(self.place + count, self.reason)


def prepare(tokenizer: Any, path: object) -> None:
    """Gives the tokenizer the single template that `render` uses: of several named ones `default`, as transformers
    does, and with `DATE` as the date. Without a template, does nothing.

    Raises ArtifactError for named templates without a default, for one that is not allowed, and for one that leaves out
    the text of messages."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        if "default" not in template:
            names = ", ".join(sorted(template))
            raise ArtifactError(f"one of the chat templates must be named default; there are {names}", where=path)
        template = template["default"]
    if template:
        _check(template, path)
    tokenizer.chat_template = pinned(template) if template else None
    if template and not _writes_messages(tokenizer):
        raise ArtifactError(
            "the chat template leaves out the text of messages", where=path,
            hint="one for messages with parts, such as images, cannot be used",
        )  # fmt: skip


def pinned(template: str) -> str:
    """A template with `DATE` for today's date, also for other readers of the folder; idempotent."""
    return _PIN + template if "strftime_now" in template and _PIN not in template else template


def _check(template: str, path: object) -> None:
    """Raises ArtifactError for a power or a number by which one operation takes all time or memory, which no limit can
    stop."""
    import jinja2

    try:
        tokens = [token for token in jinja2.Environment().lex(template) if token[1] != "whitespace"]
    except jinja2.TemplateSyntaxError as error:
        where = f"{path}: chat template, line {error.lineno}"
        raise ArtifactError(str(error.message), where=where) from error
    for (_, _, before), (line, kind, text) in itertools.pairwise(tokens):
        power = kind == "operator" and text == "**" and before not in ("(", ",")  # there it unpacks arguments of a call
        if power or (kind == "integer" and int(text, 0) > _LARGEST):
            what = "a power (**)" if power else text
            message = f"{what} is not allowed; numbers are up to {_LARGEST}"
            raise ArtifactError(message, where=f"{path}: chat template, line {line}")


def _writes_messages(tokenizer: Any) -> bool:
    """Whether the text of a conversation depends on the question and on the answer, or is refused."""
    turns = [("1", "2"), ("1", "3"), ("4", "2")]
    chats = [[{"role": "user", "content": asked}, {"role": "assistant", "content": answer}] for asked, answer in turns]
    try:
        return len(set(render(tokenizer, chats))) == len(chats)
    except TemplateRefusal:
        return True


def render(tokenizer: Any, chats: Sequence[Sequence[Mapping[str, Any]]], **options: Any) -> list[str]:
    """Text of each conversation in the tokenizer's template. `options`: those of transformers' apply_chat_template.

    Raises TemplateRefusal for a conversation that the template does not accept."""
    texts: list[str] = []
    try:
        with _watched() as begin:
            for chat in chats:
                begin()
                texts.append(_rendered(tokenizer, chat, options))
    except _TooMuch:
        reason = f"it does not end within {SECONDS:g} seconds and {_BYTES >> 20} MiB of memory"
        raise TemplateRefusal(len(texts), reason) from None
    except _Refused as error:
        raise TemplateRefusal(len(texts), str(error)) from error.__cause__
    return texts


def _rendered(tokenizer: Any, chat: Sequence[Mapping[str, Any]], options: dict[str, Any]) -> str:
    try:
        text = _applied(tokenizer, chat, options)
    except Exception as error:  # of any kind: the template is a program
        raise _Refused(" ".join(str(error).split())[:200] or type(error).__name__) from error
    most = _CHARACTERS + _TIMES * sum(len(str(message)) for message in chat)
    if len(text) > most:
        raise _Refused(f"it writes {len(text):,} characters; at most {most:,} are allowed")
    return text


def _applied(tokenizer: Any, chat: Sequence[Mapping[str, Any]], options: dict[str, Any]) -> str:
    """Same as apply_chat_template of transformers, within `template_limits`."""
    if not chat:
        raise ValueError("a conversation has at least one message")
    given = {"tools": None, "documents": None, "add_generation_prompt": False, **tokenizer.special_tokens_map}
    return _compiled(tokenizer.get_chat_template()).render(messages=chat, **given | options)


@functools.lru_cache
def _compiled(template: str) -> Any:
    from xlrm.models import template_limits

    return template_limits.compiled(template)


def writes_bos(tokenizer: Any) -> bool:
    """Whether the template begins a conversation with the BOS."""
    (text,) = render(tokenizer, [[{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]])
    return text.startswith(tokenizer.bos_token)


class _Refused(Exception):
    """Why a conversation is refused."""


class _TooMuch(BaseException):
    """Raised in the thread of a template that exceeds its time or memory."""


@contextlib.contextmanager
def _watched() -> Iterator[Callable[[], None]]:
    """Raises _TooMuch in this thread, whichever it is, once `SECONDS` have passed, or the process has grown by `_BYTES`,
    since the last call of the function that it gives."""
    thread, lock, finished = ctypes.c_ulong(threading.get_ident()), threading.Lock(), threading.Event()
    begun, before = time.monotonic(), _resident()

    def begin() -> None:
        nonlocal begun, before
        begun, before = time.monotonic(), _resident()

    def watch() -> None:
        while not finished.wait(min(SECONDS / 10, 0.05)):
            with lock:
                over = time.monotonic() - begun > SECONDS or _resident() - before > _BYTES
                if not finished.is_set() and over:
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_TooMuch))
                    return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield begin
    finally:
        with lock:
            finished.set()


def _resident() -> int:
    """Memory of the process in bytes, without mapped files; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except OSError:
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
