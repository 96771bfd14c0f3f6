"""Pretrains a tiny multilingual language model from scratch on phrasebook text, for runs without downloads."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from xlrm import progress
from xlrm.phrasebook import data
from xlrm.phrasebook import language as phrasebook


class Pretraining(BaseModel):
    """A Qwen2 of about a million parameters and what it is trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: tuple[str, ...] = ("en", "es", "it", "ko", "zh")
    """Languages of the text, in equal shares."""
    vocabulary: int = Field(2048, ge=512)
    """Tokens of the byte-level BPE tokenizer."""
    layers: int = Field(3, ge=1)
    """Transformer layers."""
    width: int = Field(128, multiple_of=64)
    """Hidden size; attention heads are 32 wide, the narrowest that vLLM's kernels take."""
    documents: int = Field(32_000, ge=100)
    """Documents (short texts): chats with right answers, and parallel texts; each is seen once."""
    marked_documents: int = Field(14_000, ge=0)
    """Further documents: chats with a reader's mark, right or wrong."""
    batch_tokens: int = Field(1024, ge=256)
    """Tokens in a batch, padding included."""
    learning_rate: float = Field(0.01, gt=0)
    """Peak learning rate of AdamW, for embeddings and norms; linear warm-up and decay."""
    matrix_learning_rate: float = Field(0.02, gt=0)
    """Peak learning rate of Muon, for the layers' matrices."""
    seed: int = 42


Example = dict[str, list[int]]
RIGHT, WRONG = "✓", "✗"


def examples(documents: Iterator[data.Document], count: int, tokenizer) -> list[Example]:
    """`count` documents as input_ids and labels. A mark stands right behind its chat, where a reward will be read."""
    found = []
    for document in itertools.islice(documents, count):
        first, second = (
            phrasebook.load(code).say(text)
            for text, code in zip(document.texts, (*document.languages, document.languages[0]), strict=False)
        )
        if len(document.languages) == 2:
            text = f"{first}\n{second}{tokenizer.eos_token}"
        else:
            messages = [{"role": "user", "content": first}, {"role": "assistant", "content": second}]
            text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text)["input_ids"]
        if document.right is None:
            found.append({"input_ids": ids, "labels": ids})
        else:
            mark = tokenizer.convert_tokens_to_ids(RIGHT if document.right else WRONG)
            found.append({"input_ids": [*ids, mark], "labels": [-100] * len(ids) + [mark]})
    return found


def train_tokenizer(config: Pretraining):
    """A byte-level BPE tokenizer with Qwen2's pre-tokenizer, so that AutoTokenizer loads just what was trained."""
    from transformers import Qwen2Tokenizer

    from xlrm.models import CHAT_TEMPLATE, PAD_TOKEN

    corpus = (text for code in config.languages for text in phrasebook.load(code).index)
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        itertools.chain(corpus, ["user\n", "assistant\n"] * 1000),
        config.vocabulary,
        new_special_tokens=["<|im_start|>", "<|im_end|>", PAD_TOKEN, RIGHT, WRONG],
    )
    tokenizer.pad_token, tokenizer.eos_token = PAD_TOKEN, "<|im_end|>"
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def batches(config: Pretraining, tokenizer) -> list[list[Example]]:
    """Documents of like length together, `batch_tokens` at a time, in random order. The marked ones come in batches of
    their own (a single token each, they would not count among others) and in the second half: what is right is learned
    before it can be judged."""
    codes = list(config.languages)
    plain = _batches(examples(data.documents(codes, config.seed), config.documents, tokenizer), config)
    marked = _batches(examples(data.marked_documents(codes, config.seed), config.marked_documents, tokenizer), config)
    half = len(plain) // 2
    later = plain[half:] + marked
    random.Random(config.seed).shuffle(later)
    return plain[:half] + later


def _batches(found: list[Example], config: Pretraining) -> list[list[Example]]:
    batches: list[list[Example]] = [[]]
    for example in sorted(found, key=lambda example: len(example["input_ids"])):
        if len(example["input_ids"]) * (len(batches[-1]) + 1) > config.batch_tokens:
            batches.append([])
        batches[-1].append(example)
    random.Random(config.seed).shuffle(batches)
    return [batch for batch in batches if batch]


def _optimizer(model, config: Pretraining):
    """Muon for the layers' matrices, AdamW for all else, as one optimizer: after 20,000 documents the loss was 0.56, with
    AdamW alone (6e-3) 1.05, one run each."""
    import torch

    class MuonAndAdamW(torch.optim.Optimizer):
        def __init__(self, matrices, others):
            self.parts = [
                torch.optim.Muon(matrices, lr=config.matrix_learning_rate, weight_decay=0.0),
                torch.optim.AdamW(others, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
            ]
            super().__init__([group for part in self.parts for group in part.param_groups], {})
            self.param_groups = [group for part in self.parts for group in part.param_groups]

        def step(self, closure=None):
            for part in self.parts:
                part.step()

        def state_dict(self):
            return {"parts": [part.state_dict() for part in self.parts]}

        def load_state_dict(self, state):
            for part, saved in zip(self.parts, state["parts"], strict=True):
                part.load_state_dict(saved)
            self.param_groups = [group for part in self.parts for group in part.param_groups]

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    chosen = {id(p) for p in matrices}
    return MuonAndAdamW(matrices, [p for p in model.parameters() if id(p) not in chosen])


def pretrain(config: Pretraining, output: Path) -> dict[str, float]:
    """Writes model and tokenizer to `output`; checkpoints beside it, from which a killed run goes on."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer, TrainingArguments, set_seed
    from transformers.trainer_utils import get_last_checkpoint

    from xlrm.models import use_all_cores

    use_all_cores()
    set_seed(config.seed)
    tokenizer = train_tokenizer(config)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=config.width, intermediate_size=3 * config.width,
            num_hidden_layers=config.layers, num_attention_heads=config.width // 32,
            num_key_value_heads=config.width // 32, max_position_embeddings=512, tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
        )
    )  # fmt: skip
    checkpoints = output.parent / "checkpoints"
    arguments = TrainingArguments(
        output_dir=str(checkpoints), per_device_train_batch_size=1, num_train_epochs=1, use_cpu=True,
        warmup_steps=0.05, lr_scheduler_type="linear", seed=config.seed, train_sampling_strategy="sequential",
        remove_unused_columns=False, save_steps=100, save_total_limit=1, logging_steps=20, logging_first_step=True, report_to=[],
        disable_tqdm=True,
    )  # fmt: skip

    def collate(features: list[list[Example]]) -> dict:
        batch = tokenizer.pad({"input_ids": [e["input_ids"] for e in features[0]]}, padding_side="right")
        width = len(batch["input_ids"][0])
        batch["labels"] = [e["labels"] + [-100] * (width - len(e["labels"])) for e in features[0]]
        return {key: torch.tensor(rows) for key, rows in batch.items()}

    optimizers = (_optimizer(model, config), None)
    trainer = Trainer(model, arguments, collate, batches(config, tokenizer), optimizers=optimizers)
    trainer.add_callback(progress.training_steps("base"))
    result = trainer.train(
        resume_from_checkpoint=get_last_checkpoint(str(checkpoints)) if checkpoints.exists() else None
    )
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    last = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-3:]
    return {
        "loss": sum(map(float, last)) / len(last),
        "parameters": float(model.num_parameters()),
        "steps": float(result.global_step),
    }
