"""The common interface of all models that give rewards."""

import hashlib
import itertools
import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm.errors import ArtifactError
from xlrm.models import chat_templates
from xlrm.models.chat_templates import Message
from xlrm.models.templates import TemplateRefusal
from xlrm.progress import Counter
from xlrm.scorers.reward_journal import Journal
from xlrm.store.fields import CountedIf

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = Sequence[int]

WINDOW = 1024
"""Conversations that are tokenised and scored at a time, within which batches are formed."""
_KNOWN = 100_000
"""Rewards kept in memory, so that the same sequence is not scored again: about 20 MB."""


class Scoring(BaseModel):
    """How rewards are computed: the settings shared by all stages that score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_length: int = Field(2048, ge=16)
    """Tokens of a conversation; a longer one loses its beginning."""
    batch_tokens: Annotated[int, CountedIf(lambda how: how.precision != "float32")] = Field(8192, ge=256)
    """Limit on the tokens of a forward pass; float32 rewards do not depend on it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of the reward model. In bfloat16, rewards have 8 bits and depend on the batch."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """transformers computes packed batches on any machine; vllm needs GPUs and splits a model over all of them."""


class Scorer(ABC):
    """A reward model and its tokenizer. Rewards are raw logits and do not depend on the rest of the batch."""

    tokenizer: "PreTrainedTokenizerBase"
    max_length: int
    """Limit on the tokens of a conversation; a longer one loses its beginning."""
    batch_tokens: int
    """Limit on the tokens of a forward pass."""

    @property
    @abstractmethod
    def embeddings(self) -> int:
        """Number of tokens that the model has embeddings for; some tokenizers know more."""

    @abstractmethod
    def rewards(self, token_ids: list[list[int]], counter: Counter | None = None) -> list[float]:
        """Rewards of at least one sequence from `encode`, in order. `counter` is advanced along the way by scorers that
        compute in batches themselves."""

    def encode(self, conversations: Sequence[list[Message]]) -> list[list[int]]:
        """Token ids of each conversation, at most `max_length`."""
        return chat_templates.encode(self.tokenizer, conversations, self.max_length)

    def tokens(self, conversations: Iterable[list[Message]] | Iterable[Tokens]) -> list[Tokens]:
        """Token ids of many conversations, in compact arrays. Scorers with the same tokenizer and `max_length` accept
        them instead of conversations."""
        windows = enumerate(_windows(conversations))
        return [array("I", ids) for number, window in windows for ids in self._encoded(window, number * WINDOW)]

    def score(
        self, conversations: Sequence[list[Message]] | Sequence[Tokens], journal: Journal | None = None
    ) -> list[float]:
        """List of rewards in input order; see `stream`."""
        return list(self.stream(conversations, len(conversations), journal))

    def stream(
        self, conversations: Iterable[list[Message]] | Iterable[Tokens], total: int | None = None,
        journal: Journal | None = None,
    ) -> Iterator[float]:  # fmt: skip
        """Yields rewards in input order, computed a window of conversations at a time, so memory use is constant. A
        repeated sequence of tokens is scored once, while its reward is in memory.

        `conversations`: messages, or their `tokens`. `total`: number of conversations, for the progress display.
        `journal`: saves rewards, with which a later run continues; the caller must make sure that conversations and
        model are the same. Raises ArtifactError for a reward that is not finite, and TemplateRefusal for a conversation
        that the chat template does not accept.
        """
        counter, done = Counter("score", total, "conversations"), 0
        before = journal.read(WINDOW) if journal else []
        check_finite(before)
        known: dict[bytes, float] = {}
        for window in _windows(conversations):
            encoded = self._encoded(window, done)
            keys = [hashlib.blake2b(array("I", ids).tobytes(), digest_size=16).digest() for ids in encoded]
            rewards = before[done : done + len(window)]
            if len(rewards) == len(window):
                known.update(zip(keys, rewards, strict=True))  # so that later rewards equal those of an unbroken run
            else:
                new = {key: ids for key, ids in zip(keys, encoded, strict=True) if key not in known}
                if new:
                    known.update(zip(new, self.rewards(list(new.values()), counter), strict=True))
                rewards = [known[key] for key in keys]
                check_finite(rewards, done + 1)
                if journal:
                    journal.append(rewards)
            for key in list(itertools.islice(known, max(0, len(known) - _KNOWN))):
                del known[key]
            done += len(window)
            counter.advance(done - counter.done)
            yield from rewards
        counter.close()

    def _encoded(self, window: list, before: int) -> list[list[int]]:
        """Token ids of the conversations of a window, which `before` others precede."""
        if isinstance(window[0], array):
            return [ids.tolist() for ids in window]
        try:
            return self.encode(window)
        except TemplateRefusal as error:
            raise error.after(before) from error


def check_finite(rewards: Sequence[float], first: int = 1) -> None:
    """Raises ArtifactError for a reward that is NaN or infinite. `first`: number of the first conversation."""
    for number, reward in enumerate(rewards, first):
        if not math.isfinite(reward):
            raise ArtifactError(
                "a finite reward is allowed", where=f"conversation {number}: reward", value=reward,
                hint="the model's weights overflow",
            )  # fmt: skip


def _windows(items: Iterable) -> Iterator[list]:
    left = iter(items)
    return iter(lambda: list(itertools.islice(left, WINDOW)), [])
