"""Rewards: the same whatever else is in the batch, read from the last real token, refused where they would be made up."""

import itertools
import json
import random
from dataclasses import dataclass, field, replace

import pytest
import torch
from refusals import refused
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from xlrm.data.phrasebook import language, questions
from xlrm.errors import ArtifactError
from xlrm.models import chat_templates, loading
from xlrm.scorers import interface
from xlrm.scorers.engines import TransformersScorer
from xlrm.scorers.interface import Scorer
from xlrm.scorers.reward_journal import Journal
from xlrm.store.jsonl import read_rows
from xlrm.training import pretraining

CHATS = [
    chat_templates.conversation("How much is one plus two?", answer)
    for answer in ("Three.", "Four.", "One plus two is three. I hope this helps.", "The color of snow is white.")
]


@pytest.fixture(scope="module")
def scorer(tiny_base) -> TransformersScorer:
    tokenizer = loading.load_tokenizer(tiny_base)
    return TransformersScorer(loading.new_reward_model(tiny_base, tokenizer, seed=1).eval(), tokenizer)


def test_rewards_do_not_depend_on_the_batch(scorer) -> None:
    alone = [scorer.score([chat])[0] for chat in CHATS]
    for tokens in (1, 64, 10_000):
        together = replace(scorer, batch_tokens=tokens).score(CHATS * 3)
        assert together == pytest.approx(alone * 3, abs=1e-5)
    backwards = scorer.score(CHATS[::-1])
    assert backwards == pytest.approx(alone[::-1], abs=1e-5)


@pytest.mark.slow
def test_rewards_of_real_pairs_do_not_depend_on_batch_or_order(scorer, shared_data) -> None:
    """Texts of 20 to 1,000 and more tokens, cut at 1,024."""
    rows = read_rows(shared_data / "rewardbench_mini_en.jsonl")[::25]
    chats = [chat_templates.conversation(row["prompt"], row[side]) for row in rows for side in ("chosen", "rejected")]
    scorer = replace(scorer, max_length=1024)
    lengths = [len(ids) for ids in scorer.encode(chats)]
    assert len(chats) > 100 and max(lengths) > 8 * min(lengths)
    expected = replace(scorer, batch_tokens=1).score(chats)
    assert max(expected) - min(expected) > 0.1
    for seed, tokens in enumerate((2048, 8192, 65536)):
        order = random.Random(seed).sample(range(len(chats)), len(chats))
        shuffled = replace(scorer, batch_tokens=tokens).score([chats[i] for i in order])
        assert shuffled == pytest.approx([expected[i] for i in order], abs=1e-5)


@dataclass
class SumOfIds(Scorer):
    """A scorer that computes nothing, and keeps how many sequences it was asked for at a time."""

    tokenizer: PreTrainedTokenizerBase
    max_length: int = 2048
    batch_tokens: int = 8192
    asked: list[int] = field(default_factory=list)
    embeddings: int = 10**6

    def batches(self, token_ids):
        return iter([list(range(len(token_ids)))])

    def computed(self, batches):
        self.asked += map(len, batches)
        return ((number, [float(sum(ids)) for ids in batch]) for number, batch in enumerate(batches))


def test_the_same_sequence_is_scored_once_and_remembered(tiny_base, monkeypatch) -> None:
    scorer = SumOfIds(loading.load_tokenizer(tiny_base))
    asked = scorer.asked
    monkeypatch.setattr(interface, "WINDOW", 3)
    found = list(scorer.stream(iter([*CHATS, *CHATS, CHATS[0], CHATS[0]])))
    assert asked == [3, 1] and found == [*found[:4], *found[:4], found[0], found[0]] and len(set(found)) == 4
    monkeypatch.setattr(interface, "_KNOWN", 1)
    asked.clear()
    assert list(scorer.stream([*CHATS, *CHATS, CHATS[0], CHATS[0]])) == found
    assert asked == [3, 3, 3], "what is forgotten is asked for again"


def test_tokens_written_once_serve_every_model_of_the_tokenizer(scorer, tiny_base, monkeypatch) -> None:
    tokenizer = scorer.tokenizer
    written = scorer.tokens(iter(CHATS))
    expected = scorer.score(CHATS)
    again = loading.load_tokenizer(tiny_base)
    assert loading.same_text(tokenizer, again)
    monkeypatch.setattr(chat_templates, "encode_texts", None)
    assert replace(scorer, tokenizer=again).score(written) == expected
    again.chat_template = again.chat_template.replace("user", "person").replace("assistant", "x") + " "
    assert not loading.same_text(tokenizer, again)


def test_interrupted_scoring_goes_on_from_its_last_batch(scorer, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(interface, "WINDOW", 7)
    small = replace(scorer, batch_tokens=64)
    chats = [chat_templates.conversation(f"Number {i}?", "Yes. " * (i % 4 + 1)) for i in range(20)]
    batches, compute = [], TransformersScorer.batch
    monkeypatch.setattr(TransformersScorer, "batch", lambda self, ids: batches.append(ids) or compute(self, ids))
    whole, expected = small.score(chats), len(batches)

    def interrupted(self, ids):
        if len(batches) == expected // 2:
            raise KeyboardInterrupt
        batches.append(ids)
        return compute(self, ids)

    batches.clear()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TransformersScorer, "batch", interrupted)
        small.score(chats, Journal(tmp_path / "deep" / "j", "model"))
    size = (tmp_path / "deep" / "j").stat().st_size
    with (tmp_path / "deep" / "j").open("ab") as file:
        file.write(b"half a record")
    batches.clear()
    journal = Journal(tmp_path / "deep" / "j", "model")
    assert list(small.stream(iter(chats), journal=journal)) == whole, "to the bit"
    assert len(batches) == expected - expected // 2 and 2 < expected // 2 < size
    batches.clear()
    assert small.score(chats, Journal(tmp_path / "deep" / "j", "model")) == whole and batches == []
    assert small.score(chats[::-1], Journal(tmp_path / "deep" / "j", "model")) == pytest.approx(whole[::-1], abs=1e-5)
    batches.clear()
    assert small.score(chats, Journal(tmp_path / "deep" / "j", "another")) == whole and len(batches) == expected


def test_the_reward_is_the_head_on_the_last_real_token(scorer) -> None:
    model, tokenizer = scorer.network, scorer.tokenizer
    for chat, reward in zip(CHATS, scorer.score(CHATS), strict=True):
        ids = torch.tensor(chat_templates.encode(tokenizer, [chat], 2048))
        with torch.inference_mode():
            by_hand = float(model.score(model.model(ids).last_hidden_state[0, -1]))
        assert by_hand == pytest.approx(reward, abs=1e-5)
        assert tokenizer.decode(ids[0, -1:]) == "<|end|>"


def test_truncation_takes_the_beginning_and_never_the_answer(scorer) -> None:
    whole, short = (replace(scorer, max_length=length).encode(CHATS) for length in (2048, 9))
    assert all(b == a[-9:] for a, b in zip(whole, short, strict=True))


def test_pretraining_sees_chats_as_the_template_writes_them(tiny_base) -> None:
    """And learns the second text of every document, whole, and nothing of the first."""
    tokenizer = loading.load_tokenizer(tiny_base)
    chats = 0
    documents = list(itertools.islice(questions.documents(["en", "ko"], seed=3), 50))
    for document, example in zip(documents, pretraining.examples(iter(documents), 50, tokenizer), strict=True):
        (code, other), ids = document.languages, example["input_ids"]
        first, second = language.load(code).say(document.texts[0]), language.load(other).say(document.texts[1])
        learned = tokenizer.decode([label for label in example["labels"] if label != -100])
        if code == other:
            chats += 1
            assert ids == chat_templates.encode(tokenizer, [chat_templates.conversation(first, second)], 2048)[0]
            assert learned == f"<|assistant|>{second}<|end|>"
        else:
            assert tokenizer.decode(ids) == f"{first}\n{second}<|end|>"
            assert learned == f"{second}<|end|>"
    assert 10 < chats < 40


def test_padding_is_a_token_of_its_own(tiny_base, tmp_path) -> None:
    """Reward models that are trained here."""
    tokenizer = loading.reward_tokenizer(tiny_base)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    again = loading.reward_tokenizer(tmp_path)
    assert again.pad_token_id != again.eos_token_id


def test_a_template_with_todays_date_writes_a_fixed_one(tiny_base, tmp_path) -> None:
    tokenizer = loading.load_tokenizer(tiny_base)
    own = tokenizer.chat_template
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y, %B %-d') }}\n" + own
    for _ in range(2):  # what is saved is loaded as it is
        tokenizer.save_pretrained(tmp_path)
        tokenizer = loading.load_tokenizer(tmp_path)
    text, rest = (
        AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(CHATS[0], tokenize=False, chat_template=template)
        for template in (None, own)
    )
    assert text == f"26 Jul 2024, July 26\n{rest}"


@pytest.fixture(scope="module")
def llama_3_2(tmp_path_factory):
    """A tokenizer as Llama 3.2's: BOS by the tokenizer and by the template, today's date, the EOS token for padding."""
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    marks = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    words = ["user", "assistant", "How", "much", "is", "one", "plus", "two", "?", "Three", ".", "Four", "[UNK]", "\n\n"]
    raw = Tokenizer(WordLevel({word: i for i, word in enumerate(marks + words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("\n\n", "isolated"), pre_tokenizers.Whitespace()])
    raw.post_processor = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[(marks[0], 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=marks[0], eos_token=marks[3], pad_token=marks[3], unk_token="[UNK]",
        additional_special_tokens=marks[1:3],
    )  # fmt: skip
    tokenizer.chat_template = "{{ bos_token }}{{ strftime_now('%d %b %Y') }}" + loading.LLAMA3
    folder = tmp_path_factory.mktemp("llama")
    tokenizer.save_pretrained(folder)
    return loading.reward_tokenizer(folder)


def test_llamas_template_gets_a_fixed_date_and_nothing_else(llama_3_2) -> None:
    assert llama_3_2.apply_chat_template(CHATS[0], tokenize=False) == (
        "<|begin_of_text|>26 Jul 2024<|start_header_id|>user<|end_header_id|>\n\nHow much is one plus two?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nThree.<|eot_id|>"
    )
    assert llama_3_2.pad_token == loading.PAD_TOKEN and llama_3_2.pad_token_id != llama_3_2.eos_token_id


def test_all_tokenise_a_conversation_alike(llama_3_2) -> None:
    """Ours, TRL's and vLLM's way (the template tokenises), and RewardBench's (BOS twice, the second one masked)."""
    ours = chat_templates.encode(llama_3_2, CHATS[:1], 2048)[0]
    assert llama_3_2.apply_chat_template(CHATS[0], tokenize=True, return_dict=False) == ours
    twice = llama_3_2(llama_3_2.apply_chat_template(CHATS[0], tokenize=False))["input_ids"]
    assert twice[:2] == [llama_3_2.bos_token_id] * 2 and twice[1:] == ours


def test_truncation_leaves_bos(llama_3_2) -> None:
    (whole,), (short,) = (chat_templates.encode(llama_3_2, CHATS[:1], length) for length in (2048, 7))
    assert short == [llama_3_2.bos_token_id, *whole[-6:]]


def test_the_head_starts_as_paper_a_says(tiny_base) -> None:
    tokenizer = loading.load_tokenizer(tiny_base)
    heads = torch.cat(
        [loading.new_reward_model(tiny_base, tokenizer, seed).score.weight.detach() for seed in range(20)]
    )
    width = heads.shape[1]
    assert float(heads.std()) == pytest.approx((width + 1) ** -0.5, rel=0.1)
    assert abs(float(heads.mean())) < 0.01


def test_a_base_model_is_not_taken_for_a_reward_model(tiny_base) -> None:
    with refused(ArtifactError, f"{tiny_base / 'config.json'}: num_labels", 2):
        loading.load_reward_model(tiny_base)


def test_a_classifier_with_two_labels_is_refused(scorer, tmp_path) -> None:
    scorer.network.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises((ArtifactError, RuntimeError)):
        loading.load_reward_model(tmp_path)


def test_no_model_at_all(tmp_path) -> None:
    with refused(ArtifactError, tmp_path):
        loading.load_reward_model(tmp_path)
