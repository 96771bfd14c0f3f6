"""Policies of any family: where they end their turn, what pads them, and whether their responses are whole."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from benchmarks.family_models import BOS, EOS, SMALL, tokenizer
from xlrm.models import chat_templates, loading, sampling
from xlrm.stages import align, sample
from xlrm.store.jsonl import read_rows, write_jsonl

TURNS = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ '<|end|>\n' if m['role'] == 'user' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""The end of the model's own turn, <|end|>, is not in the template."""
END = 6
ASKED, ANSWER = "How much is one plus two?", "Three."


def policy(folder: Path, ends: list[int] | None = None, steps: int = 0, **changes) -> Path:
    """A random model that is trained to give `ANSWER` and an end of its turn, and then to go on."""
    words = tokenizer(template=TURNS, pad_token=None)
    torch.manual_seed(0)
    asked = {"vocab_size": len(words), "bos_token_id": BOS, "eos_token_id": EOS} | SMALL | changes
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **asked))
    text = words.apply_chat_template(chat_templates.conversation(ASKED, ANSWER), tokenize=False)
    ids = torch.tensor([words(f"{text}<|end|>\n<|user|>\nHello." * 2)["input_ids"]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.generation_config = GenerationConfig(eos_token_id=ends)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("ends", "config"), [([EOS, END], EOS), (None, [EOS, END])], ids=["generation_config", "config"]
)
def test_a_turn_ends_with_every_end_token_of_the_model(tmp_path, ends, config) -> None:
    folder = policy(tmp_path / "policy", ends, steps=80, eos_token_id=config)
    settings = sampling.Settings(max_new_tokens=20)
    with sampling.policy(folder, settings, tmp_path / "sample" / "output") as asked:
        ((found,),) = asked.respond([ASKED], 1, judged=True)
    assert (found.text, found.whole) == (ANSWER, True)
    words, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    inputs = words.apply_chat_template(
        chat_templates.messages(ASKED), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    how = {} if ends else {"eos_token_id": config}
    written = model.generate(**inputs, max_new_tokens=20, do_sample=False, **how)[0, inputs["input_ids"].shape[1] :]
    assert words.decode(written, skip_special_tokens=True).strip() == ANSWER


def test_a_policy_without_a_pad_token_is_sampled_and_aligned(tmp_path) -> None:
    """With as many embeddings as tokens, as Llama 3.2. The aligned folder loads, and keeps the ends of its turn."""
    base, output = policy(tmp_path / "base", [EOS, END], steps=40), tmp_path / "align" / "output"
    prompts = [{"id": str(i), "prompt": text, "split": "train"} for i, text in enumerate((ASKED, "Hello."))]
    write_jsonl(tmp_path / "corpora/en/prompts.jsonl", prompts)
    pairs = [{"id": "0", "prompt": ASKED, "chosen": ANSWER, "rejected": "No, no, no."}] * 4
    write_jsonl(tmp_path / "ranked" / "en.jsonl", pairs)
    config = align.Config(
        language="en",
        labeler="en",
        learning_rate=1e-4,
        batch_size=2,
        device_batch_size=2,
        max_length=128,
        gradient_checkpointing=False,
    )
    align.run(config, policy=base, ranked=tmp_path / "ranked", output=output)
    assert len(AutoTokenizer.from_pretrained(output)) == loading.load_causal_lm(output).config.vocab_size
    assert {EOS, END} <= set(GenerationConfig.from_pretrained(output).eos_token_id)
    for folder in (base, output):
        written = tmp_path / f"sample of {folder.parent.name}" / "output"
        sampled = sample.Config(languages=("en",), samples=2, max_new_tokens=4, temperature=0.2)
        metrics = sample.run(sampled, policies=[folder], corpora=tmp_path / "corpora", output=written)
        rows = read_rows(written / "0/train/en.jsonl")
        finished = [each for row in rows for each in row["finished"]]
        assert all(len(row["finished"]) == len(row["responses"]) == 2 for row in rows)
        assert (metrics["responses"], metrics["cut"]) == (4, finished.count(False))
