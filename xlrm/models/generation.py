"""Engines that generate text: transformers on this machine, vLLM on its GPUs, or a model served elsewhere.

Each is a `decoding.Engine`; translation, sampling and judging call its method `complete`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from xlrm.languages import Language
from xlrm.models import chat_templates, logprobs, transformers_engine, vllm_engine
from xlrm.models.decoding import Completion, Decoding, Engine, Precision, Request
from xlrm.models.endpoint_engine import Endpoint
from xlrm.models.loading import Context
from xlrm.models.transformers_engine import Model, Transformers

__all__ = ["Endpoint", "Engine", "EngineName", "Model", "Transformers", "Vllm", "make_engine"]

EngineName = Literal["transformers", "vllm", "endpoint"]
_LLAMA_2 = Context("context", 4096)


@dataclass
class Vllm(Engine):
    """vLLM on all GPUs of this machine."""

    model: Model
    context: Context = _LLAMA_2
    """Limit on the tokens of prompt and completion together."""
    precision: Precision = "bfloat16"
    block: int = 4096

    @cached_property
    def config(self) -> Any:
        from transformers import AutoConfig

        return transformers_engine.loaded(AutoConfig, self.model)

    @cached_property
    def limit(self) -> int | None:
        return self.context.within(self.config)

    @cached_property
    def tokenizer(self) -> Any:
        return self.model.tokenizer()

    @cached_property
    def ends(self) -> list[int]:
        from transformers import GenerationConfig

        try:
            given = GenerationConfig.from_pretrained(self.model.name, revision=self.model.revision or "main")
        except OSError:  # the model has no generation_config.json
            given = self.config.get_text_config()
        return chat_templates.ends(self.tokenizer, given, self.config)

    def _ask(self, requests: Sequence[Request], decoding: Decoding, tell: Callable[[int, Completion], None]) -> None:
        """Refuses prompts that are too long itself, because vLLM would raise and lose the other prompts too."""
        encoded = self.model.encode(self.tokenizer, [request.prompt for request in requests])
        if fit := transformers_engine.report_too_long(encoded, self.limit, tell):
            asked = [encoded[place] for place in fit]
            parameters = [self._parameters(decoding, len(encoded[place]), requests[place].seed) for place in fit]
            vllm_engine.generate(
                self._engine(),
                asked,
                parameters,
                lambda i, output: tell(fit[i], self._completion(output, decoding)),
            )

    def check(self) -> None:
        self.limit  # noqa: B018  (read here)

    def close(self) -> None:
        vllm_engine.end()

    def _engine(self) -> Any:
        revisions = {"revision": self.model.revision, "tokenizer_revision": self.model.revision}
        return vllm_engine.running(self.model.name, self.limit, self.precision, generation_config="vllm", **revisions)

    def _parameters(self, decoding: Decoding, read: int, seed: int) -> dict[str, Any]:
        """Fields of SamplingParams (vllm/sampling_params.py): all that influence the choice of a token."""
        more = {"logprobs": decoding.top_logprobs} if decoding.top_logprobs else {}
        return more | {
            "max_tokens": transformers_engine.most(decoding.max_new_tokens, read, self.limit), "seed": seed,
            "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k,
            "repetition_penalty": decoding.repetition_penalty, "stop_token_ids": self.ends, "detokenize": False,
        }  # fmt: skip

    def _completion(self, output: Any, decoding: Decoding) -> Completion:
        first = output.outputs[0]
        written = list(first.token_ids)
        text = chat_templates.text_of(self.tokenizer, written, self.ends)
        likely = [_most_likely(position, decoding.top_logprobs) for position in first.logprobs or ()]
        more = logprobs.decoded(self.tokenizer, written, likely)
        return Completion(text, first.finish_reason == "stop", (len(output.prompt_token_ids), len(written)), **more)


def _most_likely(position: Mapping[int, Any], count: int) -> dict[int, float]:
    """Log-probabilities at a position, of vLLM's `Logprob` by token, which are raw ones by default (its option
    logprobs_mode). vLLM adds the token written if it is not among the most likely."""
    ordered = sorted(((token, entry.logprob) for token, entry in position.items()), key=lambda item: -item[1])
    return dict(ordered[:count])


def make_engine(
    name: EngineName, model: Model, context: Context, precision: Precision, batch_size: int,
    languages: tuple[Language, Language] | None = None, **requests: Any,
) -> Engine:  # fmt: skip
    """The engine of this name, which loads the model at the first prompt. `batch_size` and `languages` are for
    transformers; `requests` are fields of `Endpoint`, which needs none of the others."""
    if name == "vllm":
        return Vllm(model, context, precision)
    if name == "endpoint":
        return Endpoint(model, **requests)
    return Transformers(model, batch_size, languages, precision, context)
