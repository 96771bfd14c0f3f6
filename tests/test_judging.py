"""Generative reward models as judges: RewardBench's rules, against scripted judges on a server of ours."""

import hashlib
import re
import threading
import time

import pytest
from refusals import refused

from benchmarks.served_translations import Server, serving
from xlrm.errors import ArtifactError, ConfigError, GateError
from xlrm.models import reward_models
from xlrm.scorers.judges import pairwise, prompts, rewardbench
from xlrm.scorers.judges.pairs import Judgement, coin
from xlrm.scorers.judges.pairwise import Settings
from xlrm.scorers.judges.prompts import parse
from xlrm.scorers.judges.rewardbench import bias, credit

ASKED = re.compile(
    r"\[User Question\]\n(.*?)\n\n\[The Start of Assistant A's Answer\]\n(.*?)\n\[The End of Assistant A's Answer\]\n\n"
    r"\[The Start of Assistant B's Answer\]\n(.*?)\n\[The End of Assistant B's Answer\]\n?",
    re.DOTALL,
)
HABITS = {
    "knows": lambda a, b: "The right one. [[A]]" if a.startswith("right") else "[[B]]",
    "errs": lambda a, b: "[[B]]" if a.startswith("right") else "[[A]]",
    "first": lambda a, b: "Hm. [[A]]",
    "second": lambda a, b: "[[B]]",
    "garbage": lambda a, b: "Both are fine: [[C]]",
    "half": lambda a, b: "[[A]]" if a.startswith("right") else "I cannot say.",
}
"""What a judge says to two answers."""


def rows(*habits: str) -> list[dict]:
    """One for each; the prompt says how the judge will take it."""
    return [
        {"id": f"i{n}", "prompt": f"{habit} {n}", "chosen": f"right {n}", "rejected": f"wrong {n}", "subset": "s",
         "section": "S"}
        for n, habit in enumerate(habits)
    ]  # fmt: skip


def by_habit(text: str, _: dict) -> tuple[str, str]:
    question, a, b = ASKED.fullmatch(text).groups()
    return HABITS[question.split()[0]](a, b), "stop"


def judge(monkeypatch: pytest.MonkeyPatch, server: Server, entry: str = "served=m", **how) -> pairwise.Judge:
    monkeypatch.setenv("OPENAI_BASE_URL", server.address)
    return pairwise.load(reward_models.find(entry), Settings(**({"parallel": 2, "retries": 1} | how)))


def serve(answer):
    return serving(answer, read=str)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("[[A]]", "A"),
        ("... so my verdict is [[B]].", "B"),
        ("[[B]], or rather [[A]]", "A"),  # whichever comes first in RewardBench's code, not in the answer
        ("[[A]] [[B]]", "A"),
        ("[[C]]", "error"),
        ("[A]", "error"),
        ("[[a]]", "error"),
        ("[[ A ]]", "error"),
        ("A", "error"),
        ("", "error"),
        ("$ERROR$", "error"),
    ],
)
def test_verdicts_are_parsed_as_rewardbench_does(answer: str, verdict: str) -> None:
    assert parse(answer) == verdict


def test_credits() -> None:
    once = [Judgement((first,), (v,), ()) for v in (1.0, 2.0, None) for first in (True, False)]
    assert [credit(judgement) for judgement in once] == [1, 0, 0, 1, 0.5, 0.5]
    assert [judgement.preference for judgement in once] == [1, 2, 2, 1, 1.5, 1.5]
    assert credit(Judgement((True, False), (1.0, None), ())) == 0.75


def test_prompts_are_the_references_to_the_letter() -> None:
    """Digests of prompt_v2 and of MTBENCH_V2's template in rewardbench 0.1.4; the Self-Taught Evaluator's has backslashes."""
    ours, taught = prompts.JUDGE_PROMPTS["rewardbench"], prompts.JUDGE_PROMPTS["self-taught"]
    digest = hashlib.sha256(ours.system.encode()).hexdigest()
    assert digest == "c3fbb61119533727d0d82252b8b3201a9bbcfc7ca0d5eb1a0dfc85266d4a6c00"
    template = ours.user.replace("{a}", "{answer_a}").replace("{b}", "{answer_b}")
    digest = hashlib.sha256(template.encode()).hexdigest()
    assert digest == "22f93e573bf9343e52c3dd0a36b1a033a47a6dc0045ab3d40357da8d3c613d57"
    assert taught.system.endswith(r"format: \"[[A]]\" if assistant A is better, \"[[B]]\" if assistant B is better.")
    assert taught.system.replace("\\", "") == ours.system and taught.user == ours.user + "\n"
    braces = ours.messages("{a}", "{b} {", "}")[1]["content"]
    assert "[User Question]\n{a}\n" in braces and "Answer]\n{b} {\n[" in braces


def test_the_coin_is_the_items_and_the_seeds() -> None:
    thrown = [coin(42, f"item {i}") for i in range(2000)]
    assert thrown == [coin(42, f"item {i}") for i in range(2000)]
    assert 900 < sum(thrown) < 1100
    assert 900 < sum(a == b for a, b in zip(thrown, (coin(43, f"item {i}") for i in range(2000)), strict=True)) < 1100


def test_one_order_an_item(monkeypatch) -> None:
    """Who always names the first is right where the coin put the chosen answer first."""
    given = rows("knows", "errs", "garbage", *["first"] * 8)
    with serve(by_habit) as server:
        found = rewardbench.judge(judge(monkeypatch, server), given)
    first = [coin(42, row["id"]) for row in given]
    assert True in first[3:] and False in first[3:]
    assert [row["credit"] for row in found] == [1, 0, 0.5, *map(float, first[3:])]
    assert [row["order"] for row in found] == ["chosen first" if one else "rejected first" for one in first]
    assert found[2]["answers"] == ["Both are fine: [[C]]"] and found[2]["verdicts"] == ["error"]
    assert len(server.requests) == 11
    assert server.requests[0]["messages"][0]["content"] == prompts.JUDGE_PROMPTS["rewardbench"].system
    decoding = {"temperature": 0.0, "max_tokens": 2048, "model": "m"}
    assert all(one | decoding == one for one in server.requests)
    assert bias(found)["errors"] == pytest.approx(1 / 11)


def test_both_orders_show_and_halve_a_bias(monkeypatch) -> None:
    given = rows("knows", "errs", "first", "first", "second", "garbage", "half", "knows")
    with serve(by_habit) as server:
        found = rewardbench.judge(judge(monkeypatch, server, orders="both"), given)
    assert [row["credit"] for row in found] == [1, 0, 0.5, 0.5, 0.5, 0.5, 0.75, 1]
    assert [row["verdicts"] for row in found[:3]] == [["A", "B"], ["B", "A"], ["A", "A"]]
    assert len(server.requests) == 16
    # Of 16 verdicts 3 name none; of the other 13, 8 name the first: knows 1 + errs 1 + first 2 x 2 + half 1 + knows 1.
    assert bias(found) == {"errors": 3 / 16, "first": 8 / 13, "consistent": 3 / 8, "position_bias": (2 - 1) / 8}


def test_what_was_said_before_is_not_asked_again(monkeypatch) -> None:
    given = rows("knows", "second", "first")
    with serve(by_habit) as server:
        one = judge(monkeypatch, server)
        found = rewardbench.judge(one, given)
        again = judge(monkeypatch, server)
        assert again.estimate(rewardbench.pairs(given)).known == 3
        assert rewardbench.judge(again, given) == found and len(server.requests) == 3
        assert (again.cost.known, again.cost.requests, again.cost.tokens_in) == (3, 0, 0)
        rewardbench.judge(judge(monkeypatch, server, max_new_tokens=64), given)
        rewardbench.judge(judge(monkeypatch, server, "served=other"), given)
        rewardbench.judge(judge(monkeypatch, server, "served=m@2025-01-01"), given)
        assert len(server.requests) == 12, "another decoding, model or version is another judge"
        rewardbench.judge(judge(monkeypatch, server, orders="both"), given)
        assert len(server.requests) == 15, "one of the two orders was known"


def test_a_cut_answer_counts_and_is_asked_for_again(monkeypatch) -> None:
    reasons = iter(["length", "length", "stop", "stop"])
    with serve(lambda *_: ("[[A]] because", next(reasons))) as server:
        first = judge(monkeypatch, server)
        assert [row["verdicts"] for row in rewardbench.judge(first, rows("x", "y"))] == [["A"], ["A"]]
        assert first.cost.cut == 2
        again = judge(monkeypatch, server)
        rewardbench.judge(again, rows("x", "y"))
        assert (again.cost.cut, again.cost.known, len(server.requests)) == (0, 0, 4)
        rewardbench.judge(judge(monkeypatch, server), rows("x", "y"))
        assert len(server.requests) == 4


def test_a_server_that_says_when_is_asked_again_then(monkeypatch) -> None:
    times = []

    def busy(text: str, request: dict) -> tuple:
        times.append(time.monotonic())
        return ("later", "stop", 429, {"Retry-After": "1"}) if len(times) == 1 else by_habit(text, request)

    with serve(busy) as server:
        found = rewardbench.judge(judge(monkeypatch, server), rows("knows"))
    assert found[0]["credit"] == 1 and len(times) == 2
    assert 0.95 < times[1] - times[0] < 3


def test_a_server_that_hangs_is_asked_again_and_one_that_is_gone_is_one_line(monkeypatch) -> None:
    hung = []

    def hanging(text: str, request: dict) -> tuple:
        if not hung:
            hung.append(text)
            time.sleep(1)
        return by_habit(text, request)

    with serve(hanging) as server:
        assert rewardbench.judge(judge(monkeypatch, server, timeout_seconds=0.4), rows("knows"))[0]["credit"] == 1
        gone = judge(monkeypatch, server, retries=0)
    with refused(ArtifactError, f"{server.address}: model", "m") as raised:
        rewardbench.judge(gone, rows("first"))
    assert raised.value.message.endswith("APIConnectionError")


def test_a_server_that_fails_for_ever_is_one_line_and_loses_no_verdict(monkeypatch) -> None:
    begun, broken = threading.Event(), True

    def failing(text: str, request: dict) -> tuple:
        if "bad" in text and broken:
            begun.wait(5)  # the failure comes while others are under way
            return "no", "stop", 500, {"Retry-After-Ms": "1"}
        begun.set()
        return by_habit(text.replace("bad", "knows"), request)

    given = rows("bad", *["knows"] * 5)
    with serve(failing) as server:
        with refused(ArtifactError, f"{server.address}: model", "m") as raised:
            rewardbench.judge(judge(monkeypatch, server), given)
        assert raised.value.message.endswith("500")
        tries = sum("bad" in text for text in server.asked.elements())
        answered = len(server.requests) - tries
        assert tries == 2 and answered >= 1
        broken = False
        again = judge(monkeypatch, server)
        assert [row["credit"] for row in rewardbench.judge(again, given)] == [1] * 6
        assert (again.cost.known, again.cost.requests) == (answered, 6 - answered)


def test_a_question_the_server_refuses_is_an_error_and_too_many_are_the_end(monkeypatch) -> None:
    def picky(text: str, request: dict) -> tuple:
        return ("longer than the context", "stop", 400, {}) if "long" in text else by_habit(text, request)

    given = rows("knows", "long", "knows", "knows")
    with serve(picky) as server:
        allowed = judge(monkeypatch, server, max_refused_share=0.25)
        found = rewardbench.judge(allowed, given)
        assert [row["credit"] for row in found] == [1, 0.5, 1, 1] and allowed.cost.refused == 1
        assert "longer than the context" in found[1]["refused"][0] and "refused" not in found[0]
        with refused(GateError, "judge.max_refused_share", 0.01) as raised:
            rewardbench.judge(judge(monkeypatch, server), given)
        assert "1 of 4" in raised.value.message and "longer than the context" in raised.value.message
        assert sum("long" in text for text in server.asked) == 1 and len(server.requests) == 5, "asked again, alone"


def test_cost_before_and_after(monkeypatch) -> None:
    given = rows("knows", "first")
    with serve(by_habit) as server:
        one = judge(monkeypatch, server, usd_per_million={"m": (2.0, 10.0)}, answer_tokens=100)
        estimate = one.estimate(rewardbench.pairs(given))
        keys = [question.key for pair in rewardbench.pairs(given) for question in one.questions(pair)]
        read = sum(len(messages.encode()) for _, messages in keys) / 4
        assert (estimate.questions, estimate.tokens_out) == (2, 200)
        assert estimate.usd == pytest.approx((read * 2 + 200 * 10) / 1e6)
        rewardbench.judge(one, given)
        words = sum(len(message["content"].split()) for r in server.requests for message in r["messages"])
        said = sum(len(answer.split()) for row in rewardbench.judge(one, given) for answer in row["answers"])
        assert (one.cost.tokens_in, one.cost.tokens_out) == (words, said)
        assert one.cost.usd == pytest.approx((words * 2 + said * 10) / 1e6)
    assert one.cost.as_json()["requests"] == 2 and "price unknown" in str(
        judge(monkeypatch, server).estimate(rewardbench.pairs(given))
    )


def test_a_limit_in_dollars_holds_before_and_while(monkeypatch) -> None:
    given = rows(*["knows"] * 6)
    price = {"m": (1e6, 1e6)}  # a dollar a token
    with serve(by_habit) as server:
        one = judge(monkeypatch, server, usd_per_million=price, max_usd=500)
        with refused(ConfigError, "judge.max_usd", 500):
            pairwise.check_budget({"m": one.estimate(rewardbench.pairs(given))}, one.settings)
        with refused(ConfigError, "judge.max_usd", 500):
            pairwise.check_budget({"m": judge(monkeypatch, server).estimate(rewardbench.pairs(given))}, one.settings)
        one.engine.block = 2
        with refused(GateError, "judge.max_usd", 500):
            rewardbench.judge(one, given)
        assert 0 < len(server.requests) < 6
        again = judge(monkeypatch, server, usd_per_million=price)
        rewardbench.judge(again, given)
        assert len(server.requests) == 6, "what was paid for is kept"


def test_the_verdict_is_read_after_the_thinking(monkeypatch) -> None:
    said = {"whole": "<think>[[A]] or [[B]]?</think>[[B]]", "open": "<think>[[A]]", "begun": "[[A]]?</think>\n[[B]]"}
    given = rows(*said)
    with serve(lambda text, _: (said[ASKED.fullmatch(text)[1].split()[0]], "stop")) as server:
        asked = judge(monkeypatch, server)
        found = rewardbench.judge(asked, given)
        assert [row["verdicts"] for row in found] == [["B"], ["error"], ["B"]]
        assert [row["answers"] for row in found] == [[text] for text in said.values()], "all of it is written"
        assert (asked.cost.verdicts, asked.cost.unreadable) == (3, 1) and "1 of 3 verdicts unreadable" in str(
            asked.cost
        )
        again = judge(monkeypatch, server)
        assert again.estimate(rewardbench.pairs(given)).known == 2
        assert rewardbench.judge(again, given) == found and len(server.requests) == 4


def test_what_cannot_be_read_is_asked_again_until_it_can(monkeypatch) -> None:
    answers = iter(["Both are fine.", "Hard to say.", "[[A]]"])
    with serve(lambda *_: (next(answers), "stop")) as server:
        verdicts = [rewardbench.judge(judge(monkeypatch, server), rows("x"))[0]["verdicts"] for _ in range(4)]
    assert verdicts == [["error"], ["error"], ["A"], ["A"]] and len(server.requests) == 3


def test_answers_without_text_are_refusals(monkeypatch) -> None:
    """vLLM's and DeepSeek's thinking, in a field of its own; the verdict is never read from it."""
    monkeypatch.setattr("xlrm.models.endpoint_engine._delay", lambda attempt: 0)
    message = {"role": "assistant", "content": None, "reasoning_content": "B is right. [[B]]"}
    reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": None}
    reply["choices"] = [{"index": 0, "finish_reason": "stop", "message": message}]
    with serve(lambda *_: (reply, "stop")) as server:
        with refused(GateError, "judge.max_refused_share", 0.01):
            rewardbench.judge(judge(monkeypatch, server), rows("x"))
        assert len(server.requests) == 2
        message["content"] = "[[A]]"
        assert rewardbench.judge(judge(monkeypatch, server), rows("x"))[0]["verdicts"] == ["A"]
