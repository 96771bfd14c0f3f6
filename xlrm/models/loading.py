"""Loading models and tokenizers so that their results are reproducible.

Safetensors only, no remote code, a chat template without today's date, attention as the model was trained with.
"""

import contextlib
import gc
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlrm.errors import ArtifactError, ConfigError, XlrmError
from xlrm.models import chat_templates, instructions, precisions, prompt_limits, templates, vllm_engine, weights
from xlrm.models.packing import model as packing
from xlrm.models.precisions import Precision

if TYPE_CHECKING:
    from pydantic import BaseModel
    from torch.nn import Linear
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_BOS = "{{ bos_token }}"
# For tokenizers without a template, without dates and default system prompts.
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
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}{{ '' if loop.last else '\n' }}{% endfor %}"
    "{{ '\nassistant: ' if add_generation_prompt else '' }}"
)
_MARKS = {CHATML: "<|im_start|>", LLAMA3: "<|start_header_id|>"}
PAD_TOKEN = "<|pad|>"


def use_all_cores() -> None:
    """Lets torch use all cores, for a stage that runs alone; parallel tasks get one thread each by OMP_NUM_THREADS."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))


def own_tokenizer(path: str | Path) -> "PreTrainedTokenizerBase":
    """The tokenizer in the folder, with its own chat template, if it has one, made independent of today's date.

    Raises ArtifactError if `path` does not have the tokenizer's files, or a template that is not allowed."""
    from transformers import AutoTokenizer

    with in_one_line(path):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    if not tokenizer("a")["input_ids"]:  # transformers' substitute for a missing tokenizer has no vocabulary
        raise ArtifactError("cannot be loaded: no tokenizer", where=path)
    templates.prepare(tokenizer, path)
    return tokenizer


def load_tokenizer(path: str | Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model that this project trains, with a template of its own if the folder has none. Truncates
    from the left, which drops the oldest turns, never the answer (paper A's code: `truncation_side="left"`).

    Raises ArtifactError if `path` does not have the tokenizer's files."""
    tokenizer = own_tokenizer(path)
    tokenizer.truncation_side = "left"
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _template(tokenizer)
    return _with_bos(tokenizer)


def _with_bos(tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedTokenizerBase":
    """The tokenizer with a template that writes the BOS if it adds one itself, for trainers and readers that add no special
    tokens."""
    if tokenizer("")["input_ids"] == [tokenizer.bos_token_id] and not templates.writes_bos(tokenizer):
        tokenizer.chat_template = _BOS + tokenizer.chat_template
    return tokenizer


def reward_tokenizer(path: str | Path, keep_head: bool = False, plain: bool = False) -> "PreTrainedTokenizerBase":
    """Same as `load_tokenizer`, with a pad token that ends no conversation, for a reward model to be trained: a decoder
    reads its reward from the last token that is not padding. Another pad token is replaced by `PAD_TOKEN`. With
    `keep_head` the pad token is that of config.json, if it has one, because the head was trained on the token before.
    `plain`: it reads texts with delimiters between them (`instructions.plain_texts`) instead of the base's chat template. The
    instruction and the limit on prompts of a fine-tuned policy are left out: they are the policy's, in its language."""
    tokenizer = load_tokenizer(path)
    prompt_limits.write(tokenizer, None)
    tokenizer.chat_template = instructions.instructed(tokenizer.chat_template, None)
    if plain:
        tokenizer.chat_template = instructions.plain_texts(tokenizer)
        tokenizer = _with_bos(tokenizer)
    tokenizer.padding_side = "right"
    padding = load_config(path).get_text_config().pad_token_id if keep_head else None
    if padding is not None and padding < len(tokenizer):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding)
    elif tokenizer.pad_token_id in {None, tokenizer.eos_token_id, *chat_templates.turn_ends(tokenizer)}:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    return tokenizer


def load_config(path: str | Path) -> "PretrainedConfig":
    """Config of the model in the folder, `loadable`. Raises ArtifactError if the folder has none, or has an adapter, which
    transformers applies where peft is installed, and nowhere else."""
    from transformers import AutoConfig

    if (Path(path) / "adapter_config.json").exists():
        raise ArtifactError(
            "a LoRA adapter cannot be used", where=f"{path}/adapter_config.json",
            hint="merge it into its base model (merge_and_unload of peft), and save that without it",
        )  # fmt: skip
    if not (Path(path) / "config.json").exists():
        raise ArtifactError("not a model: no config.json", where=path)
    with in_one_line(path):
        return loadable(AutoConfig.from_pretrained(path, trust_remote_code=False))


def reward_config(path: str | Path) -> "PretrainedConfig":
    """Config of the reward model in the folder. Raises ArtifactError if the folder has none, or one with several labels:
    none of them is a reward that others would agree on, and transformers gives two to a model without a head."""
    config = load_config(path)
    if config.num_labels != 1:
        raise ArtifactError(
            "a reward model has 1 label", where=f"{Path(path) / 'config.json'}: num_labels", value=config.num_labels,
            hint="a classifier of several classes, or a model without a head, gives no reward",
        )  # fmt: skip
    return config


def loadable(config: "PretrainedConfig") -> "PretrainedConfig":
    """The config without a pad token that has no embedding, with which transformers does not load some families."""
    text = config.get_text_config()
    if (getattr(text, "pad_token_id", None) or 0) >= getattr(text, "vocab_size", math.inf):
        text.pad_token_id = None
    return config


@contextlib.contextmanager
def in_one_line(path: str | Path, hint: str = "") -> Iterator[None]:
    """Raises ArtifactError, with a one-line message, for files that are missing, damaged or inconsistent, or of a format
    whose library is not installed."""
    try:
        yield
    except XlrmError:
        raise
    except Exception as error:  # of any kind: libraries do not expect the files of others
        raise ArtifactError(f"cannot be loaded: {reason(error)}", where=path, hint=hint) from error


def reason(error: Exception) -> str:
    """What a library's error says, in one line."""
    text = " ".join(str(error).split())[:500]
    # The text alone says nothing for these.
    return f"{type(error).__name__}: {text}" if isinstance(error, LookupError | TypeError | AttributeError) else text


def _template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The template whose turn markers are in the vocabulary, else `PLAIN`."""
    vocabulary = tokenizer.get_vocab()
    return next((template for template, mark in _MARKS.items() if mark in vocabulary), PLAIN)


def same_text(left: "PreTrainedTokenizerBase | None", right: "PreTrainedTokenizerBase") -> bool:
    """Whether the files of two tokenizers show that they give the same token ids for every conversation."""
    if left is None or not (left.is_fast and right.is_fast) or left.chat_template != right.chat_template:
        return False
    last = ("truncation", "padding")  # left over from the last call
    contents = [json.loads(each.backend_tokenizer.to_str()) for each in (left, right)]
    first, second = ({key: value for key, value in each.items() if key not in last} for each in contents)
    return first == second and prompt_limits.of(left) == prompt_limits.of(right)


def load_causal_lm(path: str | Path) -> "PreTrainedModel":
    """A decoder that writes, in float32. Raises ArtifactError for weights that are missing, as those of a reward model's
    output layer."""
    from transformers import AutoModelForCausalLM

    return _load_writer(AutoModelForCausalLM, path, load_config(path))


def load_language_model(path: str | Path, config: "PretrainedConfig") -> "PreTrainedModel":
    """A decoder or an encoder-decoder that writes, with this config, in float32. Raises ArtifactError for weights that are
    missing."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return _load_writer(AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM, path, config)


def _load_writer(kind: Any, path: str | Path, config: "PretrainedConfig") -> "PreTrainedModel":
    import torch

    if has_head(config):  # whose body transformers would load without a word, where the output layer is the embeddings
        raise ArtifactError("not a model that writes", where=path, value=(config.architectures or [""])[0])
    with in_one_line(path):
        model, report = kind.from_pretrained(
            path, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True, **attention(config),
        )  # fmt: skip
    if lost := sorted(report["missing_keys"]):
        raise ArtifactError(f"not a model that writes: missing weights: {lost[0]} ({len(lost)} in all)", where=path)
    return model


def attention(config: "PretrainedConfig") -> dict[str, str]:
    """Arguments of `from_pretrained` for the attention that the model was trained with. transformers' default, SDPA,
    leaves out soft caps (Gemma 2) without a word."""
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return {"attn_implementation": "eager"} if capped else {}


def has_head(config: "PretrainedConfig") -> bool:
    """Whether a config is that of a model with a classification head, as a trained reward model has."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())


def new_reward_model(
    path: str | Path, tokenizer: "PreTrainedTokenizerBase", seed: int, keep_head: bool = False
) -> "PreTrainedModel":
    """A base model of any family with a new scalar head: weights N(0, std 1/sqrt(d + 1)), bias 0 (paper A, appendix B).
    With `keep_head`, a reward model with its own head.

    If the head has more layers (XLM-R, mT5), transformers initialises the others, with the same seed. Raises
    ArtifactError if weights of the base model, or of a head to keep, are missing, of another shape or not finite.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    config = load_config(path)
    config.num_labels, config.problem_type = 1, "regression"
    torch.manual_seed(seed)
    with in_one_line(path):
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True, ignore_mismatched_sizes=True, **attention(config),
        )  # fmt: skip
    body = f"{model.base_model_prefix}."
    absent = sorted(report["missing_keys"] | {name for name, *_ in report["mismatched_keys"]})
    if lost := [name for name in absent if keep_head or (name.startswith(body) and "pooler" not in name)]:
        message = f"weights are missing or of another shape: {lost[0]} and {len(lost) - 1} more"
        raise ArtifactError(message, where=path)
    weights.check_finite(Path(path))
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    for each in (model.config, model.config.get_text_config()):  # two of a model that also reads images
        each.pad_token_id, each.use_cache = tokenizer.pad_token_id, False
    if not keep_head:
        if has_head(config):
            _forget_head(model, body)
        head = score_head(model)
        torch.nn.init.normal_(head.weight, std=(head.in_features + 1) ** -0.5)
        if head.bias is not None:
            torch.nn.init.zeros_(head.bias)
    return model


def _forget_head(model: "PreTrainedModel", body: str) -> None:
    """Initialises the layers outside the `body` as transformers does."""
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and not name.startswith(body):
            torch.nn.init.normal_(module.weight, std=getattr(model.config, "initializer_range", 0.02))
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)


def score_head(model: "PreTrainedModel") -> "Linear":
    """The linear layer that outputs the reward: `score` in decoders, else the last layer of the classification head."""
    from torch.nn import Linear

    return [module for module in model.modules() if isinstance(module, Linear) and module.out_features == 1][-1]


def positions(model: "PreTrainedModel") -> int | None:
    """Longest input in tokens of a model with a table of positions (BERT, XLM-R, GPT-2, OPT); None for other models."""
    for name, module in model.named_modules():
        if name.endswith(_TABLES) and hasattr(module, "weight") and "vision" not in name:
            before = 0 if module.padding_idx is None else module.padding_idx + 1
            return len(module.weight) - getattr(module, "offset", before)
    return None


_TABLES = ("position_embeddings", "wpe", "embed_positions")
"""Ends of the names of tables of positions. Their first rows are unused: `offset` (OPT, BART), or those up to the pad
token's (RoBERTa)."""


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
                f"at most {most} tokens of this {config.model_type} model are allowed",
                where=self.field,
                value=self.tokens,
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


def load_reward_model(
    path: str | Path, precision: Precision = "float32", device_name: str = "auto"
) -> "PreTrainedModel":
    """A trained scalar reward model, on `precisions.device(device_name)`, with packed batches if its family supports them
    (`xlrm.models.packing`). Weights are converted one by one as they are read.

    Raises ArtifactError for a folder that is not a complete scalar reward model: transformers would initialise missing
    weights at random, and the rewards would be meaningless. So they would be with a weight that is not finite."""
    from transformers import AutoModelForSequenceClassification

    config = reward_config(path)
    with in_one_line(path):
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path, config=config, use_safetensors=True, trust_remote_code=False, output_loading_info=True,
            ignore_mismatched_sizes=True, **precisions.arguments(precision, device_name), **attention(config),
        )  # fmt: skip
    _check_complete(path, model, report)
    weights.check_finite(Path(path))
    model.eval()
    precisions.check_layers(model, precision)
    packing.enable(model)
    return model


def _check_complete(path: str | Path, model: "PreTrainedModel", report: dict[str, Any]) -> None:
    """Raises ArtifactError if the files and the config are not of the same scalar reward model, by the report of
    `from_pretrained`."""
    for name, in_file, by_config in sorted(report["mismatched_keys"]):
        raise ArtifactError(
            f"the shape by config.json is {list(by_config)}", where=f"{path}: {name}", value=list(in_file),
            hint="a reward model's config.json has num_labels 1" if list(in_file)[:1] == [1] else "",
        )  # fmt: skip
    if lost := sorted(report["missing_keys"]):
        raise ArtifactError(f"not a complete reward model: missing weights: {', '.join(lost[:5])}", where=path)
    if unused := [name for name in sorted(report["unexpected_keys"]) if _belongs(name, model)]:
        raise ArtifactError(
            "the model that config.json describes has no such weight", where=f"{path}: {unused[0]}",
            hint="correct config.json, if it is that of another model",
        )  # fmt: skip


def _belongs(name: str, model: "PreTrainedModel") -> bool:
    """Whether a weight that the model does not have belongs to a layer that it has, or to one more layer."""
    from torch.nn import ModuleList

    modules = dict(model.named_modules())
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return bool(name) and (isinstance(modules[name], ModuleList) or not any(modules[name].children()))


def free_gpu() -> None:
    """Ends vLLM's engine and frees the GPU memory of models that are no longer referenced."""
    import torch

    vllm_engine.end()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
