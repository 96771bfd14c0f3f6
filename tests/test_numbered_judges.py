"""Paper B's judges: prompts to the letter of appendix G.2, P("1") against P("2") from every engine, threads, and numbers that
are only written."""

import math
import re

import letter_model
import pytest
from pydantic import ValidationError
from refusals import refused

from benchmarks.served_translations import serving
from xlrm.errors import ConfigError
from xlrm.models import reward_models
from xlrm.models.decoding import Completion
from xlrm.scorers.interface import Scoring
from xlrm.scorers.judges import numbered, pairwise, prompts, rewards
from xlrm.scorers.judges.pairs import Judgement, Pair, thread
from xlrm.scorers.judges.pairwise import PolicySettings, Settings

PAIRS = [
    Pair.of(f"i{n}", f"Text {n}.", "1x" * 60 * n + "x", "2y" * 40 * (n % 4) + "2", language="vi") for n in range(5)
]
LETTERS = ("1", "2", " 1", "x", "y")
ASK = {"role": "user", "content": "How many?"}
SAY = {"role": "assistant", "content": "Three."}


def squeezed(text: str) -> str:
    """Without white space, quotation marks of typesetting and what stands for the four places."""
    return re.sub(r"\s", "", text.replace("’", "'"))


def test_prompts_are_the_papers_words(shared_data) -> None:
    """Every word of the print, in its order, with the places of language, input and responses; only white space differs."""
    if not (paper := shared_data.parent / "papers" / "paper_b_wu2024.txt").is_file():
        pytest.skip("the text of the paper is not there")
    between = paper.read_text().partition(
        "Summarization. This prompt is adapted from\nthe one in Lee et al. (2023).\n"
    )[2]
    summary, _, dialog = between.partition(
        "Dialog Generation This prompt is adapted from\nthe one in Li et al. (2023b).\n"
    )
    beginning, _, rest = dialog.partition("[\n{Src")  # the print of Tables 6 and 7 is between two columns
    dialog = (
        f"{beginning}[\n{{" + rest[rest.index('"model": "model_1"') :].partition("Better output=")[0] + "Better output="
    )
    places = {"[LANGUAGE]": "{language}", "[INPUT]": "{question}", "[GENERATION1]": "{a}", "[GENERATION2]": "{b}"}
    for name, printed in {"summarization": summary, "dialog": dialog}.items():
        for place, ours in places.items():
            printed = printed.replace(place, ours)
        assert squeezed(prompts.find(name).user) == squeezed(printed), name


def test_the_language_is_named_in_english_and_there_is_no_system_message() -> None:
    (message,) = prompts.find("summarization").messages("{a}", "{language}", "2", "tr")
    assert message["role"] == "user" and message["content"].count("Turkish") == 3
    assert message["content"].endswith("Text - {a}\nSummary 1 - {language}\nSummary 2 - 2\nPreferred Summary=")
    (message,) = prompts.find("dialog").messages("q", "one", "two", "ru")
    assert message["content"].count("Russian") == 3 and '        "answer": """two"""\n' in message["content"]
    with refused(ConfigError, "language", ""):
        prompts.find("dialog").messages("q", "one", "two")


def test_a_thread_is_shown_with_its_speakers() -> None:
    pair = Pair.of("i", [ASK, SAY, ASK], "One.", "Two.", language="en")
    assert pair.prompt == "Human: How many?\n\nAssistant: Three.\n\nHuman: How many?"
    assert thread("How many?") == "How many?"
    judge = pairwise.load(reward_models.find("served=m"), Settings(prompt="dialog"))
    (question,) = judge.questions(pair)
    assert '"""Human: How many?\n\nAssistant: Three.\n\nHuman: How many?"""' in question.messages[0]["content"]


def likely(**shares: float) -> Completion:
    return Completion("", False, logprobs=({text.replace("_", " "): math.log(p) for text, p in shares.items()},))


@pytest.mark.parametrize(
    ("answer", "preference"),
    [
        (likely(**{"1": 0.6, "2": 0.2, "x": 0.2}), 1.25),
        (likely(**{"1": 0.3, "_1": 0.3, "2": 0.1, "_2": 0.1, "x": 0.2}), 1.25),  # white space aside they are one
        (likely(**{"1": 0.6, "x": 0.3, "y": 0.02}), 1 + 0.02 / 0.62),  # at most as likely as the last that is listed
        (likely(**{"x": 0.7, "2": 0.28}), 1 + 0.28 / 0.3),  # 0.02 are left, less than the last that is listed
        (likely(**{"1": 1.0}), 1.0),  # nothing is left
        (likely(x=0.9, y=0.1), None),
        (likely(**{"12": 0.9, "x": 0.1}), None),
        (Completion("1", True), 1.0),
        (Completion(' "2"', True), 2.0),
        (Completion("**1**", False), 1.0),
        (Completion("<think>1 or 2?</think>\n2", True), 2.0),
        (Completion("12", True), None),
        (Completion("1 or 2", True), None),
        (Completion("Summary 1", True), None),
        (Completion("", True), None),
    ],
)
def test_a_preference_is_the_probability_of_2_among_1_and_2(answer: Completion, preference: float | None) -> None:
    read = numbered.preference(answer)
    assert read is None if preference is None else read == pytest.approx(preference, abs=1e-12)


def expected(plain: letter_model.Plain, pair: Pair, a_first: bool, prompt: str) -> float:
    """The probabilities of both numbers by plain transformers."""
    shown = (pair.a, pair.b) if a_first else (pair.b, pair.a)
    values = plain.logprobs(prompts.find(prompt).messages(pair.prompt, *shown, "vi"))
    one, two = math.exp(values["1"]) + math.exp(values[" 1"]), math.exp(values["2"])
    return 1 + two / (one + two)


@pytest.mark.parametrize("prompt", ["summarization", "dialog"])
@pytest.mark.parametrize("engine", ["endpoint", "transformers"])
def test_preferences_are_those_of_plain_transformers(engine, prompt, tmp_path, monkeypatch) -> None:
    folder = letter_model.save(tmp_path, letters=LETTERS)
    plain = letter_model.Plain(folder)
    with letter_model.served(plain) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        entry = "served=m" if engine == "endpoint" else f"self-taught={folder}"
        how = {"engine": engine, "prompt": prompt, "precision": "float32", "parallel": 2, "retries": 0}
        asked = pairwise.load(reward_models.find(entry), PolicySettings(**how))
        equal = Pair.of("same", "Text.", "One.", "One.", language="vi")
        *judgements, of_equal = asked.judge([*PAIRS, equal])
        asked.close()
    assert of_equal == Judgement((True, False), (1.5, 1.5))
    for pair, judgement in zip(PAIRS, judgements, strict=True):
        first, second = (expected(plain, pair, a_first, prompt) for a_first in (True, False))
        assert judgement.preferences == pytest.approx((first, second), abs=1e-5)
        assert judgement.preference == pytest.approx((first + 3 - second) / 2, abs=1e-5), "mean over both orders"
    spread = [value for judgement in judgements for value in judgement.preferences]
    assert max(spread) - min(spread) > 0.005, "preferences that are equal prove nothing"
    if engine == "endpoint":
        sent = {"max_tokens": 1, "logprobs": True, "top_logprobs": 20}
        assert all(request | sent == request for request in server.requests)


@pytest.mark.parametrize("gives", ["refuses", "ignores"])
def test_a_server_without_log_probabilities_is_read_as_written(gives, monkeypatch) -> None:
    """It prefers the longer text, and says so with a number."""

    def answer(text: str, request: dict) -> tuple:
        first, second = re.search(r"Summary 1 - (.*)\nSummary 2 - (.*)\n", text).groups()
        return ("1" if len(first) > len(second) else "2"), "length"

    def refusing(text: str, request: dict) -> tuple:
        if "logprobs" in request:
            return "This model does not support logprobs.", "error", 400, {}
        return answer(text, request)

    pair = Pair.of("i", "Text.", "short", "much longer", language="de")
    with serving(refusing if gives == "refuses" else answer, read=str) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        asked = pairwise.load(reward_models.find("served=m"), PolicySettings(prompt="summarization", retries=0))
        (judgement,) = asked.judge([pair])
        assert judgement.preferences == (2.0, 1.0) and judgement.preference == 2.0
        written = PolicySettings(prompt="summarization", logprobs=False, orders="seeded", retries=0)
        (judgement,) = pairwise.load(reward_models.find("served=m"), written).judge([pair])
    assert judgement.preference == 2.0 and len(judgement.preferences) == 1
    assert "logprobs" not in server.requests[-1] and server.requests[-1]["max_tokens"] == 4


def test_only_prompts_that_can_be_read_as_text_go_without_log_probabilities() -> None:
    for prompt in (None, "alpacaeval", "rewardbench"):
        with pytest.raises(ValidationError, match="summarization and dialog"):
            Settings(prompt=prompt, logprobs=False)


def test_a_reward_model_reads_the_turns_themselves(tiny_base, monkeypatch) -> None:
    scored: list = []

    class Scorer:
        def score(self, conversations):
            scored.extend(conversations)
            return [float(len(each[-1]["content"])) for each in conversations]

        def say_cut(self, *_) -> None:
            pass

    monkeypatch.setattr("xlrm.scorers.classifiers.load", lambda *_: Scorer())
    verdicts = rewards.find(str(tiny_base)).judge([Pair.of("i", [ASK, SAY, ASK], "One.", "Eleven.")], Scoring())
    assert scored[0] == [ASK, SAY, ASK, {"role": "assistant", "content": "One."}]
    assert verdicts.judgements[0].preference == 2.0
