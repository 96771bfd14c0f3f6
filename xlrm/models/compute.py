"""Floating-point operations of a decoder, from its shape.

forward = 2 x parameters + 2 x layers x context x attention width, for each token (Kaplan et al. 2020, section 2.1): a
multiplication and an addition for each parameter, and those of QK^T and AV, of which a causal mask leaves half. The
embedding look-up is none. A backward pass is two forward passes (there, too). The second term is half of what PaLM's
appendix B counts (Chowdhery et al. 2022: 12 x layers x heads x width of a head x context for forward and backward), which
leaves the causal mask out of account.
"""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["forward", "training", "checkpointed", "adapters", "checkpointed adapters"]

PASSES: dict[Kind, int] = {
    "forward": 1, "training": 3, "checkpointed": 4, "adapters": 2, "checkpointed adapters": 3,
}  # fmt: skip
"""Work of each kind, in forward passes. Training: forward, gradients of the activations, gradients of the weights;
checkpointed: activations computed a second time; adapters: no gradients of the frozen weights (LoRA)."""

_GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "olmo", "olmo2", "smollm3")
"""Values of `model_type` in config.json of decoders with a gated MLP of three matrices, and no experts."""


@dataclass(frozen=True)
class Size:
    """What operations are counted by."""

    parameters: float
    """In matrices that every token is multiplied with: neither the embedding look-up, nor norms and biases."""
    layers: int
    attention_width: int
    """Attention heads x width of a head."""


@dataclass(frozen=True)
class Shape:
    """Of a decoder with a gated MLP, as its config.json has it."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    tied: bool = True
    """Whether the embedding look-up and the head that predicts tokens are one matrix."""

    @property
    def parameters(self) -> float:
        """Of all matrices: what a folder of the model holds, but for norms and biases."""
        return self.size(head=True).parameters + (0 if self.tied else self.hidden * self.vocabulary)

    def size(self, head: bool) -> Size:
        """With the head that predicts tokens, or without, as in reward models: their head is one row."""
        width = self.heads * self.head_width
        attention = 2 * self.hidden * (width + self.kv_heads * self.head_width)
        body = self.layers * (attention + 3 * self.hidden * self.intermediate)
        return Size(body + head * self.hidden * self.vocabulary, self.layers, width)


def shape(config: dict[str, Any]) -> Shape | None:
    """Of what a config.json holds; None for an architecture that is not counted here."""
    if config.get("model_type") not in _GATED:
        return None
    heads = config["num_attention_heads"]
    return Shape(
        layers=config["num_hidden_layers"], hidden=config["hidden_size"], intermediate=config["intermediate_size"],
        heads=heads, kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or config["hidden_size"] // heads, vocabulary=config["vocab_size"],
        tied=config.get("tie_word_embeddings", False),
    )  # fmt: skip


def flops(size: Size, tokens: float, mean_length: float, kind: Kind) -> float:
    """Of `tokens` in sequences of `mean_length`, the mean over the tokens (a sequence counts once for each of its)."""
    forward = 2 * size.parameters + 2 * size.layers * mean_length * size.attention_width
    return PASSES[kind] * forward * tokens
