"""What a model is asked and answers, and how it decides on the next token: the same for every engine."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Prompt = str | list[dict[str, str]]
"""What one user message says, or all the messages (role, content), where a system's comes first."""
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Completion:
    text: str
    whole: bool
    """Whether the model came to an end by itself, not by the limit of tokens."""
    tokens: tuple[int, int] = field(default=(0, 0), compare=False)
    """Read and written; zeros where an endpoint does not say."""
    refused: str | None = None
    """Why the model would not read this prompt at all (too long for it, filtered), however often it is asked."""


Each = Callable[[int, Completion], None]
"""(place of a prompt, its completion): told of each as it comes, in any order, to keep it whatever happens next."""


def no_one(place: int, completion: Completion) -> None:
    pass


@dataclass(frozen=True)
class Decoding:
    """Greedy, unless it says otherwise. All of it is sent to every engine: nothing is left to what a model's
    generation_config.json or a server has in mind."""

    max_new_tokens: int
    beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0 for all tokens."""
    repetition_penalty: float = 1.0
    """Divides the logits of tokens that prompt or completion hold already (Keskar et al. 2019); 1 leaves them."""
    seed: int = 42


def seed_of(seed: int, prompt: Prompt, number: int = 0) -> int:
    """The seed of one completion of a prompt, in [0, 2^31): another for each prompt and each `number` of several
    completions, whatever else is asked with it. With one seed for all, different prompts would share their noise."""
    said = json.dumps([seed, number, prompt], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:4]) >> 1
