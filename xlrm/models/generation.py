"""Engines that generate text: transformers on this machine, vLLM on its GPUs, or a model served elsewhere.

Each is a `decoding.Engine`; translation, sampling and judging call its method `complete`.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from xlrm.errors import ArtifactError, ConfigError
from xlrm.models import chat_templates, transformers_engine, vllm_engine
from xlrm.models.decoding import Completion, Decoding, Engine, Precision, Request
from xlrm.models.loading import Context
from xlrm.models.transformers_engine import Model, Transformers
from xlrm.store import addresses

__all__ = ["Endpoint", "Engine", "EngineName", "Model", "Transformers", "Vllm"]


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
    def limit(self) -> int:
        from transformers import AutoConfig

        return self.context.within(transformers_engine.loaded(AutoConfig, self.model))

    @cached_property
    def tokenizer(self) -> Any:
        return self.model.tokenizer()

    @cached_property
    def ends(self) -> list[int]:
        from transformers import AutoConfig, GenerationConfig

        config = transformers_engine.loaded(AutoConfig, self.model)
        try:
            given = GenerationConfig.from_pretrained(self.model.name, revision=self.model.revision)
        except OSError:  # the model has no generation_config.json
            given = config.get_text_config()
        return chat_templates.ends(self.tokenizer, given, config)

    def _ask(self, requests: Sequence[Request], decoding: Decoding, tell: Callable[[int, Completion], None]) -> None:
        """Refuses prompts that are too long itself, because vLLM would raise and lose the other prompts too."""
        encoded = self.model.encode(self.tokenizer, [request.prompt for request in requests])
        if fit := transformers_engine.tell_too_long(encoded, self.limit, tell):
            asked = [encoded[place] for place in fit]
            how = [self._parameters(decoding, len(encoded[place]), requests[place].seed) for place in fit]
            vllm_engine.generate(self._engine(), asked, how, lambda i, output: tell(fit[i], self._completion(output)))

    def close(self) -> None:
        vllm_engine.end()

    def _engine(self) -> Any:
        revisions = {"revision": self.model.revision, "tokenizer_revision": self.model.revision}
        return vllm_engine.running(self.model.name, self.limit, self.precision, generation_config="vllm", **revisions)

    def _parameters(self, decoding: Decoding, read: int, seed: int) -> dict[str, Any]:
        """Fields of SamplingParams (vllm/sampling_params.py): all that influence the choice of a token."""
        return {
            "max_tokens": transformers_engine.most(decoding.max_new_tokens, read, self.limit), "seed": seed,
            "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k,
            "repetition_penalty": decoding.repetition_penalty, "stop_token_ids": self.ends, "detokenize": False,
        }  # fmt: skip

    def _completion(self, output: Any) -> Completion:
        first = output.outputs[0]
        written = list(first.token_ids)
        text = chat_templates.text_of(self.tokenizer, written, self.ends)
        return Completion(text, first.finish_reason == "stop", (len(output.prompt_token_ids), len(written)))


@dataclass
class Endpoint(Engine):
    """A server with OpenAI's chat completions API, at OPENAI_BASE_URL, with OPENAI_API_KEY if it requires one."""

    model: Model
    parallel: int = 32
    """Concurrent requests."""
    block: int = 256
    retries: int = 5
    """Retries of a request after a lost connection, a timeout or status 408, 409, 429 or 5xx. The delay is the server's
    Retry-After (over two minutes: no retry), or else 0.5 s, doubled each time up to 8 s, minus a random part of up to a
    quarter. This is the openai client's own rule."""
    timeout_seconds: float = 600.0
    """Timeout of one request, in seconds."""
    openai_alone: bool = field(default=False, init=False)
    """Whether the server has rejected fields that are not part of OpenAI's protocol."""

    @cached_property
    def client(self) -> Any:
        import openai

        if not os.environ.get("OPENAI_BASE_URL"):
            raise ConfigError(
                "OPENAI_BASE_URL is not set: the address of the served model, such as http://host:8000/v1"
            )
        key = os.environ.get("OPENAI_API_KEY") or "none"
        return openai.OpenAI(api_key=key, max_retries=self.retries, timeout=self.timeout_seconds)

    def _ask(self, requests: Sequence[Request], decoding: Decoding, tell: Callable[[int, Completion], None]) -> None:
        """Raises ArtifactError if a request fails after its retries; first calls `tell` for every answer that has
        arrived, including those to requests still running at the failure."""
        self.client  # noqa: B018  (created once here, not by several threads)
        reported = set()
        with ThreadPoolExecutor(self.parallel) as pool:
            asked = {pool.submit(self._one, request, decoding): place for place, request in enumerate(requests)}
            try:
                for future in as_completed(asked):
                    completion = future.result()
                    reported.add(future)
                    tell(asked[future], completion)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                for future in asked.keys() - reported:
                    if _came(future):
                        tell(asked[future], future.result())
                raise

    def close(self) -> None:
        pass

    def _one(self, request: Request, decoding: Decoding) -> Completion:
        import openai

        try:
            reply = self._asked(request, decoding)
        except openai.BadRequestError as error:
            return Completion("", False, refused=chat_templates.line(error))
        except openai.APIError as error:
            where = addresses.shown(os.environ["OPENAI_BASE_URL"])
            reason = getattr(error, "status_code", None) or type(error).__name__
            raise ArtifactError(f"{where}: model {self.model.name!r} gave no answer: {reason}") from error
        choice, usage = reply.choices[0], reply.usage
        tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        return Completion(choice.message.content or "", choice.finish_reason == "stop", tokens)

    def _asked(self, request: Request, decoding: Decoding) -> Any:
        """Adds two fields that are not OpenAI's, because vLLM, SGLang and others would take them from the model's
        generation_config.json. A server that rejects them has no such defaults: if they do not change the sampling, the
        request is repeated without them. Raises the client's errors."""
        import openai

        more = {"top_k": decoding.top_k or -1, "repetition_penalty": decoding.repetition_penalty}
        if self.openai_alone:
            more = {}
        try:
            return self.client.chat.completions.create(
                model=self.model.name, messages=chat_templates.messages(request.prompt), seed=request.seed,
                temperature=decoding.temperature, top_p=decoding.top_p, max_tokens=decoding.max_new_tokens, extra_body=more,
            )  # fmt: skip
        except openai.BadRequestError as error:
            if not any(name in str(error) for name in more) or (decoding.top_k, decoding.repetition_penalty) != (
                0,
                1.0,
            ):
                raise
            self.openai_alone = True
            return self._asked(request, decoding)


EngineName = Literal["transformers", "vllm", "endpoint"]


def _came(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
