"""The served model, from its start to its end, and the requests that it refuses."""

import asyncio
import gc
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.data import conversations
from xlrm.errors import ArtifactError, DataError
from xlrm.models import chat_templates, loading
from xlrm.models.templates import TemplateRefusal
from xlrm.scorers import engines
from xlrm.scorers.interface import Scorer, Scoring
from xlrm.serving import exchange
from xlrm.serving.batching import Batcher
from xlrm.serving.metrics import Metrics
from xlrm.serving.tokenizing import Tokenizing
from xlrm.store import hub
from xlrm.tracking import named_models

_ASKED_EVERY_SECONDS, _LOGGED_EVERY_SECONDS = 5, 60
"""Seconds between attempts to fetch a model that is not available yet, and between log lines about it."""
_WARM_UP = [{"role": "user", "content": "How much is one plus two?"}, {"role": "assistant", "content": "Three."}]


class Refused(Exception):
    """A request that is refused, with its HTTP status."""

    def __init__(self, status: int, message: str, retry_seconds: int | None = None):
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {"Retry-After": str(retry_seconds)} if retry_seconds else None


class Settings(BaseModel):
    """Batching of requests, limits on requests, and how long the server takes to start and to end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wait_ms: float = Field(5, ge=0, le=1000)
    """Milliseconds that a request waits for others while the model is idle. While it is busy, requests gather
    anyway."""
    batch_conversations: int = Field(64, ge=1)
    """Conversations in a batch, at most; 1 scores each on its own. Tokens are limited by those of a forward pass."""
    max_conversations: int = Field(256, ge=1)
    """Conversations in a request, at most; more are refused with 413."""
    max_characters: int = Field(200_000, ge=1)
    """Characters of a conversation with its roles, at most; a longer one is refused with 413. Over `max_length` tokens
    it loses its beginning."""
    max_body_bytes: int = Field(8 * 2**20, ge=1024)
    """Bytes of a request, at most; a larger one is refused with 413 before it is read to its end."""
    max_waiting: int = Field(2048, ge=1)
    """Conversations accepted and not answered yet, at most; a request beyond is refused with 429."""
    drain_seconds: float = Field(5, ge=0, le=600)
    """Seconds between SIGTERM and the last accepted connection, in which others notice that the server is not ready."""
    wait_for_model_seconds: float = Field(0, ge=0)
    """Seconds that the server waits, alive but not ready, for a registry or store that does not answer or has no such
    model; `inf`: without a limit. With 0 that is an error at once, as for a mistyped name."""


@dataclass(frozen=True)
class Loaded:
    scorer: Scorer
    tokenizing: Tokenizing
    version: str
    digest: str
    sigmoid: bool
    """Whether vLLM gives the sigmoid of the reward: unless the model's problem_type is regression (`get_act_fn` in
    vllm/model_executor/layers/pooler/activations.py of 0.31)."""

    @cached_property
    def turn(self) -> chat_templates.AnswerTurn:
        return chat_templates.AnswerTurn.of(self.scorer.tokenizer)


@dataclass(eq=False)
class Service:
    """The served model, from its start to its end."""

    uri: str
    fetch: Callable[[], Path]
    """Downloads the model and returns its folder."""
    scoring: Scoring
    settings: Settings = field(default_factory=Settings)
    token: str | None = None
    awaited: bool = False
    """Whether the model was unavailable at the last attempt, so that the server waits for it."""
    loaded: Loaded | None = None
    batcher: Batcher | None = None
    stopping: bool = False
    waiting: int = 0
    """Conversations accepted and not answered yet."""
    life: asyncio.Task | None = None

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.metrics.waiting.set_function(lambda: self.waiting)
        self.metrics.ready.set_function(lambda: self.status == "ready")
        self.model_thread = ThreadPoolExecutor(1, "model")
        self.started = int(time.time())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names by which a request may call the model: its address as given to the command, and its name in the
        registry."""
        name = self.uri.removeprefix("models:/").partition("@")[0].partition("/")[0]
        return (self.uri, name) if self.uri.startswith("models:/") else (self.uri,)

    @property
    def status(self) -> str:
        if self.stopping:
            return "stopping"
        return "ready" if self.batcher else "waiting" if self.awaited else "loading"

    @property
    def healthy(self) -> bool:
        ended = self.life is not None and self.life.done()
        return not ended and not (self.batcher and self.batcher.failed)

    def state(self, status: str) -> exchange.State:
        version, digest = (self.loaded.version, self.loaded.digest) if self.loaded else (None, None)
        return exchange.State(status=status, model=self.uri, version=version or None, digest=digest)

    async def live(self) -> None:
        """Fetches and loads the model, and answers until it is cancelled. Raises the errors of fetching and loading."""
        folder = await self._fetched()
        self.awaited = False
        loop = asyncio.get_running_loop()
        self.loaded = loaded = await loop.run_in_executor(self.model_thread, self._load, folder)
        scorer, most, wait_seconds = loaded.scorer, self.settings.batch_conversations, self.settings.wait_ms / 1000
        self.batcher = Batcher(
            scorer.rewards, self.model_thread, scorer.batch_tokens, most, wait_seconds, self.metrics.batch_done
        )
        labels = (self.uri, loaded.version, loaded.digest, self.scoring.engine, self.scoring.precision)
        self.metrics.model.labels(*labels).set(1)
        version = f", version {loaded.version}" if loaded.version else ""
        progress.say(
            f"ready: {self.uri}{version}, sha256 {loaded.digest[:16]}, {self.scoring.engine} {self.scoring.precision}"
        )
        await self.batcher.run()

    async def _fetched(self) -> Path:
        """The model's folder, as soon as it is available. Raises ArtifactError after `wait_for_model_seconds`, or at once
        for a folder of this machine."""
        loop = asyncio.get_running_loop()
        say_at = loop.time()
        end = say_at + (0 if named_models.is_folder(self.uri) else self.settings.wait_for_model_seconds)
        while True:
            try:
                return await loop.run_in_executor(self.model_thread, self.fetch)
            except ArtifactError as error:
                if (now := loop.time()) >= end:
                    raise
                if now >= say_at:
                    say_at = now + _LOGGED_EVERY_SECONDS
                    progress.say(f"waiting for {self.uri}: {error}")
            self.awaited = True
            await asyncio.sleep(min(_ASKED_EVERY_SECONDS, end - now))

    def _load(self, folder: Path) -> Loaded:
        engines.check(folder, self.scoring)
        scorer = engines.load(folder, self.scoring)
        if not all(map(math.isfinite, scorer.rewards(scorer.encode([_WARM_UP])))):
            raise ArtifactError("a reward is not a finite number: the weights are damaged or overflow", where=folder)
        gc.collect()
        gc.freeze()  # else the collections while a large body is in memory go through the libraries too, for half a second
        version = folder.name if self.uri.startswith("models:/") else ""
        sigmoid = loading.load_config(folder).problem_type != "regression"
        return Loaded(scorer, Tokenizing(scorer), version, hub.folder_digest(folder), sigmoid)

    async def score(
        self, model: str | None, *, chats: Sequence[list[dict]] = (), texts: Sequence[str] = ()
    ) -> tuple[list[float], exchange.Usage]:
        """Rewards of conversations or of texts, and the tokens they took. Raises Refused for a request that is
        refused."""
        count = len(chats) or len(texts)
        self._admit(model, count)
        sizes = [sum(map(conversations.size, chat)) for chat in chats] or list(map(len, texts))
        self._limit(sizes)
        assert self.loaded and self.batcher, "nothing is admitted before"
        self.waiting += count
        try:
            encoded = await _encode(self.loaded, chats, texts, sizes)
            rewards = await self.batcher.rewards(encoded)
        finally:
            self.waiting -= count
        if wrong := [place for place, reward in enumerate(rewards) if not math.isfinite(reward)]:
            raise Refused(500, f"conversation {wrong[0]}: the model's reward is not a number")
        tokens = sum(map(len, encoded))
        return rewards, exchange.Usage(prompt_tokens=tokens, total_tokens=tokens)

    async def score_queries(self, queries: Sequence[str]) -> list[float]:
        """Rewards of a policy's prompts and responses in one text each. Raises Refused, also for a text that the chat
        template did not write."""
        self._admit(None, len(queries))
        assert self.loaded, "nothing is admitted before"
        texts = []
        for place, query in enumerate(queries):
            try:
                texts.append(self.loaded.turn.complete(query))
            except DataError as error:
                raise Refused(422, f"query.{place}: {error}") from None
        return (await self.score(None, texts=texts))[0]

    def _admit(self, model: str | None, count: int) -> None:
        """Raises Refused for an unknown model, a model that is not loaded yet, and too many conversations."""
        limits = self.settings
        if model is not None and model not in self.names:
            raise Refused(404, f"model: {model[:200]!r} is not served here; there is {' or '.join(self.names)}")
        if self.batcher is None:
            raise Refused(503, f"the model is {'waited for' if self.awaited else 'being loaded'}", 5)
        if count > limits.max_conversations:
            raise Refused(413, f"{count} conversations; in a request at most {limits.max_conversations}")
        if self.waiting and self.waiting + count > limits.max_waiting:
            waiting = f"{self.waiting} conversations wait and {count} more are asked"
            raise Refused(429, f"{waiting}; at most {limits.max_waiting} wait", 1)

    def _limit(self, sizes: list[int]) -> None:
        """Raises Refused for a conversation of too many characters; `sizes` are those of each."""
        if max(sizes) > (most := self.settings.max_characters):
            place = sizes.index(max(sizes))
            raise Refused(413, f"conversation {place}: {sizes[place]} characters; at most {most}")


async def _encode(
    loaded: Loaded, chats: Sequence[list[dict]], texts: Sequence[str], sizes: Sequence[int]
) -> list[list[int]]:
    try:
        if texts:
            encoded = await loaded.tokenizing.encode_texts(texts, sizes)
        else:
            encoded = await loaded.tokenizing.encode_chats(chats, sizes)
    except TemplateRefusal as error:
        raise Refused(
            422, f"conversation {error.place}: the model's chat template refuses it: {error.reason}"
        ) from error
    if empty := [place for place, ids in enumerate(encoded) if not ids]:
        raise Refused(422, f"conversation {empty[0]}: no tokens")
    most = loaded.scorer.embeddings
    if unknown := [place for place, ids in enumerate(encoded) if max(ids) >= most]:  # would fail the whole batch
        raise Refused(422, f"conversation {unknown[0]}: a token that the model has no embedding for")
    return encoded
