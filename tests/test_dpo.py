"""Alignment by DPO: which tokens are trained on, the loss and its gradients against a plain computation and against TRL as
it comes, and the reference's log-probabilities, which are computed once."""

import math
import shutil
import sqlite3
from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.reward_training import apart
from benchmarks.reward_training import log_of as log
from benchmarks.reward_training import weights_of as weights
from xlrm.errors import ArtifactError
from xlrm.models import chat_templates, loading
from xlrm.models.generation import Model
from xlrm.stages import align
from xlrm.store import addresses, answers
from xlrm.store.jsonl import write_jsonl
from xlrm.training import preference_tokens, references

TRAINING = {
    "language": "en", "labeler": "en", "learning_rate": 1e-2, "batch_size": 6, "device_batch_size": 3, "epochs": 4,
    "warmup": 0.0, "gradient_checkpointing": False, "log_steps": 1, "optimizer": "sgd", "max_length": 64,
}  # fmt: skip
BETA = 0.1
SHORT = {"prompt": "How much is one plus two?", "chosen": "Three.", "rejected": "It is four, I think."}
LONG_PROMPT = {"prompt": "Is the dog big? " * 30, "chosen": "Yes, the dog is big.", "rejected": "No."}
LONG_ANSWERS = {
    "prompt": "Is the dog big?", "chosen": "The dog is big. " * 30 + "Yes.", "rejected": "The dog is big. " * 30 + "No.",
}  # fmt: skip
"""As a prompt longer than max_length, and as answers that differ at their end alone."""
MIXED = [
    SHORT,
    LONG_PROMPT,
    LONG_ANSWERS,
    SHORT | {"chosen": "3", "rejected": ""},
    SHORT | {"prompt": "2 + 1?"},
    LONG_PROMPT,
]
TURNS = [
    {"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "How much is one plus one?"},
    {"role": "assistant", "content": "Two."}, {"role": "user", "content": "And one more?"},
]  # fmt: skip


def aligned(base: Path, rows: list[dict], work: Path, **changes) -> tuple[dict[str, float], Path]:
    write_jsonl(work / "ranked" / "en.jsonl", [{"id": str(i), **row} for i, row in enumerate(rows)])
    output = work / "output"
    config = align.Config(**TRAINING | changes)
    return align.run(config, policy=base, ranked=work / "ranked", output=output), output


def whole(base: Path, row: dict, side: str) -> tuple[list[int], int]:
    """All token ids of a conversation, by transformers alone, and the number of those of its prompt."""
    words = AutoTokenizer.from_pretrained(base)
    prompt = chat_templates.messages(row["prompt"])
    answered = [*prompt, {"role": "assistant", "content": row[side]}]
    asked, ids = (
        words(words.apply_chat_template(chat, tokenize=False, add_generation_prompt=more), add_special_tokens=False)
        for chat, more in ((prompt, True), (answered, False))
    )
    assert ids["input_ids"][: len(asked["input_ids"])] == asked["input_ids"]
    return ids["input_ids"], len(asked["input_ids"])


def cut(ids: list[int], prompt: int, longest: int) -> tuple[list[int], int]:
    """The last tokens; the tiny model's template begins without a BOS."""
    return ids[-longest:], max(0, prompt - max(0, len(ids) - longest))


# Tokens


def test_a_conversation_loses_its_beginning_and_is_counted(tiny_base) -> None:
    rows = [*MIXED, {"prompt": TURNS, "chosen": "Three.", "rejected": "Two."}]
    made, counts = preference_tokens.dataset(loading.load_tokenizer(tiny_base), rows, 64)
    for row, columns in zip(rows, made, strict=True):
        for side in ("chosen", "rejected"):
            assert (columns[f"{side}_ids"], columns[f"{side}_start"]) == cut(*whole(tiny_base, row, side), 64)
    assert made[2]["chosen_start"] == 0 and made[2]["chosen_ids"] != made[2]["rejected_ids"], "the ends are left"
    assert counts.model_dump() == {
        "pairs": 7, "cut": 3, "cut_chosen": 3, "cut_rejected": 3, "cut_answers": 2, "equal": 0, "dropped": 0
    }  # fmt: skip


def test_the_bos_stays_and_a_pair_without_a_difference_is_counted(tiny_base, tmp_path) -> None:
    words = AutoTokenizer.from_pretrained(tiny_base)
    words.bos_token = words.convert_ids_to_tokens(5)
    words.chat_template = "{{ bos_token }}" + words.chat_template
    words.save_pretrained(tmp_path)
    (ids, prompt), rows = whole(tmp_path, LONG_PROMPT, "chosen"), [LONG_PROMPT, SHORT | {"rejected": "Three."}]
    made, counts = preference_tokens.dataset(loading.load_tokenizer(tmp_path), rows, 32)
    assert made[0]["chosen_ids"] == [5, *ids[-31:]] and made[0]["chosen_start"] == prompt - (len(ids) - 32)
    assert (counts.equal, counts.cut_answers) == (1, 0)


@pytest.mark.parametrize("takes", ["raise_exception('No system role')", "''"], ids=["refused", "dropped"])
def test_a_policy_is_trained_on_the_prompt_that_it_answered(takes, tiny_base, tmp_path) -> None:
    """With a BOS that only its tokenizer writes, and a system message that its template does not take."""
    words = AutoTokenizer.from_pretrained(tiny_base)
    bos = words.bos_token = words.convert_ids_to_tokens(5)
    words.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 5)])
    words.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ " + takes + " }}{% else %}"
        "{{ m['role'] + ': ' + m['content'] + '\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    words.save_pretrained(tmp_path)
    row = {"prompt": TURNS[:2], "chosen": "Two.", "rejected": "Three."}
    made, _ = preference_tokens.dataset(loading.load_tokenizer(tmp_path), [row, SHORT], 64)
    (short, _) = preference_tokens.dataset(loading.load_tokenizer(tmp_path), [row], 12)
    asked = "user: Answer briefly.\n\nHow much is one plus one?\nassistant: "
    whole = [5, *words(asked + "Two.\n", add_special_tokens=False)["input_ids"]]
    (sampled,) = Model(str(tmp_path), own=True).encode(loading.load_tokenizer(tmp_path), [row["prompt"]])
    assert made[0]["chosen_ids"] == whole and whole[: made[0]["chosen_start"]] == sampled
    assert short[0]["chosen_ids"] == [5, *whole[-11:]]
    assert made[1]["rejected_ids"][0] == 5


def test_tokens_are_those_of_trl_where_a_pair_fits(tiny_base, tmp_path) -> None:
    """Also for messages of several turns, whose keys differ."""
    from datasets import Dataset, Features, Json, List
    from trl import DPOConfig, DPOTrainer

    rows = [SHORT, {"prompt": TURNS, "chosen": "Three.", "rejected": "Two."}]
    words = loading.load_tokenizer(tiny_base)
    sides = {"prompt": chat_templates.messages, "chosen": chat_templates.answer, "rejected": chat_templates.answer}
    records = {name: [read(row[name]) for row in rows] for name, read in sides.items()}
    theirs = DPOTrainer._prepare_dataset(
        None, Dataset.from_dict(records, Features({name: List(Json()) for name in sides})), words,
        DPOConfig(str(tmp_path), use_cpu=True, bf16=False), "train",
    )  # fmt: skip
    ours, _ = preference_tokens.dataset(words, rows, 2048)
    for mine, other in zip(ours, theirs, strict=True):
        for side in ("chosen", "rejected"):
            assert mine[f"{side}_ids"] == other["prompt_ids"] + other[f"{side}_ids"]
            assert mine[f"{side}_start"] == len(other["prompt_ids"])


# Losses and gradients


def log_probability(model, ids: list[int], start: int) -> torch.Tensor:
    """Log-probability of the tokens of the response, given those before; the first of all has none before it."""
    scores = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    each = scores.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return each[max(0, start - 1) :].sum()


def plain_dpo(base: Path, rows: list[dict], longest: int, steps: int) -> tuple[list[tuple[float, float]], dict]:
    """(loss, gradient norm) of each step of SGD on all pairs, and the weights at the end: DPO by its formula
    (Rafailov et al. 2023, equation 7), one conversation at a time."""
    model, reference = (AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32) for _ in range(2))
    pairs = [[cut(*whole(base, row, side), longest) for side in ("chosen", "rejected")] for row in rows]
    with torch.no_grad():
        before = [[log_probability(reference, *each) for each in pair] for pair in pairs]
    optimizer = torch.optim.SGD(model.parameters(), lr=TRAINING["learning_rate"])
    curve = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = TRAINING["learning_rate"] * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        moved = [
            [log_probability(model, *each) - was for each, was in zip(pair, old, strict=True)]
            for pair, old in zip(pairs, before, strict=True)
        ]
        loss = torch.stack([-torch.nn.functional.logsigmoid(BETA * (good - bad)) for good, bad in moved]).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        curve.append((loss.item(), norm.item()))
    return curve, model.state_dict()


def test_losses_gradients_and_weights_are_those_of_the_formula(tiny_base, tmp_path) -> None:
    """Short pairs, long prompts and long answers together; TRL as it comes leaves the second out, and learns
    nothing from the third."""
    metrics, output = aligned(tiny_base, MIXED, tmp_path)
    curve, final = plain_dpo(tiny_base, MIXED, 64, 4)
    assert (metrics["steps"], metrics["pairs"], metrics["dropped"], metrics["cut"]) == (4, 6, 0, 3)
    assert len(log(output)) == 4 and curve[-1][0] < curve[0][0] == pytest.approx(math.log(2))
    for mine, (loss, norm) in zip(log(output), curve, strict=True):
        assert mine["loss"] == pytest.approx(loss, abs=1e-5) and mine["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    assert apart(weights(output), {name: final[name] for name in weights(output)}) < 1e-6
    assert apart(weights(output), weights(tiny_base)) > 1e-4, "and it did train"


def test_answers_that_differ_at_their_end_alone_are_learned(tiny_base, tmp_path) -> None:
    """TRL as it comes cuts the ends, so that both sides are the same and the loss stays log 2."""
    metrics, output = aligned(tiny_base, [LONG_ANSWERS] * 6, tmp_path)
    assert metrics["cut_answers"] == 12 and metrics["equal"] == 0
    assert log(output)[-1]["loss"] < log(output)[0]["loss"] - 1e-3 and log(output)[0]["gradient_norm"] > 1e-2


def plain_trl(base: Path, rows: list[dict], folder: Path) -> tuple[list[dict], dict]:
    """(log, weights) of TRL as it comes: messages in, its own tokens, batches, reference model and padding."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    sides = {"prompt": chat_templates.messages, "chosen": chat_templates.answer, "rejected": chat_templates.answer}
    arguments = DPOConfig(
        output_dir=str(folder), learning_rate=1e-3, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        num_train_epochs=1, warmup_steps=0.1, lr_scheduler_type="cosine", seed=42, data_seed=42, bf16=False, use_cpu=True,
        gradient_checkpointing=False, logging_steps=1, report_to=[], save_strategy="no", disable_tqdm=True, beta=BETA,
        max_length=2048, optim="adamw_torch_fused",
    )  # fmt: skip
    trainer = DPOTrainer(
        str(base), args=arguments, processing_class=AutoTokenizer.from_pretrained(base),
        train_dataset=Dataset.from_list([{name: read(row[name]) for name, read in sides.items()} for row in rows]),
    )  # fmt: skip
    trainer.train()
    curve = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    return curve, {name: tensor.detach() for name, tensor in trainer.model.state_dict().items()}


def pairs(count: int) -> list[dict]:
    from xlrm.data.catalog import PREFERENCES

    return [
        {side: row[side] for side in ("prompt", "chosen", "rejected")}
        for row in PREFERENCES["phrasebook"].rows("en", count, 0)
    ]


@pytest.mark.slow
def test_pairs_that_fit_are_aligned_as_by_trl_as_it_comes(tiny_base, tmp_path) -> None:
    adam = {
        "optimizer": "adamw_torch_fused",
        "learning_rate": 1e-3,
        "batch_size": 8,
        "device_batch_size": 4,
        "warmup": 0.1,
    }
    metrics, output = aligned(tiny_base, pairs(37), tmp_path / "ours", epochs=1, max_length=2048, **adam)
    curve, final = plain_trl(tiny_base, pairs(37), tmp_path / "theirs")
    assert metrics["cut"] == 0 and len(curve) == len(log(output)) == 5, "the last of 5 pairs"
    for mine, theirs in zip(log(output), curve, strict=True):
        assert mine["loss"] == pytest.approx(float(theirs["loss"]), abs=1e-5)
        assert mine["gradient_norm"] == pytest.approx(float(theirs["grad_norm"]), rel=1e-4)
        assert mine["chosen_drift"] * BETA == pytest.approx(float(theirs["rewards/chosen"]), abs=1e-5)
    assert apart(weights(output), {name: final[name] for name in weights(output)}) < 2e-5


# The reference's log-probabilities


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """Lengths of the conversations whose log-probability by the reference is computed."""
    from trl import DPOTrainer

    lengths, real = [], DPOTrainer.compute_ref_log_probs

    def counted(self, model, batch):
        lengths.append(batch["input_ids"].shape[1])
        return real(self, model, batch)

    monkeypatch.setattr(DPOTrainer, "compute_ref_log_probs", counted)
    return lengths


ONE_STEP = {"epochs": 1, "batch_size": 4, "device_batch_size": 4}


def test_the_reference_is_computed_once_for_each_conversation_of_a_policy(tiny_base, tmp_path, computed, home) -> None:
    """A second reward model pairs the same responses in another way, and adds one: it alone is computed. Weights do not
    depend on what was found. Another policy's, and another precision's, are others."""
    rows = [{"prompt": str(i), "chosen": "a", "rejected": "b"} for i in range(4)]
    aligned(tiny_base, rows, tmp_path / "first", **ONE_STEP)
    assert len(computed) == 8
    other = [{"prompt": str(i), "chosen": "b", "rejected": "a" if i else "c"} for i in range(4)]
    _, found = aligned(tiny_base, other, tmp_path / "second", **ONE_STEP)
    assert len(computed) == 9
    shutil.rmtree(home / "cache")
    aligned(tiny_base, rows, tmp_path / "third", **ONE_STEP, learning_rate=1e-3)
    assert len(computed) == 9, "another machine finds them on the store"
    shutil.rmtree(home / "cache")
    shutil.rmtree(Path(addresses.store().removeprefix("file://")) / references.KIND)
    _, anew = aligned(tiny_base, other, tmp_path / "fourth", **ONE_STEP)
    assert len(computed) == 17 and apart(weights(found), weights(anew)) == 0
    aligned(found, other, tmp_path / "fifth", **ONE_STEP)
    assert len(computed) == 25
    aligned(tiny_base, other, tmp_path / "sixth", **ONE_STEP, precision="bfloat16")
    assert len(computed) == 33


def test_log_probabilities_are_those_of_the_policy(tiny_base, tmp_path) -> None:
    aligned(tiny_base, MIXED, tmp_path)
    words, model = (
        loading.load_tokenizer(tiny_base),
        AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32),
    )
    (database,) = (addresses.home() / "cache" / references.KIND).glob("*.sqlite")
    stored = sorted(float.fromhex(text) for (text,) in sqlite3.connect(database).execute("select text from known"))
    made, _ = preference_tokens.dataset(words, MIXED, 64)
    different = {(tuple(row[f"{side}_ids"]), row[f"{side}_start"]) for row in made for side in ("chosen", "rejected")}
    with torch.no_grad():
        expected = sorted(log_probability(model, list(ids), start).item() for ids, start in different)
    assert stored == pytest.approx(expected, abs=1e-4) and len(stored) == 10


def test_a_reference_that_was_interrupted_continues_on_another_machine(
    tiny_base, tmp_path, computed, home, monkeypatch
) -> None:
    rows = [{"prompt": str(i), "chosen": "a", "rejected": "b"} for i in range(4)]
    monkeypatch.setattr(references, "_AT_ONCE", 3)
    monkeypatch.setattr(answers, "SECONDS_BETWEEN_FILES", 0)
    real = references.Memory.add
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(references.Memory, "add", lambda *given: real(*given) if len(computed) < 6 else interrupted())
        aligned(tiny_base, rows, tmp_path / "cut", **ONE_STEP)
    assert len(computed) == 6
    shutil.rmtree(home / "cache")
    _, again = aligned(tiny_base, rows, tmp_path / "cut", **ONE_STEP)
    assert len(computed) == 6 + 5, "the three that were saved are not computed again"
    _, undisturbed = aligned(tiny_base, rows, tmp_path / "whole", **ONE_STEP)
    assert apart(weights(again), weights(undisturbed)) == 0


def interrupted(*given, **named) -> None:
    raise KeyboardInterrupt


def test_a_log_probability_that_is_not_finite_is_refused_and_not_kept(tiny_base, tmp_path, monkeypatch) -> None:
    from trl import DPOTrainer

    monkeypatch.setattr(DPOTrainer, "compute_ref_log_probs", lambda *given: (torch.tensor([math.nan]),))
    with pytest.raises(ArtifactError) as raised:
        aligned(tiny_base, [SHORT] * 4, tmp_path, **ONE_STEP)
    assert raised.value.where.startswith(str(tiny_base)) and math.isnan(raised.value.value)


@pytest.mark.slow
def test_a_killed_alignment_gives_the_same_bytes(tiny_base, tmp_path, monkeypatch) -> None:
    """Interrupted after a checkpoint half-way, with an optimizer that has states."""
    from transformers import Trainer

    adam = {"optimizer": "adamw_torch_fused", "learning_rate": 1e-3, "epochs": 4, "save_steps": 2, "batch_size": 3}
    _, undisturbed = aligned(tiny_base, MIXED, tmp_path / "whole", **adam)
    real = Trainer.training_step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            Trainer,
            "training_step",
            lambda self, *given: interrupted() if self.state.global_step == 5 else real(self, *given),
        )
        aligned(tiny_base, MIXED, tmp_path / "cut", **adam)
    assert (tmp_path / "cut/checkpoints/checkpoint-4").is_dir()
    metrics, output = aligned(tiny_base, MIXED, tmp_path / "cut", **adam)
    assert metrics["steps"] == 8 and metrics["cut"] == 3
    for name in ("model.safetensors", "curves.jsonl"):
        assert (output / name).read_bytes() == (undisturbed / name).read_bytes()
