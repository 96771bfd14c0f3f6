"""Loading and saving models and tokenizers: the only place that knows what makes one loadable and reproducible.

Safetensors only, no remote code unless asked for, a dedicated pad token, a chat template without dates.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from xlrm.errors import ArtifactError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# ChatML as Qwen2.5 writes it, without its default system prompt: what a model saw does not depend on the template's taste.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PAD_TOKEN = "<|pad|>"


def use_all_cores() -> None:
    """For a stage that runs alone. Tasks that run side by side are held to one thread by OMP_NUM_THREADS."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))


def load_tokenizer(path: str | Path) -> "PreTrainedTokenizerBase":
    """A tokenizer that pads with a token of its own and truncates from the left.

    Truncation drops the oldest turns, never the answer (paper A's code: `truncation_side="left"`). A pad token that is
    the EOS token would hide the token a reward is read from, so such a tokenizer gets one of its own.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    tokenizer.truncation_side = "left"
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    if tokenizer.chat_template is None or "strftime_now" in tokenizer.chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def load_causal_lm(path: str | Path) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


def new_reward_model(path: str | Path, tokenizer: "PreTrainedTokenizerBase", seed: int) -> "PreTrainedModel":
    """A base model with a fresh scalar head, N(0, std 1/sqrt(d + 1)) (paper A, appendix B)."""
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        path,
        num_labels=1,
        problem_type="regression",
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
    )
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    torch.nn.init.normal_(model.score.weight, std=(model.config.hidden_size + 1) ** -0.5)
    return model


def load_reward_model(path: str | Path) -> "PreTrainedModel":
    """Raises ArtifactError for a folder that is not a trained scalar reward model: a head made up at loading time
    would give confident nonsense."""
    import torch
    from transformers import AutoModelForSequenceClassification

    if not (Path(path) / "config.json").exists():
        raise ArtifactError(f"{path} is not a model: it has no config.json")
    model, report = AutoModelForSequenceClassification.from_pretrained(
        path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    if report["missing_keys"] or model.config.num_labels != 1:
        raise ArtifactError(
            f"{path} is not a scalar reward model: {model.config.num_labels} labels, "
            f"missing weights {sorted(report['missing_keys']) or 'none'}; allowed: 1 label, none missing"
        )
    return model.eval()
