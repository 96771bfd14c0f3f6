"""Where text is generated: transformers on this machine, vLLM on its GPUs, or a model served elsewhere.

Each is a `decoding.Engine`, whose one method `complete` translation, sampling and judging use.
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
    """vLLM in this process, on all GPUs of the machine."""

    model: Model
    context: Context = _LLAMA_2
    """Tokens of prompt and completion together."""
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

        try:
            given = GenerationConfig.from_pretrained(self.model.name, revision=self.model.revision)
        except OSError:  # there is none
            given = transformers_engine.loaded(AutoConfig, self.model)
        return chat_templates.ends(self.tokenizer, given)

    def _ask(self, requests: Sequence[Request], decoding: Decoding, tell: Callable[[int, Completion], None]) -> None:
        """vLLM raises for a prompt too long for it, and all others would be lost with that one: it is not asked."""
        encoded = self.model.encode(self.tokenizer, [request.prompt for request in requests])
        if fit := transformers_engine.tell_too_long(encoded, self.limit, tell):
            asked = [encoded[place] for place in fit]
            how = [self._parameters(decoding, len(encoded[place]), requests[place].seed) for place in fit]
            vllm_engine.generate(self._engine(), asked, how, lambda i, one: tell(fit[i], self._completion(one)))

    def close(self) -> None:
        vllm_engine.end()

    def _engine(self) -> Any:
        revisions = {"revision": self.model.revision, "tokenizer_revision": self.model.revision}
        return vllm_engine.running(self.model.name, self.limit, self.precision, generation_config="vllm", **revisions)

    def _parameters(self, decoding: Decoding, read: int, seed: int) -> dict[str, Any]:
        """Fields of SamplingParams (vllm/sampling_params.py): all that decide on a token."""
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
    """Any server that speaks OpenAI's chat completions: OPENAI_BASE_URL, and OPENAI_API_KEY where it wants one."""

    model: Model
    parallel: int = 32
    """Requests at once."""
    block: int = 256
    retries: int = 5
    """Times a request is sent again after a lost connection, a timeout or status 408, 409, 429 and 5xx: after what the
    server's Retry-After says (up to two minutes, else it is given up), or 0.5 s doubled each time up to 8 s, less up to a
    quarter by chance. This is the openai client's own rule."""
    timeout_seconds: float = 600.0
    """Of one request."""
    openai_alone: bool = field(default=False, init=False)
    """Whether the server has refused fields that OpenAI's protocol does not have."""

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
        """Raises ArtifactError when one request is given up; told of is every answer that had come by then, those of
        requests under way among them."""
        self.client  # noqa: B018  (made here, once, and not by many threads)
        told = set()
        with ThreadPoolExecutor(self.parallel) as pool:
            asked = {pool.submit(self._one, request, decoding): place for place, request in enumerate(requests)}
            try:
                for future in as_completed(asked):
                    completion = future.result()
                    told.add(future)
                    tell(asked[future], completion)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                for future in asked.keys() - told:
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
        """Beside OpenAI's fields those of vLLM, SGLang and others, which would take them from the model's generation_config.json;
        a server that knows none of these has no such habits, and is asked again without. Raises as the client does."""
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
