"""Memory that training a decoder takes on each device, from its shape: whether it fits is known before it starts.

Bytes for each parameter of the share of one device (N parameters, G devices):

| | one process | DeepSpeed ZeRO-3 on G devices, each with N / G |
|---|---|---|
| weights | 4 (float32), and 2 for their copies in bfloat16 | 2 in bfloat16, else 4 |
| weights that are updated | the same | 4, in float32 |
| gradients | 4 | 2 in bfloat16, else 4 |
| states of AdamW | 8; 2 in 8 bits | 8; 2 in 8 bits |
| states of Adafactor | 0 (rows and columns of matrices) | not with ZeRO-3 |

With LoRA, gradients and states are those of the adapters, and the other weights only lie there. A reward model has no
matrix that predicts tokens.

ZeRO-3 also gathers weights of up to `_LIVE` parameters for the layers at work (stage3_max_live_parameters), fills a bucket
of `_BUCKET` gradients before it reduces them (reduce_bucket_size), and updates `_SUB_GROUP` parameters at a time
(sub_group_size): defaults of DeepSpeed 0.19, zero/config.py. DPO keeps no reference model: its log-probabilities are
computed before the training.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from xlrm.models.compute import Shape
from xlrm.processes import launch
from xlrm.training.recipes import DpoTraining, RewardTraining, SftTraining

_LIVE, _BUCKET, _SUB_GROUP = 1e9, 5e8, 1e9
_TILE = (4096, 32_768)
"""Tokens and vocabulary of the logits that TRL's head computes at a time (trl.kernels.chunked_logprob and
trl.trainer.utils of TRL 1.16); all logits of a pair of 2 x 2,048 tokens would take 2.5 GB in float32, several times over."""
_RESERVE = 2e9
"""Assumed for the CUDA context, the buffers of NCCL and cuBLAS, and fragments: not measured here."""
_NORM, _NORM_AFTER = 3, 2
"""Vectors for each token that a layer keeps for the backward pass of a norm before attention or MLP (input, normalised input
and output, which in bfloat16 is copied for each matrix that reads it), and of one whose output is added to the residual."""


@dataclass(frozen=True)
class Needs:
    """Bytes on each device."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    """Weights, gradients and updates that are together for a moment, of layers that are spread over the devices."""
    activations: float
    head: float
    """The last hidden states, logits and gradient of the matrix that predicts tokens."""

    @property
    def total(self) -> float:
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def with_reserve(self) -> float:
        return self.total + _RESERVE


def of_training(
    shape: Shape,
    tokens: float,
    devices: int,
    precision: Literal["float32", "bfloat16"],
    optimizer: str,
    checkpointing: bool,
    *,
    predicts: bool = True,
    lora_rank: int = 0,
) -> Needs:
    """Needs of all weights of a decoder with its vocabulary, trained with AdamW on passes of `tokens` tokens per device
    (DPO: 2 x pairs x max_length). `optimizer`: its name in transformers; `checkpointing`: gradient checkpointing;
    `predicts`: whether it computes the logits of tokens; `lora_rank`: rank of adapters on all linear layers of a model
    whose other weights are not trained, 0 without."""
    count, half = shape.parameters / devices, precision == "bfloat16"
    trained = _adapters(shape, lora_rank) / devices if lora_rank else count
    states = trained * (2 if "8bit" in optimizer else 8) * (optimizer != "adafactor")
    if devices == 1:
        number, gathered = 4, 0.0
        weights = count * (6 if half else 4)
    else:
        number = 2 if half else 4
        weights = count * (number + 4)
        live, sub_group = min(shape.parameters, _LIVE), min(count, _SUB_GROUP)
        gathered = max(number * (live + _BUCKET), (number + 4) * sub_group)
    computed = 2 if half else 4
    layer = tokens * _kept(shape, number, computed)
    inputs = shape.layers * tokens * number * shape.hidden
    # With checkpoints: the inputs of every layer, and one layer at work, with the gradients of its activations.
    activations = inputs + 2 * layer if checkpointing else (shape.layers + 1) * layer
    gradients = trained * (number if not lora_rank else 4)
    head = _head(shape, tokens, devices, number, computed) if predicts else 0.0
    return Needs(weights, gradients, states, gathered, activations, head)


def _kept(shape: Shape, number: int, computed: int) -> int:
    """Bytes of a token that a layer keeps for the backward pass: of norms, attention (queries, keys, values, and the outputs
    before and after their way back into the row) and the MLP (gate, its activation, the other half, and their product)."""
    width, between = shape.head_width, 2 * (_NORM + _NORM_AFTER * shape.norms_after) * shape.hidden
    of_heads = 2 * shape.head_norms * (shape.heads + shape.kv_heads) * width
    attention = (3 * shape.heads + 2 * shape.kv_heads) * width
    return number * (between + of_heads) + computed * (attention + 4 * shape.intermediate)


def _adapters(shape: Shape, rank: int) -> int:
    """Parameters of LoRA adapters on all linear layers."""
    query, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    attention = 2 * (shape.hidden + query) + 2 * (shape.hidden + keys)
    return shape.layers * rank * (attention + 3 * (shape.hidden + shape.intermediate))


def _head(shape: Shape, tokens: float, devices: int, number: int, computed: int) -> float:
    """Bytes for predicting tokens: logits, and the gradient of their matrix with its parts in the precision computed in."""
    matrix = shape.vocabulary * shape.hidden
    logits = min(tokens, _TILE[0]) * min(shape.vocabulary, _TILE[1]) * computed
    parts = 2 * computed * matrix if computed == 2 or devices > 1 else 0
    return logits + 4 * matrix + parts + tokens * shape.hidden * (number + 8)


def of_reward_model(shape: Shape, tokens: float, devices: int, config: RewardTraining) -> Needs:
    """Needs of a reward model's training on passes of `tokens` tokens per device. Its model has no matrix that predicts
    tokens, which only a decoder with separate ones leaves out."""
    return of_training(
        replace(shape, tied=True), tokens, devices, config.precision, config.optimizer, config.gradient_checkpointing,
        predicts=False, lora_rank=config.lora_rank,
    )  # fmt: skip


SAVING: dict[str, Any] = {
    "device_batch_size": 1, "gradient_checkpointing": True, "optimizer": "paged_adamw_8bit", "precision": "bfloat16",
}  # fmt: skip
"""Values of fields that save memory, in the order in which they change the training least."""


def of_policy(shape: Shape, config: DpoTraining | SftTraining, devices: int) -> float:
    """Bytes of each GPU for an alignment by DPO or a fine-tuning, with the reserve. Raises ConfigError for a batch that cannot
    be shared. In an encoder-decoder a token passes one of both stacks."""
    rows, _ = launch.split_batch(config.batch_size, config.device_batch_size, devices)
    whole = config.optimizer == "adafactor"  # each process has all weights
    needs = of_training(
        shape, rows * _longest(config), 1 if whole else devices, config.precision, config.optimizer,
        config.gradient_checkpointing,
    )  # fmt: skip
    return needs.with_reserve


def _longest(config: DpoTraining | SftTraining) -> int:
    """Tokens of a row of a batch, at most: a pair's two conversations, or a prompt and its response."""
    if isinstance(config, DpoTraining):
        return 2 * config.max_length
    return config.max_prompt_length + config.max_response_length
