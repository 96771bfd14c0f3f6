"""Log-probabilities of responses by the policy that an alignment starts from, the reference of DPO: computed once for
each conversation, and kept for good on the store, where every alignment of the same policy finds them.

Each conversation is a batch of its own. So its value depends on nothing but the policy and its token ids: an alignment
gives the same weights whichever values it found, with any number of processes.
"""

import hashlib
import math
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.store import provenance
from xlrm.store.answers import Memory
from xlrm.training.preference_tokens import SIDES
from xlrm.training.recipes import DpoTraining

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

KIND = "reference_log_probabilities"
"""Folder of the store."""
_AT_ONCE = 32
"""Conversations of each process between two savings: what a killed run computes again."""

Conversation = tuple[tuple[int, ...], int]
"""Token ids, and the place of the response's first token."""


def kept(trainer: type, policy: Path, config: DpoTraining, engine: Callable[[Any, Any], Any]) -> type:
    """Subclass of TRL's DPOTrainer for datasets of `preference_tokens`, which it takes as they are, with the reference's
    log-probabilities from the store, or computed and put there. `engine`: TRL's function that prepares a model whose
    weights DeepSpeed shards for passes without gradients."""

    class Kept(trainer):
        def _prepare_dataset(self, dataset: "Dataset", *rest: Any, **named: Any) -> "Dataset":
            return dataset

        def _precompute_ref_logps(self, dataset: "Dataset", name: str, batch_size: int) -> "Dataset":
            import numpy as np

            conversations = {side: _conversations(dataset, side) for side in SIDES}
            different = list(dict.fromkeys([each for side in SIDES for each in conversations[side]]))
            values = self.references(different)
            for side in SIDES:
                column = np.array([values[each] for each in conversations[side]], np.float32)
                dataset = dataset.add_column(f"ref_{side}_logps", column)
            return dataset

        def references(self, conversations: list[Conversation]) -> dict[Conversation, float]:
            """Log-probabilities of the responses. All processes call it; the first one reads and writes the store."""
            from accelerate.utils import broadcast_object_list

            first, begun = self.accelerator.is_main_process, time.monotonic()
            memory = Memory(KIND, identity(policy, config, self.accelerator)) if first else None
            looked_up = memory.look_up(map(_key, conversations), 0) if memory else None
            known = broadcast_object_list([looked_up], from_process=0)[0]
            values = {each: float.fromhex(known[key]) for each in conversations if (key := _key(each)) in known}
            missing = sorted((each for each in conversations if each not in values), key=lambda each: -len(each[0]))
            label = f"align[{config.language}]: the reference's log-probabilities of {len(conversations)} conversations"
            if first and missing:
                progress.say(f"{label}: {len(values)} are kept, {len(missing)} are computed")
            model = engine(self.model, self.accelerator) if missing and self.is_deepspeed_enabled else self.model
            size = _AT_ONCE * self.accelerator.num_processes
            for start in range(0, len(missing), size):
                new = self.computed(model, missing[start : start + size])
                values |= new
                if memory:
                    _save(memory.add, {_key(each): value.hex() for each, value in new.items()}, 0)
            if memory:
                _save(memory.close)
                progress.say(f"{label}: {len(missing)} computed, in {time.monotonic() - begun:.1f} s")
            return values

        def computed(self, model: Any, conversations: Sequence[Conversation]) -> dict[Conversation, float]:
            """Log-probabilities computed now, each process every n-th. Raises ArtifactError for one that is not finite."""
            import torch

            count, own = self.accelerator.num_processes, self.accelerator.process_index
            values = []
            for start in range(0, len(conversations), count):
                ids, place = conversations[min(start + own, len(conversations) - 1)]  # all processes make every pass
                (value,) = self.compute_ref_log_probs(model, _batch(ids, place, self.accelerator.device))
                values.append(self.accelerator.gather(value.float()))
            every = torch.cat(values)[: len(conversations)].tolist()
            _check_finite(policy, conversations, every)
            return dict(zip(conversations, every, strict=True))

    return Kept


def _batch(ids: Sequence[int], place: int, device: "torch.device") -> dict[str, "torch.Tensor"]:
    """A conversation as a batch of its own, (1, tokens) each; `place`: of the response's first token."""
    import torch

    tokens = torch.tensor([ids], device=device)
    response = (torch.arange(len(ids), device=device) >= place).long()[None]
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "completion_mask": response}


def _check_finite(policy: Path, conversations: Sequence[Conversation], values: Sequence[float]) -> None:
    for value, (ids, _) in zip(values, conversations, strict=True):
        if not math.isfinite(value):
            where = f"{policy}: log-probability of a response to a conversation of {len(ids)} tokens"
            raise ArtifactError("a finite number is required", where=where, value=value)


def identity(policy: Path, config: DpoTraining, accelerator: Any) -> dict[str, object]:
    """What a log-probability depends on besides the token ids, in which length and template show."""
    half, weights = config.precision == "bfloat16", {}
    for file in sorted([*policy.glob("*.safetensors"), policy / "config.json"]):
        with file.open("rb") as content:
            weights[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
    return {
        "policy": weights, "precision": config.precision, "device": accelerator.device.type,
        "weights_in": "bfloat16" if half and accelerator.num_processes > 1 else "float32",
        "code": provenance.code_version("xlrm.models.packing.model"),
        "versions": provenance.versions("xlrm.training.dpo"),
    }  # fmt: skip


def _conversations(dataset: "Dataset", side: str) -> list[Conversation]:
    columns = zip(dataset[f"{side}_ids"], dataset[f"{side}_start"], strict=True)
    return [(tuple(ids), start) for ids, start in columns]


def _key(conversation: Conversation) -> str:
    ids, start = conversation
    return f"{start} {hashlib.sha256(array('I', ids).tobytes()).hexdigest()}"


def _save(action: Callable[..., None], *arguments: Any) -> None:
    """A store that does not answer stops nothing: the values are on this machine, and are sent with the next ones."""
    try:
        action(*arguments)
    except ArtifactError as error:
        progress.say(f"the reference's log-probabilities so far are only on this machine, not in the store: {error}")
