"""An engine that generates text with transformers' `generate`, on the GPU or CPU of this machine."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xlrm.errors import ConfigError
from xlrm.languages import Language
from xlrm.models import chat_templates, loading, logprobs, padding, precisions, templates, weights
from xlrm.models.decoding import Completion, Decoding, Engine, Precision, Prompt, Request
from xlrm.models.loading import Context


@dataclass(frozen=True)
class Model:
    """A local folder or a model of the Hugging Face Hub at a commit."""

    name: str
    revision: str | None = None
    own: bool = False
    """Whether this project trains it, so that prompts are encoded exactly as in training."""

    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        if self.own:
            return loading.load_tokenizer(self.name)
        tokenizer = loaded(AutoTokenizer, self)
        templates.prepare(tokenizer, self.name)
        return tokenizer

    def encode(self, tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of each prompt, ending with the start of the assistant's turn."""
        return (chat_templates.as_trained if self.own else chat_templates.encoded)(tokenizer, prompts)


@dataclass
class Transformers(Engine):
    """A causal model, with its chat template, or a sequence-to-sequence model, which reads the prompt's plain text, or in its
    chat template if this project trains it."""

    model: Model
    batch_size: int = 16
    languages: tuple[Language, Language] | None = None
    """Source and target, for multilingual translation models that need them."""
    precision: Precision = "float32"
    context: Context | None = None
    """Limit on the tokens of prompt and completion together; None for the model's own limit."""

    @property
    def block(self) -> int:
        return 16 * self.batch_size

    @cached_property
    def config(self) -> Any:
        from transformers import AutoConfig

        return loading.loadable(loaded(AutoConfig, self.model))

    @cached_property
    def tokenizer(self) -> Any:
        tokenizer = self.model.tokenizer()
        if self.languages and hasattr(tokenizer, "src_lang"):
            tokenizer.src_lang = _language_token(tokenizer, self.languages[0]).strip("_")
        return tokenizer

    @cached_property
    def network(self) -> Any:
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

        kind = AutoModelForSeq2SeqLM if self.config.is_encoder_decoder else AutoModelForCausalLM
        options = {"config": self.config, "dtype": self.precision} | loading.attention(self.config)
        network = loaded(kind, self.model, use_safetensors=True, **options)
        if (folder := Path(self.model.name)).is_dir():
            weights.check_finite(folder)
        network.generation_config = without_options(network.generation_config, self.config.is_encoder_decoder)
        return network.to(precisions.device()).eval()

    @cached_property
    def ends(self) -> list[int]:
        return chat_templates.ends(self.tokenizer, self.network.generation_config, self.config)

    @cached_property
    def limit(self) -> int | None:
        """Largest number of tokens of prompt and completion together; None if there is no limit."""
        return (self.context or Context()).within(self.config)

    def _ask(self, requests: Sequence[Request], decoding: Decoding, tell: Callable[[int, Completion], None]) -> None:
        import torch

        encoded = self.encode([request.prompt for request in requests])
        order = sorted(report_too_long(encoded, self.limit, tell), key=lambda i: len(encoded[i]))
        with torch.inference_mode():
            for start in range(0, len(order), self._together):
                places = order[start : start + self._together]
                padding.forget_lengths(self.network)
                made = self._batch([encoded[i] for i in places], [requests[i].seed for i in places], decoding)
                for place, completion in zip(places, made, strict=True):
                    tell(place, completion)

    @property
    def _together(self) -> int:
        """Completions in a batch: one if positions depend on the longest sequence (dynamic NTK, LongRoPE)."""
        return self.batch_size if padding.unscaled(self.config) == math.inf else 1

    def check(self) -> None:
        self.limit  # noqa: B018  (read here)

    def close(self) -> None:
        """Frees the model and the GPU memory."""
        self.__dict__.pop("network", None)
        loading.free_gpu()

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        if self.config.is_encoder_decoder and self.model.own:
            return chat_templates.as_encoded(self.tokenizer, prompts)
        if self.config.is_encoder_decoder:
            return self.tokenizer([self._target_token + chat_templates.plain(prompt) for prompt in prompts])[
                "input_ids"
            ]
        return self.model.encode(self.tokenizer, prompts)

    @property
    def _target_token(self) -> str:
        """Token of the target language and a space, for models that read it in the text (OPUS-MT, MADLAD); else ""."""
        target = self.languages and self.languages[1]
        if not target:
            return ""
        names = [f">>{target.code}<<", f">>{(target.flores or target.code)[:3]}<<", f"<2{target.code}>"]
        return next((f"{name} " for name in names if _is_token(self.tokenizer, name)), "")

    def _batch(self, encoded: list[list[int]], seeds: list[int], decoding: Decoding) -> list[Completion]:
        inputs = self._padded(encoded)
        room = [most(decoding.max_new_tokens, len(ids), self.limit) for ids in encoded]
        recorder = logprobs.Recorder(decoding.top_logprobs)
        with recorder.of(self.network):
            ids = self.network.generate(**inputs, **self._options(decoding, max(room), seeds)).tolist()
        begin = 1 if self.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        return [
            self._completion(encoded[place], row[begin : begin + room[place]], recorder.row(place))
            for place, row in enumerate(ids)
        ]

    def _padded(self, encoded: list[list[int]]) -> dict[str, Any]:
        """Input ids and attention mask (batch, longest sequence), padded on the left, on the model's device."""
        import torch

        length = max(map(len, encoded))
        ids = torch.tensor([[self._pad] * (length - len(sequence)) + sequence for sequence in encoded])
        mask = torch.tensor([[0] * (length - len(sequence)) + [1] * len(sequence) for sequence in encoded])
        device = self.network.device
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}

    @cached_property
    def _pad(self) -> int:
        """Id of the pad token, or of an end token if it has no embedding: padding is masked, so any token serves."""
        pad, rows = self.tokenizer.pad_token_id, self.network.get_input_embeddings().num_embeddings
        return pad if pad is not None and pad < rows else self.ends[0]

    def _completion(self, read: list[int], row: list[int], likely: list[dict[int, float]]) -> Completion:
        end = next((i + 1 for i, token in enumerate(row) if token in self.ends), None)
        written = row[:end]
        return Completion(
            chat_templates.text_of(self.tokenizer, written, self.ends), end is not None, (len(read), len(written)),
            **logprobs.decoded(self.tokenizer, written, likely[: len(written)]),
        )  # fmt: skip

    def _options(self, decoding: Decoding, count: int, seeds: list[int]) -> dict[str, Any]:
        options = {
            "max_new_tokens": count, "max_length": None, "num_beams": decoding.beams, "do_sample": False,
            "repetition_penalty": decoding.repetition_penalty, "pad_token_id": self._pad, "eos_token_id": self.ends,
        }  # fmt: skip
        if decoding.temperature:
            options["logits_processor"] = _drawing(decoding, count, seeds)
        if self.languages and hasattr(self.tokenizer, "src_lang"):
            token = _language_token(self.tokenizer, self.languages[1])
            options["forced_bos_token_id"] = self.tokenizer.convert_tokens_to_ids(token)
        return options


class _Drawn:
    """Logits processor that samples one token per row, with a random number from the row's own seed. transformers uses
    one generator for all rows, so its completions depend on the batch."""

    def __init__(self, count: int, seeds: list[int]):
        import numpy as np
        import torch

        self.numbers = torch.tensor(np.stack([np.random.default_rng(seed).random(count) for seed in seeds]))
        self.step = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Token ids (rows, length), logits (rows, vocabulary) -> logits, finite only for each row's sampled token."""
        import torch

        below = scores.float().softmax(-1).double().cumsum(-1)
        number = self.numbers[:, self.step : self.step + 1].to(scores.device) * below[:, -1:]
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter(1, torch.searchsorted(below, number, right=True), 0.0)


def _drawing(decoding: Decoding, count: int, seeds: list[int]) -> list[Any]:
    """Logits processors for sampling, in the order in which transformers and vLLM apply them."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    processors: list[Any] = [TemperatureLogitsWarper(float(decoding.temperature))]
    if decoding.top_k:
        processors.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p < 1:
        processors.append(TopPLogitsWarper(decoding.top_p))
    return [*processors, _Drawn(count, seeds)]


def without_options(given: Any, encoder_decoder: bool = False) -> Any:
    """A GenerationConfig with the pad, first and end tokens of `given`; nothing else in it decides on a token. Translation
    models, which are encoder-decoders, keep the first token that they are forced to write and their forbidden words, without
    which they do not work (OPUS-MT's padding)."""
    from transformers import GenerationConfig

    kept = ["pad_token_id", "bos_token_id", "eos_token_id"]
    if encoder_decoder:
        kept += ["decoder_start_token_id", "forced_bos_token_id", "bad_words_ids"]
    return GenerationConfig(**{name: getattr(given, name) for name in kept})


def report_too_long(encoded: list[list[int]], limit: int | None, tell: Callable[[int, Completion], None]) -> list[int]:
    """Calls `tell` with a refusal for each prompt without room for a completion; returns the indices of the others."""
    fit = [place for place, ids in enumerate(encoded) if limit is None or len(ids) < limit]
    for place in sorted(set(range(len(encoded))).difference(fit)):
        tell(place, Completion("", False, refused=f"{len(encoded[place])} tokens of {limit}"))
    return fit


def most(wanted: int, read: int, limit: int | None) -> int:
    """Limit on new tokens: `wanted`, or what the limit leaves after `read` tokens of the prompt."""
    return wanted if limit is None else min(wanted, limit - read)


def loaded(kind: Any, model: Model, **more: Any) -> Any:
    with loading.in_one_line(model.name, "check the id, the revision and HF_TOKEN"):
        return kind.from_pretrained(model.name, revision=model.revision, trust_remote_code=False, **more)


def _is_token(tokenizer: Any, name: str) -> bool:
    return tokenizer.convert_tokens_to_ids(name) not in (None, tokenizer.unk_token_id)


def _language_token(tokenizer: Any, language: Language) -> str:
    """Token of a language in the spelling of NLLB, M2M100 or mBART. Raises ConfigError if the model has none for it."""
    names = [language.flores] if language.flores else []
    names.append(f"__{language.code}__")
    names += [name for name in tokenizer.get_vocab() if re.fullmatch(rf"{language.code}_[A-Z]{{2}}", name)]
    for name in names:
        if _is_token(tokenizer, name):
            return name
    raise ConfigError(
        f"the translation model has no token for {language.name} ({', '.join(names)})",
        where="language",
        value=language.code,
    )
