"""What the trainings are asked for: one class of fields each."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xlrm.store.fields import NotCounted


class TrainingConfig(BaseModel):
    """What both trainings have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str
    """Language of the training data."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    batch_size: int = Field(ge=1)
    """Pairs in a step, over all devices and accumulation."""
    device_batch_size: int = Field(8, ge=1)
    """Largest number of pairs in a forward pass on one device, for its memory; as many are taken as make the batch evenly."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the data (paper A: 1)."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps with rising learning rate; a cosine follows (paper A, appendix B)."""
    max_length: int = Field(2048, ge=16)
    """Tokens; a longer pair loses its beginning and is never dropped (paper A's code: truncation_side="left")."""
    optimizer: str = "adamw_torch_fused"
    """A name of transformers' `optim`; paper A's is paged_adamw_8bit, which needs bitsandbytes."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward and backward pass; weights are updated in float32. Paper A's code: bfloat16."""
    processes: int = Field(0, ge=0)
    """Processes on each node, more than one with DeepSpeed ZeRO-3 (paper A: 4), each on a GPU where there are any; no other
    GPU is used. 0: one for each GPU, or one."""
    gradient_checkpointing: bool = True
    """Recomputes activations to save memory."""
    save_steps: Annotated[int, NotCounted] = Field(100, ge=1)
    """Steps between checkpoints, which are sent to the store: what a training loses whose machine is lost."""
    log_steps: int = Field(10, ge=1)
    """Steps between points of its curves."""
    seed: int = 42
    """Paper A's code: 42."""


class RewardTraining(TrainingConfig):
    loss: Literal["bradley_terry", "pointwise"] = "bradley_terry"
    """bradley_terry: -log sigmoid(r_chosen - r_rejected), paper A. pointwise: each response alone is good or bad, paper B."""
    margin: bool = False
    """Bradley-Terry with each pair's own `margin`: -log sigmoid(r_chosen - r_rejected - margin); 0 where it has none."""
    similar_lengths: bool = False
    """Steps of pairs of like length: less padding, in an order that is a little less random than paper A's."""
    lora_rank: int = Field(0, ge=0)
    """Rank of LoRA adapters on all linear layers, merged into the model at the end; 0 trains all weights, as paper A."""
    lora_alpha: int = Field(16, ge=1)
    """LoRA's scale, over its rank."""
    heldout_scorings: int = Field(10, ge=0)
    """Times that loss and accuracy are taken of the pairs held out, evenly over the training, at last at its end."""
    keep: Literal["last", "best"] = "last"
    """Which weights are the model: the last ones (paper A), or of the scoring with the lowest loss of pairs held out."""
    quantize: bool = False
    """QLoRA: the frozen weights in 4 bits (NF4) while training; needs lora_rank and bitsandbytes."""

    @model_validator(mode="after")
    def _belong_together(self) -> "RewardTraining":
        if self.quantize and not self.lora_rank:
            raise ValueError("quantize=true needs lora_rank above 0: weights of 4 bits cannot be trained themselves")
        if self.quantize and self.precision != "bfloat16":
            raise ValueError("quantize=true needs precision bfloat16: adapters of a 4-bit model are kept in it")
        if self.keep == "best" and not self.heldout_scorings:
            raise ValueError("keep=best goes by the pairs held out: it needs heldout_scorings above 0")
        if self.margin and self.loss == "pointwise":
            raise ValueError("margin=true is of the bradley_terry loss; a pointwise one compares nothing")
        return self


class DpoTraining(TrainingConfig):
    beta: float = Field(0.1, gt=0)
    """Weight of staying close to the policy (paper A: 0.1)."""
