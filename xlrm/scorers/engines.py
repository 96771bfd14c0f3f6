"""Scorers for scalar reward models in a local folder, with transformers or vLLM."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.errors import ArtifactError, ConfigError
from xlrm.models import loading, padding, precisions, vllm_engine
from xlrm.models.chat_templates import Side
from xlrm.models.packing import model as packing
from xlrm.models.packing import sharing
from xlrm.processes import launch
from xlrm.scorers import fingerprints
from xlrm.scorers.interface import Batch, Scorer, Scoring, Tokens

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_CPU_TOKENS = 2048
"""Most tokens in a batch on a CPU, which is fastest while the activations of a layer fit its cache
(benchmarks/scoring.py)."""
_REQUESTS = 256
"""Sequences that vLLM gets at a time: as many as it computes at once by default."""


def check_machine(scoring: Scoring) -> None:
    """Raises ConfigError for a device, a library or GPUs that this machine does not have."""
    if scoring.engine == "transformers":
        precisions.device(scoring.device)
        precisions.check_library(scoring.precision)
        processes(scoring)


def processes(scoring: Scoring) -> int:
    """Processes that share the conversations, on `device`. Raises ConfigError for more than there are GPUs, or cores."""
    if scoring.device.startswith("cuda:") or scoring.engine == "vllm":
        return 1
    if precisions.device(scoring.device) == "cpu":
        cores = len(os.sched_getaffinity(0))
        if scoring.processes > cores:
            raise ConfigError(f"this machine has {cores} cores", where="processes", value=scoring.processes)
        return scoring.processes or 1
    return launch.processes(scoring.processes)


def check(folder: Path, scoring: Scoring) -> None:
    """Raises ConfigError, without loading the model in `folder`, for what this machine does not have, and if `max_length`
    is set above what the model can read; ArtifactError if the model has several labels."""
    check_machine(scoring)
    if (folder / "config.json").exists():
        loading.Context.of(scoring, "max_length").within(loading.reward_config(folder))


def load(folder: Path, scoring: Scoring) -> Scorer:
    """Scorer of the reward model in `folder`; its `max_length` is lowered to what the model can read.

    The code stored with registered models (`xlrm.registry.mlflow_loader`) calls this function by name, and `score`. If
    the arguments or results of either change, rename this function.

    Raises ArtifactError for a folder without a reward model, or with one that does not match its fingerprint."""
    scorer = (_load_vllm if scoring.engine == "vllm" else _load_transformers)(folder, scoring)
    fingerprints.check(folder, scoring.precision, scorer)
    return scorer


def tokenizer_of(folder: Path) -> "PreTrainedTokenizerBase":
    """The model's own tokenizer and chat template, since others would change its rewards. Raises ArtifactError for a
    folder without them."""
    tokenizer = loading.own_tokenizer(folder)
    if not tokenizer.chat_template:
        raise ArtifactError(
            "the tokenizer has no chat template, so the format of a conversation is unknown", where=folder,
            hint="write the one of its model card to chat_template.jinja there",
        )  # fmt: skip
    return tokenizer


def _load_transformers(folder: Path, scoring: Scoring) -> Scorer:
    network, tokenizer = loading.load_reward_model(folder, scoring.precision, scoring.device), tokenizer_of(folder)
    return TransformersScorer(network, tokenizer, scoring.max_length, scoring.batch_tokens, scoring.truncation_side)


def _load_vllm(folder: Path, scoring: Scoring) -> Scorer:
    config, tokenizer = loading.reward_config(folder), tokenizer_of(folder)
    # Long enough for the fingerprint's probes too, since another length would start another engine.
    context = loading.Context("max_length", max(scoring.max_length, fingerprints.MAX_LENGTH)).within(config)
    limits = (scoring.max_length, scoring.batch_tokens, scoring.truncation_side)
    return VllmScorer(folder, config, context, scoring.precision, tokenizer, *limits)


@dataclass(eq=False)
class TransformersScorer(Scorer):
    """Scorer with transformers. Rewards do not depend on the batch, which is packed (`xlrm.models.packing`) or padded
    so that no reward changes (`xlrm.models.padding`); there is no dropout, and one precision throughout."""

    network: "PreTrainedModel"
    """Reward model on its device, from `loading.load_reward_model`."""
    tokenizer: "PreTrainedTokenizerBase"
    max_length: int = 2048
    batch_tokens: int = 8192
    truncation_side: Side = "left"

    def __post_init__(self) -> None:
        limits = (loading.positions(self.network), loading.context(self.network.config))
        self.max_length = min([self.max_length, *(limit for limit in limits if limit)])
        if self.network.device.type == "cpu":
            self.batch_tokens = min(self.batch_tokens, _CPU_TOKENS)

    @property
    def embeddings(self) -> int:
        return padding.embeddings(self.network)

    def batches(self, token_ids: Sequence[Tokens]) -> Iterator[list[int]]:
        """Indices of the sequences of each batch, from short to long."""
        kinds = padding.kinds(self.network.config, token_ids)
        return sharing.batches(token_ids, self.batch_tokens, packing.enabled(self.network), kinds)

    def computed(self, batches: Sequence[Batch]) -> Iterator[tuple[int, list[float]]]:
        return ((number, self.batch(batch)) for number, batch in enumerate(batches))

    def batch(self, token_ids: list[list[int]]) -> list[float]:
        """Rewards of sequences in one forward pass. Raises ArtifactError for what the model refuses, such as a sequence
        without the EOS that T5 reads its reward from, and for too little memory."""
        import torch

        try:
            with torch.inference_mode(), padding.padded(self.network, token_ids) as inputs:
                return self.logits(**inputs).float().tolist()
        except (RuntimeError, ValueError, LookupError) as error:
            longest = max(map(len, token_ids))
            raise ArtifactError(
                f"the model cannot score {len(token_ids)} sequences of up to {longest} tokens: {loading.reason(error)}",
                where=self.network.name_or_path,
            ) from error

    def logits(self, **inputs: "torch.Tensor") -> "torch.Tensor":
        """`input_ids` and `attention_mask` (n, length), padded on the right -> raw rewards (n)."""
        return self.network(**inputs).logits[:, 0]


@dataclass(eq=False)
class VllmScorer(Scorer):
    """Scorer with vLLM. Conversations with the same beginning share a cache, and the model is split over all GPUs."""

    folder: Path
    config: "PretrainedConfig"
    context: int | None
    """Longest sequence in tokens that the engine accepts; None for the model's own limit."""
    precision: str
    tokenizer: "PreTrainedTokenizerBase"
    max_length: int = 2048
    batch_tokens: int = 8192
    """Tokens in a batch of requests to a server; vLLM chooses the size of forward passes itself."""
    truncation_side: Side = "left"

    def __post_init__(self) -> None:
        self.max_length = min(self.max_length, loading.context(self.config) or self.max_length)

    @property
    def embeddings(self) -> int:
        return self.config.get_text_config().vocab_size

    def batches(self, token_ids: Sequence[Tokens]) -> Iterator[list[int]]:
        """Indices of `_REQUESTS` sequences at a time, which vLLM batches itself."""
        places = list(range(len(token_ids)))
        return (places[start : start + _REQUESTS] for start in range(0, len(places), _REQUESTS))

    def computed(self, batches: Sequence[Batch]) -> Iterator[tuple[int, list[float]]]:
        return ((number, vllm_engine.logits(self._engine, batch)) for number, batch in enumerate(batches))

    @property
    def _engine(self) -> Any:
        options = vllm_engine.classifier(self.config)
        return vllm_engine.running(str(self.folder), self.context, self.precision, **options)
