"""AlpacaEval's judges: prompts to the letter, answers read from log-probabilities or rankings, orders by its seed, and the same
preferences from every engine."""

import hashlib
import json
import math
import random
from dataclasses import replace
from pathlib import Path

import letter_model
import pytest
from refusals import refused

from benchmarks.served_translations import serving
from xlrm.errors import ArtifactError
from xlrm.models import generation, reward_models
from xlrm.models.decoding import Completion, Decoding
from xlrm.scorers.judges import alpaca_eval, pairwise, prompts
from xlrm.scorers.judges.pairs import Judgement, Pair, coin
from xlrm.scorers.judges.pairwise import PolicySettings

PAIRS = [Pair.of(f"i{n}", f"Question {n}?", "m" * n + "x", "Mx" * (n % 4) + "mM") for n in range(6)]
EQUAL = Pair.of("equal", "Which?", "One.", "One.")


def judge(monkeypatch, address: str, entry: str = "served=m", **how) -> pairwise.Judge:
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    return pairwise.load(reward_models.find(entry), PolicySettings(**({"parallel": 2, "retries": 0} | how)))


def one_token(**logprobs: float) -> Completion:
    return Completion("", False, logprobs=(logprobs,), pieces=(max(logprobs, key=logprobs.get),))


def test_prompts_are_alpaca_evals_to_the_letter() -> None:
    """Digests of the messages that alpaca_eval 0.6.6 makes of its two templates, with the placeholders between them."""
    digests = {
        "alpacaeval": (
            "4c93a9a9d5102753ce3493c0bda3b52da607434e8e7c4932b34f7385426255cd",
            "f64703c49e1466f5eb58daf67713892aeb88ed4e3f5c35970f2e7fbc0aff7804",
        ),
        "alpacaeval-1": (
            "5be2b2f946768668d67c14959c933e48a42e940a0687b6049956d549f851dc94",
            "08ff8efa54c63f9c960256273191fd6645fa8e96e5214545dfd4311912ad4348",
        ),
    }
    for name, expected in digests.items():
        messages = prompts.find(name).messages("{question}", "{a}", "{b}")
        assert [message["role"] for message in messages] == ["system", "user"]
        assert tuple(hashlib.sha256(one["content"].encode()).hexdigest() for one in messages) == expected
    decoding = {name: PolicySettings(prompt=name).decoding(reward_models.find("gpt-4o")) for name in digests}
    assert decoding["alpacaeval"] == Decoding(1, temperature=1.0, top_logprobs=5)
    assert decoding["alpacaeval-1"] == Decoding(100)
    room = PolicySettings(max_new_tokens=4096).decoding(reward_models.find("gpt-4o"))
    assert room == Decoding(4096, temperature=1.0, top_logprobs=5), "for a judge that thinks first"


def test_answers_kept_before_there_were_log_probabilities_are_still_known() -> None:
    assert pairwise.Settings().decoding(reward_models.find("gpt-4o")).identity == {
        "max_new_tokens": 2048, "beams": 1, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0,
        "seed": 42,
    }  # fmt: skip


def test_texts_are_inserted_unchanged() -> None:
    for name in prompts.JUDGE_PROMPTS:
        given = ("{b} {a}", "{question} {0} \\1 %s\n", '{b}"""')
        user = prompts.find(name).messages(*given, "ko")[-1]["content"]
        left = user
        for text in given:
            before, found, left = left.partition(text)
            assert found and "{a}" not in before
        assert len(user) - sum(map(len, given)) == len(prompts.find(name).messages("", "", "", "ko")[-1]["content"])


@pytest.mark.parametrize(
    ("answer", "preference"),
    [
        (one_token(m=-0.01044989, M=-4.6069846, The=-8.36), 2 - 1 / (1 + math.exp(-4.6069846 + 0.01044989))),
        (one_token(m=-5.0, M=-0.1), 2 - math.exp(-5.0) / (math.exp(-5.0) + math.exp(-0.1))),
        (one_token(M=-0.69314843, m=-0.69314843), 1.5),
        (one_token(m=-20.0, The=-0.1), 1.0),
        (one_token(M=-20.0, The=-0.1), 2.0),
        (one_token(m=-1000.0, M=-0.0), 2.0),
        (one_token(The=-0.1, Both=-3.0), None),
        (one_token(**{" m": -0.1, "M": -3.0}), 2.0),  # as alpaca_eval, where one of the two is there alone
        (one_token(**{" m": -1.0, "m\n": -1.0, " M": -1.0}), 2 - 2 / 3),
        (Completion("m", True), None),
        (Completion("", False, refused="filtered"), None),
    ],
)  # fmt: skip
def test_a_preference_is_the_probability_of_m_among_m_and_M(answer: Completion, preference: float | None) -> None:
    found = prompts.find("alpacaeval").preference(answer)
    assert found == (preference if preference in (None, 1.0, 1.5, 2.0) else pytest.approx(preference, abs=1e-12))


def test_log_probabilities_after_the_thinking_decide() -> None:
    tables = tuple({piece: -0.1} for piece in ("<think>", "M", "</think>", "\n\n", "m", "."))
    pieces = tuple(next(iter(table)) for table in tables)
    assert prompts.find("alpacaeval").preference(Completion("m.", True, logprobs=tables, pieces=pieces)) == 1.0
    cut = Completion("<think>M", False, logprobs=tables[:2], pieces=pieces[:2])
    assert prompts.find("alpacaeval").preference(cut) is None


@pytest.mark.parametrize(
    ("text", "preference"),
    [
        ("[\n    {'model': 'model_1', 'rank': 1},\n    {'model': 'model_2', 'rank': 2}\n]", 1.0),
        ('[{"model": "model_2", "rank": 1}, {"model": "model_1", "rank": 2}]', 2.0),
        ("({'rank': 2, 'model': 'model_1'},)", 2.0),
        ("<think>[{'model': 'model_1', 'rank': 1}]</think>\n\n  [{'model': 'model_1', 'rank': 2}]", 2.0),
        ("[{'model': 'model_1', 'rank': 3}, {'model': 'model_2', 'rank': 1}]", None),
        ("[{'model': 'model_1', 'rank': '1'}]", None),
        ("[{'model': 'model_1', 'rank': 1}, {'name': 'model_2'}]", None),
        ("[{'model': 'model_2', 'rank': 1}]", None),
        ("{'model': 'model_1', 'rank': 1}", None),
        ("Here: [{'model': 'model_1', 'rank': 1}]", None),
        ("[{'model': 'model_1', 'rank': __import__('os').getpid() and 1}]", None),
        ("[{'model': 'model_1', 'rank': 1}, {'model'", None),
        ("(" * 5000, None),
        ("1", None),
        ("", None),
    ],
)  # fmt: skip
def test_rankings_are_read_as_alpaca_eval_does(text: str, preference: float | None) -> None:
    assert prompts.find("alpacaeval-1").preference(Completion(text, True)) == preference


def test_the_order_is_drawn_as_alpaca_eval_draws_it() -> None:
    """The published verdicts have it too: benchmarks/alpaca_eval_replay.py."""
    instructions = [f"What is {n}?" for n in range(400)]
    switched = [
        random.Random("is_switched_outputs" + text + "0").choices([False, True], k=1)[0] for text in instructions
    ]
    assert [alpaca_eval.a_first(text) for text in instructions] == [not one for one in switched]
    assert 150 < sum(switched) < 250 and alpaca_eval.a_first("What are the names?", 1) in (True, False)
    assert [alpaca_eval.a_first(text, 1) for text in instructions] != [not one for one in switched]


def test_orders_of_a_pair(monkeypatch) -> None:
    pairs = [Pair.of(f"i{n}", f"Question {n}?", "a", "b", run) for n in range(40) for run in (0, 1)]
    drawn = {name: judge(monkeypatch, "http://x/v1", orders=name) for name in ("seeded", "both", "alpacaeval")}
    orders = {
        name: [[question.a_first for question in one.questions(pair)] for pair in pairs] for name, one in drawn.items()
    }
    assert orders["both"] == [[True, False]] * 80
    assert orders["alpacaeval"] == [[alpaca_eval.a_first(pair.prompt, pair.run)] for pair in pairs]
    assert orders["seeded"] == [[coin(42 + pair.run, pair.id)] for pair in pairs]
    for name in ("seeded", "alpacaeval"):
        assert orders[name][::2] != orders[name][1::2], "each run draws its own"


def test_a_judgement_is_mapped_back_and_averaged() -> None:
    both = Judgement((True, False), (1.2, 1.7))
    assert both.preference == pytest.approx((1.2 + 3 - 1.7) / 2) and both.verdicts == ("A", "B")
    assert Judgement((False,), (1.2,)).preference == pytest.approx(1.8)
    half = Judgement((True, False), (None, 1.9))
    assert half.preference == pytest.approx(1.1) and half.unreadable == 1 and half.verdicts == ("error", "B")
    assert Judgement((True,), (1.5,)).verdicts == ("tie",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return letter_model.save(tmp_path_factory.mktemp("letters"))


@pytest.fixture(scope="module")
def plain(folder) -> letter_model.Plain:
    return letter_model.Plain(folder)


def expected(plain: letter_model.Plain, pair: Pair, a_first: bool) -> float:
    """Preference for the order shown, with the probabilities of m and M by plain transformers."""
    shown = (pair.a, pair.b) if a_first else (pair.b, pair.a)
    likely = plain.logprobs(prompts.find("alpacaeval").messages(pair.prompt, *shown))
    m, M = (math.exp(likely[name]) for name in ("m", "M"))
    return 2 - m / (m + M)


@pytest.mark.parametrize("engine", ["endpoint", "transformers", "vllm"])
def test_preferences_are_those_of_plain_transformers(engine, folder, plain, monkeypatch, tmp_path) -> None:
    if engine == "vllm":
        pytest.importorskip("vllm")
        folder = letter_model.save(tmp_path, width=128)
        plain = letter_model.Plain(folder)
        monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # vLLM for CPUs takes most of the memory unless it is told
    name = "served=m" if engine == "endpoint" else f"self-taught={folder}"
    with letter_model.served(plain) as server:
        how = {"engine": engine, "prompt": "alpacaeval", "precision": "float32", "batch_size": 4, "context": 4096}
        if engine == "vllm":  # 0.31 on a CPU cannot draw with a seed after a prompt that it read in parts
            how["temperature"] = 0.0
        asked = judge(monkeypatch, server.address, name, **how)
        judgements = asked.judge([*PAIRS, EQUAL])
        asked.close()
        assert judgements.pop() == Judgement((True, False), (1.5, 1.5)), "equal responses are a draw, and not shown"
        for pair, judgement in zip(PAIRS, judgements, strict=True):
            wanted = [expected(plain, pair, a_first) for a_first in (True, False)]
            assert judgement.preferences == pytest.approx(wanted, abs=1e-4 if engine == "vllm" else 1e-5)
            assert judgement.preference == pytest.approx((wanted[0] + 3 - wanted[1]) / 2, abs=1e-4)
        spread = [value for judgement in judgements for value in judgement.preferences]
        assert max(spread) - min(spread) > 0.02, "preferences that are equal prove nothing"
        assert (asked.cost.questions, asked.cost.unreadable, asked.cost.cut) == (12, 0, 0)
        asks = len(server.requests)
        again = judge(monkeypatch, server.address, name, **how)
        assert again.estimate([*PAIRS, EQUAL]).known == 12
        assert [one.preferences for one in again.judge(PAIRS)] == [one.preferences for one in judgements]
        assert again.cost.requests == 0 and len(server.requests) == asks == 12 * (engine == "endpoint")
    if engine == "endpoint":
        sent = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "logprobs": True, "top_logprobs": 5}
        assert all(request | sent == request for request in server.requests)


def test_log_probabilities_are_the_models_own_at_every_position(folder, plain) -> None:
    """Whatever the temperature, the penalty or the neighbours in a batch."""
    chats = [[{"role": "user", "content": "mMx" * n}] for n in (1, 5, 2)]
    engine = generation.Transformers(generation.Model(str(folder)), batch_size=4)
    how = Decoding(4, temperature=2.0, top_k=3, repetition_penalty=1.7, top_logprobs=3)
    for chat, (completion,) in zip(chats, engine.complete(chats, 1, how), strict=True):
        assert 0 < len(completion.logprobs) == len(completion.pieces) == completion.tokens[1]
        for place, table in enumerate(completion.logprobs):
            own = plain.logprobs(chat, "".join(completion.pieces[:place]))
            wanted = sorted(own.items(), key=lambda item: -item[1])[:3]
            assert list(table) == [token for token, _ in wanted]
            assert list(table.values()) == pytest.approx([value for _, value in wanted], abs=1e-5)
    (without,), *_ = engine.complete(chats, 1, Decoding(4))
    assert without.logprobs == without.pieces == ()


def test_runs_ask_again_only_where_the_answer_may_differ(folder, plain, monkeypatch) -> None:
    runs = [Pair.of("i", "Question?", "mm", "Mx", run) for run in range(3)]
    with letter_model.served(plain) as server:
        one = judge(monkeypatch, server.address)
        assert len({judgement.preference for judgement in one.judge(runs)}) == 1
        assert len(server.requests) == 2, "log-probabilities for both orders are those of every run"
    answers = iter([f"[{{'model': 'model_1', 'rank': {rank}}}]" for rank in (1, 2, 2)])
    with serving(lambda *_: (next(answers), "stop"), read=str) as server:
        how = {"prompt": "alpacaeval-1", "orders": "seeded", "seed": 1, "parallel": 1}
        for temperature, count in ((1.0, 3), (1.0, 3)):
            asked = judge(monkeypatch, server.address, temperature=temperature, **how)
            found = [judgement.preferences for judgement in asked.judge(runs)]
            assert found == [(1.0,), (2.0,), (2.0,)] and len(server.requests) == count
        seeds = {request["seed"] for request in server.requests}
        assert len(seeds) == 3 and all(request["temperature"] == 1 for request in server.requests)


def test_a_judge_that_thinks_is_told_of_and_gets_room(monkeypatch, capsys) -> None:
    """Sampled thinking leads to other log-probabilities, so that each run asks again; the thinking's are not kept."""

    def position(token: str, **likely: float) -> dict:
        entries = [{"token": name, "bytes": None, "logprob": value} for name, value in likely.items()]
        return {"token": token, "bytes": None, "logprob": -0.5, "top_logprobs": entries}

    def answer(_: str, request: dict) -> tuple:
        likely = (
            {"m": -0.1, "M": -2.5} if "mm" in request["messages"][1]["content"].split('"m",')[1][:40] else {"M": -0.1}
        )
        written = [position("<think>", M=-0.1), position("M", M=-0.1), position("</think>"), position("m", **likely)]
        text, written = ("<think>M</think>m", written) if request["max_tokens"] > 1 else ("<think>", written[:1])
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": None}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return reply | {"choices": [choice | {"logprobs": {"content": written}}]}, "stop"

    pair = Pair.of("i", "Question?", "mm", "Mx")
    with serving(answer, read=str) as server:
        (short,) = judge(monkeypatch, server.address).judge([pair])
        assert short.preferences == (None, None) and "judge.max_new_tokens" in capsys.readouterr().err
        for asks in (4, 4):
            (first, second) = judge(monkeypatch, server.address, max_new_tokens=64).judge([pair, replace(pair, run=1)])
            assert first.preferences == pytest.approx((2 - 1 / (1 + math.exp(-2.4)), 2.0)) == second.preferences
            assert len(server.requests) - 2 == asks
        assert all(len(one.logprobs) == 1 for one in first.answers), "those of the second time are the kept ones"


def test_defaults_of_policies_and_of_benchmark_items() -> None:
    served, own = reward_models.find("gpt-4o"), reward_models.find("self-taught")
    assert PolicySettings().orders == "both" and pairwise.Settings().orders == "seeded"
    assert [PolicySettings().prompt_of(one) for one in (served, own)] == ["alpacaeval", "self-taught"]
    assert [pairwise.Settings().prompt_of(one) for one in (served, own)] == ["rewardbench", "self-taught"]
    with pytest.raises(ValueError, match="alpacaeval-1"):
        PolicySettings(prompt="alpaca")


def test_an_answer_of_one_token_has_its_price(monkeypatch) -> None:
    """gpt-4o: $2.50 and $10 per million tokens (read, written)."""
    asked = judge(monkeypatch, "http://x/v1", "gpt-4o", max_usd=100)
    estimate = asked.estimate(PAIRS)
    keys = [messages for pair in PAIRS for question in asked.questions(pair) for _, messages in [question.key]]
    read = sum(len(messages.encode()) for messages in keys) / 4
    assert (estimate.questions, estimate.tokens_out) == (12, 12)
    assert estimate.usd == pytest.approx((read * 2.5 + 12 * 10) / 1e6)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "You are not allowed to request logprobs from this model"),
        (400, "Requested sample logprobs of 5, which is greater than max allowed: 0"),
    ],
)  # fmt: skip
def test_a_server_that_refuses_log_probabilities_is_one_line(monkeypatch, status, message) -> None:
    with serving(lambda *_: (message, "stop", status, {}), read=str) as server:
        with refused(ArtifactError, f"{server.address}: model", "m") as raised:
            judge(monkeypatch, server.address).judge(PAIRS)
        assert message in raised.value.message and "alpacaeval-1" in raised.value.hint


def test_a_server_that_sends_no_log_probabilities_is_one_line(monkeypatch) -> None:
    with serving(lambda *_: ("m", "stop"), read=str) as server:
        with refused(ArtifactError, f"{server.address}: model", "m") as raised:
            judge(monkeypatch, server.address).judge(PAIRS)
        assert "log-probabilities" in raised.value.message


def test_a_server_that_takes_no_limit_of_one_token_gets_sixteen(plain, monkeypatch) -> None:
    def answer(_: str, request: dict) -> tuple:
        if request["max_tokens"] < 16:
            return "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16", "stop", 400, {}
        return plain.reply(request), "length"

    with serving(answer, read=str) as server:
        judgements = judge(monkeypatch, server.address, parallel=1).judge(PAIRS)
        assert len(server.requests) == 13 and {one["max_tokens"] for one in server.requests[1:]} == {16}
    assert judgements[0].preferences == pytest.approx([expected(plain, PAIRS[0], one) for one in (True, False)])


def test_a_record_has_what_the_preference_follows_from(plain, monkeypatch) -> None:
    with letter_model.served(plain) as server:
        (judgement,) = judge(monkeypatch, server.address).judge(PAIRS[:1])
    record = json.loads(json.dumps(judgement.record()))
    assert set(record) == {"verdicts", "answers", "preferences", "logprobs"}
    for preference, table in zip(record["preferences"], record["logprobs"], strict=True):
        assert preference == pytest.approx(2 - math.exp(table["m"]) / (math.exp(table["m"]) + math.exp(table["M"])))
