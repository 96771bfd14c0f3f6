"""Conversations of requests as token ids, in two threads: one for short requests, which do not wait for long ones."""

import asyncio
import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from xlrm.models.templates import TemplateRefusal
from xlrm.scorers.interface import Scorer

_SHORT_CHARACTERS = 32_000
"""Characters of a short request, at most: some ten milliseconds of a tokenizer."""
_PART_CONVERSATIONS, _PART_CHARACTERS = 16, 100_000
"""Conversations and characters that are tokenised at a time, so that requests of the same thread take turns. A longer
conversation is a part of its own."""


class Tokenizing:
    """The two threads, each with its own copy of the tokenizer, which is not safe to use from two threads."""

    def __init__(self, scorer: Scorer) -> None:
        other = copy.copy(scorer)
        other.tokenizer = copy.deepcopy(scorer.tokenizer)
        self._short = scorer, ThreadPoolExecutor(1, "tokenizer")
        self._long = other, ThreadPoolExecutor(1, "tokenizer of long requests")

    async def encode_chats(self, chats: Sequence[list[dict]], sizes: Sequence[int]) -> list[list[int]]:
        """Token ids of conversations. `sizes`: characters of each. Raises TemplateRefusal for a conversation that
        the chat template refuses."""
        return await self._encode(lambda scorer, part: scorer.encode(part), chats, sizes)

    async def encode_texts(self, texts: Sequence[str], sizes: Sequence[int]) -> list[list[int]]:
        """Token ids of texts that the chat template wrote. `sizes`: characters of each."""
        return await self._encode(_encode_texts, texts, sizes)

    async def _encode(
        self, work: Callable[[Scorer, Any], list[list[int]]], items: Sequence, sizes: Sequence[int]
    ) -> list[list[int]]:
        scorer, thread = self._short if sum(sizes) <= _SHORT_CHARACTERS else self._long
        encoded: list[list[int]] = []
        for start, end in _parts(sizes):
            part = partial(work, scorer, items[start:end])
            try:
                encoded += await asyncio.get_running_loop().run_in_executor(thread, part)
            except TemplateRefusal as error:
                raise error.after(start) from error
        return encoded


def _encode_texts(scorer: Scorer, texts: list[str]) -> list[list[int]]:
    return [ids for ids, _ in scorer.encode_texts(texts)]


def _parts(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Start and end of each part."""
    start = characters = 0
    for place, size in enumerate(sizes):
        if place > start and (place - start == _PART_CONVERSATIONS or characters + size > _PART_CHARACTERS):
            yield start, place
            start, characters = place, 0
        characters += size
    yield start, len(sizes)
