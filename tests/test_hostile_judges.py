"""Servers of judges that answer badly, die, or cost more than was estimated."""

import math
import time
from collections import Counter

import pytest
from refusals import refused

from benchmarks.served_translations import serving
from xlrm.errors import ArtifactError, GateError
from xlrm.evaluation import win_rates
from xlrm.models import reward_models
from xlrm.models.decoding import Completion
from xlrm.scorers.judges import pairwise, rubrics
from xlrm.scorers.judges.pairs import Judgement, Pair
from xlrm.scorers.judges.pairwise import PolicySettings

M_FIRST = 2 - math.exp(-0.1) / (math.exp(-0.1) + math.exp(-2.4))


def judge(monkeypatch, address: str, **how) -> pairwise.Judge:
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    settings = {"parallel": 2, "retries": 0, "orders": "seeded", "max_refused_share": 1.0} | how
    return pairwise.load(reward_models.find("served=m"), PolicySettings(**settings))


def pairs(count: int) -> list[Pair]:
    return [Pair.of(f"i{n}", f"Question {n}?", "one", "two") for n in range(count)]


def reply(*likely: tuple[str, float], text: str | None = "m", tokens: int = 100) -> dict:
    """A server's reply with these tokens at the only position. Without `tokens` it does not report any."""
    entries = [{"token": token, "logprob": value} for token, value in likely]
    position = {"token": text or "", "logprob": -1.0, "top_logprobs": entries}
    choice = {
        "index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": text},
        "logprobs": {"content": [position]},
    }  # fmt: skip
    usage = {"usage": {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}} if tokens else {}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]} | usage


@pytest.mark.parametrize(
    ("given", "preference"),
    [
        (reply(("\udce2\udc82", -0.05), ("m", -0.1), ("M", -2.4), text="\udce2"), M_FIRST),  # parts of characters
        (reply(("m", -0.1), ("\ud83d", -1.0), ("M", -2.4), text="\ud83d"), M_FIRST),
        (reply(("m", math.inf), ("M", -1.0)), 2.0),
        (reply(("m", math.nan), ("M", -1.0)), 2.0),
        (reply((" m", -0.1), (" M", -2.4), text=" m"), M_FIRST),
        (reply(("M\n", -0.1), ("m\n", -2.4), text="M\n"), 3 - M_FIRST),
        (reply(("The", -1e-9), ("m", -50.0), ("M", -52.3), text="The"), M_FIRST),
        (reply(("M", -0.5)), 2.0),
        (reply(), None),
        (reply(("<0x0A>", -0.1), ("<0x20>", -2.0), text="\n"), None),
        (reply(("m", -0.1), text=None), None),
    ],
)
def test_an_answer_of_any_form_is_read_and_kept_or_unreadable(given, preference, monkeypatch) -> None:
    with serving(lambda *_: (given, "length", 200, {}), read=str) as server:
        (found,) = judge(monkeypatch, server.address).judge(pairs(1))
        again = judge(monkeypatch, server.address)
        (same,) = again.judge(pairs(1))
        assert (same.preferences, same.record()) == (found.preferences, found.record())
    assert found.preferences == (preference if preference is None else pytest.approx(preference, abs=1e-12),)
    assert again.cost.requests == (preference is None), "only what could not be read is asked again"
    assert again.cost.unreadable == (preference is None)


def test_a_server_that_dies_and_comes_back_is_asked_nothing_twice(monkeypatch) -> None:
    left = [25]

    def answer(*_) -> tuple:
        left[0] -= 1
        return (reply(("m", -0.1), ("M", -2.4)), "length", 200, {}) if left[0] >= 0 else ("gone", "error", 503, {})

    given = pairs(30)
    with serving(answer, read=str) as server:
        with refused(ArtifactError, f"{server.address}: model", "m"):
            judge(monkeypatch, server.address, orders="both").judge(given)
        answered = 25
        before = len(server.requests)
        left[0] = 1000
        one = judge(monkeypatch, server.address, orders="both")
        resumed = one.judge(given)
        assert len(server.requests) - before == 60 - answered == one.cost.requests and one.cost.known == answered
        failed = Counter(server.asked) - Counter(dict.fromkeys(server.asked, 1))
        assert sum(failed.values()) == before - answered, "only those that failed were asked again"
        same = judge(monkeypatch, server.address, orders="both")
        assert [each.record() for each in same.judge(given)] == [each.record() for each in resumed]
        assert same.cost.requests == 0


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_budget_stops_at_once_and_keeps_what_was_paid(parallel, monkeypatch) -> None:
    """A question costs a dollar; the 11th is the first above ten, and others may be on their way."""

    def answer(*_) -> tuple:
        time.sleep(0.03)
        return reply(("m", -0.1), ("M", -2.4)), "length", 200, {}

    with serving(answer, read=str) as server:
        how = {"usd_per_million": {"m": (1e4, 0.0)}, "max_usd": 10.0, "parallel": parallel}
        one = judge(monkeypatch, server.address, **how)
        with refused(GateError, "judge.max_usd", 10.0):
            one.judge(pairs(200))
        asked = len(server.requests)
        assert 11 <= asked < 11 + parallel and one.cost.usd == asked
        more = judge(monkeypatch, server.address)
        assert more.estimate(pairs(200)).known == asked


def test_a_budget_without_reported_tokens_cannot_be_kept(monkeypatch) -> None:
    with serving(lambda *_: (reply(("m", -0.1), tokens=0), "length", 200, {}), read=str) as server:
        priced = judge(monkeypatch, server.address, usd_per_million={"m": (1.0, 1.0)}, max_usd=10.0, parallel=1)
        with refused(GateError, "judge.max_usd", 10.0) as raised:
            priced.judge(pairs(50))
        assert "reports no tokens" in raised.value.message and len(server.requests) == 1
        free = judge(monkeypatch, server.address, usd_per_million={"m": (0.0, 0.0)}, max_usd=10.0)
        assert len(free.judge(pairs(50))) == 50


def test_a_rating_that_may_have_been_cut_is_unreadable() -> None:
    assert rubrics.rating(Completion("Good.\nRating: 1", True)).value == 1
    assert rubrics.rating(Completion("Good.\nRating: 1", False)) is None


def test_a_fair_judge_names_the_first_half_the_time_whatever_is_equal() -> None:
    """A tie counts as half, and a pair of equal responses, which nobody was asked about, not at all."""
    answers = (Completion("", False),) * 2

    def rates(*preferences: tuple[float, float], equal: int = 0) -> win_rates.WinRate:
        made = [Judgement((True, False), each, answers) for each in preferences]
        made += [Judgement((True, False), (1.5, 1.5))] * equal
        return win_rates.win_rate(win_rates.Judged(pairs(len(made)), made))

    fair = rates((1.0, 2.0), (2.0, 1.0), (1.5, 1.5), equal=4)
    assert (fair.first, fair.consistent, fair.position_bias) == (0.5, 2 / 3, 0.0)
    always = rates((1.0, 1.0), (1.0, 1.0), equal=2)
    assert (always.win_rate, always.first, always.consistent, always.position_bias) == (0.5, 1.0, 0.0, 1.0)
    assert rates(equal=3).first is None
