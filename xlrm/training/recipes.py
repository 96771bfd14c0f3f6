"""Settings of the trainings: one config class for each kind."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xlrm.models.precisions import Precision
from xlrm.store import addresses
from xlrm.store.fields import NotCounted, conflict

OfBitsandbytes = Literal[
    "adamw_8bit", "adamw_bnb_8bit", "ademamix", "ademamix_8bit", "lion_32bit", "lion_8bit", "paged_adamw_32bit",
    "paged_adamw_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit", "paged_lion_32bit", "paged_lion_8bit", "rmsprop_bnb",
    "rmsprop_bnb_32bit", "rmsprop_bnb_8bit",
]  # fmt: skip
"""Optimizers that need bitsandbytes."""
Optimizer = Literal[
    "adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "adagrad", "rmsprop", OfBitsandbytes
]  # fmt: skip
"""Optimizers, by their names in transformers' `optim`, without those of libraries that no extra installs."""


class TrainingConfig(BaseModel):
    """Settings shared by all trainings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str
    """Language of the training data."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    batch_size: int = Field(ge=1)
    """Preference pairs per optimizer step, over all devices and accumulated passes."""
    device_batch_size: int = Field(8, ge=1)
    """Maximum pairs per forward pass on one device; lowered to a number that divides the batch evenly."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the data (paper A: 1)."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps with linear warm-up of the learning rate; `scheduler` follows (paper A, appendix B: 0.1)."""
    warmup_steps: int | None = Field(None, ge=0)
    """Steps with linear warm-up, instead of `warmup` (paper B's reward models: 1000); null for that share."""
    scheduler: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up: cosine decay to 0 (paper A), or constant (paper B)."""
    optimizer: Optimizer = "adamw_torch_fused"
    """Optimizer, by its name in transformers' `optim`; paper A's paged_adamw_8bit needs bitsandbytes. With adafactor (paper B) no
    gradient is clipped."""
    scale_parameter: bool = True
    """Whether Adafactor multiplies the learning rate by the root mean square of each weight matrix, as T5X does by default and
    its authors do (Shazeer and Stern 2018); other optimizers ignore it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward and backward pass; weights are updated in float32 (paper A's code: bfloat16)."""
    processes: int = Field(0, ge=0)
    """Processes on each node, each on one GPU if there are any, with DeepSpeed ZeRO-3 if more than one (paper A: 4), or with all
    weights on each (adafactor); other GPUs stay unused. 0: one per GPU, or one without GPUs."""
    gradient_checkpointing: bool = True
    """Whether activations are recomputed in the backward pass to save memory."""
    save_steps: Annotated[int, NotCounted] = Field(100, ge=1)
    """Steps between checkpoints, which are copied to the store; a lost machine loses the steps since the last copy."""
    log_steps: int = Field(10, ge=1)
    """Steps between points of the training curves."""
    seed: int = 42
    """Seed of the random numbers (paper A's code: 42)."""


class ConversationTraining(TrainingConfig):
    """Settings of a training on whole conversations."""

    max_length: int = Field(2048, ge=16)
    """Maximum tokens of a conversation; a longer one loses its beginning, and no pair is dropped (paper A's code:
    truncation_side="left")."""


class RewardTraining(ConversationTraining):
    """Settings of a reward model's training."""

    max_prompt_length: int | None = Field(None, ge=16)
    """Maximum tokens of a prompt (paper B: 1024), here and wherever the reward model is used, as of `sft.max_prompt_length`: in a
    longer one, the longest message loses its end. Less than max_length, which also holds the response; null for no limit of its
    own (paper A)."""
    loss: Literal["bradley_terry", "pointwise"] = "bradley_terry"
    """bradley_terry: -log sigmoid(r_chosen - r_rejected) (paper A); pointwise: each response good or bad (paper B)."""
    margin: bool = False
    """Whether Bradley-Terry uses each pair's `margin`, 0 if missing: -log sigmoid(r_chosen - r_rejected - margin)."""
    similar_lengths: bool = False
    """Whether each step has pairs of similar length: less padding, and a slightly less random order than paper A's."""
    shared_beginnings: bool = False
    """Whether pairs that begin alike, such as questions on one document, follow each other, so that a packed batch computes
    their beginning once; documents come in random order, the same in each epoch (paper A: all pairs in random order)."""
    center_rewards_coefficient: float | None = Field(None, gt=0)
    """Weight of the mean of (r_chosen + r_rejected)^2, added to Bradley-Terry's loss so that rewards stay around 0 (TRL's
    option, which recommends 0.01); null adds nothing (paper A)."""
    reinitialize_head: bool = False
    """Whether a base that is a reward model gets a new head; otherwise its training continues with the head it has."""
    lora_rank: int = Field(0, ge=0)
    """Rank of LoRA adapters on all linear layers, merged into the model at the end; 0 trains all weights (paper A)."""
    lora_alpha: int = Field(16, ge=1)
    """LoRA's alpha: adapters are scaled by lora_alpha / lora_rank."""
    heldout_scorings: int = Field(10, ge=0)
    """Evaluations of loss and accuracy on the held-out pairs, evenly spaced, the last one after the last step."""
    heldout_pairs: int | None = Field(1000, ge=1)
    """Maximum number of held-out pairs in these evaluations, sampled with `seed`; null takes all. The stage evaluate takes
    all in any case."""
    keep: Literal["last", "best"] = "last"
    """Weights to keep: the last ones (paper A), or those with the lowest loss on the held-out pairs (paper B)."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of the base model's layers while it is trained, wherever its config has a field for one (paper B: 0.1); null
    trains without dropout (TRL and paper A)."""
    template: Literal["base", "plain"] = "base"
    """Text that a conversation becomes: that of the base's chat template (paper A), or plain: the texts of its messages with a
    delimiter between them, without roles and instruction (paper B, appendix G.1)."""
    quantize: bool = False
    """QLoRA: frozen weights in 4 bits (NF4) during training; needs lora_rank, precision bfloat16 and bitsandbytes."""

    @model_validator(mode="after")
    def _belong_together(self) -> "RewardTraining":
        if self.max_prompt_length and self.max_prompt_length >= self.max_length:
            raise conflict(
                "max_prompt_length", self.max_prompt_length, "less than max_length is allowed, which also holds the response"
            )  # fmt: skip
        if self.quantize and not self.lora_rank:
            raise conflict(
                "quantize", True, "needs lora_rank above 0, because 4-bit weights cannot be trained themselves"
            )
        if self.quantize and self.precision != "bfloat16":
            raise conflict("quantize", True, "needs precision bfloat16, the precision of a 4-bit model's adapters")
        if self.keep == "best" and not self.heldout_scorings:
            raise conflict("keep", "best", "needs heldout_scorings above 0, because it uses the loss on held-out pairs")
        if self.center_rewards_coefficient and self.loss == "pointwise":
            raise conflict(
                "center_rewards_coefficient", self.center_rewards_coefficient,
                "needs the bradley_terry loss; a pointwise loss has a zero of its own",
            )  # fmt: skip
        if self.shared_beginnings and self.similar_lengths:
            raise conflict("shared_beginnings", True, "not allowed with similar_lengths, which is another order")
        if self.margin and self.loss == "pointwise":
            raise conflict("margin", True, "needs the bradley_terry loss; a pointwise loss compares no responses")
        return self


class SftTraining(TrainingConfig):
    """Settings of a policy's supervised fine-tuning on demonstrations; defaults follow paper B, appendices A and B."""

    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate (paper B: 1e-3 for summaries, 1e-5 for dialog)."""
    batch_size: int = Field(32, ge=1)
    """Demonstrations per optimizer step, over all devices and accumulated passes (paper B: 32)."""
    device_batch_size: int = Field(8, ge=1)
    """Maximum demonstrations per forward pass on one device; lowered to a number that divides the batch evenly."""
    epochs: float = Field(1.0, gt=0)
    """Passes over as many demonstrations as there are; with `mixing` even, those of small subsets come more than once in a
    pass, and not all of large ones (paper B does not say how long it trains)."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps, instead of `epochs`; null for those of `epochs`."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Share of the steps with linear warm-up of the learning rate; `scheduler` follows (paper B: none)."""
    scheduler: Literal["cosine", "constant"] = "constant"
    """Learning rate after the warm-up: cosine decay to 0, or constant (paper B)."""
    optimizer: Optimizer = "adafactor"
    """Optimizer, by its name in transformers' `optim` (paper B: Adafactor)."""
    max_prompt_length: int = Field(1024, ge=16)
    """Maximum tokens of a prompt (paper B: 1024), here and wherever the policy is used: in a longer one, the longest message
    loses its end."""
    max_response_length: int = Field(512, ge=2)
    """Maximum tokens of a response, with the token that ends it (paper B: 512); a longer one loses its end, but not that
    token, as in T5's preprocessing."""
    dropout: float | None = Field(0.1, ge=0, lt=1)
    """Dropout wherever the base model's config has a field for one (paper B: 0.1), which is in the attention alone in most
    decoders; null keeps that of the config."""
    instruction: Literal["summarization", "dialog"] | None = None
    """Instruction of paper B (appendix G.1) before every prompt, with the language's English name. It is written into the
    policy's chat template, so that sampling and reinforcement learning use it too; null for none."""
    mixing: Literal["even", "as_is"] = "even"
    """even: as many demonstrations of each subset and language as of each other (paper B); as_is: in the shares that the
    corpus has."""
    validations: int = Field(10, ge=0)
    """Evaluations of ROUGE-L on demonstrations for validation, evenly spaced, the last one after the last step."""
    validation_rows: int | None = Field(1000, ge=1)
    """Maximum number of demonstrations in these evaluations, sampled with `seed`, evenly over the subsets; null takes all."""
    keep: Literal["best", "last"] = "best"
    """Weights to keep: those with the highest ROUGE-L (paper B), or the last ones."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.keep == "best" and not self.validations:
            raise conflict("keep", "best", "needs validations above 0, because it uses ROUGE-L on demonstrations")
        return self


class DpoTraining(ConversationTraining):
    """Settings of a policy's alignment by DPO."""

    beta: float = Field(0.1, gt=0)
    """DPO's beta: higher values keep the aligned policy closer to the original (paper A: 0.1)."""


class OnlineTraining(ConversationTraining):
    """Settings of a policy's training on its own responses, which a reward model scores while it trains."""

    method: Literal["grpo", "rloo"] = "grpo"
    """grpo: a response's advantage is its reward minus the mean of its group, divided by the group's standard deviation
    (DeepSeekMath); rloo: its reward minus the mean of the others, KL penalty included (Ahmadian et al. 2024)."""
    learning_rate: float = Field(1e-6, gt=0)
    """Peak learning rate (DeepSeekMath and TRL: 1e-6)."""
    batch_size: int = Field(128, ge=2)
    """Responses per optimizer step: prompts times `group` (DeepSeekMath: 16 prompts)."""
    group: int = Field(8, ge=2)
    """Responses to a prompt that are compared with each other (TRL: 8; DeepSeekMath: 64)."""
    device_batch_size: int = Field(8, ge=1)
    """Maximum responses per forward and backward pass on one device; lowered to a number that divides the batch evenly."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the prompts (DeepSeekMath: 1); prompts that do not fill a step are left out of a pass."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps, instead of `epochs`; null for those of `epochs`."""
    beta: float = Field(0.04, ge=0)
    """Coefficient of the KL divergence from the policy that the training starts from (DeepSeekMath: 0.04; TRL: 0 for GRPO, 0.05
    for RLOO). 0 loads no reference, and then no KL divergence is reported."""
    max_new_tokens: int = Field(1024, ge=1)
    """Limit on the tokens of a response (DeepSeekMath: 1024). A response that is cut is scored as if it ended there."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the responses (TRL: 1), by which the logits of their log-probabilities are divided too. There is no
    top-p, top-k or repetition penalty: the gradient is that of responses drawn from the policy itself."""
    drop_cut: bool = False
    """Whether responses cut at `max_new_tokens` are left out of the loss, as DAPO's overlong filtering does; their rewards
    still count in their group (TRL: false)."""
    max_length: int = Field(2048, ge=16)
    """Maximum tokens of prompt and response together; a prompt that leaves no room for `max_new_tokens` is left out and
    counted. The reward model reads as many, and a longer conversation loses its beginning there (as in `rank`)."""
    reward_precision: Precision = "float32"
    """Number format of a reward model in this process, which each process loads whole."""
    reward_url: str | None = Field(None, pattern=r"^https?://\S+/(get_reward|v1/rewards)$")
    """Reward server to ask instead, such as http://HOST:8000/get_reward, which reads texts in the policy's chat template, or
    http://HOST:8000/v1/rewards, which reads messages; `{labeler}` stands for the reward model's name. A token is read from
    XLRM_SERVE_TOKEN."""
    reward_patience_seconds: Annotated[float, NotCounted] = Field(900, ge=0, le=1500)
    """Time that a reward server may be away before the training ends (its checkpoints stay). Below the time that the processes
    of a training wait for each other."""
    generation_batch: Annotated[int, NotCounted] = Field(64, ge=1)
    """Responses generated at a time, by each process; responses do not depend on it."""
    observe_steps: int | None = Field(None, ge=1)
    """Steps between those whose responses are kept beside the policy, besides the first and the last, for all reward models to
    score in the stage gains (paper B, figures 3b and 10b); null keeps none."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.batch_size % self.group:
            raise conflict(
                "batch_size", self.batch_size, "a multiple of group is required, because a step has whole groups"
            )
        if self.reward_url and (shown := addresses.shown(self.reward_url)) != self.reward_url:
            raise conflict(
                "reward_url", shown, "no user name or password is allowed, because settings are recorded; a token is read "
                "from the variable XLRM_SERVE_TOKEN",
            )  # fmt: skip
        if self.max_new_tokens >= self.max_length:
            raise conflict(
                "max_new_tokens", self.max_new_tokens, "less than max_length is allowed, which also holds the prompt"
            )
        return self
