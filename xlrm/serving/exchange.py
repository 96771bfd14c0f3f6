"""Requests and answers of the reward server, as JSON: its own /v1/rewards, vLLM's /classify and /pooling, and OpenRLHF's
/get_reward."""

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator

from xlrm.data import conversations
from xlrm.errors import DataError
from xlrm.store.json_values import HALF_CHARACTER

STRICT = ConfigDict(extra="forbid")


def _whole(text: str) -> str:
    if not conversations.is_whole(text):
        raise ValueError(HALF_CHARACTER)
    return text


Text = Annotated[str, AfterValidator(_whole)]
_AT_ONCE = Field(fail_fast=True)
"""For lists: reports the first invalid item only, since a list of megabytes may have a million."""
Texts = Annotated[
    list[Text],
    _AT_ONCE,
    BeforeValidator(
        lambda given: [given] if isinstance(given, str) else given or [], json_schema_input_type=str | list[str]
    ),
]
"""A text or several."""

# The rows of `xlrm.data.conversations`, whose functions read them; these classes only describe them.


class Message(BaseModel):
    """Other fields, such as reasoning_content, go to the model's chat template."""

    model_config = ConfigDict(extra="allow")

    role: str = Field(min_length=1, examples=["user"])
    content: str | None = Field(None, description="May be left out in a message with tool calls.")
    tool_calls: list[dict] | None = None


class Messages(BaseModel):
    """Other fields are ignored, but for tools, which are refused."""

    messages: list[Message] = Field(min_length=1)


class Pair(BaseModel):
    """A prompt and the response to score, each a text or messages. Other fields are ignored, but for tools."""

    prompt: str | Annotated[list[Message], Field(min_length=1)]
    response: str | Annotated[list[Message], Field(min_length=1)]


def _of_row(row: Any) -> list[conversations.Message]:
    if not isinstance(row, dict | list):
        raise ValueError("a list of messages, or a row with messages or with prompt and response")
    try:
        return conversations.of_row({"messages": row} if isinstance(row, list) else row)
    except DataError as error:
        raise ValueError(str(error)) from None


_Messages = Annotated[list[Message], Field(min_length=1)]
Conversation = Annotated[
    list[conversations.Message], PlainValidator(_of_row, json_schema_input_type=_Messages | Messages | Pair)
]


class RewardsRequest(BaseModel):
    model_config = STRICT

    model: str | None = Field(None, description="The name the model is served under; left out, it is that one.")
    conversations: list[Conversation] = Field(
        min_length=1,
        fail_fast=True,
        description="Each a list of messages that ends with the assistant's, or a row of a file for `xlrm score`.",
        examples=[[{"prompt": "How much is one plus two?", "response": "Three."}]],
    )


class TextRequest(BaseModel):
    """vLLM's request: `input`, as the chat template writes it, or the `messages` of one conversation."""

    model_config = STRICT

    model: str | None = Field(None, description="The name the model is served under; left out, it is that one.")
    input: Texts = Field([], description="A text or texts that were written by the model's chat template.")
    messages: (
        Annotated[list[conversations.Message], PlainValidator(_of_row, json_schema_input_type=_Messages)] | None
    ) = Field(None, description="One conversation, instead of `input`.")
    use_activation: bool = Field(
        False,
        description="True applies what vLLM applies if this is true or left out: nothing if the model's problem_type is "
        "regression, as in models trained here, else the sigmoid.",
    )
    user: str | None = Field(None, description="Not used.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "TextRequest":
        if bool(self.input) == bool(self.messages):
            raise ValueError("either input, a text or texts, or messages")
        if not all(self.input):
            raise ValueError("input: a text is not empty")
        return self


class QueryRequest(BaseModel):
    """OpenRLHF's request for the rewards of a policy's responses. Other fields are ignored."""

    query: Texts = Field(
        min_length=1, description="Texts of prompt and response, as the model's chat template writes them."
    )
    prompts: Any = Field(None, description="Not used.")
    labels: Any = Field(None, description="Not used.")


class QueryAnswer(BaseModel):
    rewards: list[float] = Field(description="Raw logits, one for each text of `query`.")
    scores: list[float] = Field(description="The same; OpenRLHF filters prompts by it (dynamic filtering).")
    extra_logs: dict[str, list[float]] = Field(default_factory=dict, description="Empty.")


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


NOT_AN_OBJECT = "body: a JSON object, sent with Content-Type: application/json"


def problem_line(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors in one line: the field and what is wrong with it."""
    first = errors[0]
    if not first["loc"] and first["type"] != "value_error":
        return NOT_AN_OBJECT
    field = ".".join(map(str, first["loc"]))[:200]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{field or 'body'}: {first['msg'].removeprefix('Value error, ')}{more}"
