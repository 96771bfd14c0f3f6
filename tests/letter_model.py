"""A tiny model that writes m, M, x (or other letters) or its end, an independent computation of its log-probabilities, and a
server of it with OpenAI's chat completions API."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.served_translations import Server, serving

LETTERS = ("m", "M", "x")
"""With an unknown letter and the end five tokens, so that all are among the five most likely."""


def save(folder: Path, width: int = 32, letters: tuple[str, ...] = LETTERS) -> Path:
    tokens = ("<unk>", "</s>", *letters)
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", pad_token="</s>")
    fast.chat_template = "{% for one in messages %}{{ one['role'] }}: {{ one['content'] }}\n{% endfor %}m"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens), hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=4096, initializer_range=0.5, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


class Plain:
    """The model by transformers alone: one conversation at a time, without padding, in float32."""

    def __init__(self, folder: Path):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def logprobs(self, messages: list[dict], written: str = "") -> dict[str, float]:
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + written
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            logits = self.model(ids).logits[0, -1].double()
        tokens = self.tokenizer.convert_ids_to_tokens(range(len(logits)))
        return dict(zip(tokens, logits.log_softmax(-1).tolist(), strict=True))

    def reply(self, request: dict) -> dict:
        """A chat completion of one token, the most likely, as OpenAI's server writes it."""
        likely = sorted(self.logprobs(request["messages"]).items(), key=lambda item: -item[1])
        entries = [{"token": token, "bytes": list(token.encode()), "logprob": value} for token, value in likely]
        position = entries[0] | {"top_logprobs": entries[: request["top_logprobs"]]}
        choice = {
            "index": 0, "finish_reason": "length", "logprobs": {"content": [position]},
            "message": {"role": "assistant", "content": likely[0][0]},
        }  # fmt: skip
        usage = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
        return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


@contextmanager
def served(plain: Plain) -> Iterator[Server]:
    with serving(lambda _, request: (plain.reply(request), "length"), read=str) as server:
        yield server
