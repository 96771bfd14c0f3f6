"""What all models that give rewards have in common: the one place where conversations become rewards."""

import hashlib
import itertools
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm.models import chat_templates
from xlrm.models.chat_templates import Message
from xlrm.progress import Counter
from xlrm.scorers.reward_journal import Journal
from xlrm.store.fields import CountedIf

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = Sequence[int]

WINDOW = 1024
"""Conversations that are tokenised, sorted into batches and answered at a time."""
_KNOWN = 100_000
"""Rewards that are remembered, so that the same sequence is not scored again: some 20 MB."""


class Scoring(BaseModel):
    """How rewards are computed: what stages that score have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_length: int = Field(2048, ge=16)
    """Tokens; a longer conversation loses its beginning."""
    batch_tokens: Annotated[int, CountedIf(lambda how: how.precision != "float32")] = Field(8192, ge=256)
    """Tokens in a forward pass, at most; rewards in float32 do not depend on it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the reward model. In bfloat16 rewards have eight bits and depend on the batch."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """transformers computes packed batches, on any machine; vllm wants GPUs, and splits a model over all of them."""


class Scorer(ABC):
    """A reward model and its tokenizer. Rewards are raw logits; one does not depend on what else is in the batch."""

    tokenizer: "PreTrainedTokenizerBase"
    max_length: int
    """Tokens of a conversation that it reads, at most; a longer one loses its beginning."""
    batch_tokens: int
    """Tokens in a forward pass, at most."""

    @abstractmethod
    def rewards(self, token_ids: list[list[int]], counter: Counter | None = None) -> list[float]:
        """Of sequences as `encode` gives them, at least one, in their order. `counter`: told how many are done, where the
        model says so on its way."""

    def encode(self, conversations: Sequence[list[Message]]) -> list[list[int]]:
        """Token ids of each, at most `max_length`."""
        return chat_templates.encode(self.tokenizer, conversations, self.max_length)

    def tokens(self, conversations: Iterable[list[Message]] | Iterable[Tokens]) -> list[Tokens]:
        """`encode`, of many and kept small: what scorers of the same tokenizer and `max_length` take instead of conversations."""
        return [array("I", ids) for window in _windows(conversations) for ids in self._encoded(window)]

    def score(
        self, conversations: Sequence[list[Message]] | Sequence[Tokens], journal: Journal | None = None
    ) -> list[float]:
        """`stream`, of conversations that are all there."""
        return list(self.stream(conversations, len(conversations), journal))

    def stream(
        self, conversations: Iterable[list[Message]] | Iterable[Tokens], total: int | None = None,
        journal: Journal | None = None,
    ) -> Iterator[float]:  # fmt: skip
        """Rewards in input order, a window of conversations at a time; memory does not grow with their number. The same
        sequence of tokens is scored once, as long as it is remembered.

        `conversations`: messages, or their `tokens`. `total`: conversations, for the progress that is shown. `journal`: keeps
        what was found, from which the same conversations to the same model go on; whoever names it sees to it that they are
        the same.
        """
        counter, done = Counter("score", total, "conversations"), 0
        before = journal.read(WINDOW) if journal else []
        known: dict[bytes, float] = {}
        for window in _windows(conversations):
            encoded = self._encoded(window)
            keys = [hashlib.blake2b(array("I", ids).tobytes(), digest_size=16).digest() for ids in encoded]
            found = before[done : done + len(window)]
            if len(found) == len(window):
                known.update(zip(keys, found, strict=True))  # so that the rest is what it would have been
            else:
                new = {key: ids for key, ids in zip(keys, encoded, strict=True) if key not in known}
                if new:
                    known.update(zip(new, self.rewards(list(new.values()), counter), strict=True))
                found = [known[key] for key in keys]
                if journal:
                    journal.append(found)
            for key in list(itertools.islice(known, max(0, len(known) - _KNOWN))):
                del known[key]
            done += len(window)
            counter.advance(done - counter.done)
            yield from found
        counter.close()

    def _encoded(self, window: list) -> list[list[int]]:
        return [ids.tolist() for ids in window] if isinstance(window[0], array) else self.encode(window)


def _windows(items: Iterable) -> Iterator[list]:
    left = iter(items)
    return iter(lambda: list(itertools.islice(left, WINDOW)), [])
