"""Scores waiting requests together: a queue in front of the one thread that owns the model."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field

Score = Callable[[list[list[int]]], list[float]]
"""Token ids of conversations -> rewards in the same order; called in the thread that owns the model."""


@dataclass(eq=False)
class _Request:
    encoded: list[list[int]]
    arrived: float
    """Time on the event loop's clock, in seconds."""
    answer: asyncio.Future[list[float]]
    taken: int = 0
    """Conversations that are in a batch already."""
    rewards: dict[int, float] = field(default_factory=dict)


@dataclass(eq=False)
class Batcher:
    """Fills each batch with one conversation of every waiting request in turn, so that a long request does not delay
    short ones. Rewards do not depend on the other conversations of a batch (`xlrm.scorers.engines`)."""

    score: Score
    thread: Executor
    batch_tokens: int
    batch_conversations: int
    wait_seconds: float
    """How long the first request to an idle model waits for others."""
    seen: Callable[[int, int, float], None]
    """Called after every scored batch with its conversations, tokens and seconds."""
    failed: bool = False
    """Whether the last batch ended in an error."""
    _waiting: deque[_Request] = field(default_factory=deque)
    _tokens: int = 0
    """Tokens of the conversations that are in no batch yet."""
    _arrival: asyncio.Event = field(default_factory=asyncio.Event)

    async def rewards(self, encoded: list[list[int]]) -> list[float]:
        """Rewards of one request's conversations, at least one. Raises what the model raises. If cancelled, the request
        leaves the queue."""
        loop = asyncio.get_running_loop()
        request = _Request(encoded, loop.time(), loop.create_future())
        self._waiting.append(request)
        self._tokens += sum(map(len, encoded))
        self._arrival.set()
        try:
            return await request.answer
        finally:
            self._forget(request)

    async def run(self) -> None:
        """Answers requests until it is cancelled."""
        while True:
            while not self._waiting:
                self._arrival.clear()
                await self._arrival.wait()
            await self._gather()
            if batch := self._take():
                await self._answer(batch)

    async def _gather(self) -> None:
        """Waits until a batch is full, or the first request has waited long enough."""
        loop = asyncio.get_running_loop()
        until = self._waiting[0].arrived + self.wait_seconds
        while self._tokens < self.batch_tokens and self._left() < self.batch_conversations and loop.time() < until:
            self._arrival.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), until - loop.time())

    def _left(self) -> int:
        return sum(len(request.encoded) - request.taken for request in self._waiting)

    def _take(self) -> list[tuple[_Request, int]]:
        """(request, index in it) of the next batch; empty if no request waits any more. A single conversation may
        exceed `batch_tokens`, as a batch of its own."""
        batch: list[tuple[_Request, int]] = []
        tokens = 0
        while self._waiting and len(batch) < self.batch_conversations:
            request = self._waiting[0]
            size = len(request.encoded[request.taken])
            if batch and tokens + size > self.batch_tokens:
                break
            batch.append((request, request.taken))
            tokens += size
            request.taken += 1
            self._waiting.rotate(-1)
            if request.taken == len(request.encoded):
                self._waiting.pop()
        self._tokens -= tokens
        return batch

    async def _answer(self, batch: list[tuple[_Request, int]]) -> None:
        begun = time.perf_counter()
        encoded = [request.encoded[place] for request, place in batch]
        scoring = asyncio.get_running_loop().run_in_executor(self.thread, self.score, encoded)
        await asyncio.wait([scoring])
        error = scoring.exception()
        self.failed = error is not None
        if error:
            self._refuse(batch, error)
            return
        self.seen(len(batch), sum(map(len, encoded)), time.perf_counter() - begun)
        for (request, place), reward in zip(batch, scoring.result(), strict=True):
            request.rewards[place] = reward
            if len(request.rewards) == len(request.encoded) and not request.answer.done():
                request.answer.set_result([request.rewards[i] for i in range(len(request.encoded))])

    def _refuse(self, batch: list[tuple[_Request, int]], error: BaseException) -> None:
        """Fails every request with a part in the batch; its other conversations are not scored."""
        for request in {id(request): request for request, _ in batch}.values():
            if not request.answer.done():
                request.answer.set_exception(error)
            self._forget(request)

    def _forget(self, request: _Request) -> None:
        """Drops the conversations of a request that are in no batch yet."""
        if request in self._waiting:
            self._waiting.remove(request)
            self._tokens -= sum(map(len, request.encoded[request.taken :]))
