"""Pretrains a tiny multilingual language model from scratch on phrasebook texts, for runs without downloads."""

import itertools
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.data.phrasebook import language as phrasebook
from xlrm.data.phrasebook import questions
from xlrm.errors import ConfigError
from xlrm.models.base_models import BASE_MODELS, TINY
from xlrm.store import unfinished
from xlrm.training import checkpoints, curves, finite

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Pretraining(BaseModel):
    """Architecture, data and optimization of the tiny model, a Qwen2 with about a million parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: tuple[str, ...] = ("en", "es", "it", "ko", "zh")
    """Languages of the training texts, in equal shares."""
    vocabulary: int = Field(4096, ge=512)
    """Vocabulary size of the byte-level BPE tokenizer."""
    layers: int = Field(4, ge=1)
    """Number of transformer layers."""
    width: int = Field(128, multiple_of=64)
    """Hidden size; attention heads have 32 dimensions, the smallest size that vLLM's kernels support."""
    documents: int = Field(40_000, ge=100)
    """Number of training documents: short chats with correct answers, and parallel texts; each is seen once."""
    batch_tokens: int = Field(512, ge=256)
    """Maximum tokens per batch, including padding."""
    learning_rate: float = Field(0.01, gt=0)
    """Peak learning rate of AdamW for embeddings and norms, with linear warm-up and decay."""
    matrix_learning_rate: float = Field(0.02, gt=0)
    """Peak learning rate of Muon for the layers' weight matrices."""
    seed: int = 42


class Tuning(BaseModel):
    """Chats that the tiny model learns to answer after its pretraining, and how. It learns the habits of who answered them,
    bad ones included, as large models do from collected chats; alignment can then improve it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chats: int = Field(3000, ge=100)
    """Number of chats; each is seen once."""
    careless: float = Field(0.7, ge=0, le=1)
    """Share of their answers that are padded, cut short or not what was asked for; the others are right."""
    learning_rate: float = Field(0.002, gt=0)
    """Peak learning rate of AdamW for embeddings and norms, with linear warm-up and decay."""
    matrix_learning_rate: float = Field(0.004, gt=0)
    """Peak learning rate of Muon for the layers' weight matrices."""
    seed: int = 42


Example = dict[str, list[int]]
END = "<|end|>"
CHECKPOINT_STEPS = 100
"""Steps between checkpoints; a killed run resumes from the last complete one."""
# Three tokens of markup per turn; ChatML needs ten.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def examples(
    documents: Iterator[questions.Document], count: int, tokenizer: "PreTrainedTokenizerBase"
) -> list[Example]:
    """The first `count` documents as input_ids and labels, which are -100 except on each second text: which question
    the first text asks cannot be predicted, and its loss would outweigh what the answers teach."""
    encoded = []
    for document in itertools.islice(documents, count):
        first, second = (
            phrasebook.load(code).say(text) for text, code in zip(document.texts, document.languages, strict=True)
        )
        if document.languages[0] == document.languages[1]:
            texts = f"<|user|>{first}", f"<|assistant|>{second}{END}"
        else:
            texts = f"{first}\n", second + END
        given, answer = (tokenizer(text)["input_ids"] for text in texts)
        encoded.append({"input_ids": given + answer, "labels": [-100] * len(given) + answer})
    return encoded


def train_tokenizer(config: Pretraining) -> "PreTrainedTokenizerBase":
    """Trains a byte-level BPE tokenizer with Qwen2's pre-tokenizer, so that AutoTokenizer loads it unchanged."""
    from transformers import Qwen2Tokenizer

    from xlrm.models.loading import PAD_TOKEN

    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        (text for code in config.languages for text in _vocabulary(code)),
        config.vocabulary,
        new_special_tokens=["<|user|>", "<|assistant|>", END, PAD_TOKEN],
    )
    tokenizer.pad_token, tokenizer.eos_token = PAD_TOKEN, END
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _vocabulary(code: str) -> Iterator[str]:
    """Texts that the tokenizer learns from: sentence templates, base forms of words, and endings. "1" replaces a slot
    or stem, because a digit is always a separate token."""
    language = phrasebook.load(code)
    for template in language.templates.values():
        yield phrasebook.SLOT.sub("1", template)
    for word in (word for words in language.words.values() for word in words.values()):
        forms = {"base": word} if isinstance(word, str) else word
        for form in forms.values():
            if form != forms["base"] and form.startswith(forms["base"]):
                yield "1" + form.removeprefix(forms["base"])
            else:
                yield from (f" {form}", form[:1].upper() + form[1:])


def batches(config: Pretraining, tokenizer: "PreTrainedTokenizerBase") -> list[list[Example]]:
    """The documents of the pretraining, in batches."""
    encoded = examples(questions.documents(list(config.languages), config.seed), config.documents, tokenizer)
    return _batched(encoded, config.batch_tokens, config.seed)


def _batched(encoded: list[Example], batch_tokens: int, seed: int) -> list[list[Example]]:
    """Batches of similar length with at most `batch_tokens` tokens, padding included, in random order."""
    batches: list[list[Example]] = [[]]
    for example in sorted(encoded, key=lambda example: len(example["input_ids"])):
        if len(example["input_ids"]) * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(example)
    random.Random(seed).shuffle(batches)
    return [batch for batch in batches if batch]


def _optimizer(model: "PreTrainedModel", config: Pretraining | Tuning) -> "torch.optim.Optimizer":
    """One optimizer with Muon for the layers' matrices and AdamW for the rest. In one run each on one core, it reached
    loss 0.34 after 40,000 documents in 223 s; AdamW alone (4e-3) reached 0.46 after 48,000 in 191 s and gave worse
    reward models."""
    import torch

    class MuonAndAdamW(torch.optim.Optimizer):
        def __init__(self, matrices: list["torch.nn.Parameter"], others: list["torch.nn.Parameter"]) -> None:
            self.parts = [
                torch.optim.Muon(matrices, lr=config.matrix_learning_rate, weight_decay=0.0),
                torch.optim.AdamW(others, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
            ]
            super().__init__([group for part in self.parts for group in part.param_groups], {})
            self.param_groups = [group for part in self.parts for group in part.param_groups]

        def step(self, closure: Any = None) -> None:  # type: ignore[override]  # the trainer gives no closure
            for part in self.parts:
                part.step()

        def state_dict(self) -> dict[str, Any]:
            return {"parts": [part.state_dict() for part in self.parts]}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            for part, saved in zip(self.parts, state["parts"], strict=True):
                part.load_state_dict(saved)
            self.param_groups = [group for part in self.parts for group in part.param_groups]

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    chosen = {id(p) for p in matrices}
    return MuonAndAdamW(matrices, [p for p in model.parameters() if id(p) not in chosen])


def make(pretraining: Pretraining, tuning: Tuning | None, start: Path | None, output: Path) -> dict[str, float]:
    """Pretrains a model or, with `tuning`, tunes the pretrained one in the folder `start`. Writes and returns what `pretrain`
    does. Raises ConfigError for a tuning without `start`."""
    if tuning is None:
        return pretrain(pretraining, output)
    if start is None:
        raise ConfigError("needs a pretrained model", where="base.tuning", hint="set policy.tuning instead")
    return tune(pretraining, tuning, start, output)


def pretrain(config: Pretraining, output: Path) -> dict[str, float]:
    """Writes model and tokenizer to `output`, and checkpoints beside it, from which a killed run resumes. Returns the
    metrics `loss` (mean of the last three logged), `parameters` and `steps`."""
    from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

    set_seed(config.seed)
    tokenizer, positions = train_tokenizer(config), BASE_MODELS[TINY].context
    assert positions
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=config.width, intermediate_size=3 * config.width,
            num_hidden_layers=config.layers, num_attention_heads=config.width // 32,
            num_key_value_heads=config.width // 32, max_position_embeddings=positions, tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
        )
    )  # fmt: skip
    return _train(model, tokenizer, batches(config, tokenizer), config, output)


def tune(pretraining: Pretraining, config: Tuning, start: Path, output: Path) -> dict[str, float]:
    """Trains the pretrained model in the folder `start` on chats, in the languages and with the size of batches of its
    pretraining. Writes and returns what `pretrain` does."""
    from transformers import AutoModelForCausalLM, set_seed

    from xlrm.models.loading import load_tokenizer

    set_seed(config.seed)
    tokenizer = load_tokenizer(start)
    model = AutoModelForCausalLM.from_pretrained(start, dtype="float32", use_safetensors=True)
    chats = questions.chats(list(pretraining.languages), config.seed, config.careless)
    encoded = examples(chats, config.chats, tokenizer)
    return _train(model, tokenizer, _batched(encoded, pretraining.batch_tokens, config.seed), config, output)


def _train(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", batches: list[list[Example]],
    config: Pretraining | Tuning, output: Path,
) -> dict[str, float]:  # fmt: skip
    from transformers import Trainer, TrainingArguments

    from xlrm.models.loading import use_all_cores

    use_all_cores()
    folder = output.parent / "checkpoints"
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=1, num_train_epochs=1, use_cpu=True,
        warmup_steps=0.05, lr_scheduler_type="linear", seed=config.seed, train_sampling_strategy="sequential",
        remove_unused_columns=False, save_steps=CHECKPOINT_STEPS, logging_steps=20, logging_first_step=True, report_to=[],
        disable_tqdm=True, logging_nan_inf_filter=False,
    )  # fmt: skip
    optimizers = (_optimizer(model, config), None)
    trainer = finite.checked(Trainer, "base")(
        model, arguments, partial(_collated, tokenizer), batches, optimizers=optimizers
    )
    trainer.add_callback(progress.training_steps("base"))
    kept = unfinished.address(output)
    trainer.add_callback(checkpoints.keeper(kept))
    if run := curves.run_at_work():
        trainer.add_callback(curves.to_mlflow(run))
    newest = checkpoints.agreed(folder, "base", kept)
    result = trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    finite.check_trained(output, "base", result.global_step)
    last = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-3:]
    return {
        "loss": sum(map(float, last)) / len(last),
        "parameters": float(model.num_parameters()),
        "steps": float(result.global_step),
    }


def _collated(tokenizer: "PreTrainedTokenizerBase", features: list[list[Example]]) -> dict[str, Any]:
    """Pads on the left, so that the labelled tokens are at the end and logits are computed for them only."""
    import torch

    inputs = tokenizer.pad({"input_ids": [e["input_ids"] for e in features[0]]}, padding_side="left")
    keep = 1 + max(sum(label != -100 for label in e["labels"]) for e in features[0])
    labels = [([-100] * keep + e["labels"])[-keep:] for e in features[0]]
    tensors = {key: torch.tensor(rows) for key, rows in (inputs | {"labels": labels}).items()}
    return tensors | {"logits_to_keep": keep}
