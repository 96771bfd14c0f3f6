"""Classifier reward models from elsewhere, each adapted to take conversations and give rewards, in order.

No code from a model's repository is run. Each model is adapted to a scalar one, and scored like this project's models
(`xlrm.scorers.engines`), with its own chat template.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.errors import ArtifactError, ConfigError, DataError
from xlrm.models import loading, precisions, weights
from xlrm.models.chat_templates import Message
from xlrm.models.packing import model as packing
from xlrm.models.reward_models import RewardModel
from xlrm.scorers import engines, parallel
from xlrm.scorers.engines import TransformersScorer
from xlrm.scorers.interface import Scorer, Scoring, Tokens
from xlrm.scorers.reward_journal import Journal
from xlrm.tracking import named_models

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# ArmoRM computes its gate at the end of the prompt: the first token of the last occurrence of this sequence
# (modeling_custom.py of RLHFlow/ArmoRM-Llama3-8B-v0.1: token_pattern and find_token_for_gating).
_PROMPT_END = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
_PARTS = ("weight", "bias")


def check(row: RewardModel, scoring: Scoring) -> None:
    """Raises ConfigError, before anything is downloaded, for settings that do not fit the classifier or this machine."""
    engines.check_machine(scoring)
    if row.adapter == "armorm":
        if scoring.engine == "vllm":
            raise ConfigError(f"{row.name} needs engine transformers", where="engine", value=scoring.engine)
        if scoring.processes > 1:
            raise ConfigError(f"{row.name} runs in one process", where="processes", value=scoring.processes)


def load(row: RewardModel, scoring: Scoring) -> Scorer:
    """Scorer of a classifier. A conversation longer than `max_length`, or than the model can read, is cut.

    Raises ConfigError for a `max_length` that the user set to more than the model can read, and ArtifactError for a model
    that is unavailable, has no chat template or lacks weights, which would otherwise be initialised at random.
    """
    check(row, scoring)
    folder = named_models.folder(row.repository, row.revision, row.folder)
    tokenizer = engines.tokenizer_of(folder)
    loading.Context.of(scoring, "max_length").within(loading.load_config(folder))
    if row.adapter == "scalar":
        with _quietly(folder):
            return parallel.load(folder, scoring)
    network = _llama(folder, scoring)
    limits = (scoring.max_length, scoring.batch_tokens, scoring.truncation_side)
    return ArmoRM(network, tokenizer, *limits, **_armorm_parts(folder, network, tokenizer))


def _llama(folder: Path, scoring: Scoring) -> "PreTrainedModel":
    """ArmoRM's Llama, without its heads."""
    from transformers import LlamaModel

    with _quietly(folder):
        loaded: Any = LlamaModel.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True,
            **precisions.arguments(scoring.precision, scoring.device),
        )  # fmt: skip
    body, report = loaded
    if report["missing_keys"]:
        raise ArtifactError(
            f"not an ArmoRM: missing weights: {', '.join(sorted(report['missing_keys'])[:5])}", where=folder
        )
    weights.check_finite(folder)
    packing.enable(body.eval())
    return body


@dataclass(eq=False)
class ArmoRM(TransformersScorer):
    """A Llama with a reward for each of k objectives, weighted by a gate that depends on the prompt (Wang et al. 2024,
    "Interpretable Preferences via Multi-Objective Reward Modeling and Mixture-of-Experts").

    reward = sum_k gate_k (rewards @ reward_transform_matrix)_k, with rewards = regression_layer(last token's state) and
    gate = logit_scale softmax(MLP(state at the end of the prompt) / temperature). The heads are computed in float32.
    """

    _: KW_ONLY
    heads: dict[str, "torch.Tensor"]
    """regression_layer.weight (k, d), reward_transform_matrix (k, k), gating.logit_scale (1), gating.layers.{i}.*"""
    gate_layers: int
    prompt_end: list[int]
    temperature: float

    def score(
        self, conversations: Sequence[list[Message]] | Sequence[Tokens], journal: Journal | None = None
    ) -> list[float]:
        """Encodes, and so checks, all conversations before the first reward is computed."""
        return super().score(self.tokens(conversations), journal)

    def encode_marked(self, conversations: Sequence[list[Message]]) -> list[tuple[list[int], bool]]:
        """Raises DataError if truncation removes the end of a prompt, at which the gate is computed."""
        encoded, size = super().encode_marked(conversations), len(self.prompt_end)
        for ids, _ in encoded:
            if not any(ids[i : i + size] == self.prompt_end for i in range(len(ids) - size, -1, -1)):
                text = "response" if self.truncation_side == "left" else "prompt"
                raise DataError(
                    f"a {text} of more than {self.max_length - size} tokens leaves no end of a prompt for ArmoRM to read; "
                    "a higher limit is required, if the model allows it",
                    where="max_length", value=self.max_length,
                )  # fmt: skip
        return encoded

    def logits(self, **inputs: "torch.Tensor") -> "torch.Tensor":
        import torch

        input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
        states = self.network(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        each = torch.arange(len(input_ids), device=input_ids.device)
        rewards = states[each, attention_mask.sum(1) - 1] @ self.heads["regression_layer.weight"].T
        gate = self._gate(states[each, self._prompt_ends(input_ids)])
        return (gate * (rewards @ self.heads["reward_transform_matrix"])).sum(1)

    def _gate(self, states: "torch.Tensor") -> "torch.Tensor":
        """States at the end of prompts (n, d) -> gate weights (n, k)."""
        import torch

        for i in range(self.gate_layers):
            weight, bias = (self.heads[f"gating.layers.{i}.{part}"] for part in _PARTS)
            states = torch.nn.functional.linear(states, weight, bias)
            states = torch.relu(states) if i < self.gate_layers - 1 else states
        return torch.softmax(states / self.temperature, dim=1) * self.heads["gating.logit_scale"]

    def _prompt_ends(self, input_ids: "torch.Tensor") -> "torch.Tensor":
        """Index of the last occurrence of `prompt_end` in each sequence (n); `encode` has checked that there is one."""
        import torch

        pattern = torch.tensor(self.prompt_end, device=input_ids.device)
        matches = (input_ids.unfold(1, len(pattern), 1) == pattern).all(2).int()
        return matches.shape[1] - 1 - matches.flip(1).argmax(1)


def _armorm_parts(folder: Path, network: Any, tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """Arguments of `ArmoRM` in addition to the network, the tokenizer and the limits."""
    layers = getattr(network.config, "gating_n_hidden", 3) + 1
    return {
        "heads": {name: tensor.to(network.device) for name, tensor in _heads(folder, layers).items()},
        "gate_layers": layers,
        "prompt_end": tokenizer(_PROMPT_END, add_special_tokens=False)["input_ids"],
        "temperature": getattr(network.config, "gating_temperature", 10),
    }


@contextlib.contextmanager
def _quietly(folder: Path) -> Iterator[None]:
    """Hides transformers' table of "unexpected" weights, which ArmoRM's heads are; raises ArtifactError with a one-line
    message if loading fails."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with loading.in_one_line(folder):
            yield
    finally:
        logging.set_verbosity(before)


def _heads(folder: Path, gate_layers: int) -> dict[str, "torch.Tensor"]:
    """ArmoRM's weights other than the Llama's, in float32. Raises ArtifactError if some are missing."""
    from safetensors import safe_open

    heads: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            heads |= {name: opened.get_tensor(name).float() for name in opened.keys() if not name.startswith("model.")}  # noqa: SIM118
    needed = {f"gating.layers.{i}.{part}" for i in range(gate_layers) for part in _PARTS}
    needed |= {"regression_layer.weight", "reward_transform_matrix", "gating.logit_scale"}
    if missing := sorted(needed - heads.keys()):
        raise ArtifactError(f"not an ArmoRM: missing weights: {', '.join(missing)}", where=folder)
    return heads
