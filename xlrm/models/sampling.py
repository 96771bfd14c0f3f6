"""Responses of a policy to prompts, several to each, kept as they come: a killed run goes on from them, on any machine."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.models import chat_templates, generation, loading
from xlrm.models.decoding import Completion, Decoding, Precision, seed_of
from xlrm.store import hub, unfinished
from xlrm.store.answers import Memory

MEMORY = "samples"


class Settings(BaseModel):
    """How a policy is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, ge=0)
    """Of responses to align on; those to judge by are greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Share of the probability that is drawn from, of these responses."""
    top_k: int = Field(0, ge=0)
    """Tokens that are drawn from, of these responses; 0 for all."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Divides the logits of tokens that stand in the prompt or the response by then; 1 leaves them, whatever the policy's
    generation_config.json says."""
    max_new_tokens: int = Field(2048, ge=1)
    """Tokens of a response, at most."""
    context: int = Field(4096, ge=16)
    """Tokens of prompt and response together; no more than the policy reads."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """transformers on any machine; vllm wants GPUs, and splits a policy over all of them."""
    precision: Precision = "float32"
    """Of the policy."""
    batch_size: int = Field(64, ge=1)
    """Responses in a batch, with transformers."""
    seed: int = 42
    """Each response has a seed of its own, of this one, its prompt and its number."""

    def decoding(self, greedy: bool) -> Decoding:
        drawn = {} if greedy else {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}
        return Decoding(self.max_new_tokens, repetition_penalty=self.repetition_penalty, seed=self.seed, **drawn)


@dataclass
class Policy:
    """A model, its engine, and where what it says is kept."""

    folder: Path
    settings: Settings
    engine: generation.Local
    work: Path
    """The stage's output folder."""

    @cached_property
    def version(self) -> str:
        """A digest of its files."""
        return hub.model_version(str(self.folder), None)

    def respond(self, prompts: Sequence[str], samples: int, greedy: bool) -> list[list[str]]:
        """`samples` responses to each prompt, in order; blank to one that the policy cannot read."""
        decoding = self.settings.decoding(greedy)
        kept = self._memory(decoding)
        known = {
            (text, number): response
            for number in range(samples)
            for text, response in kept.look_up(prompts, number).items()
        }
        left = [key for key in dict.fromkeys((text, n) for text in prompts for n in range(samples)) if key not in known]
        counter = progress.Counter("sample", len(left), "responses")
        with contextlib.closing(kept), contextlib.closing(counter):
            for block in _blocks(left, self.engine.block):
                known |= self._ask(block, decoding, kept, counter)
        return [[known[text, number] or "" for number in range(samples)] for text in prompts]

    def _ask(
        self, keys: list[tuple[str, int]], decoding: Decoding, kept: Memory, counter: progress.Counter
    ) -> dict[tuple[str, int], str]:
        def keep(place: int, completion: Completion) -> None:
            text, number = keys[place]
            found[text, number] = completion.text.strip()
            kept.add({text: found[text, number]}, number)
            counter.advance(1)
            if completion.refused:
                progress.say(
                    f"sample: a prompt of {completion.refused} that policy and sample.context allow: no response"
                )

        found: dict[tuple[str, int], str] = {}
        seeds = [seed_of(decoding.seed, text, number) for text, number in keys]
        self.engine.complete_ids(self._encode([text for text, _ in keys]), seeds, decoding, keep)
        return found

    def _encode(self, prompts: list[str]) -> list[list[int]]:
        """As it was trained to read them."""
        tokenizer = self.engine.tokenizer
        texts = tokenizer.apply_chat_template(
            [chat_templates.conversation(prompt, "")[:-1] for prompt in prompts],
            tokenize=False,
            add_generation_prompt=True,
        )
        texts, special = loading.one_bos(tokenizer, texts)
        return tokenizer(texts, add_special_tokens=special)["input_ids"]

    def _memory(self, decoding: Decoding) -> Memory:
        asked = {"policy": self.version, "decoding": asdict(decoding)}
        how = self.settings.model_dump(include={"engine", "precision", "context"})
        return Memory(MEMORY, asked | how, unfinished.address(self.work), self.work.parent)


@contextlib.contextmanager
def policy(folder: Path, settings: Settings, work: Path) -> Iterator[Policy]:
    """It is loaded with the first prompt that nothing is kept of, and its engine ends with the context. Raises ConfigError for a
    `context` above what it reads."""
    context, model = loading.Context.of(settings, "sample.context"), generation.Model(str(folder))
    engine: generation.Local
    if settings.engine == "vllm":
        engine = generation.Vllm(model, context, settings.precision)
    else:
        engine = generation.Transformers(model, settings.batch_size, precision=settings.precision, context=context)
    engine.limit  # noqa: B018  (before anything is loaded)
    engine.tokenizer = loading.load_tokenizer(folder)
    with contextlib.closing(engine):
        yield Policy(folder, settings, engine, work)


def _blocks(keys: list, size: int) -> Iterator[list]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
