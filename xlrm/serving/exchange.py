"""Requests and answers of the reward server, as JSON: its own /v1/rewards, and vLLM's /classify and /pooling."""

import re
import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from xlrm.data import conversations
from xlrm.errors import DataError

STRICT = ConfigDict(extra="forbid")
_ALTERNATIVE = re.compile(r"(messages|pair|str)$|(list|function-after)\[")
"""Names that pydantic puts into an error's location for the one of several types that it tried."""


def _whole(text: str) -> str:
    if not conversations.is_whole(text):
        raise ValueError(conversations.HALF_CHARACTER)
    return text


Text = Annotated[str, AfterValidator(_whole)]
_AT_ONCE = Field(fail_fast=True)
"""For lists: reports the first invalid item only. Reporting all of them for megabytes would block the server for half a
minute."""


class Message(BaseModel):
    model_config = STRICT

    role: Text = Field(min_length=1, examples=["user"])
    content: Text


def _ends_with_an_answer(messages: list[Message]) -> None:
    try:
        conversations.check_answered(messages[-1].role)
    except DataError as error:
        raise ValueError(str(error)) from None


class Pair(BaseModel):
    """A prompt (a text or messages) and the response to score."""

    model_config = STRICT

    prompt: Text | Annotated[list[Message], Field(min_length=1), _AT_ONCE]
    response: Text


Conversation = Annotated[
    Annotated[list[Message], Field(min_length=1), _AT_ONCE, Tag("messages")] | Annotated[Pair, Tag("pair")],
    Discriminator(lambda value: "messages" if isinstance(value, list) else "pair"),
]


class RewardsRequest(BaseModel):
    model_config = STRICT

    model: str | None = Field(None, description="The name the model is served under; left out, it is that one.")
    conversations: list[Conversation] = Field(
        min_length=1,
        fail_fast=True,
        description="Each a list of messages that ends with the assistant's, or a prompt and a response.",
        examples=[[{"prompt": "How much is one plus two?", "response": "Three."}]],
    )

    @field_validator("conversations")
    @classmethod
    def _answered(cls, asked: list[list[Message] | Pair]) -> list[list[Message] | Pair]:
        for place, conversation in enumerate(asked):
            if isinstance(conversation, list):
                try:
                    _ends_with_an_answer(conversation)
                except ValueError as error:
                    raise ValueError(f"conversation {place}: {error}") from None
        return asked


class TextRequest(BaseModel):
    """vLLM's request: `input`, as the chat template writes it, or the `messages` of one conversation."""

    model_config = STRICT

    model: str | None = Field(None, description="The name the model is served under; left out, it is that one.")
    input: Text | Annotated[list[Text], _AT_ONCE] | None = Field(
        None, description="Texts that were written by the model's chat template."
    )
    messages: Annotated[list[Message], _AT_ONCE] | None = Field(
        None, description="One conversation, instead of `input`."
    )
    use_activation: bool = Field(
        False,
        description="True gives the sigmoid of the reward; left out, vLLM gives that too, unless the model's problem_type is "
        "regression.",
    )
    user: str | None = Field(None, description="Not used.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "TextRequest":
        texts = [self.input] if isinstance(self.input, str) else self.input
        if bool(texts) == bool(self.messages):
            raise ValueError("either input, a text or texts, or messages")
        if texts and not all(texts):
            raise ValueError("input: a text is not empty")
        if self.messages:
            _ends_with_an_answer(self.messages)
        return self


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class Reward(BaseModel):
    index: int
    reward: float = Field(description="The raw logit, as `xlrm score` gives it.")


class RewardsAnswer(BaseModel):
    object: Literal["list"] = "list"
    model: str
    data: list[Reward]
    usage: Usage


class _Listed(BaseModel):
    object: Literal["list"] = "list"
    created: int = Field(default_factory=lambda: int(time.time()), description="Seconds since 1970.")
    model: str
    usage: Usage


class Class(BaseModel):
    index: int
    label: str | None
    probs: list[float] = Field(description="One number: the raw logit, or its sigmoid with `use_activation`.")
    num_classes: Literal[1] = 1


class ClassifyAnswer(_Listed):
    id: str = Field(default_factory=lambda: f"classify-{uuid.uuid4().hex}")
    data: list[Class]


class Pooled(BaseModel):
    index: int
    object: Literal["pooling"] = "pooling"
    data: list[float] = Field(description="One number, as in `probs` of /classify.")


class PoolingAnswer(_Listed):
    id: str = Field(default_factory=lambda: f"pool-{uuid.uuid4().hex}")
    data: list[Pooled]


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["xlrm"] = "xlrm"
    max_model_len: int


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class Problem(BaseModel):
    message: str = Field(description="One line.")
    type: str
    param: str | None = None
    code: int


class ProblemAnswer(BaseModel):
    error: Problem


class State(BaseModel):
    status: str = Field(examples=["ready", "waiting", "loading", "stopping", "failing"])
    model: str
    version: str | None = Field(None, description="In the registry; of a folder or artifact there is none.")
    digest: str | None = Field(None, description="sha256 over the files of the folder that was loaded.")


def problem_line(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors in one line: the field and what is wrong with it."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return f"body: not JSON at character {first['loc'][-1]}"
    if first["loc"] == ("body",) and first["type"] != "value_error":
        return "body: a JSON object, sent with Content-Type: application/json"
    field = ".".join(str(part) for part in first["loc"][1:] if not _ALTERNATIVE.match(str(part)))[:200]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{field or 'body'}: {first['msg'].removeprefix('Value error, ')}{more}"
