"""Small random models of many families, and their rewards by plain transformers."""

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xlrm.models import chat_templates
from xlrm.models.chat_templates import Message
from xlrm.models.precisions import Precision

MARKS = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<unk>")
PAD, BOS, EOS, END, NO_TOKEN = 0, 1, 2, 6, 5000
TURNS = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
WORDS = TURNS.replace("<|{{", "{{").replace("}}|>", "}}:")
QUESTIONS = {
    "How much is one plus two?": ("Three.", "Four, I think, or else it is five: let me count again, one, two, three."),
    "Hello. " * 9: ("What can I do for you today?", "No"),
}


@dataclass(frozen=True)
class Asked:
    """What is scored, and how."""

    questions: dict[str, tuple[str, str]]
    """Question -> two answers."""
    precision: Precision = "float32"
    """Number format of the reward model."""

    @property
    def chats(self) -> list[list[Message]]:
        """A conversation for each answer."""
        return [chat_templates.conversation(asked, answer) for asked, both in self.questions.items() for answer in both]


ASKED = Asked(QUESTIONS)
CHATS = ASKED.chats
TEXTS = [message["content"] for chat in CHATS for message in chat]

SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "max_position_embeddings": 512,
}  # fmt: skip
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
OPT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48, "max_position_embeddings": 256,
}  # fmt: skip
ENCODER = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 256, "embedding_size": 32, "d_model": 32,
}  # fmt: skip
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 256,
}  # fmt: skip
EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}  # fmt: skip
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "rope_theta": 1e4}
VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
GEMMA3 = SMALL | {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}


@dataclass(frozen=True)
class Model:
    family: str
    """`model_type` of config.json."""
    changes: dict = field(default_factory=lambda: SMALL)
    """Fields of the config; of its `text_config` if it has one."""
    kind: str | None = None
    """What the tokenizer adds, by name in `tokenizer`; None for what the family's own add."""
    template: str = TURNS
    tokens: dict = field(default_factory=dict)
    """Arguments of the tokenizer, such as names of tokens; None leaves one out."""
    more: int = 0
    """Embeddings beyond the tokens."""
    dtype: str = "float32"
    """Number format of the files, of which there are several if it is another."""
    limit: int = 10**6
    """Tokens that the model reads."""


def _same(names: str, changes: dict) -> dict[str, Model]:
    return {name: Model(name, changes) for name in names.split()}


FAMILIES: dict[str, Model] = {
    **_same("llama mistral gemma olmo olmo2 qwen2 qwen3 phi3 phi", SMALL),
    "gemma2": Model("gemma2", SMALL | {"attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 8, "sliding_window": 16}),
    "gemma3_text": Model("gemma3_text", GEMMA3),
    "mistral, window": Model("mistral", SMALL | {"sliding_window": 16}),
    "qwen2, window": Model("qwen2", SMALL | {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
    "llama, yarn": Model("llama", SMALL | {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}}),
    "llama, NTK": Model("llama", SMALL | {
        "max_position_embeddings": 40, "rope_parameters": {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 1e4},
    }),
    "phi3, LongRoPE": Model("phi3", SMALL | {
        "original_max_position_embeddings": 40, "rope_parameters": LONG | {"original_max_position_embeddings": 40},
    }),
    "gpt2": Model("gpt2", GPT),
    "gpt_neo": Model("gpt_neo", {
        "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 16,
        "max_position_embeddings": 256,
    }),
    "gpt_neox": Model("gpt_neox"), "opt": Model("opt", OPT),
    "bloom": Model("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "falcon": Model("falcon", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}),
    **_same("roberta xlm-roberta camembert", ENCODER | {"type_vocab_size": 1}),
    **_same("bert electra albert mpnet deberta deberta-v2", ENCODER),
    "deberta-v2, relative": Model("deberta-v2", ENCODER | {
        "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "position_biased_input": False,
    }),
    "distilbert": Model("distilbert", {
        "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 256,
    }),
    "modernbert": Model("modernbert", SMALL | {
        "local_attention": 16, "global_attn_every_n_layers": 2, "classifier_pooling": "mean",
    }),
    **_same("t5 mt5", T5), **_same("bart mbart", BART),
    # Families that are not known to pad.
    "umt5": Model("umt5", T5), "xlnet": Model("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}),
    "fnet": Model("fnet", ENCODER), "qwen3_moe": Model("qwen3_moe", SMALL | EXPERTS),
}  # fmt: skip
"""Models as this project trains them, by name. Those before the last line are all that are packed or padded."""

VARIANTS: dict[str, Model] = {
    "pad is EOS": Model("phi3", SMALL | {"pad_token_id": EOS}, tokens={"pad_token": "</s>"}, more=53),
    "pad is EOS, no embedding to spare": Model("phi3", SMALL | {"pad_token_id": EOS}, tokens={"pad_token": "</s>"}),
    "pad is EOS, packed": Model("llama", SMALL | {"pad_token_id": EOS}, tokens={"pad_token": "</s>"}),
    **{
        f"pad ends every turn, {family}": Model(
            family, SMALL | {"pad_token_id": END}, template=TURNS.replace("<|end|>\n", "<|end|>"),
            tokens={"pad_token": "<|end|>"},
        )
        for family in ("llama", "gemma2")
    },
    **{
        f"pad is EOS, {family}": replace(
            FAMILIES[family], changes=FAMILIES[family].changes | {"pad_token_id": EOS}, tokens={"pad_token": "</s>"}
        )
        for family in ("bart", "t5")
    },
    "soft cap of 0": Model("gemma2", SMALL | {"attn_logit_softcapping": 0.0, "sliding_window": 1}),
    "quantised embeddings": Model("ibert", ENCODER),
    "no pad": Model("gpt2", GPT | {"pad_token_id": None}, tokens={"pad_token": None}),
    "no pad, packed": Model("llama", SMALL | {"pad_token_id": None}, tokens={"pad_token": None}),
    "no pad, more embeddings": Model("gpt_neox", SMALL | {"pad_token_id": None}, tokens={"pad_token": None}, more=40),
    "pad in the config alone": Model("opt", OPT, tokens={"pad_token": None}),
    "pad in the tokenizer alone": Model("gpt2", GPT | {"pad_token_id": None}),
    "pad without an embedding": Model("qwen2", SMALL | {"pad_token_id": NO_TOKEN}, tokens={"pad_token": "<|extra|>"}, more=-1),
    "pad without an embedding, padded": Model(
        "gpt2", GPT | {"pad_token_id": NO_TOKEN}, tokens={"pad_token": "<|extra|>"}, more=-1
    ),
    "the pads of model and tokenizer differ": Model("opt", OPT | {"pad_token_id": 7}),
    "two EOS": Model("gemma2", SMALL | {"eos_token_id": [EOS, END]}),
    "two EOS, packed": Model("llama", SMALL | {"eos_token_id": [EOS, END]}),
    "three EOS, no pad": Model("gpt2", GPT | {"eos_token_id": [EOS, END, 7], "pad_token_id": None}, tokens={"pad_token": None}),
    **{
        f"a tokenizer that pads and cuts on the other side, {family}": Model(
            family, tokens={"padding_side": "left", "truncation_side": "right", "model_max_length": 24}
        )
        for family in ("llama", "phi3")
    },
    **{
        f"BOS by {'template and ' * bool(written)}{kind}": Model("qwen2", kind=kind, template=written + TURNS)
        for kind in ("decoder", "bos", "encoder")
        for written in ("", "{{ bos_token }}")
    },
    "two first tokens": Model("llama", kind="two"),
    "two first tokens by template and tokenizer": Model("llama", kind="two", template="<unk><s>" + TURNS),
    "two first tokens, 40 positions": Model(
        "llama", SMALL | {"max_position_embeddings": 40}, kind="two", template="<unk><s>" + TURNS, limit=40
    ),
    **{
        f"{space} space, {family}": Model(
            family, changes, template="{{ bos_token }}" * (family == "llama") + WORDS, tokens={"space": space}
        )
        for space in ("first", "always", "normalized")
        for family, changes in (("llama", SMALL), ("xlm-roberta", ENCODER), ("t5", T5))
    },
    **{
        f"40 positions, {family}": replace(
            FAMILIES[family],
            changes=FAMILIES[family].changes | {"n_positions" if family == "gpt2" else "max_position_embeddings": 40},
            limit=39 if family == "roberta" else 40,  # its positions begin after the pad token's
        )
        for family in ("bert", "roberta", "opt", "gpt2", "bart", "llama")
    },
    **{
        f"{dtype} in several files, {family}": replace(FAMILIES[family], dtype=dtype)
        for dtype in ("bfloat16", "float16")
        for family in ("qwen3", "gemma2", "bert")
    },
    "tied embeddings": Model("llama", SMALL | {"tie_word_embeddings": True}),
    "with images, gemma3": Model("gemma3", {"text_config": GEMMA3, "vision_config": VISION, "mm_tokens_per_image": 4}),
}  # fmt: skip
"""Models as others publish them, with what makes a reward depend on the batch or the reader."""
MODELS = FAMILIES | VARIANTS


def tokenizer(kind: str = "decoder", template: Any = TURNS, space: str | None = None, **tokens: Any) -> Any:
    """A BPE, of bytes unless `space` says where a tokenizer of words marks their beginnings; `bos` and `encoder` add
    <s>, `encoder` and `seq2seq` </s>, `two` two tokens at the beginning, as GLM's."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    alphabet: list[str] = []
    if space is None:
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    elif space == "normalized":  # as Llama 2's file before tokenizers 0.19
        raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=space)
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=list(MARKS), initial_alphabet=alphabet)
    raw.train_from_iterator([*TEXTS, "user: assistant: <|>"], trainer)
    added = {"bos": "<s> $A", "encoder": "<s> $A </s>", "seq2seq": "$A </s>", "two": "<unk> <s> $A"}
    if kind in added:
        ids = [("<s>", BOS), ("</s>", EOS), ("<unk>", MARKS.index("<unk>"))]
        raw.post_processor = processors.TemplateProcessing(single=added[kind], special_tokens=ids)
    names: dict = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"} | tokens
    if kind == "encoder":
        names |= {"cls_token": "<s>", "sep_token": "</s>"}
    made = PreTrainedTokenizerFast(tokenizer_object=raw, **{name: one for name, one in names.items() if one})
    made.chat_template = template
    return made


def kind_of(family: str) -> str:
    if family in ("t5", "mt5", "umt5"):
        return "seq2seq"
    encoders = ("bert", "roberta", "albert", "electra", "mpnet", "deberta", "fnet", "bart", "xlnet")
    return "encoder" if any(name in family for name in encoders) else "bos"


def build(folder: Path, model: Model) -> Path:
    """A random model of this kind in `folder`."""
    words = tokenizer(model.kind or kind_of(model.family), model.template, **model.tokens)
    network = _random(model, len(words) + model.more)
    shards = {} if model.dtype == "float32" else {"max_shard_size": "20KB"}
    network.to(getattr(__import__("torch"), model.dtype)).save_pretrained(folder, **shards)
    words.save_pretrained(folder)
    return folder


def _random(model: Model, rows: int) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    asked = {"vocab_size": rows, "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    parts = {name: value for name, value in model.changes.items() if name != "text_config"}
    text = model.changes.get("text_config")
    fields = parts | {"text_config": asked | text} if text else asked | parts
    config: Any = AutoConfig.for_model(model.family, **{"num_labels": 1} | fields)
    inner = config.get_text_config()
    torch.manual_seed(len(model.family))
    pad, inner.pad_token_id = inner.pad_token_id, min(inner.pad_token_id or 0, rows - 1)
    network: Any = AutoModelForSequenceClassification.from_config(config)
    network.config.get_text_config().pad_token_id = pad
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.5 if name.startswith(("score", "classifier")) else 0.2)
    return network


def plain(folder: Path, chats: list = CHATS, template: str | None = None, limit: int = 10**6) -> list[float]:
    """transformers alone, with a fresh model for each conversation, so that none depends on those before."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    words: Any = AutoTokenizer.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    eager = {"attn_implementation": "eager"} if capped else {}
    if config.get_text_config().pad_token_id == NO_TOKEN:  # which transformers does not load
        config.get_text_config().pad_token_id = None
    network: Any = AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, dtype=torch.float32, **eager
    )
    rewards = []
    for chat in chats:
        ids = words(words.apply_chat_template(chat, tokenize=False, chat_template=template))["input_ids"]
        first = 2 if ids[1] == BOS and ids[0] != BOS else 1
        ids = ids[first:] if ids[:first] == ids[first : 2 * first] else ids
        ids = [*ids[:first], *ids[first - limit :]] if len(ids) > limit else ids
        model = copy.deepcopy(network).eval()
        with torch.inference_mode():
            rewards.append(float(model(torch.tensor([ids])).logits[0, 0]))
    return rewards
