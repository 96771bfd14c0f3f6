"""Loading models and tokenizers so that their results are reproducible.

Safetensors only, no remote code, a dedicated pad token, a chat template without dates.
"""

import contextlib
import gc
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm.errors import ArtifactError, ConfigError
from xlrm.models import vllm_engine
from xlrm.models.packing import model as packing

if TYPE_CHECKING:
    from pydantic import BaseModel
    from torch.nn import Linear
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Templates without dates and default system prompts, so that a conversation always gives the same text. They write a BOS
# if the tokenizer adds one, so that tokenising their text with or without special tokens gives the same ids.
_BOS = "{{ bos_token if bos_token else '' }}"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# For tokenizers without tokens that mark turns: words, which survive a tokenizer that collapses white space (mT5's).
PLAIN = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
    "{% if not loop.last %}\n{% endif %}{% endfor %}{% if add_generation_prompt %}\nassistant: {% endif %}"
)
_MARKS = {CHATML: "<|im_start|>", LLAMA3: "<|start_header_id|>"}
PAD_TOKEN = "<|pad|>"


def use_all_cores() -> None:
    """Lets torch use all cores, for a stage that runs alone; parallel tasks get one thread each by OMP_NUM_THREADS."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))


def load_tokenizer(path: str | Path) -> "PreTrainedTokenizerBase":
    """A tokenizer with a dedicated pad token that truncates from the left.

    Truncation drops the oldest turns, never the answer (paper A's code: `truncation_side="left"`). A pad token equal to
    EOS would hide the token that the reward is read from, so it is replaced by `PAD_TOKEN`. A chat template that is
    missing, or writes today's date (Llama 3.2's) and so changes rewards from day to day, is replaced too.

    Raises ArtifactError if `path` does not have the tokenizer's files.
    """
    from transformers import AutoTokenizer

    with _in_one_line(path):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    if not tokenizer("a")["input_ids"]:  # transformers' substitute for a missing tokenizer has no vocabulary
        raise ArtifactError(f"{path}: cannot be loaded: it has no tokenizer")
    tokenizer.truncation_side = "left"
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    if tokenizer.chat_template is None or "strftime_now" in tokenizer.chat_template:
        tokenizer.chat_template = _template(tokenizer)
    return tokenizer


def load_config(path: str | Path) -> "PretrainedConfig":
    from transformers import AutoConfig

    with _in_one_line(path):
        return AutoConfig.from_pretrained(path, trust_remote_code=False)


@contextlib.contextmanager
def _in_one_line(path: str | Path) -> Iterator[None]:
    """Raises ArtifactError, with a one-line message, for files that are missing, damaged or inconsistent."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"{path}: cannot be loaded: {' '.join(str(error).split())[:500]}") from error


def _template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The template whose turn markers are in the vocabulary, else `PLAIN`; begins with BOS if the tokenizer adds
    one."""
    vocabulary = tokenizer.get_vocab()
    template = next((t for t, mark in _MARKS.items() if mark in vocabulary), PLAIN)
    return _BOS + template if adds_bos(tokenizer) else template


def adds_bos(tokenizer: "PreTrainedTokenizerBase") -> bool:
    return tokenizer.bos_token_id is not None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]


def one_bos(tokenizer: "PreTrainedTokenizerBase", texts: list[str]) -> tuple[list[str], bool]:
    """Texts from a chat template, and whether the tokenizer must add special tokens, so that each text has a single
    BOS. If both write a BOS, the template's is removed, because truncation keeps only the tokenizer's."""
    bos, adds = tokenizer.bos_token, adds_bos(tokenizer)
    written = bool(bos) and bool(texts) and texts[0].startswith(bos)
    if written and adds:
        texts = [text.removeprefix(bos) for text in texts]
    return texts, adds or not written


def same_text(one: "PreTrainedTokenizerBase | None", other: "PreTrainedTokenizerBase") -> bool:
    """Whether the files of two tokenizers show that they give the same token ids for every conversation."""
    if one is None or not (one.is_fast and other.is_fast) or one.chat_template != other.chat_template:
        return False
    last = ("truncation", "padding")  # left over from the last call
    contents = [json.loads(each.backend_tokenizer.to_str()) for each in (one, other)]
    first, second = ({key: value for key, value in each.items() if key not in last} for each in contents)
    return first == second


def load_causal_lm(path: str | Path) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


def new_reward_model(path: str | Path, tokenizer: "PreTrainedTokenizerBase", seed: int) -> "PreTrainedModel":
    """A base model of any family with a new scalar head: weights N(0, std 1/sqrt(d + 1)), bias 0 (paper A, appendix B).

    If the head has more layers (XLM-R, mT5), transformers initialises the others, with the same seed. Raises
    ArtifactError if weights of the base model are missing.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    model, report = AutoModelForSequenceClassification.from_pretrained(
        path, num_labels=1, problem_type="regression", dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
        output_loading_info=True,
    )  # fmt: skip
    body = f"{model.base_model_prefix}."
    if lost := [name for name in sorted(report["missing_keys"]) if name.startswith(body) and "pooler" not in name]:
        raise ArtifactError(f"{path}: no weights for {lost[0]} and {len(lost) - 1} more of the base model")
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.use_cache = False
    head = score_head(model)
    torch.nn.init.normal_(head.weight, std=(head.in_features + 1) ** -0.5)
    if head.bias is not None:
        torch.nn.init.zeros_(head.bias)
    return model


def score_head(model: "PreTrainedModel") -> "Linear":
    """The linear layer that outputs the reward: `score` in decoders, else the last layer of the classification head."""
    from torch.nn import Linear

    return [module for module in model.modules() if isinstance(module, Linear) and module.out_features == 1][-1]


def positions(model: "PreTrainedModel") -> int | None:
    """Longest input in tokens of a model with learned position embeddings (BERT, XLM-R); None for other models."""
    for name, module in model.named_modules():
        if name.endswith(("position_embeddings", "wpe")) and hasattr(module, "num_embeddings"):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


@dataclass(frozen=True)
class Context:
    """Limit on the tokens that a model reads and writes together, set by a field of an experiment."""

    field: str = "context"
    tokens: int | None = None
    """None for the model's own limit."""
    given: bool = False
    """Whether the experiment sets the field; a default is lowered to the limit of the model instead of raising."""

    @classmethod
    def of(cls, settings: "BaseModel", field: str) -> "Context":
        """From the value in `settings`; `field` is the full name for messages, such as `external.judge.context`."""
        name = field.rpartition(".")[2]
        return cls(field, getattr(settings, name), name in settings.model_fields_set)

    def within(self, config: "PretrainedConfig") -> int | None:
        """Limit for a model of this config; None if unlimited. Raises ConfigError if a `given` one exceeds the
        model's."""
        most = context(config)
        if most is None or self.tokens is None:
            return self.tokens if most is None else most
        if self.given and self.tokens > most:
            raise ConfigError(
                f"{self.field}={self.tokens}: more than this {config.model_type} model reads; allowed are up to {most}"
            )
        return min(self.tokens, most)


def context(config: "PretrainedConfig") -> int | None:
    """Longest input in tokens by a model's config, as in vLLM (_get_and_verify_max_len of vllm/config/model.py). None
    if the config does not state it, and for encoder-decoders, which have relative or separate positions."""
    text = config.get_text_config()
    if config.is_encoder_decoder:
        return None
    lengths = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    if not (limits := [limit for limit in lengths if limit and limit > 0]):
        return None
    rope = getattr(text, "rope_parameters", None) or {}
    scaled = rope.get("rope_type") in ("linear", "dynamic")  # configs of other types state the scaled length
    table = (
        text.pad_token_id + 1 if "roberta" in text.model_type else 0
    )  # RoBERTa's positions begin after the row of the pad token
    return int(min(limits) * (rope.get("factor") or 1 if scaled else 1)) - table


def load_reward_model(path: str | Path, precision: str = "float32") -> "PreTrainedModel":
    """A trained scalar reward model, on `device()`, with packed batches if its family supports them
    (`xlrm.models.packing`).

    Raises ArtifactError for a folder that is not a complete scalar reward model: transformers would initialise missing
    weights at random, and the rewards would be meaningless."""
    from transformers import AutoModelForSequenceClassification

    if not (Path(path) / "config.json").exists():
        raise ArtifactError(f"{path} is not a model: it has no config.json")
    with _in_one_line(path):
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=precision, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    if report["missing_keys"] or model.config.num_labels != 1:
        raise ArtifactError(
            f"{path} is not a scalar reward model: {model.config.num_labels} labels, "
            f"missing weights {sorted(report['missing_keys']) or 'none'}; allowed: 1 label, none missing"
        )
    model = model.eval().to(device())
    packing.enable(model)
    return model


def device() -> str:
    """The torch device for inference; trainers place their models themselves."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def free_gpu() -> None:
    """Ends vLLM's engine and frees the GPU memory of models that are no longer referenced."""
    import torch

    vllm_engine.end()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
