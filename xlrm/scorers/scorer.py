"""Rewards of (prompt, response) pairs under one reward model: the one place where conversations become rewards.

A reward does not depend on what else is in the batch: packed without padding (`xlrm.packing`) or padded on the right with a
mask, a pad token of its own, no dropout, and one precision throughout.
"""

import hashlib
import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.models import loading, vllm_engine
from xlrm.models.chat_templates import Message, encode
from xlrm.models.packing import model as packing
from xlrm.models.packing import sharing
from xlrm.scorers import fingerprints
from xlrm.scorers.reward_journal import Journal
from xlrm.store.fields import CountedIf

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = Sequence[int]

WINDOW = 1024
"""Conversations that are tokenised, sorted into batches and answered at a time."""
_KNOWN = 100_000
"""Rewards that are remembered, so that the same sequence is not scored again: some 20 MB."""
_CPU_TOKENS = 2048
"""In a batch on a CPU, which is fastest while a layer's activations fit its cache: benchmarks/scoring.py."""


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


def check(folder: Path, how: Scoring) -> None:
    """Raises ConfigError for a `max_length` above what the model in `folder` reads, before it is loaded."""
    if (folder / "config.json").exists():
        loading.Context.of(how, "max_length").within(loading.load_config(folder))


def load(folder: Path, how: Scoring) -> tuple[Any, "PreTrainedTokenizerBase"]:
    """(model, tokenizer), as `score` takes them.

    Raises ArtifactError for a folder that is no reward model, or not the one its fingerprint is of."""
    model: Any
    if how.engine == "vllm":
        config = loading.load_config(folder)
        length = loading.Context("max_length", max(how.max_length, fingerprints.MAX_LENGTH)).within(config)
        model = vllm_engine.Rewards(folder, config, length, how.precision)
    else:
        model = loading.load_reward_model(folder, how.precision)
    loaded = model, loading.load_tokenizer(folder)
    fingerprints.check(folder, how.precision, probing(loaded))
    return loaded


def probing(loaded: tuple[Any, "PreTrainedTokenizerBase"]) -> fingerprints.RewardsOf:
    """How a fingerprint is taken of (model, tokenizer)."""
    return lambda chats: score(*loaded, chats, fingerprints.MAX_LENGTH)


def tokens(
    tokenizer: "PreTrainedTokenizerBase", conversations: Iterable[list[Message]], max_length: int
) -> list[Tokens]:
    """`encode`, of many and kept small, for several models to score what one tokenizer wrote."""
    left = iter(conversations)
    windows = iter(lambda: list(itertools.islice(left, WINDOW)), [])
    return [array("I", ids) for window in windows for ids in encode(tokenizer, window, max_length)]


def score(
    model: Any, tokenizer: "PreTrainedTokenizerBase", conversations: Sequence[list[Message] | Tokens], max_length: int = 2048,
    batch_tokens: int = 8192, journal: Journal | None = None,
) -> list[float]:  # fmt: skip
    """`stream`, of conversations that are all there."""
    return list(stream(model, tokenizer, conversations, max_length, batch_tokens, len(conversations), journal))


def stream(
    model: Any, tokenizer: "PreTrainedTokenizerBase", conversations: Iterable[list[Message] | Tokens], max_length: int = 2048,
    batch_tokens: int = 8192, total: int | None = None, journal: Journal | None = None,
) -> Iterator[float]:  # fmt: skip
    """Rewards (raw logits), in input order, a window of conversations at a time; memory does not grow with their number.
    The same sequence of tokens is scored once, as long as it is remembered.

    `model`: a reward model as `xlrm.models.loading` loads it, or anything with `rewards`, a function of token ids.
    `conversations`: messages, or their `tokens`, cut by then. `batch_tokens`: in a forward pass, at most. `total`:
    conversations, for the progress that is shown. `journal`: keeps what was found, from which the same conversations to the
    same model go on; whoever names it sees to it that they are the same.
    """
    length = longest(model, max_length)
    counter, done = progress.Counter("score", total, "conversations"), 0
    before = journal.read(WINDOW) if journal else []
    known: dict[bytes, float] = {}
    left = iter(conversations)
    while window := list(itertools.islice(left, WINDOW)):
        encoded = _encoded(tokenizer, window, length)
        keys = [hashlib.blake2b(array("I", ids).tobytes(), digest_size=16).digest() for ids in encoded]
        found = before[done : done + len(window)]
        if len(found) == len(window):
            known.update(zip(keys, found, strict=True))  # so that the rest is what it would have been
        else:
            new = {key: ids for key, ids in zip(keys, encoded, strict=True) if key not in known}
            known.update(zip(new, _rewards(model, tokenizer, list(new.values()), batch_tokens, counter), strict=True))
            found = [known[key] for key in keys]
            if journal:
                journal.append(found)
        for key in list(itertools.islice(known, max(0, len(known) - _KNOWN))):
            del known[key]
        done += len(window)
        counter.advance(done - counter.done)
        yield from found
    counter.close()


def longest(model: Any, max_length: int) -> int:
    """Tokens of a conversation that the model reads, at most."""
    limits = (loading.positions(model), loading.context(model.config) if hasattr(model, "config") else None)
    return min([max_length, *(limit for limit in limits if limit)])


def budget(model: Any, batch_tokens: int) -> int:
    """Tokens in a forward pass where the model is, at most."""
    on_cpu = not hasattr(model, "rewards") and model.device.type == "cpu"
    return min(batch_tokens, _CPU_TOKENS) if on_cpu else batch_tokens


def rewards(
    model: Any, tokenizer: "PreTrainedTokenizerBase", encoded: list[list[int]], batch_tokens: int = 8192
) -> list[float]:
    """Of token ids, cut to `longest` by then: what `stream` gives for them, at once, with nothing shown or remembered."""
    return _rewards(model, tokenizer, encoded, batch_tokens, None)


def _encoded(tokenizer: "PreTrainedTokenizerBase", window: list, length: int) -> list[list[int]]:
    if isinstance(window[0], array):
        return [ids.tolist() for ids in window]
    return encode(tokenizer, window, length)


def _rewards(
    model: Any, tokenizer: "PreTrainedTokenizerBase", encoded: list[list[int]], batch_tokens: int,
    counter: progress.Counter | None,
) -> list[float]:  # fmt: skip
    if hasattr(model, "rewards"):
        return model.rewards(encoded) if encoded else []
    import torch

    found = [0.0] * len(encoded)
    with torch.inference_mode():
        for places in sharing.batches(encoded, budget(model, batch_tokens), packing.enabled(model)):
            inputs = tokenizer.pad(
                {"input_ids": [encoded[i] for i in places]}, padding_side="right", return_tensors="pt"
            )
            logits = model(**inputs.to(model.device)).logits[:, 0].float().tolist()
            for place, logit in zip(places, logits, strict=True):
                found[place] = logit
            if counter:
                counter.advance(len(places))
    return found
