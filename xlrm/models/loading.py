"""Loading and saving models and tokenizers: the only place that knows what makes one loadable and reproducible.

Safetensors only, no remote code unless asked for, a dedicated pad token, a chat template without dates.
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

# Templates without dates, default system prompts and whatever else would make one conversation two texts; BOS stands in
# them where the tokenizer would put one, so that whoever tokenises what they write, with or without special tokens,
# gets the same ids.
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
# For tokenizers without markup of turns: words that survive a tokenizer that folds white space (mT5's).
PLAIN = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
    "{% if not loop.last %}\n{% endif %}{% endfor %}{% if add_generation_prompt %}\nassistant: {% endif %}"
)
_MARKS = {CHATML: "<|im_start|>", LLAMA3: "<|start_header_id|>"}
PAD_TOKEN = "<|pad|>"


def use_all_cores() -> None:
    """For a stage that runs alone. Tasks that run side by side are held to one thread by OMP_NUM_THREADS."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))


def load_tokenizer(path: str | Path) -> "PreTrainedTokenizerBase":
    """A tokenizer that pads with a token of its own and truncates from the left.

    Truncation drops the oldest turns, never the answer (paper A's code: `truncation_side="left"`). A pad token that is
    the EOS token would hide the token a reward is read from, so such a tokenizer gets one of its own. A chat template
    that asks for today's date (Llama 3.2's) would give other rewards tomorrow, and is replaced.

    Raises ArtifactError for a folder without the tokenizer's files.
    """
    from transformers import AutoTokenizer

    with _in_one_line(path):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    if not tokenizer("a")["input_ids"]:  # transformers makes one up, that knows no word
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
    """Raises ArtifactError for a file that is not there, damaged, or does not fit the others."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"{path}: cannot be loaded: {' '.join(str(error).split())[:500]}") from error


def _template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The one whose markup the tokenizer knows."""
    vocabulary = tokenizer.get_vocab()
    template = next((t for t, mark in _MARKS.items() if mark in vocabulary), PLAIN)
    return _BOS + template if adds_bos(tokenizer) else template


def adds_bos(tokenizer: "PreTrainedTokenizerBase") -> bool:
    return tokenizer.bos_token_id is not None and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]


def one_bos(tokenizer: "PreTrainedTokenizerBase", texts: list[str]) -> tuple[list[str], bool]:
    """Texts that a chat template wrote, and whether the tokenizer is to add its special tokens, so that there is one BOS
    where both would write it. Of the two the tokenizer's stays: truncation leaves it."""
    bos, adds = tokenizer.bos_token, adds_bos(tokenizer)
    written = bool(bos) and bool(texts) and texts[0].startswith(bos)
    if written and adds:
        texts = [text.removeprefix(bos) for text in texts]
    return texts, adds or not written


def same_text(one: "PreTrainedTokenizerBase | None", other: "PreTrainedTokenizerBase") -> bool:
    """Whether two tokenizers write the same token ids for every conversation, as far as their files say."""
    if one is None or not (one.is_fast and other.is_fast) or one.chat_template != other.chat_template:
        return False
    last = ("truncation", "padding")  # how it was last called
    said = [json.loads(each.backend_tokenizer.to_str()) for each in (one, other)]
    first, second = ({key: value for key, value in each.items() if key not in last} for each in said)
    return first == second


def load_causal_lm(path: str | Path) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


def new_reward_model(path: str | Path, tokenizer: "PreTrainedTokenizerBase", seed: int) -> "PreTrainedModel":
    """A base model of any family with a fresh scalar head, N(0, std 1/sqrt(d + 1)), bias 0 (paper A, appendix B).

    Where a family's head has layers before the last one (XLM-R, mT5), these are transformers' own, drawn by the same seed.
    Raises ArtifactError for a base without weights of its own.
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
    """The layer that gives the reward: `score` of decoders, the last layer of a classification head elsewhere."""
    from torch.nn import Linear

    return [one for one in model.modules() if isinstance(one, Linear) and one.out_features == 1][-1]


def positions(model: "PreTrainedModel") -> int | None:
    """Tokens that a model with a table of positions can read (BERT, XLM-R); None for all that compute them."""
    for name, module in model.named_modules():
        if name.endswith(("position_embeddings", "wpe")) and hasattr(module, "num_embeddings"):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


@dataclass(frozen=True)
class Context:
    """Tokens that a model is to read and write together, as a field of an experiment has them."""

    field: str = "context"
    tokens: int | None = None
    """None: what the model can."""
    given: bool = False
    """Whether somebody gave the field this value; a default gives way to a model that can read less."""

    @classmethod
    def of(cls, settings: "BaseModel", field: str) -> "Context":
        """`field` with its sections, as `external.judge.context`."""
        name = field.rpartition(".")[2]
        return cls(field, getattr(settings, name), name in settings.model_fields_set)

    def within(self, config: "PretrainedConfig") -> int | None:
        """Tokens for a model of this config; None where neither says. Raises ConfigError for a given value above the model's."""
        most = context(config)
        if most is None or self.tokens is None:
            return self.tokens if most is None else most
        if self.given and self.tokens > most:
            raise ConfigError(
                f"{self.field}={self.tokens}: more than this {config.model_type} model reads; allowed are up to {most}"
            )
        return min(self.tokens, most)


def context(config: "PretrainedConfig") -> int | None:
    """Tokens a model was made to read, by its config; None for encoder-decoders, whose positions are relative or their own, and
    where the config does not say. As vLLM derives it (_get_and_verify_max_len of vllm/config/model.py)."""
    text = config.get_text_config()
    if config.is_encoder_decoder:
        return None
    said = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    if not (limits := [limit for limit in said if limit and limit > 0]):
        return None
    rope = getattr(text, "rope_parameters", None) or {}
    scaled = rope.get("rope_type") in ("linear", "dynamic")  # other kinds state the scaled length
    table = (
        text.pad_token_id + 1 if "roberta" in text.model_type else 0
    )  # RoBERTa's table begins behind the padding's row
    return int(min(limits) * (rope.get("factor") or 1 if scaled else 1)) - table


def load_reward_model(path: str | Path, dtype: str = "float32") -> "PreTrainedModel":
    """One that computes its batches packed where it can (`xlrm.packing`).

    Raises ArtifactError for a folder that is not a trained scalar reward model, or not a whole one: a head made up at
    loading time would give confident nonsense."""
    from transformers import AutoModelForSequenceClassification

    if not (Path(path) / "config.json").exists():
        raise ArtifactError(f"{path} is not a model: it has no config.json")
    with _in_one_line(path):
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
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
    """Where models are used (trainers place theirs themselves)."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def free_gpu() -> None:
    """Makes room for the next model, of what the last one held that nothing refers to any more; vLLM's engine ends."""
    import torch

    vllm_engine.end()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
