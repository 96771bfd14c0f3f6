"""Rewards of a policy's responses while it is trained: from a reward model in this process, or from a reward server."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.models import chat_templates, templates
from xlrm.models.chat_templates import Message
from xlrm.models.templates import TemplateRefusal
from xlrm.scorers.interface import Scorer, check_finite

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BLOCK = 64
"""Conversations in a request; xlrm's server accepts 256 by default."""
TIMEOUT_SECONDS = 120.0
"""Time limit of one request."""
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses after which a request is sent again."""
_OF_A_CONVERSATION = (400, 413, 422)
"""HTTP statuses that refuse the content of a request; which conversation it is, is then found out."""


class Rewards(ABC):
    """Where the rewards of a training come from."""

    refusal: str = ""
    """Why the last conversation without a reward has none; empty if all have one."""
    cut: int = 0
    """Conversations that were longer than the reward model reads, where that is known."""

    @abstractmethod
    def of(self, conversations: Sequence[list[Message]]) -> list[float | None]:
        """Raw rewards, in order; None for a conversation that the reward model refuses. Raises ArtifactError for a reward
        that is not a finite number, and for a server that fails."""


@dataclass
class InProcess(Rewards):
    scorer: Scorer

    def of(self, conversations: Sequence[list[Message]]) -> list[float | None]:
        try:
            rewards = self.scorer.score(conversations)
        except TemplateRefusal as error:
            if len(conversations) > 1:
                return [reward for each in conversations for reward in self.of([each])]
            self.refusal = error.reason
            return [None]
        self.cut += len(self.scorer.cut)
        return list(rewards)


@dataclass
class Server(Rewards):
    """A reward server, by `POST /get_reward` (OpenRLHF's form) or `POST /v1/rewards` (xlrm's own)."""

    url: str
    tokenizer: "PreTrainedTokenizerBase"
    """The policy's, whose chat template writes the texts of `/get_reward`."""
    patience_seconds: float
    """Time that the server may be away; requests are repeated after 1, 2, 4, ... and at most 30 seconds."""
    client: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        import httpx

        token = os.environ.get("XLRM_SERVE_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else None
        self.client = httpx.Client(timeout=TIMEOUT_SECONDS, headers=headers)

    def of(self, conversations: Sequence[list[Message]]) -> list[float | None]:
        blocks = [conversations[start : start + BLOCK] for start in range(0, len(conversations), BLOCK)]
        return [reward for block in blocks for reward in self._block(block)]

    def _block(self, conversations: Sequence[list[Message]]) -> list[float | None]:
        answer = self._post(self._body(conversations))
        if answer.status_code in _OF_A_CONVERSATION:
            if len(conversations) > 1:
                return [reward for each in conversations for reward in self._block([each])]
            self.refusal = _line(answer)
            return [None]
        if answer.status_code != 200:
            raise ArtifactError(f"status {answer.status_code}: {_line(answer)}", where=self.url)
        rewards = self._read(answer)
        if len(rewards) != len(conversations):
            raise ArtifactError(f"{len(rewards)} rewards for {len(conversations)} conversations", where=self.url)
        return rewards

    def _body(self, conversations: Sequence[list[Message]]) -> dict[str, Any]:
        if self.url.endswith("/v1/rewards"):
            return {"conversations": list(conversations)}
        read = [[*chat_templates.accepted(self.tokenizer, chat[:-1]), chat[-1]] for chat in conversations]
        return {"query": templates.render(self.tokenizer, read)}

    def _post(self, body: dict[str, Any]) -> Any:
        """The server's answer. Raises ArtifactError if none comes in `patience_seconds`."""
        import httpx

        begun, wait = time.monotonic(), 1.0
        while True:
            try:
                answer = self.client.post(self.url, json=body)
                if answer.status_code not in _MAY_PASS:
                    break
                reason = f"status {answer.status_code}: {_line(answer)}"
            except httpx.TransportError as error:
                reason = " ".join(str(error).split()) or type(error).__name__
            left = begun + self.patience_seconds - time.monotonic()
            if left <= 0:
                raise ArtifactError(
                    f"no rewards within {self.patience_seconds:g} s: {reason}", where=self.url,
                    hint="start the server; the same training then continues from its last checkpoint",
                )  # fmt: skip
            if wait == 1:
                progress.say(f"waiting up to {left:.0f} s for the rewards of {self.url}: {reason}")
            time.sleep(min(wait, left))
            wait = min(2 * wait, 30)
        if wait > 1:
            progress.say(f"{self.url} answers again after {time.monotonic() - begun:.0f} s")
        return answer

    def _read(self, answer: Any) -> list[float | None]:
        try:
            content = answer.json()
            given = content["rewards"] if "rewards" in content else [each["reward"] for each in content["data"]]
            rewards = [float(reward) for reward in given]
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(
                'JSON with a list of numbers, {"rewards": [...]}, is required', where=self.url, value=answer.text[:100]
            ) from error
        check_finite(rewards)
        return list(rewards)


def _line(answer: Any) -> str:
    """The server's message, in one line."""
    try:
        content = answer.json()
        message = content["error"]["message"]
    except (ValueError, TypeError, KeyError):
        message = answer.text
    return " ".join(str(message).split())[:200] or "no message"
