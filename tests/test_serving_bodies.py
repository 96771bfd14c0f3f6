"""Bodies of requests to the reward server: what RL frameworks send, rows of files, and large ones."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from reward_server import Server, new_model, started
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks import family_models
from xlrm.errors import DataError
from xlrm.models import chat_templates, loading
from xlrm.scorers import engines
from xlrm.scorers.interface import Scoring
from xlrm.serving import tokenizing
from xlrm.serving.tokenizing import Tokenizing

PAIR = {"prompt": "How much is one plus two?", "response": "Three."}
CHATS = [
    chat_templates.conversation("How much is one plus two?", "Three."),
    [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Let me see."}],
    chat_templates.conversation(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "눈은?"}], "하얗다."
    ),
]


@pytest.fixture(scope="module")
def model(tiny_base, tmp_path_factory) -> Path:
    """Its chat template ends a turn with more than the token that a policy writes, as Qwen's."""
    folder = new_model(tiny_base, tmp_path_factory.mktemp("served"))
    tokenizer = loading.load_tokenizer(folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|end|>", "<|end|>\n")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(model) -> Iterator[Server]:
    with started(model) as found:
        yield found


@pytest.fixture(scope="module")
def expected(model) -> list[float]:
    """By transformers alone, one conversation at a time."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model).eval()
    encoded = [tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True) for chat in CHATS]
    with torch.inference_mode():
        return [network(**inputs).logits.item() for inputs in encoded]


def test_an_rl_framework_gets_the_rewards_of_the_conversations(server, model, expected) -> None:
    """OpenRLHF decodes a policy's prompt and completion into one text; its client makes tensors of the answer's lists."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    (stop,) = chat_templates.turn_ends(tokenizer)
    queries = []
    for chat in CHATS:
        prompt = tokenizer.apply_chat_template(chat[:-1], tokenize=False, add_generation_prompt=True)
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, chat[-1]["content"])]
        queries.append(tokenizer.decode([*ids[0], *ids[1], stop], skip_special_tokens=False))
    cut = queries[2].removesuffix(tokenizer.decode([stop]))
    whole = tokenizer.apply_chat_template(CHATS, tokenize=False)[0]
    assert whole != queries[0] != cut
    asked = {"query": [*queries, cut, whole], "prompts": [""] * 5, "labels": [None] * 5}
    answer = server.post("/get_reward", asked).json()
    assert answer["rewards"] == pytest.approx([*expected, expected[2], expected[0]], abs=1e-5)
    assert answer == {"rewards": answer["rewards"], "scores": answer["rewards"], "extra_logs": {}}
    single = server.post("/get_reward", {"query": queries[:1], "prompts": [""], "labels": ["4"], "images": None}).json()
    for key in ("rewards", "scores"):
        assert torch.tensor([single[key]]).shape == (1, 1) and single[key] == pytest.approx(expected[:1], abs=1e-5)
    assert server.post("/get_reward", {"query": queries[0]}).json()["rewards"] == pytest.approx(expected[:1], abs=1e-5)


def test_rows_of_files_are_taken_with_their_other_columns(server, expected) -> None:
    rows = [PAIR | {"id": 7, "label": None}, {"messages": CHATS[1], "prompt": None, "response": None}]
    assert server.rewards(rows) == pytest.approx(expected[:2], abs=1e-5)


def thinking(template: str) -> str:
    """As Qwen3's: it writes an empty thought before the answer, and not in the generation prompt."""
    content = "{{ message['content'] }}"
    return template.replace(content, "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}" + content)


@pytest.mark.parametrize("template", [loading.CHATML, thinking(loading.CHATML), loading.LLAMA3, loading.PLAIN])
@pytest.mark.parametrize("chat", CHATS)
def test_a_completion_becomes_the_text_of_its_conversation(model, template, chat) -> None:
    """Whether it ends with the whole end of turn, its token, the tokenizer's EOS, or in the middle of a sentence."""
    tokenizer = loading.load_tokenizer(model)
    tokenizer.chat_template = template
    turn, whole = chat_templates.AnswerTurn.of(tokenizer), tokenizer.apply_chat_template(chat, tokenize=False)
    bare = whole.removesuffix(turn.end)
    assert bare.endswith(chat[-1]["content"])
    for text in (whole, whole.rstrip(), bare, bare + tokenizer.eos_token):
        assert turn.complete(text) == whole
    assert turn.complete(bare + " <") == bare + " <" + turn.end, "a letter that is no token of the template is kept"
    with pytest.raises(DataError):
        turn.complete(chat[-1]["content"])


def test_a_large_body_does_not_keep_others_waiting(server) -> None:
    """On the event loop, reading it would take most of the time that its sender waits, and all others with it."""
    large = json.dumps({"conversations": [PAIR] * 100_000})
    with ThreadPoolExecutor(1) as clients:
        server.rewards([PAIR])
        begun = time.perf_counter()
        sent = clients.submit(server.post, "/v1/rewards", large)
        waits = []
        while not sent.done():
            asked = time.perf_counter()
            assert urllib.request.urlopen(f"{server.url}/healthz").status == 200
            waits.append(time.perf_counter() - asked)
        taken = time.perf_counter() - begun
    assert sent.result().status_code == 413 and max(waits) < 0.7 * taken, (taken, waits)


@pytest.mark.parametrize("others", [[(250, 1)], [(1, 30_000), (1, 30_000), (1, 30_000)]])
def test_long_requests_do_not_keep_short_ones_from_being_tokenised(model, others) -> None:
    """`others`: conversations of each long request, and how often each repeats its answer."""
    tokenizing = Tokenizing(engines.load(model, Scoring()))

    async def in_order() -> list[int]:
        done: list[int] = []

        async def one(count: int, repeated: int) -> None:
            chat = chat_templates.conversation("What color is snow?", "White, " * repeated)
            sizes = [len(chat[0]["content"]) + len(chat[1]["content"])] * count
            done.append(sum(map(len, await tokenizing.encode_chats([chat] * count, sizes))))

        await asyncio.gather(*(one(*other) for other in others), one(1, 1))
        return done

    assert min(lengths := asyncio.run(in_order())) == lengths[0], "the short one is the first"


def test_parts_of_a_request_are_limited_by_conversations_and_characters() -> None:
    assert list(tokenizing._parts([10] * 40)) == [(0, 16), (16, 32), (32, 40)]
    assert list(tokenizing._parts([60_000, 60_000, 150_000, 10])) == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_a_token_without_an_embedding_is_refused_and_harms_no_one_else(tmp_path) -> None:
    """As some tokenizers have, for padding alone; anyone may write its name in a text."""
    folder = family_models.build(tmp_path, family_models.MODELS["pad without an embedding"])
    with started(folder) as server:
        for path, body in (
            ("/v1/rewards", {"conversations": [PAIR, PAIR | {"response": "A <|extra|> token."}]}),
            ("/get_reward", {"query": "<|assistant|>\nA <|extra|> token.<|end|>"}),
        ):
            answer = server.post(path, body)
            assert answer.status_code == 422 and "no embedding" in answer.json()["error"]["message"]
        assert server.get("/healthz").status_code == 200 and len(server.rewards([PAIR])) == 1
