"""Rewards of models of any family, through every door, are those of plain transformers: one conversation at a time,
without padding, in float32, in the model's own chat template."""

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from refusals import refused
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

from xlrm.cli import app
from xlrm.errors import ArtifactError
from xlrm.models import chat_templates, loading, padding, reward_models, transformers4
from xlrm.models.packing import model as packing
from xlrm.registry import mlflow_loader
from xlrm.scorers import classifiers, engines, fingerprints
from xlrm.scorers.interface import Scoring
from xlrm.stages import evaluate, rank, reward
from xlrm.store import jsonl, objects
from xlrm.tracking import version_files
from xlrm.training import model_card

MARKS = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<unk>")
PAD, BOS, EOS, NO_TOKEN = 0, 1, 2, 5000
TURNS = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
CHATS = [
    chat_templates.conversation("How much is one plus two?", answer)
    for answer in ("Three.", "Four, I think, or else it is five: let me count again, one, two, three.", "No")
] + [chat_templates.conversation("Hello. " * 9, "What can I do for you today?")]
TEXTS = [message["content"] for chat in CHATS for message in chat]
SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "max_position_embeddings": 512,
}  # fmt: skip
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
OPT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "max_position_embeddings": 256,
}
ENCODER = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 256, "embedding_size": 32, "d_model": 32,
}  # fmt: skip
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 256,
}  # fmt: skip
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "rope_theta": 1e4}
FAMILIES: dict[str, tuple[str, dict]] = {
    **{name: (name, SMALL) for name in ("llama", "mistral", "gemma", "olmo", "olmo2", "qwen2", "qwen3", "phi3", "phi")},
    "gemma2": ("gemma2", SMALL | {"attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 8, "sliding_window": 16}),
    "gemma3_text": ("gemma3_text", SMALL | {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}),
    "mistral, window": ("mistral", SMALL | {"sliding_window": 16}),
    "qwen2, window": ("qwen2", SMALL | {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
    "llama, yarn": ("llama", SMALL | {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}}),
    "llama, NTK": (
        "llama",
        SMALL | {"max_position_embeddings": 40, "rope_parameters": {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 1e4}},
    ),
    "phi3, LongRoPE": (
        "phi3",
        SMALL | {"original_max_position_embeddings": 40, "rope_parameters": LONG | {"original_max_position_embeddings": 40}},
    ),
    "gpt2": ("gpt2", GPT), "gpt_neo": ("gpt_neo", {
        "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 16,
        "max_position_embeddings": 256,
    }),
    "gpt_neox": ("gpt_neox", SMALL), "opt": ("opt", OPT), "bloom": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "falcon": ("falcon", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}),
    **{name: (name, ENCODER | {"type_vocab_size": 1}) for name in ("roberta", "xlm-roberta", "camembert")},
    **{name: (name, ENCODER) for name in ("bert", "electra", "albert", "mpnet", "deberta", "deberta-v2")},
    "deberta-v2, relative": ("deberta-v2", ENCODER | {
        "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "position_biased_input": False,
    }),
    "distilbert": ("distilbert", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 256}),
    "modernbert": ("modernbert", SMALL | {"local_attention": 16, "global_attn_every_n_layers": 2, "classifier_pooling": "mean"}),
    **{name: (name, T5) for name in ("t5", "mt5")},
    **{name: (name, BART) for name in ("bart", "mbart")},
    # Families that are not known to pad.
    "umt5": ("umt5", T5), "xlnet": ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}),
    "fnet": ("fnet", ENCODER),
    "qwen3_moe": ("qwen3_moe", SMALL | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
}  # fmt: skip


def tokenizer(kind: str = "decoder", template: str = TURNS, **tokens: str | None) -> PreTrainedTokenizerFast:
    """A byte-level BPE: `bos` and `encoder` add <s>, `encoder` and `seq2seq` </s>."""
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=340, special_tokens=list(MARKS), initial_alphabet=alphabet)
    )
    added = {"bos": "<s> $A", "encoder": "<s> $A </s>", "seq2seq": "$A </s>"}
    if kind in added:
        ids = [("<s>", BOS), ("</s>", EOS)]
        raw.post_processor = processors.TemplateProcessing(single=added[kind], special_tokens=ids)
    names: dict = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"} | tokens
    if kind == "encoder":
        names |= {"cls_token": "<s>", "sep_token": "</s>"}
    made = PreTrainedTokenizerFast(tokenizer_object=raw, **{name: one for name, one in names.items() if one})
    made.chat_template = template
    return made


def build(folder: Path, family: str, changes: dict, words: PreTrainedTokenizerFast, rows: int | None = None) -> Path:
    """A random model with `rows` embeddings, or as many as there are tokens."""
    asked = {"vocab_size": rows or len(words), "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS} | changes
    config = transformers.AutoConfig.for_model(family, **{"num_labels": 1} | asked)
    torch.manual_seed(len(family))
    pad, config.pad_token_id = config.pad_token_id, min(config.pad_token_id or 0, config.vocab_size - 1)
    model = AutoModelForSequenceClassification.from_config(config)
    model.config.pad_token_id = pad
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.5 if name.startswith(("score", "classifier")) else 0.2)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def plain(folder: Path, chats: list = CHATS, template: str | None = None, max_length: int = 10**6) -> list[float]:
    """transformers alone, with a fresh model for each conversation, so that none depends on those before."""
    words = AutoTokenizer.from_pretrained(folder)
    eager = {"attn_implementation": "eager"} if "softcap" in (folder / "config.json").read_text() else {}
    config = transformers.AutoConfig.from_pretrained(folder)
    if config.get_text_config().pad_token_id == NO_TOKEN:  # which transformers does not load
        config.get_text_config().pad_token_id = None
    network = AutoModelForSequenceClassification.from_pretrained(folder, config=config, dtype=torch.float32, **eager)
    rewards = []
    for chat in chats:
        ids = words(words.apply_chat_template(chat, tokenize=False, chat_template=template))["input_ids"]
        ids = ids[1:] if ids[:2] == [BOS, BOS] else ids
        ids = [ids[0], *ids[1 - max_length :]] if len(ids) > max_length else ids
        model = copy.deepcopy(network).eval()
        with torch.inference_mode():
            rewards.append(float(model(torch.tensor([ids])).logits[0, 0]))
    return rewards


def kind_of(family: str) -> str:
    if family in ("t5", "mt5", "umt5"):
        return "seq2seq"
    encoders = ("bert", "roberta", "albert", "electra", "mpnet", "deberta", "fnet", "bart", "xlnet")
    return "encoder" if any(name in family for name in encoders) else "bos"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            family, changes = FAMILIES[name]
            made[name] = build(tmp_path_factory.mktemp("family"), family, changes, tokenizer(kind_of(family)))
        return made[name]

    return of


def score(folder: Path) -> list[float]:
    return engines.load(folder, Scoring()).score(CHATS)


def external(folder: Path) -> list[float]:
    return classifiers.load(reward_models.find(str(folder)), 2048, 8192, "float32").score(CHATS)


def pyfunc(folder: Path) -> list[float]:
    files = [{"path": path.name, "sha256": objects.sha256_of(path)} for path in folder.iterdir() if path.is_file()]
    listed = folder / version_files.FILES
    listed.write_text(json.dumps(files))
    try:
        return mlflow_loader._load_pyfunc(str(folder)).predict([{"messages": chat} for chat in CHATS]).tolist()
    finally:
        listed.unlink()


def pyfunc_without_xlrm(folder: Path) -> list[float]:
    fingerprints.write(folder, engines.load(folder, Scoring()))
    try:
        return mlflow_loader._plain(folder)(CHATS)
    finally:
        (folder / "fingerprint.json").unlink()


DOORS = (score, external, pyfunc, pyfunc_without_xlrm)


def test_every_family_that_pads_or_packs_is_tried() -> None:
    assert {family for family, _ in FAMILIES.values()} >= {*padding.FAMILIES, *packing.FAMILIES} - {"gemma3"}


def test_the_page_of_families_says_which_are_packed_and_padded() -> None:
    page = (Path(__file__).parents[1] / "docs" / "families.md").read_text()
    rows = {
        line.split("|")[1].split()[0]: line.split("|")[2].strip() for line in page.splitlines() if line.startswith("|")
    }
    assert rows["packed:"] == ", ".join(packing.FAMILIES)
    assert rows["padded"] == ", ".join(name for name in padding.FAMILIES if name not in packing.FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_rewards_are_those_of_plain_transformers(folder, name: str) -> None:
    expected = plain(folder(name))
    assert max(expected) - min(expected) > 0.01
    for door in DOORS:
        assert door(folder(name)) == pytest.approx(expected, abs=2e-5), door.__name__


ODD: dict[str, tuple[str, dict, dict, int]] = {
    # name: (family, changes of the config, tokens of the tokenizer, embeddings beyond the tokens)
    "pad is EOS": ("phi3", SMALL | {"pad_token_id": EOS}, {"pad_token": "</s>"}, 53),
    "pad is EOS, no embedding to spare": ("phi3", SMALL | {"pad_token_id": EOS}, {"pad_token": "</s>"}, 0),
    "pad is EOS, packed": ("llama", SMALL | {"pad_token_id": EOS}, {"pad_token": "</s>"}, 0),
    "pad ends every turn": ("llama", SMALL | {"pad_token_id": 6}, {"pad_token": "<|end|>"}, 0),
    "pad ends every turn, padded": ("gemma2", SMALL | {"pad_token_id": 6}, {"pad_token": "<|end|>"}, 0),
    "no pad": ("gpt2", GPT | {"pad_token_id": None}, {"pad_token": None}, 0),
    "no pad, packed": ("llama", SMALL | {"pad_token_id": None}, {"pad_token": None}, 0),
    "no pad, more embeddings": ("gpt_neox", SMALL | {"pad_token_id": None}, {"pad_token": None}, 40),
    "pad in the config alone": ("opt", OPT, {"pad_token": None}, 0),
    "pad in the tokenizer alone": ("gpt2", GPT | {"pad_token_id": None}, {}, 0),
    "pad without an embedding": ("qwen2", SMALL | {"pad_token_id": NO_TOKEN}, {"pad_token": "<|extra|>"}, -1),
    "pad without an embedding, padded": ("gpt2", GPT | {"pad_token_id": NO_TOKEN}, {"pad_token": "<|extra|>"}, -1),
    "two EOS": ("gemma2", SMALL | {"eos_token_id": [EOS, 6]}, {}, 0),
    "the pads of model and tokenizer differ": ("opt", OPT | {"pad_token_id": 7}, {}, 0),
}


@pytest.mark.parametrize("name", ODD)
def test_whatever_token_pads(tmp_path, name: str) -> None:
    family, changes, tokens, more = ODD[name]
    template = TURNS.replace("<|end|>\n", "<|end|>") if name.startswith("pad ends") else TURNS
    words = tokenizer(template=template, **tokens)
    folder = build(tmp_path, family, changes, words, rows=len(words) + more)
    expected = plain(folder)
    for door in DOORS:
        assert door(folder) == pytest.approx(expected, abs=2e-5), door.__name__


@pytest.mark.parametrize("kind", ["decoder", "bos", "encoder"])
@pytest.mark.parametrize("written", ["", "{{ bos_token }}"])
def test_one_bos_whoever_writes_it(tmp_path, kind: str, written: str) -> None:
    """Also where a long conversation loses its beginning."""
    folder = build(tmp_path, "qwen2", SMALL, tokenizer(kind, written + TURNS))
    scorer = engines.load(folder, Scoring(max_length=30))
    for chat, ids in zip(CHATS, scorer.encode(CHATS), strict=True):
        assert ids.count(BOS) == (kind != "decoder" or written != ""), chat
        assert len(ids) <= 30 and (BOS not in ids or ids[0] == BOS)
    assert max(map(len, scorer.encode(CHATS))) == 30
    assert score(folder) == pytest.approx(plain(folder), abs=2e-5)


def test_a_tokenizer_that_begins_words_with_a_space_reads_the_text_as_it_is(tmp_path) -> None:
    """As Llama 2's, whose tokens of a text depend on whether a BOS comes before it."""
    words = tokenizer("bos", "{{ bos_token }}" + TURNS.replace("<|{{", "{{").replace("}}|>", "}}:"))
    words.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    folder = build(tmp_path, "llama", SMALL, words)
    assert score(folder) == pytest.approx(plain(folder), abs=2e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "opt", "gpt2", "bart", "llama"])
def test_a_long_text_is_cut_to_the_models_positions(tmp_path, family: str) -> None:
    name, changes = FAMILIES[family]
    table = {"n_positions": 40} if family == "gpt2" else {"max_position_embeddings": 40}
    folder = build(tmp_path, name, changes | table, tokenizer(kind_of(family)))
    expected = plain(folder, max_length=39 if family == "roberta" else 40)  # its positions begin after the pad token's
    for door in DOORS:
        assert door(folder) == pytest.approx(expected, abs=2e-5), door.__name__


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits_in_several_files(folder, tmp_path, dtype: torch.dtype) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder("qwen3")).to(dtype)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    AutoTokenizer.from_pretrained(folder("qwen3")).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    for door in DOORS:
        assert door(tmp_path) == pytest.approx(plain(tmp_path), abs=2e-5), door.__name__


def test_a_model_that_also_reads_images(tmp_path) -> None:
    """Gemma 3's config has one for texts and one for images."""
    from transformers import Gemma3Config, Gemma3ForSequenceClassification

    words = tokenizer("bos")
    text = FAMILIES["gemma3_text"][1] | {"vocab_size": len(words), "pad_token_id": PAD}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
              "patch_size": 14}  # fmt: skip
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=vision, num_labels=1, mm_tokens_per_image=4)
    model = Gemma3ForSequenceClassification(config)
    with torch.no_grad():
        model.score.weight.normal_()
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    for door in DOORS:
        assert door(tmp_path) == pytest.approx(plain(tmp_path), abs=2e-5), door.__name__


@pytest.mark.parametrize("family", ["qwen2", "bert", "t5"])
def test_several_labels_are_refused_at_every_door(tmp_path, family: str) -> None:
    """None of them is a reward that others would agree on."""
    name, changes = FAMILIES[family]
    folder = build(tmp_path / "two", name, changes | {"num_labels": 2}, tokenizer(kind_of(family)))
    rows = [
        {
            "prompt": "How much?",
            "chosen": "Three.",
            "rejected": "No",
            "response": "Three.",
            "responses": ["No", "Three."],
        }
    ]
    jsonl.write_jsonl(tmp_path / "samples" / "0" / "train" / "en.jsonl", rows)
    jsonl.write_jsonl(tmp_path / "in.jsonl", rows)
    place, output = f"{folder / 'config.json'}: num_labels", tmp_path / "output"
    doors: dict[str, Callable[[], object]] = {
        "score": lambda: score(folder), "external": lambda: external(folder), "pyfunc": lambda: pyfunc(folder),
        "vllm": lambda: engines.load(folder, Scoring(engine="vllm")),
        "evaluate": lambda: evaluate.run(evaluate.Config(language="en"), model=folder, corpora=tmp_path, output=output),
        "rank": lambda: rank.run(
            rank.Config(language="en", labelers=("en",)), samples=tmp_path / "samples", reward_models=[folder], output=output
        ),
    }  # fmt: skip
    for ask in doors.values():
        with refused(ArtifactError, place, 2):
            ask()
    with pytest.raises(ValueError, match=f"{folder / 'config.json'}: num_labels=2: "):
        mlflow_loader._plain(folder)
    files = ("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    for command in (
        ("score", "--model", folder, *files),
        ("evaluate", "--model", folder, "--benchmark", tmp_path / "in.jsonl", "--output", output),
        ("serve", folder, "--port", 0),
    ):
        result = CliRunner().invoke(app, [str(argument) for argument in command])
        errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
        assert result.exit_code == 2 and len(errors) == 1 and f"{place}=2: " in errors[0], result.output
    assert not (tmp_path / "out.jsonl").exists()


READER = """
import json, sys, torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel
folder, ids = sys.argv[1], json.loads(sys.argv[2])
model = AutoModel.from_config(AutoConfig.from_pretrained(folder, attn_implementation="eager")).eval()
weights = {name.removeprefix("model."): one for name, one in load_file(folder + "/model.safetensors").items()}
head = weights.pop("score.weight")
model.load_state_dict(weights)
with torch.inference_mode():
    print(json.dumps([float(model(torch.tensor([one])).last_hidden_state[0, -1] @ head[0]) for one in ids]))
"""
"""Rewards by transformers 4; 4.51 has no classifier for Gemma 3, but its model."""
DEEP = SMALL | {"num_hidden_layers": 7}
LOCAL = {"sliding_attention": {"rope_type": "default", "rope_theta": 3e4}}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip
OLDER = {
    "gemma2": ("gemma2", FAMILIES["gemma2"][1] | DEEP | {"rope_parameters": {"rope_type": "default", "rope_theta": 3e4}}),
    "gemma3_text": ("gemma3_text", DEEP | {
        "sliding_window": 16, "sliding_window_pattern": 3,
        "rope_parameters": LOCAL | {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6}},
    }),
    "gemma3_text, default": ("gemma3_text", DEEP | {"sliding_window": 16}),
    "gemma3_text, all sliding": ("gemma3_text", DEEP | {"sliding_window": 16, "layer_types": ["sliding_attention"] * 7}),
    "llama": ("llama", DEEP | {"rope_parameters": LLAMA3}),
    "mistral": ("mistral", DEEP | {"sliding_window": 16}),
    "qwen3": ("qwen3", DEEP | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3, yarn": ("qwen3", DEEP | {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e6}}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", OLDER)
def test_transformers_4_gives_the_same_rewards(tmp_path, name: str) -> None:
    python = Path(os.environ.get("XLRM_REWARDBENCH_VENV", "")) / "bin" / "python"
    if not os.environ.get("XLRM_REWARDBENCH_VENV") or not python.exists():
        pytest.skip("no environment with transformers 4 in XLRM_REWARDBENCH_VENV")
    build(tmp_path, *OLDER[name], tokenizer("bos"))
    transformers4.write_older_names(tmp_path)
    scorer = engines.load(tmp_path, Scoring())
    expected = scorer.score(CHATS)
    asked = [python, "-c", READER, tmp_path, json.dumps(scorer.encode(CHATS))]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print(f"{name}: {max(abs(one - other) for one, other in zip(found, expected, strict=True)):.1e}")
    assert max(expected) - min(expected) > 0.1
    assert found == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "bert", "roberta", "mt5"])
def test_the_lines_of_the_card_of_a_trained_model(folder, tmp_path, family: str) -> None:
    """A head on a base of any family, with a chat template of this project: the base has none."""
    base = shutil.copytree(folder(family), tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    words = loading.reward_tokenizer(base)
    output = tmp_path / "output"
    loading.new_reward_model(base, words, seed=1).save_pretrained(output)
    words.save_pretrained(output)
    transformers4.write_older_names(output)
    config = reward.Config(language="en").model_dump(mode="json")
    model_card.write_reward_model(output, base, "en", 8, config, {"train_loss": 0.5})
    lines = (output / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    for chat, expected in zip(CHATS, score(output), strict=True):
        given = {"folder": output, "messages": chat}
        exec(lines, given)
        assert float(given["reward"]) == pytest.approx(expected, abs=2e-5)
