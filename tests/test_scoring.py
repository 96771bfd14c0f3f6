"""Rewards: the same whatever else is in the batch, read from the last real token, refused where they would be made up."""

import itertools
import json
import random

import pytest
import torch

from xlrm import models, pretraining, scoring
from xlrm.errors import ArtifactError
from xlrm.phrasebook import data, language
from xlrm.rows import read_rows

CHATS = [
    scoring.conversation("How much is one plus two?", answer)
    for answer in ("Three.", "Four.", "One plus two is three. I hope this helps.", "The color of snow is white.")
]


@pytest.fixture(scope="module")
def reward_model(tiny_base):
    tokenizer = models.load_tokenizer(tiny_base)
    return models.new_reward_model(tiny_base, tokenizer, seed=1).eval(), tokenizer


def test_rewards_do_not_depend_on_the_batch(reward_model) -> None:
    alone = [scoring.score(*reward_model, [chat])[0] for chat in CHATS]
    for tokens in (1, 64, 10_000):
        together = scoring.score(*reward_model, CHATS * 3, batch_tokens=tokens)
        assert together == pytest.approx(alone * 3, abs=1e-5)
    backwards = scoring.score(*reward_model, CHATS[::-1])
    assert backwards == pytest.approx(alone[::-1], abs=1e-5)


@pytest.mark.slow
def test_rewards_of_real_pairs_do_not_depend_on_batch_or_order(reward_model, shared_data) -> None:
    """Texts of 20 to 1,000 and more tokens, cut at 1,024."""
    rows = read_rows(shared_data / "rewardbench_mini_en.jsonl")[::25]
    chats = [scoring.conversation(row["prompt"], row[side]) for row in rows for side in ("chosen", "rejected")]
    lengths = [len(ids) for ids in scoring.encode(reward_model[1], chats, 1024)]
    assert len(chats) > 100 and max(lengths) > 8 * min(lengths)
    expected = scoring.score(*reward_model, chats, 1024, batch_tokens=1)
    assert max(expected) - min(expected) > 0.1
    for seed, tokens in enumerate((2048, 8192, 65536)):
        order = random.Random(seed).sample(range(len(chats)), len(chats))
        shuffled = scoring.score(*reward_model, [chats[i] for i in order], 1024, batch_tokens=tokens)
        assert shuffled == pytest.approx([expected[i] for i in order], abs=1e-5)


def test_the_reward_is_the_head_on_the_last_real_token(reward_model) -> None:
    model, tokenizer = reward_model
    for chat, reward in zip(CHATS, scoring.score(model, tokenizer, CHATS), strict=True):
        ids = torch.tensor(scoring.encode(tokenizer, [chat], 2048))
        with torch.inference_mode():
            by_hand = float(model.score(model.model(ids).last_hidden_state[0, -1]))
        assert by_hand == pytest.approx(reward, abs=1e-5)
        assert tokenizer.decode(ids[0, -1:]) == "<|end|>"


def test_truncation_takes_the_beginning_and_never_the_answer(reward_model) -> None:
    _, tokenizer = reward_model
    whole, short = (scoring.encode(tokenizer, CHATS, length) for length in (2048, 9))
    assert all(b == a[-9:] for a, b in zip(whole, short, strict=True))


def test_pretraining_sees_chats_as_the_template_writes_them(tiny_base) -> None:
    """And learns the second text of every document, whole, and nothing of the first."""
    tokenizer = models.load_tokenizer(tiny_base)
    chats = 0
    documents = list(itertools.islice(data.documents(["en", "ko"], seed=3), 50))
    for document, example in zip(documents, pretraining.examples(iter(documents), 50, tokenizer), strict=True):
        (code, other), ids = document.languages, example["input_ids"]
        first, second = language.load(code).say(document.texts[0]), language.load(other).say(document.texts[1])
        learned = tokenizer.decode([label for label in example["labels"] if label != -100])
        if code == other:
            chats += 1
            assert ids == scoring.encode(tokenizer, [scoring.conversation(first, second)], 2048)[0]
            assert learned == f"<|assistant|>{second}<|end|>"
        else:
            assert tokenizer.decode(ids) == f"{first}\n{second}<|end|>"
            assert learned == f"{second}<|end|>"
    assert 10 < chats < 40


def test_padding_is_a_token_of_its_own(tiny_base, tmp_path) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    again = models.load_tokenizer(tmp_path)
    assert again.pad_token_id != again.eos_token_id


def test_a_template_with_todays_date_is_replaced(tiny_base, tmp_path) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    tokenizer.save_pretrained(tmp_path)
    assert models.load_tokenizer(tmp_path).chat_template == models.CHAT_TEMPLATE


def test_the_head_starts_as_paper_a_says(tiny_base) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    heads = torch.cat([models.new_reward_model(tiny_base, tokenizer, seed).score.weight.detach() for seed in range(20)])
    width = heads.shape[1]
    assert float(heads.std()) == pytest.approx((width + 1) ** -0.5, rel=0.1)
    assert abs(float(heads.mean())) < 0.01


def test_a_base_model_is_not_taken_for_a_reward_model(tiny_base) -> None:
    with pytest.raises(ArtifactError, match=r"score\.weight"):
        models.load_reward_model(tiny_base)


def test_a_classifier_with_two_labels_is_refused(tiny_base, reward_model, tmp_path) -> None:
    model, _ = reward_model
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises((ArtifactError, RuntimeError)):
        models.load_reward_model(tmp_path)


def test_no_model_at_all(tmp_path) -> None:
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        models.load_reward_model(tmp_path)
