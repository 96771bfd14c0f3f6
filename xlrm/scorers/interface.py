"""The common interface of all models that give rewards."""

import hashlib
import itertools
import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.models import chat_templates
from xlrm.models.chat_templates import Message, Side
from xlrm.models.precisions import Precision
from xlrm.models.templates import TemplateRefusal
from xlrm.progress import Counter
from xlrm.scorers.reward_journal import Journal
from xlrm.store.fields import CountedIf, NotCounted, conflict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = Sequence[int]
Batch = list[list[int]]
"""Token ids of the sequences of a forward pass."""

WINDOW = 1024
"""Conversations that are tokenised and scored at a time, within which batches are formed."""
_KNOWN = 100_000
"""Rewards kept in memory, so that the same sequence is not scored again: about 20 MB."""


class Scoring(BaseModel):
    """How rewards are computed: the settings shared by all stages and commands that score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_length: int = Field(2048, ge=16)
    """Tokens of a conversation, or the model's limit if that is lower; a longer one is cut."""
    truncation_side: Side = "left"
    """End of a longer conversation that is cut off: left cuts off its beginning, right its end, and with it the response."""
    batch_tokens: Annotated[int, CountedIf(lambda how: how.precision != "float32")] = Field(8192, ge=256)
    """Limit on the tokens of a forward pass; float32 rewards do not depend on it."""
    precision: Precision = "float32"
    """Number format of the reward model. In bfloat16, rewards have 8 bits and depend on the batch. int8 and 4bit compute in
    bfloat16 with the weights of linear layers in 8 or 4 bits (NF4), by bitsandbytes."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """transformers computes packed batches on any machine; vllm needs GPUs and splits a model over all of them."""
    device: Annotated[str, NotCounted] = Field("auto", pattern=r"^(auto|cpu|cuda|cuda:\d+)$")
    """auto (GPUs if there are any), cpu, cuda (all GPUs), or cuda:N (one of them, counted from 0)."""
    processes: Annotated[int, NotCounted] = Field(0, ge=0)
    """Processes, each with a copy of the model, that share the conversations, on GPUs one each. 0: one per GPU, or one
    without GPUs."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.engine == "vllm" and self.precision in ("int8", "4bit"):
            raise conflict("precision", self.precision, "needs engine transformers")
        if self.engine == "vllm" and self.device != "auto":
            raise conflict("device", self.device, "needs engine transformers; vllm takes all GPUs")
        if self.engine == "vllm" and self.processes > 1:
            raise conflict("processes", self.processes, "needs engine transformers; vllm splits a model over all GPUs")
        if self.device.startswith("cuda:") and self.processes > 1:
            raise conflict("processes", self.processes, "needs device cuda or cpu; one GPU has one process")
        return self


class Scorer(ABC):
    """A reward model and its tokenizer. Rewards are raw logits and do not depend on the rest of the batch."""

    tokenizer: "PreTrainedTokenizerBase"
    max_length: int
    """Limit on the tokens of a conversation."""
    truncation_side: Side = "left"
    """End of a longer conversation that is cut off."""
    batch_tokens: int
    """Limit on the tokens of a forward pass."""
    cut: Sequence[int] = ()
    """Indices of the conversations that were cut, of those that `stream`, `score` or `tokens` read last."""

    @property
    @abstractmethod
    def embeddings(self) -> int:
        """Number of tokens that the model has embeddings for; some tokenizers know more."""

    @abstractmethod
    def batches(self, token_ids: Sequence[Tokens]) -> Iterator[list[int]]:
        """Indices of the sequences of each batch. The same sequences give the same batches."""

    @abstractmethod
    def computed(self, batches: Sequence[Batch]) -> Iterator[tuple[int, list[float]]]:
        """Yields (index of a batch, rewards of its sequences) as they are computed, in any order."""

    def rewards(
        self, token_ids: list[list[int]], counter: Counter | None = None, journal: Journal | None = None
    ) -> list[float]:
        """Rewards of sequences from `encode`, in order. `journal`: gives the rewards of batches that it has, and saves
        those of each further batch, if they are finite, when it is computed."""
        rewards = [0.0] * len(token_ids)
        left: list[list[int]] = []
        for places in self.batches(token_ids):
            known = journal.find([token_ids[i] for i in places]) if journal else None
            if known is None:
                left.append(places)
            else:
                _place(rewards, places, known, counter)
        batches = [[token_ids[i] for i in places] for places in left]
        for number, answer in self.computed(batches) if batches else ():
            if journal and all(map(math.isfinite, answer)):
                journal.append(batches[number], answer)
            _place(rewards, left[number], answer, counter)
        return rewards

    def encode(self, conversations: Sequence[list[Message]]) -> list[list[int]]:
        """Token ids of each conversation, at most `max_length`."""
        return [ids for ids, _ in self.encode_marked(conversations)]

    def encode_marked(self, conversations: Sequence[list[Message]]) -> list[tuple[list[int], bool]]:
        """Same as `encode`, and whether each conversation was cut."""
        return self.encode_texts(chat_templates.as_scored(self.tokenizer, conversations))

    def encode_texts(self, texts: list[str]) -> list[tuple[list[int], bool]]:
        """Same as `encode_marked`, for texts to which the chat template was applied."""
        return list(chat_templates.encode_texts(self.tokenizer, texts, self.max_length, self.truncation_side))

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
        `journal`: saves rewards, with which a later run continues; its identity must be that of model and settings.
        Raises ArtifactError for a reward that is not finite, and TemplateRefusal for a conversation that the chat
        template does not accept.
        """
        counter, done = Counter("score", total, "conversations"), 0
        known: dict[bytes, float] = {}
        for encoded in self._encoded_ahead(conversations):
            keys = [hashlib.blake2b(array("I", ids).tobytes(), digest_size=16).digest() for ids in encoded]
            new = {key: ids for key, ids in zip(keys, encoded, strict=True) if key not in known}
            if new:
                known.update(zip(new, self.rewards(list(new.values()), counter, journal), strict=True))
            rewards = [known[key] for key in keys]
            check_finite(rewards, done + 1)
            for key in list(itertools.islice(known, max(0, len(known) - _KNOWN))):
                del known[key]
            done += len(encoded)
            counter.advance(done - counter.done)
            yield from rewards
        counter.close()

    def say_cut(self, label: str, conversations: int) -> None:
        """Logs how many of the conversations were cut, if any were."""
        if self.cut:
            lost = "beginning" if self.truncation_side == "left" else "end"
            progress.say(
                f"{label}: {len(self.cut)} of {conversations} conversations are longer than {self.max_length} tokens and "
                f"lost their {lost}"
            )

    def _encoded_ahead(self, conversations: Iterable) -> Iterator[list[list[int]]]:
        """Token ids of each window; the next one is tokenised while the caller works on the last."""
        before, waiting = 0, None
        with ThreadPoolExecutor(1, "tokenizer") as thread:
            for window in _windows(conversations):
                following = thread.submit(self._encoded, window, before)
                before += len(window)
                if waiting:
                    yield waiting.result()
                waiting = following
            if waiting:
                yield waiting.result()

    def _encoded(self, window: list, before: int) -> list[list[int]]:
        """Token ids of the conversations of a window, which `before` others precede; adds to `cut`."""
        if isinstance(window[0], array):
            return [ids.tolist() for ids in window]
        try:
            encoded = self.encode_marked(window)
        except TemplateRefusal as error:
            raise error.after(before) from error
        cut = [place for place, (_, shorter) in enumerate(encoded, before) if shorter]
        self.cut = [*self.cut, *cut] if before else cut
        return [ids for ids, _ in encoded]


def check_finite(rewards: Sequence[float], first: int = 1) -> None:
    """Raises ArtifactError for a reward that is NaN or infinite. `first`: number of the first conversation."""
    for number, reward in enumerate(rewards, first):
        if not math.isfinite(reward):
            raise ArtifactError(
                "a finite reward is allowed", where=f"conversation {number}: reward", value=reward,
                hint="the model's weights overflow",
            )  # fmt: skip


def _place(rewards: list[float], places: list[int], answer: list[float], counter: Counter | None) -> None:
    for place, reward in zip(places, answer, strict=True):
        rewards[place] = reward
    if counter:
        counter.advance(len(places))


def _windows(items: Iterable) -> Iterator[list]:
    left = iter(items)
    return iter(lambda: list(itertools.islice(left, WINDOW)), [])
