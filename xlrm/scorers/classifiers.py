"""Classifier reward models from elsewhere: whatever a model's quirks, conversations go in and rewards come out, in order.

No code of a model's repository is run. A model is made to look like a scalar one, and scored as our own are
(`xlrm.scorers.scorer`): one BOS, the reward read at the last real token, truncation from the left, no dropout.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from xlrm.errors import ArtifactError, DataError
from xlrm.models import chat_templates, loading
from xlrm.models.chat_templates import Message
from xlrm.models.packing import model as packing
from xlrm.models.reward_models import RewardModel
from xlrm.scorers import scorer
from xlrm.scorers.reward_journal import Journal
from xlrm.store import hub

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

Rewards = Callable[[Sequence[list[Message]], Journal | None], list[float]]
"""Of conversations, in order; the journal, where one is given, keeps those found so far."""

# Where a template would write today's date, what Llama 3.1's and 3.2's say without a clock: a reward has no date.
_DATE = '{% set date_string = "26 Jul 2024" %}'
# ArmoRM reads its gate where the prompt ends: at the first of these tokens, the last time they stand there in a row
# (modeling_custom.py of RLHFlow/ArmoRM-Llama3-8B-v0.1: token_pattern and find_token_for_gating).
_PROMPT_END = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
_PARTS = ("weight", "bias")


def load(
    row: RewardModel, max_length: int, batch_tokens: int, dtype: str | None = None, given: bool = False
) -> Rewards:
    """A conversation of more tokens than `max_length`, or than the model reads, loses its beginning. `given`: somebody has set
    `max_length`, which is then an error above what the model reads. `dtype` instead of the row's: in float32, rewards do not
    depend on the batch to 1e-5; bfloat16 has 8 bits to say them in.

    Raises ArtifactError for a model that cannot be had, has no chat template, or lacks weights: a head made up at loading
    time would give confident nonsense.
    """
    folder = hub.whole_model(row.repository, row.revision, row.folder)
    tokenizer = _tokenizer(folder)
    network = _ADAPTERS[row.adapter](folder, tokenizer, dtype or row.dtype)
    loading.Context("external.max_length", max_length, given).within(network.config)
    length = scorer.longest(network, max_length)

    def rewards(conversations: Sequence[list[Message]], journal: Journal | None = None) -> list[float]:
        if isinstance(network, ArmoRM):
            network.check(chat_templates.encode(tokenizer, conversations, length), length)
        return scorer.score(network, tokenizer, conversations, length, batch_tokens, journal)

    return rewards


def _tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The model's own, with its own template: another one would be another model."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder}: no tokenizer: {str(error).strip().splitlines()[0]}") from error
    if not tokenizer.chat_template:
        raise ArtifactError(
            f"{folder}: its tokenizer has no chat template, so nothing says how it reads a conversation"
        )
    tokenizer.truncation_side = "left"
    if "date_string" in tokenizer.chat_template:
        tokenizer.chat_template = _DATE + tokenizer.chat_template
    return tokenizer


def _scalar(folder: Path, tokenizer: "PreTrainedTokenizerBase", dtype: str) -> Any:
    with _quietly(folder):
        network = loading.load_reward_model(folder, dtype)
    _agree_on_padding(network, tokenizer)
    return network


def _armorm(folder: Path, tokenizer: "PreTrainedTokenizerBase", dtype: str) -> "ArmoRM":
    from transformers import LlamaModel

    with _quietly(folder):
        body, report = LlamaModel.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    if report["missing_keys"]:
        raise ArtifactError(f"{folder}: not an ArmoRM: missing weights {sorted(report['missing_keys'])[:5]}")
    body = body.to(loading.device()).eval()
    packing.enable(body)
    _agree_on_padding(body, tokenizer)
    pattern = tokenizer(_PROMPT_END, add_special_tokens=False)["input_ids"]
    layers = getattr(body.config, "gating_n_hidden", 3) + 1
    heads = {name: tensor.to(body.device) for name, tensor in _heads(folder, layers).items()}
    return ArmoRM(body, heads, layers, pattern, getattr(body.config, "gating_temperature", 10))


_ADAPTERS = {"scalar": _scalar, "armorm": _armorm}


@dataclass(frozen=True)
class ArmoRM:
    """A Llama with a reward for each of k objectives, weighted by a gate that has read the prompt (Wang et al. 2024,
    "Interpretable Preferences via Multi-Objective Reward Modeling and Mixture-of-Experts").

    reward = sum_k gate_k (rewards @ reward_transform_matrix)_k, with rewards = regression_layer(last token's state) and
    gate = logit_scale softmax(MLP(state where the prompt ends) / temperature). The heads are computed in float32.
    """

    body: Any
    heads: dict[str, "torch.Tensor"]
    """regression_layer.weight (k, d), reward_transform_matrix (k, k), gating.logit_scale (1), gating.layers.{i}.*"""
    gate_layers: int
    prompt_end: list[int]
    temperature: float

    @property
    def config(self) -> Any:
        return self.body.config

    @property
    def device(self) -> Any:
        return self.body.device

    @property
    def xlrm_packed(self) -> bool:
        return packing.enabled(self.body)

    def named_modules(self) -> Any:
        return self.body.named_modules()

    def __call__(self, input_ids: "torch.Tensor", attention_mask: "torch.Tensor", **_: Any) -> SimpleNamespace:
        """Ids and mask (n, length), padded on the right -> logits (n, 1)."""
        import torch

        states = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        each = torch.arange(len(input_ids), device=input_ids.device)
        rewards = states[each, attention_mask.sum(1) - 1] @ self.heads["regression_layer.weight"].T
        gate = self._gate(states[each, self._prompt_ends(input_ids)])
        logits = (gate * (rewards @ self.heads["reward_transform_matrix"])).sum(1, keepdim=True)
        return SimpleNamespace(logits=logits)

    def _gate(self, states: "torch.Tensor") -> "torch.Tensor":
        """(n, d) -> (n, k)."""
        import torch

        for i in range(self.gate_layers):
            weight, bias = (self.heads[f"gating.layers.{i}.{part}"] for part in _PARTS)
            states = torch.nn.functional.linear(states, weight, bias)
            states = torch.relu(states) if i < self.gate_layers - 1 else states
        return torch.softmax(states / self.temperature, dim=1) * self.heads["gating.logit_scale"]

    def _prompt_ends(self, input_ids: "torch.Tensor") -> "torch.Tensor":
        """The last place (n) where the pattern begins; `check` has seen that there is one."""
        import torch

        pattern = torch.tensor(self.prompt_end, device=input_ids.device)
        found = (input_ids.unfold(1, len(pattern), 1) == pattern).all(2).int()
        return found.shape[1] - 1 - found.flip(1).argmax(1)

    def check(self, encoded: Sequence[Sequence[int]], max_length: int) -> None:
        """Raises DataError for a conversation that has lost the end of its prompt to truncation: it has no gate."""
        size = len(self.prompt_end)
        for ids in encoded:
            if not any(list(ids[i : i + size]) == self.prompt_end for i in range(len(ids) - size, -1, -1)):
                raise DataError(
                    f"an answer of more than {max_length - size} tokens leaves no prompt for ArmoRM to read; raise "
                    f"external.max_length={max_length}, where the model reads more"
                )


@contextlib.contextmanager
def _quietly(folder: Path) -> Iterator[None]:
    """Without transformers' table of ArmoRM's heads as "unexpected"; what goes wrong is one line."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder}: cannot be loaded: {str(error).strip().splitlines()[0]}") from error
    finally:
        logging.set_verbosity(before)


def _heads(folder: Path, gate_layers: int) -> dict[str, "torch.Tensor"]:
    """What ArmoRM's files hold beside the Llama."""
    from safetensors import safe_open

    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            found |= {name: opened.get_tensor(name).float() for name in opened.keys() if not name.startswith("model.")}  # noqa: SIM118
    needed = {f"gating.layers.{i}.{part}" for i in range(gate_layers) for part in _PARTS}
    needed |= {"regression_layer.weight", "reward_transform_matrix", "gating.logit_scale"}
    if missing := sorted(needed - found.keys()):
        raise ArtifactError(f"{folder}: not an ArmoRM: missing weights {missing}")
    return found


def _agree_on_padding(network: Any, tokenizer: "PreTrainedTokenizerBase") -> None:
    """A head reads the last token that is not `config.pad_token_id`, so the tokenizer is to pad with that one. A model
    that names none reads the last token, whatever it is: it gets a padding token that no text holds."""
    named = network.config.pad_token_id
    if named is not None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(named)
        return
    tokenizer.add_special_tokens({"pad_token": loading.PAD_TOKEN})
    if len(tokenizer) > network.get_input_embeddings().num_embeddings:
        network.resize_token_embeddings(len(tokenizer))
    network.config.pad_token_id = tokenizer.pad_token_id
