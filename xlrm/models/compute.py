"""Floating-point operations of a decoder, from its shape.

forward = 2 x parameters + 2 x layers x context x attention width, for each token (Kaplan et al. 2020, section 2.1): a
multiplication and an addition for each parameter, plus QK^T and AV, half of which the causal mask saves. The embedding
look-up costs nothing. A backward pass costs two forward passes (same section). The second term is half of PaLM's
(Chowdhery et al. 2022, appendix B: 12 x layers x heads x width of a head x context for forward and backward), because
PaLM ignores the causal mask.
"""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["forward", "training", "checkpointed", "adapters", "checkpointed adapters"]

PASSES: dict[Kind, int] = {
    "forward": 1, "training": 3, "checkpointed": 4, "adapters": 2, "checkpointed adapters": 3,
}  # fmt: skip
"""Cost of each kind of pass, in forward passes. Training: forward, gradients of activations, gradients of weights;
checkpointed: activations are computed a second time; adapters (LoRA): no gradients of the frozen weights."""

_GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2", "smollm3")
"""`model_type` in config.json of decoders without experts whose MLP is gated and has three matrices."""


@dataclass(frozen=True)
class Size:
    """The dimensions that determine the number of operations."""

    parameters: float
    """Parameters of the matrices that multiply every token; excludes the embedding look-up, norms and biases."""
    layers: int
    attention_width: int
    """Attention heads x width of a head."""


@dataclass(frozen=True)
class Shape:
    """Dimensions of a decoder with a gated MLP, from its config.json."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    tied: bool = True
    """Whether the embeddings and the head that predicts tokens share one matrix."""
    encoder_layers: int = 0
    """Layers of the encoder of an encoder-decoder, whose decoder's `layers` also have attention to it; 0 for a decoder."""
    norms_after: bool = False
    """Whether attention and MLP have a norm after them besides the one before."""
    head_norms: bool = False
    """Whether queries and keys have norms."""

    @property
    def parameters(self) -> float:
        """Parameters of all matrices, which is all that the model's files hold except norms and biases."""
        return sum(self._stacks) + self.hidden * self.vocabulary * (1 if self.tied else 2)

    def size(self, head: bool) -> Size:
        """Size with the head that predicts tokens, or without it as in reward models, whose head is a single row. In an
        encoder-decoder a token passes one of both stacks; the larger is counted."""
        width = self.heads * self.head_width
        return Size(max(self._stacks) + head * self.hidden * self.vocabulary, self.layers, width)

    @property
    def _stacks(self) -> tuple[float, float]:
        """Parameters of the layers of the decoder, and of the encoder."""
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_width
        mlp, across = 3 * self.hidden * self.intermediate, attention * (self.encoder_layers > 0)
        return self.layers * (attention + across + mlp), self.encoder_layers * (attention + mlp)


def shape(config: dict[str, Any]) -> Shape | None:
    """Shape from the content of a config.json; None for architectures outside `_GATED`."""
    if config.get("model_type") not in _GATED:
        return None
    heads = config["num_attention_heads"]
    return Shape(
        layers=config["num_hidden_layers"], hidden=config["hidden_size"], intermediate=config["intermediate_size"],
        heads=heads, kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or config["hidden_size"] // heads, vocabulary=config["vocab_size"],
        tied=config.get("tie_word_embeddings", False), norms_after=config["model_type"] in ("gemma2", "gemma3_text"),
        head_norms=config["model_type"] in ("gemma3_text", "olmo2", "qwen3"),
    )  # fmt: skip


def flops(size: Size, tokens: float, mean_length: float, kind: Kind) -> float:
    """Operations for `tokens` tokens. `mean_length` is the mean over tokens of the length of their sequence, so longer
    sequences weigh more."""
    forward = 2 * size.parameters + 2 * size.layers * mean_length * size.attention_width
    return PASSES[kind] * forward * tokens
