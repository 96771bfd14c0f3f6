"""How generative judges are asked."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xlrm.errors import ConfigError
from xlrm.models.decoding import Decoding, Precision
from xlrm.models.generation import EngineName
from xlrm.models.reward_models import RewardModel
from xlrm.scorers.judges import prompts
from xlrm.scorers.judges.pairs import Orders
from xlrm.store.fields import NotCounted, conflict

WRITTEN_TOKENS = 4
"""Limit on the tokens of a number that is read as text, perhaps in quotation marks."""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    orders: Orders = "seeded"
    """seeded: one pseudo-random order per pair (paper A, RewardBench); both: each pair in both orders, which reveals
    position bias and halves its effect; alpacaeval: the order that alpaca_eval draws from the prompt's text."""
    prompt: str | None = None
    """How generative judges are asked: rewardbench ([[A]] or [[B]] after an explanation), alpacaeval (AlpacaEval 2: one
    token, weighted by its probability), alpacaeval-1 (a ranking of two), summarization or dialog (paper B: 1 or 2, weighted
    by probability) or self-taught; null for the prompt in the model's row."""
    logprobs: bool = True
    """Whether judges that answer by a token are asked for its log-probabilities; false reads what they write, as paper B
    does of GPT-4. Only for the prompts summarization and dialog."""
    engine: EngineName | None = None
    """Engine for all judges, instead of that in their rows; endpoint for judges that are served elsewhere."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Limit on the tokens of an answer; null for the prompt's: 2048 of rewardbench and self-taught (RewardBench; the
    Self-Taught Evaluator's run_model.py), 1 of alpacaeval and 100 of alpacaeval-1 (alpaca_eval), 1 of summarization and
    dialog, or 4 without log-probabilities. A judge that thinks needs more."""
    temperature: float | None = Field(None, ge=0)
    """Temperature of the answers; null for the prompt's: 0, and 1 of alpacaeval, whose log-probabilities do not depend on
    it. Above 0 each run asks again, except for log-probabilities."""
    context: int = Field(16384, ge=256)
    """Limit on the tokens of question and answer, with transformers and vLLM; at most what the model can read."""
    precision: Precision = "bfloat16"
    """Number format of the model, with transformers and vLLM."""
    batch_size: int = Field(8, ge=1)
    """Questions in a batch, with transformers."""
    parallel: Annotated[int, NotCounted] = Field(32, ge=1)
    """Concurrent requests, with an endpoint."""
    retries: Annotated[int, NotCounted] = Field(8, ge=0)
    """Retries of a request to an endpoint (`generation.Endpoint.retries`); 8 retries wait about 40 s in all."""
    timeout_seconds: Annotated[float, NotCounted] = Field(600.0, gt=0)
    """Timeout in seconds of one request to an endpoint."""
    max_refused_share: float = Field(0.01, ge=0, le=1)
    """Largest share of questions that an engine may refuse (too long for the model, filtered, answered without text);
    above it the stage stops. A refused question earns 0.5, like an error in RewardBench."""
    answer_tokens: Annotated[int, NotCounted] = Field(300, ge=1)
    """Assumed tokens of an answer, for the estimate; at most the limit of the prompt."""
    usd_per_million: Annotated[dict[str, tuple[float, float]], NotCounted] = {}
    """Price in US dollars of a million tokens (read, written) by model name, instead of that in its row. Existing
    verdicts keep the cost that is recorded with them."""
    max_usd: Annotated[float | None, NotCounted] = Field(None, ge=0)
    """Budget for judges at an endpoint: the stage does not start if their estimate is above it or a price is unknown,
    and stops when the cost of one judge is above it."""
    seed: int = 42
    """Seed of the order of a pair; each run adds its number."""

    @field_validator("prompt")
    @classmethod
    def _known_prompt(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                prompts.find(name)
        except ConfigError as error:
            raise ValueError(f"{error.message}; {error.hint}") from error
        return name

    @model_validator(mode="after")
    def _can_be_read_without_logprobs(self) -> Self:
        if not self.logprobs and (self.prompt is None or prompts.find(self.prompt).needs_logprobs):
            raise conflict("logprobs", False, "is for the prompts summarization and dialog")
        return self

    def prompt_of(self, model: RewardModel) -> str:
        """Name of the prompt for a generative model."""
        return self.prompt or model.prompt

    def decoding(self, model: RewardModel) -> Decoding:
        """How a generative model answers."""
        asked = prompts.find(self.prompt_of(model))
        own = asked.max_new_tokens if self.logprobs else WRITTEN_TOKENS
        limit = own if self.max_new_tokens is None else self.max_new_tokens
        temperature = asked.temperature if self.temperature is None else self.temperature
        likely = asked.top_logprobs if self.logprobs else 0
        return Decoding(limit, temperature=temperature, top_logprobs=likely, needs_logprobs=asked.needs_logprobs)

    def reads_threads(self, model: RewardModel) -> bool:
        """Whether a generative model is asked about prompts of several turns too."""
        return prompts.find(self.prompt_of(model)).threads

    def expected_tokens(self, model: RewardModel) -> int:
        """Assumed tokens of an answer."""
        return min(self.answer_tokens, self.decoding(model).max_new_tokens)


class PolicySettings(Settings):
    """How judges compare the responses of policies."""

    orders: Orders = "both"
    """seeded: one pseudo-random order per pair; both: each pair in both orders, which reveals position bias and halves
    its effect; alpacaeval: the order that alpaca_eval draws from the prompt's text."""
    prompt: str | None = None
    """How generative judges are asked: alpacaeval (AlpacaEval 2: one token, weighted by its probability), alpacaeval-1 (a
    ranking of two), summarization or dialog (paper B: 1 or 2, weighted by probability), rewardbench ([[A]] or [[B]] after
    an explanation) or self-taught; null for alpacaeval, or for the prompt that a model was trained with."""

    def prompt_of(self, model: RewardModel) -> str:
        return self.prompt or ("alpacaeval" if model.prompt == "rewardbench" else model.prompt)
