"""A tiny random mT5 that writes, with a tokenizer like Google's: pieces of a unigram model, white space collapsed, an end token
after each text, and no chat template."""

from pathlib import Path
from typing import Any

PAD, EOS = 0, 1
SHAPE = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": PAD}
_EXTRA = (
    "user: assistant: Summarize the following text in English, Korean or German:",
    "You are given a dialog between a human and an assistant. Please write one turn of the assistant side.",
    "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0 1 2 3 4 5 6 7 8 9 . , : ; ? ! | ' - ( )",
)


def save(folder: Path) -> Path:
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    words = tokenizer()
    torch.manual_seed(0)
    config = MT5Config(vocab_size=len(words), pad_token_id=PAD, eos_token_id=EOS, **SHAPE)
    MT5ForConditionalGeneration(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from xlrm.data.catalog import PREFERENCES

    raw = Tokenizer(models.Unigram())
    raw.normalizer = normalizers.Replace(Regex(r"\s+"), " ")
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    texts = [row[name] for row in PREFERENCES["phrasebook"].rows("en", 200, 1) for name in ("prompt", "chosen")]
    special = ["<pad>", "</s>", "<unk>"]
    raw.train_from_iterator(
        [*texts, *_EXTRA], trainers.UnigramTrainer(vocab_size=500, special_tokens=special, unk_token="<unk>")
    )
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
