"""An engine for a model that is served elsewhere with OpenAI's chat completions API."""

import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any, Literal

from xlrm import progress
from xlrm.errors import ArtifactError, ConfigError
from xlrm.models import chat_templates, logprobs
from xlrm.models.decoding import Completion, Decoding, Engine, Request
from xlrm.models.transformers_engine import Model
from xlrm.store import addresses

_KEY = "OPENAI_API_KEY"
_LONG_KEY = 12
"""Characters of a key whose first four do not occur by chance."""
_Feature = Literal[
    "sampling fields", "max_tokens", "system message", "top_p", "seed", "temperature", "few tokens", "logprobs"
]  # fmt: skip
_LOGPROBS = re.compile(r"log_?prob", re.IGNORECASE)
_NO_MAX_TOKENS = re.compile(r"use\W+max_completion_tokens", re.IGNORECASE)
"""Not any mention of the field: vLLM also names it to a prompt that is too long."""
_LEAST_TOKENS = 16
"""Limit for a server that takes no lower one, as OpenAI's newer models."""
_FEW_TOKENS = re.compile(
    r"max_\w*tokens.{0,80}?(minimum|at least|too (small|low)|greater than|>=)|minimum.{0,40}max_\w*tokens",
    re.IGNORECASE,
)
_NO_SEED = re.compile(r"\bseed\b")
_NO_SYSTEM = re.compile(
    r"system.{0,20}(role|message|prompt|instruction)|role.{0,40}system|developer instruction|roles must alternate",
    re.IGNORECASE,
)
"""The words of Gemma's and Mistral's chat templates, of OpenAI for o1-mini, and of Google for Gemma."""


@dataclass
class Endpoint(Engine):
    """A server with OpenAI's chat completions API, at OPENAI_BASE_URL, with OPENAI_API_KEY if it requires one.

    What a server refuses to take is left out of this and later requests if the model can be asked the same without it:
    `top_k`, `min_p`, `repetition_penalty` and `top_p`, where they change nothing; `seed`, for greedy answers; `max_tokens`, which
    becomes `max_completion_tokens`; and the system message, whose text goes before the user's
    (`chat_templates.without_system`). `temperature` is left out too, and the log says so: some models allow only their
    default. A limit of fewer than 16 tokens becomes 16 where log-probabilities are asked for: those of the first tokens
    do not depend on it. Log-probabilities are left out where `needs_logprobs` allows it."""

    model: Model
    parallel: int = 32
    """Concurrent requests."""
    block: int = 256
    retries: int = 5
    """Retries of a request after a lost connection, a timeout, status 408, 409, 429 or 5xx, or a reply without an
    answer in it. The delay is the server's Retry-After (over two minutes: no retry), or else 0.5 s, doubled each time up
    to 8 s, minus a random part of up to a quarter. This is the openai client's own rule, except for the last kind."""
    timeout_seconds: float = 600.0
    """Timeout of one request, in seconds."""
    refused: frozenset[_Feature] = field(default=frozenset(), init=False)
    """What the server has refused to take."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @cached_property
    def client(self) -> Any:
        """Raises ConfigError if the address or the key cannot be right."""
        import openai

        address, key = os.environ.get("OPENAI_BASE_URL", "").strip(), os.environ.get(_KEY, "").strip() or "none"
        if not address:
            raise ConfigError(
                "not set; it is the address of the served model, such as http://host:8000/v1", where="OPENAI_BASE_URL"
            )
        if not re.match(r"https?://[^/\s]+\S*$", address):
            raise ConfigError(
                "an address such as http://host:8000/v1 is required", where="OPENAI_BASE_URL", value=_server()
            )
        if not re.fullmatch(r"[!-~]+", key):
            raise ConfigError(
                "contains characters that no key has, such as spaces or typographic quotation marks", where=_KEY
            )
        return openai.OpenAI(base_url=address, api_key=key, max_retries=self.retries, timeout=self.timeout_seconds)

    def _ask(self, requests: Sequence[Request], decoding: Decoding, tell: Callable[[int, Completion], None]) -> None:
        """Sends another request only when an answer has been told, so that fewer than `parallel` are paid for after
        `tell` raises. Raises ArtifactError if a request fails after its retries; first calls `tell` for every answer that has
        arrived, including those to requests still running at the failure."""
        self.client  # noqa: B018  (created once here, not by several threads)
        left = iter(enumerate(requests))
        running: dict[Future[Completion], int] = {}
        with ThreadPoolExecutor(self.parallel) as pool:
            try:
                while True:
                    for place, request in islice(left, self.parallel - len(running)):
                        running[pool.submit(self._complete, request, decoding)] = place
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        completion = future.result()
                        tell(running.pop(future), completion)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                for future, place in running.items():
                    if _came(future):
                        tell(place, future.result())
                raise

    def check(self) -> None:
        self.client  # noqa: B018  (made here)

    def close(self) -> None:
        pass

    def _complete(self, request: Request, decoding: Decoding) -> Completion:
        """The completion with the tokens of all replies. A model that repeatedly answers without text refuses the
        prompt. Raises ArtifactError for a server that gives no reply, or none with choices."""
        import openai

        tokens, reply = (0, 0), None
        for attempt in range(self.retries + 1):
            time.sleep(_delay(attempt))
            try:
                reply = self._send(request, decoding)
            except openai.APIStatusError as error:
                if decoding.top_logprobs and _LOGPROBS.search(str(error)):
                    raise self._without_logprobs(_line(error)) from error
                if isinstance(error, (openai.BadRequestError, openai.UnprocessableEntityError)):
                    return Completion("", False, tokens, refused=_line(error))
                raise self._failed(str(error.status_code)) from error
            except openai.APIError as error:
                raise self._failed(str(getattr(error, "status_code", None) or type(error).__name__)) from error
            except ValueError:  # no JSON
                continue
            tokens = _added(tokens, getattr(reply, "usage", None))
            if completion := _completion(reply):
                missing = decoding.top_logprobs and completion.text and not completion.logprobs
                if missing and decoding.needs_logprobs:
                    raise self._without_logprobs("there are none in its reply")
                return replace(completion, tokens=tokens)
        if _message(reply):
            return Completion("", False, tokens, refused="answers without text")
        raise self._failed(_reason(reply))

    def _failed(self, reason: str) -> ArtifactError:
        return ArtifactError(f"no answer: {reason}", where=f"{_server()}: model", value=self.model.name)

    def _without_logprobs(self, reason: str) -> ArtifactError:
        return ArtifactError(
            f"the server gives no log-probabilities: {reason}", where=f"{_server()}: model", value=self.model.name,
            hint="judge with a prompt that needs none, such as judge.prompt=alpacaeval-1",
        )  # fmt: skip

    def _send(self, request: Request, decoding: Decoding) -> Any:
        """The reply to the request, without what the server refuses. Raises the client's errors."""
        import openai

        while True:
            without = self.refused
            try:
                return self.client.chat.completions.create(**self._fields(request, decoding, without))
            except (openai.BadRequestError, openai.UnprocessableEntityError, openai.PermissionDeniedError) as error:
                refused = _refused(str(error), request, decoding) - without
                if isinstance(error, openai.PermissionDeniedError):  # OpenAI's, to log-probabilities of some models
                    refused &= {"logprobs"}
                if not refused:
                    raise
                self._leave_out(refused, decoding)

    def _leave_out(self, refused: set[_Feature], decoding: Decoding) -> None:
        with self._lock:
            new, self.refused = refused - self.refused, self.refused | refused
        if "temperature" in new:
            progress.say(f"{self.model.name} takes no temperature of {decoding.temperature:g}: its own default counts")
        if "logprobs" in new:
            progress.say(f"{self.model.name} gives no log-probabilities")

    def _fields(self, request: Request, decoding: Decoding, without: frozenset[_Feature]) -> dict[str, Any]:
        """Besides OpenAI's own fields three others, because vLLM and SGLang would take them from the model's
        generation_config.json, and llama.cpp has a `min_p` of its own."""
        messages = chat_templates.messages(request.prompt)
        more = {"top_k": decoding.top_k or -1, "min_p": 0.0, "repetition_penalty": decoding.repetition_penalty}
        chosen = {"seed": request.seed, "temperature": decoding.temperature, "top_p": decoding.top_p}
        limit = max(decoding.max_new_tokens, _LEAST_TOKENS if "few tokens" in without else 1)
        likely: dict[str, Any] = {}
        if decoding.top_logprobs and "logprobs" not in without:
            likely = {"logprobs": True, "top_logprobs": decoding.top_logprobs}
        return likely | {name: value for name, value in chosen.items() if name not in without} | {
            "model": self.model.name,
            "messages": chat_templates.without_system(messages) if "system message" in without else messages,
            "max_completion_tokens" if "max_tokens" in without else "max_tokens": limit,
            "extra_body": {} if "sampling fields" in without else more,
        }  # fmt: skip


def _refused(message: str, request: Request, decoding: Decoding) -> set[_Feature]:
    """What a server that answers with this error does not take, if the model can be asked the same without it."""
    features: set[_Feature] = set()
    neutral = (decoding.top_k, decoding.repetition_penalty) == (0, 1.0)
    if decoding.top_logprobs and not decoding.needs_logprobs and _LOGPROBS.search(message):
        features.add("logprobs")
    if neutral and any(name in message for name in ("top_k", "min_p", "repetition_penalty")):
        features.add("sampling fields")
    if _NO_MAX_TOKENS.search(message):
        features.add("max_tokens")
    elif decoding.top_logprobs and decoding.max_new_tokens < _LEAST_TOKENS and _FEW_TOKENS.search(message):
        features.add("few tokens")
    if decoding.top_p == 1.0 and "top_p" in message:
        features.add("top_p")
    elif "temperature" in message:  # where both are named, one of them is allowed
        features.add("temperature")
    if not decoding.temperature and _NO_SEED.search(message):
        features.add("seed")
    if chat_templates.messages(request.prompt)[0]["role"] == "system" and _NO_SYSTEM.search(message):
        features.add("system message")
    return features


def _delay(attempt: int) -> float:
    """Seconds before an attempt: none before the first, number 0."""
    return min(8.0, 0.5 * 2 ** (attempt - 1)) * (1 - random.random() / 4) if attempt else 0.0


def _message(reply: Any) -> Any:
    """The message in a reply; None if it has none. Servers may send anything, such as a text or null."""
    choices = getattr(reply, "choices", None)
    return getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None


def _completion(reply: Any) -> Completion | None:
    """The answer in a reply, which is not the thinking in `reasoning_content`; None if it is missing without a
    reason."""
    if not (message := _message(reply)):
        return None
    text, ended = message.content, reply.choices[0].finish_reason
    if isinstance(text, str) and (text or ended != "content_filter"):
        return Completion(_text(text), ended == "stop", **_logprobs(reply.choices[0]))
    if ended == "length":  # the limit was reached in the thinking
        return Completion("", False)
    reason = getattr(message, "refusal", None) or (ended if ended == "content_filter" else None)
    return Completion("", False, refused=_line(reason)) if reason else None


def _logprobs(choice: Any) -> dict[str, Any]:
    """The fields `logprobs` and `pieces` of a Completion, from a choice; empty if it has none. Servers may send
    anything, such as null."""
    positions = getattr(getattr(choice, "logprobs", None), "content", None)
    if not isinstance(positions, list):
        return {}
    pieces = tuple(_text(str(getattr(position, "token", ""))) for position in positions)
    return {"logprobs": tuple(logprobs.by_text(_most_likely(position)) for position in positions), "pieces": pieces}


def _most_likely(position: Any) -> Iterator[tuple[str, float]]:
    for entry in getattr(position, "top_logprobs", None) or ():
        token, value = getattr(entry, "token", None), getattr(entry, "logprob", None)
        if isinstance(token, str) and isinstance(value, float | int):
            yield _text(token), float(value)


def _text(given: str) -> str:
    """The text with a replacement character for each half of a character alone, which cannot be saved: a token may end
    within a character, and JSON can say so."""
    return given if given.isascii() else given.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _reason(reply: Any) -> str:
    """Why a reply has no choices: the error in it, if there is one."""
    error = getattr(reply, "error", None)
    message = error.get("message") if isinstance(error, dict) else error
    return _line(message) if message else "replies without choices"


def _added(tokens: tuple[int, int], usage: Any) -> tuple[int, int]:
    read, written = (getattr(usage, name, None) or 0 for name in ("prompt_tokens", "completion_tokens"))
    return tokens[0] + read, tokens[1] + written


def _server() -> str:
    """The address for messages, without what may be a key."""
    return addresses.shown(os.environ["OPENAI_BASE_URL"].strip()).partition("?")[0]


def _line(message: object) -> str:
    """A server's message on one line, without the key, which servers may repeat whole or shortened."""
    key = os.environ.get(_KEY, "").strip()
    text = str(message).replace(key, "***") if key else str(message)
    text = re.sub(r"\b(sk-|Bearer\s+)[\w*.…-]+", r"\1***", text)
    if len(key) >= _LONG_KEY:  # shortened in the middle
        text = re.sub(rf"{re.escape(key[:4])}[\w-]*[*.…x]{{2,}}[\w-]*", "***", text)
    return chat_templates.line(text)


def _came(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
