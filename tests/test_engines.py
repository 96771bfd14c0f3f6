"""Engines on tiny models made here, and on a server of ours: the prompt as the model is to read it, answers in order."""

import json
import re
import shutil
from pathlib import Path

import kubeflow_server
import pytest
import sentencepiece
import torch
from refusals import refused
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    PreTrainedTokenizerFast,
)

from benchmarks import family_models
from benchmarks.served_translations import serving
from xlrm.errors import ArtifactError, ConfigError
from xlrm.languages import LANGUAGES
from xlrm.models import chat_templates, generation
from xlrm.models.decoding import Completion, Decoding, Each, Prompt, seed_of
from xlrm.models.generation import Model, Transformers
from xlrm.translation import translators

ENGLISH, SPANISH, KOREAN = LANGUAGES["en"], LANGUAGES["es"], LANGUAGES["ko"]
TEXTS = ["The snow is white.", "One.", "Three days after a day it is another day, and so on and on.", "Two words"]
SIZE = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 128}  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    """A Llama as X-ALMA's is: a BOS token from the tokenizer, another one in the chat template."""
    folder = tmp_path_factory.mktemp("llama")
    characters = sorted(set("".join(TEXTS) + "".join(map(chr, range(32, 127))) + "\n"))
    vocabulary = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = "{% for m in messages %}<s>[INST] {{ m['content'] }} [/INST]{% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(vocabulary), **size, bos_token_id=1, eos_token_id=2)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pieces(tmp_path_factory) -> tuple[Path, list[str]]:
    """A SentencePiece model, and its pieces."""
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "text").write_text("\n".join(TEXTS * 5))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "m"), vocab_size=60, minloglevel=2, hard_vocab_limit=False
    )
    loaded = sentencepiece.SentencePieceProcessor(model_file=str(folder / "m.model"))
    return folder / "m.model", [loaded.id_to_piece(i) for i in range(len(loaded))]


@pytest.fixture(scope="module")
def marian(tmp_path_factory, pieces) -> Path:
    """OPUS-MT of several target languages."""
    folder = tmp_path_factory.mktemp("marian")
    tokens = dict.fromkeys(["</s>", "<unk>", *pieces[1], ">>es<<", "<pad>"])
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(pieces[0].read_bytes())
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    MarianTokenizer(*(str(folder / name) for name in ("source.spm", "target.spm", "vocab.json"))).save_pretrained(
        folder
    )
    torch.manual_seed(0)
    pad = len(tokens) - 1
    config = MarianConfig(
        vocab_size=len(tokens),
        pad_token_id=pad,
        eos_token_id=0,
        decoder_start_token_id=pad,
        forced_eos_token_id=0,  # as OPUS-MT has it: the limit looks like an end
        **SIZE,
    )
    MarianMTModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def m2m(tmp_path_factory, pieces) -> Path:
    folder = tmp_path_factory.mktemp("m2m")
    tokens = dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", *pieces[1]])
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    M2M100Tokenizer(vocab_file=str(folder / "vocab.json"), spm_file=str(pieces[0])).save_pretrained(folder)
    torch.manual_seed(0)
    M2M100ForConditionalGeneration(M2M100Config(vocab_size=300, **SIZE)).save_pretrained(folder)
    return folder


def one_each(engine: generation.Engine, prompts: list[Prompt], how: Decoding, *told: Each) -> list[Completion]:
    return [one for (one,) in engine.complete(prompts, 1, how, *told)]


def test_x_almas_prompt_is_tokenised_as_its_code_does(llama) -> None:
    """One user message through the chat template, one BOS, nothing after the instruction's end."""
    tokenizer = Transformers(Model(str(llama))).tokenizer
    prompt = translators.PROMPT.format(source="English", target="Korean", text="The snow is white.")
    (ids,) = chat_templates.as_chats(tokenizer, [prompt])
    wanted = "[INST] Translate this from English to Korean:\nEnglish: The snow is white.\nKorean: [/INST]"
    assert ids == [1, *tokenizer.convert_tokens_to_ids(list(wanted))]


def test_a_policy_reads_a_prompt_as_it_was_trained_to(llama, tmp_path) -> None:
    """With a BOS that only the tokenizer writes; a model from elsewhere reads what its template writes, and no more."""
    tokenizer = Transformers(Model(str(llama))).tokenizer
    tokenizer.chat_template = "{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"
    tokenizer.save_pretrained(tmp_path)
    words = tokenizer.convert_tokens_to_ids(list("[INST] One. [/INST]"))
    for model, wanted in (Model(str(tmp_path), own=True), [1, *words]), (Model(str(tmp_path)), words):
        assert model.encode(model.tokenizer(), ["One."]) == [wanted]
    own = Model(str(tmp_path), own=True).tokenizer()
    (whole,) = chat_templates.encode(own, [chat_templates.conversation("One.", "Two.")], 100)
    assert whole[: len(words) + 1] == [1, *words]


def test_a_conversation_is_read_with_its_system_message(llama) -> None:
    messages = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "One."}]
    tokenizer = Transformers(Model(str(llama))).tokenizer
    (ids,) = chat_templates.as_chats(tokenizer, [messages])
    assert tokenizer.decode(ids).replace(" ", "") == "<s>[INST]Judge.[/INST]<s>[INST]One.[/INST]"


JUDGED = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "One."}]
TURNS = "{% for m in messages %}{% if m['role'] == 'user' %}<s>{{ m['content'] }}{% endif %}{% endfor %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"


@pytest.mark.parametrize("template", [NO_SYSTEM + TURNS, TURNS], ids=["refused", "dropped"])
def test_a_system_message_that_a_template_does_not_take_goes_before_the_users(llama, template) -> None:
    tokenizer = Transformers(Model(str(llama))).tokenizer
    tokenizer.chat_template = template
    both, alone = chat_templates.as_chats(tokenizer, [JUDGED, "One."])
    assert both == tokenizer("<s>Judge.\n\nOne.", add_special_tokens=False)["input_ids"]
    assert alone == tokenizer("<s>One.", add_special_tokens=False)["input_ids"]


def test_a_template_that_takes_no_conversation_is_one_line(llama) -> None:
    tokenizer = Transformers(Model(str(llama))).tokenizer
    tokenizer.chat_template = "{{ raise_exception('None at all') }}"
    with refused(ConfigError, "chat template") as raised:
        chat_templates.as_chats(tokenizer, [JUDGED])
    assert raised.value.message.endswith("None at all")


def test_each_answer_is_told_with_its_tokens(llama) -> None:
    told: dict[tuple[int, int], Completion] = {}
    engine = Transformers(Model(str(llama)), 2)

    def each(place: int, number: int, completion: Completion) -> None:
        told[place, number] = completion

    found = one_each(engine, TEXTS, Decoding(max_new_tokens=7), each)
    assert told == {(place, 0): completion for place, completion in enumerate(found)} and len(told) == 4
    assert [one.tokens[0] for one in found] == [len(ids) for ids in engine.encode(TEXTS)]
    assert all(one.tokens[1] == 7 for one in found if not one.whole)


@pytest.mark.parametrize("name", ["llama", "marian", "m2m"])
def test_answers_come_in_order_whatever_else_is_in_the_batch(name, request) -> None:
    model, how = Model(str(request.getfixturevalue(name))), Decoding(max_new_tokens=12)
    pair = (ENGLISH, SPANISH)
    alone = [one_each(Transformers(model, 1, pair), [text], how)[0] for text in TEXTS]
    assert one_each(Transformers(model, 3, pair), TEXTS, how) == alone
    assert one_each(Transformers(model, 4, pair), TEXTS[::-1], how) == alone[::-1]
    beams = Decoding(max_new_tokens=12, beams=5)
    assert one_each(Transformers(model, 3, pair), TEXTS, beams) == one_each(Transformers(model, 3, pair), TEXTS, beams)


@pytest.mark.parametrize("name", ["llama", "marian"])
def test_an_answer_cut_by_the_limit_is_known_to_be_cut(name, request) -> None:
    engine = Transformers(Model(str(request.getfixturevalue(name))), 4, (ENGLISH, SPANISH))
    (cut,) = one_each(engine, ["The snow is white."], Decoding(max_new_tokens=3))
    assert not cut.whole
    (first,) = engine.network.generate(
        **engine._padded(engine.encode(["The snow is white."])),
        max_new_tokens=3,
    )[:, -3:-2].tolist()
    engine.ends = [*engine.ends, first[0]]  # as if the model's first word were its last
    (whole,) = one_each(engine, ["The snow is white."], Decoding(max_new_tokens=3))
    assert whole.whole


def test_models_of_many_languages_are_told_which(marian, m2m) -> None:
    to_spanish = Transformers(Model(str(marian)), 4, (ENGLISH, SPANISH))
    assert to_spanish.tokenizer.convert_ids_to_tokens(to_spanish.encode(["One."])[0])[0] == ">>es<<"
    assert Transformers(Model(str(marian)), 4, (ENGLISH, KOREAN))._target_token == ""
    many = Transformers(Model(str(m2m)), 4, (ENGLISH, KOREAN))
    assert many.tokenizer.convert_ids_to_tokens(many.encode(["One."])[0])[0] == "__en__"
    assert many._options(Decoding(5), 5, [1])["forced_bos_token_id"] == many.tokenizer.convert_tokens_to_ids("__ko__")


SAMPLED = Decoding(12, temperature=1.0, seed=3)


@pytest.mark.parametrize("name", ["llama", "marian"])
def test_a_sampled_answer_is_its_prompts_and_seeds(name, request) -> None:
    """Whatever else is in the batch; and answers of one prompt or of like prompts do not share their noise."""
    model, pair = Model(str(request.getfixturevalue(name))), (ENGLISH, SPANISH)
    alone = [one_each(Transformers(model, 1, pair), [text], SAMPLED)[0] for text in TEXTS]
    assert one_each(Transformers(model, 3, pair), TEXTS, SAMPLED) == alone
    assert one_each(Transformers(model, 4, pair), TEXTS[::-1], SAMPLED) == alone[::-1]
    engine = Transformers(model, 16, pair)
    (several,) = engine.complete(["One."], 16, SAMPLED)
    assert len({one.text for one in several}) == 16
    assert several[0] == alone[TEXTS.index("One.")]
    assert engine.complete(["Two words", "One."], 4, SAMPLED)[1] == several[:4]


@pytest.mark.parametrize("name", ["llama, NTK", "phi3, LongRoPE"])
def test_positions_that_depend_on_the_length_do_not_depend_on_the_batch(tmp_path, name: str) -> None:
    """Each answer is that of plain transformers to its prompt alone, whatever came before."""
    row = family_models.FAMILIES[name]
    words = family_models.tokenizer(template=family_models.TURNS)
    changes = {
        "vocab_size": len(words),
        "eos_token_id": family_models.EOS,
        "pad_token_id": family_models.PAD,
        **row.changes,
    }
    torch.manual_seed(3)
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(row.family, **changes))
    for weight in network.parameters():
        weight.data.normal_(std=0.3)
    network.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    prompts: list[Prompt] = ["Hello. " * count + "How?" for count in (1, 9, 3, 20)]
    answers = one_each(Transformers(Model(str(tmp_path))), prompts, Decoding(16))
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = words(words.apply_chat_template(chat_templates.messages(prompt), tokenize=False), return_tensors="pt")
        alone = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
        ends = [family_models.EOS, family_models.END]
        written = alone.generate(**ids, max_new_tokens=16, do_sample=False, eos_token_id=ends)[
            0, ids["input_ids"].shape[1] :
        ]
        assert answer.text == chat_templates.text_of(words, written.tolist(), ends)
    drawn = Decoding(16, temperature=1.0)
    some = one_each(Transformers(Model(str(tmp_path))), prompts, drawn)
    assert one_each(Transformers(Model(str(tmp_path))), prompts[::-1], drawn)[::-1] == some


def test_what_is_there_is_not_asked_for_again(llama) -> None:
    """Any of several completions of a prompt may be missing."""
    engine, told = Transformers(Model(str(llama)), 3), []
    whole = engine.complete(TEXTS, 3, SAMPLED)
    known = {(0, 1): Completion("known", True), **{(2, k): Completion(f"known {k}", True) for k in range(3)}}
    found = engine.complete(TEXTS, 3, SAMPLED, lambda place, number, _: told.append((place, number)), known)
    assert sorted(told) == [(0, 0), (0, 2), *((place, k) for place in (1, 3) for k in range(3))]
    assert found == [[known.get((place, k), whole[place][k]) for k in range(3)] for place in range(len(TEXTS))]
    engine.close()
    everything = {(place, k): whole[place][k] for place in range(len(TEXTS)) for k in range(3)}
    assert engine.complete(TEXTS, 3, SAMPLED, known=everything) == whole and "network" not in vars(engine)


def test_tokens_are_drawn_by_their_probabilities() -> None:
    from xlrm.models.transformers_engine import _drawing

    logits = torch.tensor([[3.0, 1.0, 2.0, -torch.inf, 0.5]])
    rows = 4000

    def shares(**how) -> list[float]:
        scores = logits.repeat(rows, 1)
        for one in _drawing(Decoding(1, **how), 1, list(range(rows))):
            scores = one(torch.zeros(rows, 1, dtype=torch.long), scores)
        return (scores.argmax(1).bincount(minlength=5) / rows).tolist()

    assert shares(temperature=1.0) == pytest.approx(logits[0].softmax(0).tolist(), abs=0.025)
    assert shares(temperature=2.0) == pytest.approx((logits[0] / 2).softmax(0).tolist(), abs=0.025)
    assert shares(temperature=1.0, top_k=2)[1::2] == [0, 0] and shares(temperature=1.0, top_k=2)[4] == 0
    assert shares(temperature=1.0, top_p=0.5) == [1, 0, 0, 0, 0]


HABITS = {
    "repetition_penalty": 2.0, "num_beams": 3, "no_repeat_ngram_size": 1, "bad_words_ids": [[i] for i in range(60, 95)],
    "suppress_tokens": list(range(60, 95)), "begin_suppress_tokens": list(range(60, 95)), "forced_eos_token_id": 2,
    "sequence_bias": [[[i], -9.0] for i in range(60, 95)], "exponential_decay_length_penalty": [1, 9.0],
    "watermarking_config": {"greenlist_ratio": 0.1, "bias": 9.0}, "max_new_tokens": 3, "do_sample": True,
}  # fmt: skip
"""Fields of generation_config.json, each of which changes what `generate` writes."""
WHEN_SAMPLING = {
    "temperature": 0.1, "top_k": 1, "top_p": 0.1, "min_p": 0.9, "typical_p": 0.1, "epsilon_cutoff": 0.5, "eta_cutoff": 0.5,
    "top_h": 0.1, "min_length": 9, "min_new_tokens": 9, "encoder_repetition_penalty": 2.0, "guidance_scale": 3.0,
    "length_penalty": 3.0, "penalty_alpha": 0.6, "remove_invalid_values": True, "renormalize_logits": True,
    "forced_bos_token_id": 7, "max_length": 5, "max_time": 0.001, "num_return_sequences": 1, "diversity_penalty": 0.5,
}  # fmt: skip


def with_habits(model: Path, folder: Path, habits: dict[str, object]) -> Path:
    shutil.copytree(model, folder)
    kept = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(kept | habits))
    return folder


def likeliest(folder: Path, count: int) -> list[list[int]]:
    """The tokens that the model gives the highest probability, one after the other, by its forward pass alone."""
    network, written = LlamaForCausalLM.from_pretrained(folder), []
    for ids in Transformers(Model(str(folder))).encode(TEXTS):
        row = list(ids)
        for _ in range(count):
            row.append(int(network(input_ids=torch.tensor([row])).logits[0, -1].argmax()))
        written.append(row[len(ids) :])
    return written


def test_nothing_comes_from_the_models_own_habits(llama, tmp_path) -> None:
    """generation_config.json may have any: what a completion depends on is said by its decoding."""
    folder = with_habits(llama, tmp_path / "m", HABITS | WHEN_SAMPLING)
    words = Transformers(Model(str(llama))).tokenizer
    greedy = [chat_templates.text_of(words, row, [2]) for row in likeliest(llama, 12)]
    assert [one.text for one in one_each(Transformers(Model(str(folder))), TEXTS, Decoding(12))] == greedy
    plain, other = (one_each(Transformers(Model(str(one))), TEXTS, SAMPLED) for one in (llama, folder))
    assert plain == other
    penal = one_each(Transformers(Model(str(folder))), TEXTS, Decoding(12, repetition_penalty=2.0))
    assert [one.text for one in penal] != greedy


@pytest.mark.parametrize("habit", HABITS)
def test_each_habit_would_change_what_the_model_writes(llama, tmp_path, habit) -> None:
    folder = with_habits(llama, tmp_path / "m", {habit: HABITS[habit]})
    network, wanted = LlamaForCausalLM.from_pretrained(folder), likeliest(llama, 12)
    torch.manual_seed(0)
    rows = [torch.tensor([ids]) for ids in Transformers(Model(str(llama))).encode(TEXTS)]
    most = {} if habit == "max_new_tokens" else {"max_new_tokens": 12}
    written = [network.generate(row, pad_token_id=2, **most)[0, row.shape[1] :].tolist() for row in rows]
    assert written != wanted


def test_a_turn_ends_where_template_or_generation_config_end_it(llama) -> None:
    engine = Transformers(Model(str(llama)))
    assert engine.ends == [2]
    engine.tokenizer.add_special_tokens({"additional_special_tokens": ["<end_of_turn>", "<stop>"]})
    turn, stop = engine.tokenizer.convert_tokens_to_ids(["<end_of_turn>", "<stop>"])
    engine.tokenizer.chat_template = "{% for m in messages %}<s>{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    engine.network.generation_config.eos_token_id = [2, stop]
    del engine.ends
    assert engine.ends == [2, turn, stop]
    assert (
        chat_templates.text_of(engine.tokenizer, [*engine.tokenizer("One")["input_ids"], turn], engine.ends) == "O n e"
    )


def test_padding_is_a_token_that_the_model_has(llama) -> None:
    """Llama 3.2 has none; one that is added to its tokenizer has no row among its embeddings."""
    engine = Transformers(Model(str(llama)), 4)
    expected = one_each(engine, TEXTS, Decoding(5))
    engine.tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    engine.__dict__.pop("_pad")
    assert engine.tokenizer.pad_token_id == engine.network.get_input_embeddings().num_embeddings
    assert one_each(engine, TEXTS, Decoding(5)) == expected


def test_a_prompt_beyond_the_context_is_refused_and_no_other(llama) -> None:
    engine = Transformers(Model(str(llama)), context=generation.Context("context", 40))
    found = one_each(engine, TEXTS, Decoding(30))
    lengths = [len(ids) for ids in engine.encode(TEXTS)]
    assert [one.refused for one in found] == [None if n < 40 else f"{n} tokens of 40" for n in lengths]
    assert all(sum(one.tokens) <= 40 for one in found) and 2 <= sum(one.refused is None for one in found) < 4


def test_a_language_the_model_does_not_know_is_an_error(m2m) -> None:
    from dataclasses import replace

    with refused(ConfigError, "language", "qq"):
        unknown = replace(KOREAN, code="qq", name="Klingon", flores="tlh_Latn")
        one_each(Transformers(Model(str(m2m)), 4, (ENGLISH, unknown)), ["One."], Decoding(5))


def test_a_model_that_is_not_there_is_one_line(tmp_path) -> None:
    with refused(ArtifactError, tmp_path / "nosuch"):
        one_each(Transformers(Model(str(tmp_path / "nosuch"))), ["One."], Decoding(5))


def endpoint(monkeypatch, server) -> generation.Endpoint:
    monkeypatch.setenv("OPENAI_BASE_URL", server.address)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    return generation.Endpoint(Model("served"), parallel=4)


def test_an_endpoint_is_asked_with_the_same_words_and_decoding(monkeypatch) -> None:
    with serving(lambda text, _: (text.upper(), "length" if text == "One." else "stop")) as server:
        prompts = [translators.PROMPT.format(source="English", target="Spanish", text=text) for text in TEXTS]
        found = one_each(endpoint(monkeypatch, server), prompts, Decoding(99, temperature=0.6, top_p=0.9, seed=7))
    seeds = [request["seed"] for request in server.requests]
    assert len(set(seeds)) == len(seeds)
    assert found == [Completion(text.upper(), text != "One.") for text in TEXTS]
    (request,) = [one for one in server.requests if one["messages"] == [{"role": "user", "content": prompts[1]}]]
    wanted = {
        "max_tokens": 99,
        "temperature": 0.6,
        "top_p": 0.9,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "model": "served",
    }
    assert request | wanted | {"seed": seed_of(7, prompts[1])} == request
    assert request["authorization"] == "Bearer sk-secret"


def test_an_endpoint_is_asked_again_after_an_error_and_never_tells_its_key(monkeypatch) -> None:
    failed = []

    def moody(text: str, _: dict) -> tuple[str, str]:
        if text not in failed:
            failed.append(text)
            return "", "error"
        return text.upper(), "stop"

    with serving(moody) as server:
        assert [one.text for one in one_each(endpoint(monkeypatch, server), PROMPTS, Decoding(9))] == ["A", "B"]
    with serving(lambda *_: ("", "error")) as server, pytest.raises(ArtifactError) as caught:
        broken = endpoint(monkeypatch, server)
        broken.client = broken.client.with_options(max_retries=0)
        one_each(broken, PROMPTS, Decoding(9))
    assert (
        caught.value.value == "served" and caught.value.message.endswith("500") and "sk-secret" not in str(caught.value)
    )
    monkeypatch.delenv("OPENAI_BASE_URL")
    with refused(ConfigError, "OPENAI_BASE_URL"):
        one_each(generation.Endpoint(Model("served")), PROMPTS, Decoding(9))


def test_a_server_that_knows_openais_fields_alone_is_asked_with_those(monkeypatch) -> None:
    def strict(text: str, request: dict) -> tuple:
        if "top_k" in request:
            return "Unrecognized request argument supplied: top_k", "refused", 400, {}
        return text.upper(), "stop"

    with serving(strict) as server:
        engine = endpoint(monkeypatch, server)
        assert [one.text for one in one_each(engine, PROMPTS, Decoding(9))] == ["A", "B"]
        (penal,) = one_each(engine, PROMPTS[:1], Decoding(9))
        assert penal.text == "A" and "top_k" not in server.requests[-1]
        engine.refused = frozenset()
        (asked,) = one_each(engine, PROMPTS[:1], Decoding(9, repetition_penalty=1.2))
    assert "top_k" in asked.refused


def test_a_server_is_asked_without_what_it_refuses(monkeypatch) -> None:
    """By OpenAI's words for its reasoning models and by those of Gemma's template, one after the other."""

    def picky(text: str, request: dict) -> tuple:
        if "max_tokens" in request:
            said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return said, "refused", 400, {}
        if request["messages"][0]["role"] == "system":
            return "System role not supported", "refused", 400, {}
        return text, "stop"

    with serving(picky, read=str) as server:
        engine = endpoint(monkeypatch, server)
        assert one_each(engine, [JUDGED, "Two."], Decoding(9)) == [
            Completion("Judge.\n\nOne.", True), Completion("Two.", True),
        ]  # fmt: skip
        before = len(server.requests)
        assert one_each(engine, [JUDGED], Decoding(9))[0].text == "Judge.\n\nOne."
        assert len(server.requests) == before + 1, "what was refused once is not sent again"
    request = server.requests[-1]
    assert request["max_completion_tokens"] == 9 and request["top_k"] == -1 and "max_tokens" not in request


ONE_TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
)


@pytest.mark.parametrize(
    ("refusals", "missing"),
    [
        ({"temperature": ONE_TEMPERATURE}, {"temperature"}),
        ({"top_p": "`temperature` and `top_p` cannot both be specified for this model."}, {"top_p"}),
        (
            {"temperature": ONE_TEMPERATURE, "top_p": "Unsupported parameter: 'top_p' is not supported with this model.",
             "seed": "body.seed: Extra inputs are not permitted"},
            {"temperature", "top_p", "seed"},
        ),
    ],
)  # fmt: skip
def test_a_server_that_allows_only_its_defaults(refusals, missing, monkeypatch, capsys) -> None:
    """By the words of OpenAI, Anthropic and Mistral; that greedy answers are none is said once."""

    def picky(text: str, request: dict) -> tuple:
        said = [message for name, message in refusals.items() if name in request]
        return (said[0], "refused", 400, {}) if said else (text, "stop")

    with serving(picky, read=str) as server:
        engine = endpoint(monkeypatch, server)
        assert [one.text for one in one_each(engine, PROMPTS, Decoding(9))] == PROMPTS
        assert [one.text for one in one_each(engine, PROMPTS, Decoding(9))] == PROMPTS
    sent = server.requests[-1]
    assert {"temperature", "top_p", "seed"} - sent.keys() == missing
    assert capsys.readouterr().err.count("takes no temperature of 0") == ("temperature" in missing)


def test_a_prompt_that_is_too_long_is_no_refusal_of_a_field(monkeypatch) -> None:
    """vLLM's words, which name max_completion_tokens too."""
    said = "'max_tokens' or 'max_completion_tokens' is too large: 9. The context length is 8 tokens, and the system has none."
    with serving(lambda *_: (said, "refused", 400, {}), read=str) as server:
        engine = endpoint(monkeypatch, server)
        (long,) = one_each(engine, [JUDGED], Decoding(9))
    assert "is too large" in long.refused and not engine.refused and len(server.requests) == 1


def reply(choices, **more) -> dict:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": choices,
        "usage": usage,
    } | more


def choice(content, ended: str = "stop", **more) -> list[dict]:
    return [{"index": 0, "finish_reason": ended, "message": {"role": "assistant", "content": content} | more}]


EMPTY = [
    reply([]), reply(None, error={"message": "upstream overloaded", "code": 502}), reply(choice(None)), None, [],
    reply([{"index": 0, "finish_reason": "stop", "message": None}]),
]  # fmt: skip


@pytest.mark.parametrize(
    "empty", EMPTY, ids=["no choices", "null choices", "null text", "null", "list", "null message"]
)
def test_a_reply_without_an_answer_is_asked_for_again(empty, monkeypatch) -> None:
    replies = iter([empty, reply(choice("Yes."))])
    monkeypatch.setattr("xlrm.models.endpoint_engine._delay", lambda attempt: 0)
    with serving(lambda *_: (next(replies), "stop"), read=str) as server:
        (answer,) = one_each(endpoint(monkeypatch, server), ["Is it?"], Decoding(9))
    assert (answer.text, answer.whole) == ("Yes.", True)
    assert answer.tokens == ((14, 4) if isinstance(empty, dict) else (7, 2)), "each reply has its price"


@pytest.mark.parametrize(
    ("empty", "reason"),
    [
        (reply([]), "replies without choices"),
        (reply(None, error={"message": "overloaded, key sk-secret"}), r"overloaded, key \*\*\*"),
        (None, "replies without choices"),
    ],
)
def test_a_server_without_answers_is_one_line(empty, reason, monkeypatch) -> None:
    monkeypatch.setattr("xlrm.models.endpoint_engine._delay", lambda attempt: 0)
    with (
        serving(lambda *_: (empty, "stop"), read=str) as server,
        refused(ArtifactError, f"{server.address}: model", "served") as raised,
    ):
        one_each(endpoint(monkeypatch, server), ["Is it?"], Decoding(9))
    assert re.fullmatch(f"no answer: {reason}", raised.value.message)
    assert len(server.requests) == 1 + generation.Endpoint.retries


@pytest.mark.parametrize(
    ("message", "whole", "refused", "requests"),
    [
        (choice(None, reasoning_content="Because."), False, "answers without text", 6),
        (choice(None, "length", reasoning_content="Because."), False, None, 1),
        (choice(None, "content_filter"), False, "content_filter", 1),
        (choice(None, refusal="I cannot."), False, "I cannot.", 1),
        (choice(""), True, None, 1),
    ],
)
def test_an_answer_without_text(message, whole, refused, requests, monkeypatch) -> None:
    monkeypatch.setattr("xlrm.models.endpoint_engine._delay", lambda attempt: 0)
    with serving(lambda *_: (reply(message), "stop"), read=str) as server:
        assert one_each(endpoint(monkeypatch, server), ["Is it?"], Decoding(9)) == [
            Completion("", whole, refused=refused)
        ]
    assert len(server.requests) == requests


def test_delays_double_up_to_eight_seconds_less_a_quarter() -> None:
    from xlrm.models.endpoint_engine import _delay

    assert _delay(0) == 0
    for attempt, seconds in enumerate((0.5, 1, 2, 4, 8, 8), start=1):
        assert 0.75 * seconds <= _delay(attempt) <= seconds


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B is right. [[B]]", "B is right. [[B]]"),
        ("<think>A? [[A]]</think>\n[[B]]", "\n[[B]]"),
        ("The template began the thinking. [[A]]</think>[[B]]", "[[B]]"),
        ("<think>It quotes </think> and goes on. [[A]]</think>[[B]]", "[[B]]"),
        (" <think>It has no end. [[A]]", ""),
        ("It has the mark <think> in it. [[B]]", "It has the mark <think> in it. [[B]]"),
        ("<thinking>A? [[A]]</thinking>[[B]]", "[[B]]"),
        ("[THINK]A? [[A]][/THINK][[B]]", "[[B]]"),
        ("[THINK]A? [[A]]", ""),
        ("<|START_THINKING|>[[A]]<|END_THINKING|>[[B]]", "[[B]]"),
        ("◁think▷[[A]]◁/think▷[[B]]", "[[B]]"),
        (
            "<|channel|>analysis<|message|>[[A]]?<|end|><|start|>assistant<|channel|>final<|message|>[[B]]<|return|>",
            "[[B]]<|return|>",
        ),
        ("<|channel|>analysis<|message|>We weigh [[A]]", ""),
        ("analysisWe weigh [[A]].assistantfinal[[B]]", "[[B]]"),
        ("analysisWe weigh [[A]]", ""),
        ("analysis of both: [[B]]", "analysis of both: [[B]]"),
    ],
)
def test_the_answer_comes_after_the_thinking(text: str, answer: str) -> None:
    assert Completion(text, True).answer == answer


def test_marks_of_a_thinking_that_are_special_tokens_are_kept() -> None:
    words = family_models.tokenizer(extra_special_tokens=["[THINK]", "[/THINK]"])
    for written, answer in {
        "[THINK]A? [[A]][/THINK]B[[B]]</s>": "B[[B]]", "[THINK]A? [[A]]": "", "B[[B]]<|end|></s>": "B[[B]]",
    }.items():  # fmt: skip
        ids = words(written, add_special_tokens=False)["input_ids"]
        assert Completion(chat_templates.text_of(words, ids, [family_models.EOS]), True).answer == answer


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("OPENAI_BASE_URL", "localhost:8000/v1", "localhost:8000/v1"),
        ("OPENAI_BASE_URL", "ftp://me:sk-secret@host/v1?key=sk-secret", "ftp://host/v1"),
        ("OPENAI_API_KEY", "sk-secret “quoted”", None),
    ],
)
def test_an_address_or_a_key_that_cannot_be_right_is_one_line(name, value, shown, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv(name, value)
    with refused(ConfigError, name, shown) as caught:
        one_each(generation.Endpoint(Model("served")), ["Is it?"], Decoding(9))
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("shown", ["gsk_abcdef0123456789", "gsk_ab**********6789", "gsk_...789", "Bearer gsk_abc…789"])
def test_a_key_of_any_provider_is_in_no_error(monkeypatch, shown: str) -> None:
    with serving(lambda *_: (f"Invalid API Key: {shown}", "refused", 400, {}), read=str) as server:
        engine = endpoint(monkeypatch, server)
        monkeypatch.setenv("OPENAI_API_KEY", "gsk_abcdef0123456789")
        (refused,) = one_each(engine, ["Is it?"], Decoding(9))
    assert "gsk_" not in refused.refused and "789" not in refused.refused and "Invalid API Key: " in refused.refused


def test_a_key_is_in_no_error(monkeypatch) -> None:
    """Whole, as OpenAI shortens it, or in the address."""
    said = "Incorrect API key: sk-secret, sent as Bearer sk-secret and kept as sk-se****et."
    with serving(lambda *_: (said, "refused", 400, {}), read=str) as server:
        engine = endpoint(monkeypatch, server)
        (refused,) = one_each(engine, ["Is it?"], Decoding(9))
        assert "sk-se" not in refused.refused and "Incorrect API key: ***" in refused.refused
        with_password = server.address.replace("//", "//me:sk-p@ss@") + "?api-key=sk-secret"
    monkeypatch.setenv("OPENAI_BASE_URL", with_password)
    engine = generation.Endpoint(Model("served"), retries=0)
    with pytest.raises(ArtifactError) as gone:
        one_each(engine, ["Is it?"], Decoding(9))
    assert gone.value.value == "served" and gone.value.message.endswith("APIConnectionError")
    assert "sk-" not in str(gone.value) and "ss@" not in str(gone.value)


PROMPTS = [translators.PROMPT.format(source="English", target="Spanish", text=text) for text in ("a", "b")]


@pytest.mark.parametrize(
    ("code", "group"), [("es", 2), ("it", 2), ("ko", 6), ("zh", 6), ("de", 1), ("ru", 3), ("vi", 4), ("tr", 8)]
)
def test_x_alma_has_a_model_for_each_group(code: str, group: int) -> None:
    assert translators.x_alma_model(ENGLISH, LANGUAGES[code]) == f"haoranxu/X-ALMA-13B-Group{group}"
    assert translators.x_alma_model(LANGUAGES[code], ENGLISH) == f"haoranxu/X-ALMA-13B-Group{group}"


@pytest.mark.parametrize(
    ("code", "groups"), [("es", [2]), ("ko", [6]), ("en", [1, 2, 3, 4, 6, 8])], ids=["es", "ko", "from any language"]
)
def test_x_almas_commit_tells_its_versions_apart(code: str, groups: list[int], monkeypatch) -> None:
    settings, names = translators.Settings(translator="x-alma"), [f"haoranxu/X-ALMA-13B-Group{one}" for one in groups]
    with kubeflow_server.serve() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        server.commits = {name: f"{i}" * 40 for i, name in enumerate(names)}
        assert translators.revision(settings, LANGUAGES[code]) == " ".join(server.commits.values())
        server.commits |= {names[-1]: "f" * 40}
        assert translators.revision(settings, LANGUAGES[code]).endswith("f" * 40)
        pinned = settings.model_copy(update={"revisions": {names[-1]: "c" * 40}})
        assert translators.revision(pinned, LANGUAGES[code]).endswith("c" * 40)
        served = settings.model_copy(update={"engine": "endpoint"})
        assert translators.revision(served, LANGUAGES[code]) == ""


def test_x_alma_has_none_for_two_groups() -> None:
    with refused(ConfigError, "translate.translator"):
        translators.x_alma_model(SPANISH, KOREAN)
    assert translators.x_alma_model(SPANISH, LANGUAGES["it"]).endswith("Group2")


def test_a_changed_model_folder_is_another_translator(llama, tmp_path) -> None:
    import shutil

    settings = translators.Settings(translator=str(shutil.copytree(llama, tmp_path / "m")))
    first = translators.load(settings, ENGLISH, SPANISH).identity
    assert translators.load(settings, ENGLISH, SPANISH).identity == first
    assert translators.load(settings, ENGLISH, KOREAN).identity != first
    (tmp_path / "m" / "config.json").write_text((llama / "config.json").read_text() + "\n")
    assert translators.load(settings, ENGLISH, SPANISH).identity != first
    assert translators.revision(settings, SPANISH) != first["revision"] and first["revision"]
