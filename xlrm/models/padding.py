"""Batches of a classifier in which its answer to a sequence is that to the sequence alone.

transformers finds the last token of a sequence by the id of the pad token, which a model may lack, have no embedding
for, or use in texts as well. So the id that fills a batch is chosen here, and a sequence that others or padding would
change is not put together with them.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from xlrm.errors import ArtifactError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

FAMILIES = (
    "albert", "bart", "bert", "bloom", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "falcon", "gemma",
    "gemma2", "gemma3", "gemma3_text", "gpt2", "gpt_neo", "gpt_neox", "llama", "mbart", "mistral", "modernbert", "mpnet",
    "mt5", "olmo", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3", "roberta", "t5", "xlm-roberta",
)  # fmt: skip
"""`config.model_type` of models that padding on the right does not change. Each is tested; those of other families are
scored in batches of sequences of the same length, without padding."""


def kinds(config: "PretrainedConfig", sequences: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """For each sequence, what it must have in common with the others of its batch: the number of its end tokens, which
    encoder-decoders read, and its length where padding or a longer sequence would change its states."""
    longest = unscaled(config) if config.model_type in FAMILIES else 0
    end = config.eos_token_id if config.is_encoder_decoder else None
    return [(sum(token == end for token in ids), len(ids) if len(ids) > longest else 0) for ids in sequences]


@contextlib.contextmanager
def padded(network: "PreTrainedModel", sequences: Sequence[Sequence[int]]) -> Iterator[dict[str, "torch.Tensor"]]:
    """`input_ids` and `attention_mask` (n, longest), padded on the right, on the model's device. The model must compute
    them within the block, in which its config names the token that fills the batch.

    Raises ArtifactError for a token that the model has no embedding for."""
    import torch

    config, rows = network.config.get_text_config(), embeddings(network)
    largest = max(map(max, sequences))
    if largest >= rows:
        raise ArtifactError(
            f"the model has embeddings of only {rows} tokens", where="token of the tokenizer", value=largest
        )
    named, fill = config.pad_token_id, _fill(config, sequences, rows)
    width = max(map(len, sequences))
    ids = torch.tensor([[*sequence, *[fill] * (width - len(sequence))] for sequence in sequences])
    mask = torch.tensor([[1] * len(sequence) + [0] * (width - len(sequence)) for sequence in sequences])
    forget_lengths(network)
    config.pad_token_id = fill
    try:
        yield {"input_ids": ids.to(network.device), "attention_mask": mask.to(network.device)}
    finally:
        config.pad_token_id = named


def embeddings(network: "PreTrainedModel") -> int:
    """Number of tokens that the model has an embedding for."""
    table: Any = network.get_input_embeddings()
    return len(table.weight)


def _fill(config: "PretrainedConfig", sequences: Sequence[Sequence[int]], rows: int) -> int:
    """The model's pad token, which it never reads a reward from, also alone; if it has none, a token that none of the
    sequences ends with, so that their last ones are read. Encoder-decoders read theirs from the last end token, which
    does not fill a batch."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    read = config.is_encoder_decoder and config.pad_token_id in ends
    if config.pad_token_id is not None and 0 <= config.pad_token_id < rows and not read:
        return config.pad_token_id
    used = {*ends, *(sequence[-1] for sequence in sequences)}
    return next(token for token in range(rows) if token not in used)


def unscaled(config: "PretrainedConfig") -> float:
    """Length in tokens up to which positions do not depend on the longest sequence of a batch."""
    text = config.get_text_config()
    limits = [
        rope.get("original_max_position_embeddings") or text.max_position_embeddings
        for rope in ropes(text)
        if rope.get("rope_type") in ("dynamic", "longrope")
    ]
    return min(limits, default=math.inf)


def ropes(config: "PretrainedConfig") -> list[dict[str, Any]]:
    """Parameters of rotary positions, of each type of layer if they differ."""
    rope = getattr(config, "rope_parameters", None) or {}
    return [value for value in rope.values() if isinstance(value, dict)] if "rope_type" not in rope else [rope]


def forget_lengths(network: "PreTrainedModel") -> None:
    """Makes dynamic positions depend on the batch at hand; transformers keeps those of the longest one so far."""
    if any(rope.get("rope_type") == "dynamic" for rope in ropes(network.config.get_text_config())):
        for module in network.modules():
            for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
                setattr(module, name, 0)
