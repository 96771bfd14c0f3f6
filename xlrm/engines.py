"""Where text is generated: transformers on this machine, vLLM on its GPUs, or a model served elsewhere.

Each takes prompts and gives completions, in order. A model is loaded with the first prompt, not before.
"""

import os
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from xlrm import settings, vllm_engine
from xlrm.errors import ArtifactError, ConfigError
from xlrm.languages import Language

# A date in a prompt would change the answer from day to day; this is what Llama 3's template says where it knows none.
_DATE = "26 Jul 2024"


Prompt = str | list[dict[str, str]]
"""What one user message says, or all the messages (role, content), where a system's comes first."""


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


def _no_one(place: int, completion: Completion) -> None:
    pass


@dataclass(frozen=True)
class Decoding:
    """Greedy, unless it says otherwise."""

    max_new_tokens: int
    beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 42


class Engine(Protocol):
    block: int
    """Prompts it is best given at once."""

    def complete(self, prompts: list[Prompt], decoding: Decoding, each: Each = _no_one) -> list[Completion]: ...


@dataclass(frozen=True)
class Model:
    """A folder, or an id of the Hugging Face Hub at a commit."""

    name: str
    revision: str | None = None


@dataclass
class Transformers:
    """A causal model, asked through its chat template, or a sequence-to-sequence model, which reads the prompt as it is."""

    model: Model
    batch_size: int = 16
    languages: tuple[Language, Language] | None = None
    """Source and target, for models of many languages that want to be told."""

    @property
    def block(self) -> int:
        return 16 * self.batch_size

    @cached_property
    def config(self) -> Any:
        from transformers import AutoConfig

        return _loaded(AutoConfig, self.model)

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        tokenizer = _loaded(AutoTokenizer, self.model)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if self.languages and hasattr(tokenizer, "src_lang"):
            tokenizer.src_lang = _language_token(tokenizer, self.languages[0]).strip("_")
        return tokenizer

    @cached_property
    def network(self) -> Any:
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

        cuda = torch.cuda.is_available()
        kind = AutoModelForSeq2SeqLM if self.config.is_encoder_decoder else AutoModelForCausalLM
        network = _loaded(kind, self.model, dtype=torch.bfloat16 if cuda else torch.float32, use_safetensors=True)
        network.generation_config.forced_eos_token_id = None  # OPUS-MT's would make every cut look like an end
        return network.to("cuda" if cuda else "cpu").eval()

    def complete(self, prompts: list[Prompt], decoding: Decoding, each: Each = _no_one) -> list[Completion]:
        import torch

        torch.manual_seed(decoding.seed)
        encoded = self._encode(prompts)
        order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
        found: dict[int, Completion] = {}
        with torch.inference_mode():
            for start in range(0, len(order), self.batch_size):
                places = order[start : start + self.batch_size]
                made = dict(zip(places, self._batch([encoded[i] for i in places], decoding), strict=True))
                for place, completion in made.items():
                    each(place, completion)
                found |= made
        return [found[i] for i in range(len(prompts))]

    def _encode(self, prompts: list[Prompt]) -> list[list[int]]:
        if self.config.is_encoder_decoder:
            return self.tokenizer([self._told + _plain(prompt) for prompt in prompts])["input_ids"]
        if self.tokenizer.chat_template is None:
            return self.tokenizer([_plain(prompt) for prompt in prompts])["input_ids"]
        return as_chats(self.tokenizer, prompts)

    @property
    def _told(self) -> str:
        """The target language as the first word of the text, where a model expects it there (OPUS-MT, MADLAD)."""
        target = self.languages and self.languages[1]
        names = [f">>{target.code}<<", f">>{target.flores[:3]}<<", f"<2{target.code}>"] if target else []
        return next((f"{name} " for name in names if _is_token(self.tokenizer, name)), "")

    def _batch(self, encoded: list[list[int]], decoding: Decoding) -> list[Completion]:
        padded = self.tokenizer.pad({"input_ids": encoded}, padding_side="left", return_tensors="pt")
        ids = self.network.generate(**padded.to(self.network.device), **self._how(decoding)).tolist()
        begin = 1 if self.config.is_encoder_decoder else padded["input_ids"].shape[1]
        ends = self.network.generation_config.eos_token_id
        ends = set(ends) if isinstance(ends, list) else {ends}
        written = [row[begin:] for row in ids]
        lengths = [next((i + 1 for i, token in enumerate(row) if token in ends), len(row)) for row in written]
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [
            Completion(text, bool(ends.intersection(row)), (len(read), length))
            for text, row, read, length in zip(texts, written, encoded, lengths, strict=True)
        ]

    def _how(self, decoding: Decoding) -> dict[str, Any]:
        how = {
            "max_new_tokens": decoding.max_new_tokens, "max_length": None, "num_beams": decoding.beams,
            "do_sample": decoding.temperature > 0, "pad_token_id": self.tokenizer.pad_token_id,
        }  # fmt: skip
        if decoding.temperature:
            how |= {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
        if self.languages and hasattr(self.tokenizer, "src_lang"):
            token = _language_token(self.tokenizer, self.languages[1])
            how["forced_bos_token_id"] = self.tokenizer.convert_tokens_to_ids(token)
        return how


@dataclass
class Vllm:
    """vLLM in this process, on all GPUs of the machine."""

    model: Model
    max_tokens: int = 4096
    """Tokens of prompt and completion together (X-ALMA: Llama 2's context)."""
    block: int = 4096

    @cached_property
    def engine(self) -> Any:
        more = {"revision": self.model.revision, "tokenizer_revision": self.model.revision}
        return vllm_engine.load(self.model.name, self.max_tokens, "bfloat16", **more)

    def complete(self, prompts: list[Prompt], decoding: Decoding, each: Each = _no_one) -> list[Completion]:
        chats = as_chats(self.engine.get_tokenizer(), prompts)
        # vLLM raises for a prompt too long for it, and all others would be lost with that one.
        fit = [place for place, ids in enumerate(chats) if len(ids) < self.max_tokens]
        outputs = vllm_engine.generate(
            self.engine, [chats[place] for place in fit], temperature=decoding.temperature, top_p=decoding.top_p,
            max_tokens=decoding.max_new_tokens, seed=decoding.seed,
        )  # fmt: skip
        found = dict(zip(fit, (_of_vllm(one) for one in outputs), strict=True))
        for place, ids in enumerate(chats):
            found.setdefault(place, Completion("", False, refused=f"{len(ids)} tokens of {self.max_tokens}"))
            each(place, found[place])
        return [found[place] for place in range(len(chats))]


@dataclass
class Endpoint:
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

    @cached_property
    def client(self) -> Any:
        import openai

        if not os.environ.get("OPENAI_BASE_URL"):
            raise ConfigError(
                "OPENAI_BASE_URL is not set: the address of the served model, such as http://host:8000/v1"
            )
        key = os.environ.get("OPENAI_API_KEY") or "none"
        return openai.OpenAI(api_key=key, max_retries=self.retries, timeout=self.timeout_seconds)

    def complete(self, prompts: list[Prompt], decoding: Decoding, each: Each = _no_one) -> list[Completion]:
        """Raises ArtifactError when one request is given up; `each` is told of every answer that had come by then, those
        of requests under way among them."""
        self.client  # noqa: B018  (made here, once, and not by many threads)
        found: dict[int, Completion] = {}
        with ThreadPoolExecutor(self.parallel) as pool:
            asked = {pool.submit(self._one, prompt, decoding): place for place, prompt in enumerate(prompts)}
            try:
                for future in as_completed(asked):
                    found[asked[future]] = future.result()
                    each(asked[future], found[asked[future]])
            except BaseException:
                pool.shutdown(cancel_futures=True)
                for future, place in asked.items():
                    if place not in found and _came(future):
                        each(place, future.result())
                raise
        return [found[place] for place in range(len(prompts))]

    def _one(self, prompt: Prompt, decoding: Decoding) -> Completion:
        import openai

        try:
            reply = self.client.chat.completions.create(
                model=self.model.name, messages=_messages(prompt), seed=decoding.seed,
                temperature=decoding.temperature, top_p=decoding.top_p, max_tokens=decoding.max_new_tokens,
            )  # fmt: skip
        except openai.BadRequestError as error:
            return Completion("", False, refused=_line(error))
        except openai.APIError as error:
            where = settings.shown(os.environ["OPENAI_BASE_URL"])
            reason = getattr(error, "status_code", None) or type(error).__name__
            raise ArtifactError(f"{where}: model {self.model.name!r} gave no answer: {reason}") from error
        choice, usage = reply.choices[0], reply.usage
        tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        return Completion(choice.message.content or "", choice.finish_reason == "stop", tokens)


EngineName = Literal["transformers", "vllm", "endpoint"]


def as_chats(tokenizer: Any, prompts: list[Prompt]) -> list[list[int]]:
    """Token ids of each, the assistant's turn begun; the template writes what special tokens there are.

    Raises ConfigError for a template that does not take these messages, such as a system's."""
    import jinja2

    chats = [_messages(prompt) for prompt in prompts]
    try:
        texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True, date_string=_DATE)
    except jinja2.TemplateError as error:
        raise ConfigError(f"the model's chat template takes no such conversation: {_line(error)}") from error
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def _plain(prompt: Prompt) -> str:
    """For models without a chat template."""
    return "\n\n".join(message["content"] for message in _messages(prompt))


def _of_vllm(output: Any) -> Completion:
    first = output.outputs[0]
    tokens = (len(output.prompt_token_ids), len(first.token_ids))
    return Completion(first.text, first.finish_reason == "stop", tokens)


def _came(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _loaded(kind: Any, model: Model, **more: Any) -> Any:
    try:
        return kind.from_pretrained(model.name, revision=model.revision, trust_remote_code=False, **more)
    except (OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise ArtifactError(f"cannot load {model.name!r}: {line}; check the id, the revision, HF_TOKEN") from error


def _is_token(tokenizer: Any, name: str) -> bool:
    return tokenizer.convert_tokens_to_ids(name) not in (None, tokenizer.unk_token_id)


def _language_token(tokenizer: Any, language: Language) -> str:
    """As NLLB, M2M100 and mBART write it. Raises ConfigError for a language the model does not know."""
    names = [language.flores, f"__{language.code}__"]
    names += [name for name in tokenizer.get_vocab() if re.fullmatch(rf"{language.code}_[A-Z]{{2}}", name)]
    for name in names:
        if _is_token(tokenizer, name):
            return name
    raise ConfigError(f"the translation model does not know {language.name} ({', '.join(names)})")
