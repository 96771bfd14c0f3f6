"""Who judges: reward models, people, ratings by a rubric, and juries."""

import csv
import json
import math
import random
from pathlib import Path

import pytest
import raters
import torch
from refusals import refused
from test_judging import by_habit, serve
from test_win_rates import answers, run
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from typer.testing import CliRunner

from xlrm.cli import app
from xlrm.errors import ConfigError, DataError, GateError
from xlrm.evaluation import juries
from xlrm.evaluation.results import JudgeResults
from xlrm.models import loading
from xlrm.models.decoding import Completion
from xlrm.scorers.judges import agreement, human, jury, rubrics, table
from xlrm.scorers.judges.pairs import Judgement, Pair
from xlrm.scorers.judges.verdicts import Verdicts, vote

RUBRIC = "Q: {prompt}\nEnd with\nRating: N\nA: {response}"
PAIRS = [Pair("p0", "q0", "fair", "bad"), Pair("p1", "q0", "fair", "best"), Pair("p2", "q0", "mute", "bad")]


def settings(**given) -> table.Settings:
    return table.Settings(**{"parallel": 2, "retries": 0} | given)


# Agreement


def test_cohens_kappa_by_hand_and_as_scikit_learn_computes_it() -> None:
    # 20 twice yes, 15 twice no, 5 and 10 apart: p_o = 0.7, p_e = (25 * 30 + 25 * 20) / 50^2 = 0.5.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert agreement.cohens_kappa(first, second) == pytest.approx(0.4)
    assert agreement.cohens_kappa(["a", "tie", "b"], ["a", "tie", "b"]) == 1
    assert agreement.cohens_kappa(["a", "a"], ["a", "a"]) is None
    metrics = pytest.importorskip("sklearn.metrics")
    drawn = random.Random(1)
    one, other = ([drawn.choice(["a", "b", "tie"]) for _ in range(200)] for _ in range(2))
    mixed = [a if drawn.random() < 0.4 else b for a, b in zip(one, other, strict=True)]
    assert agreement.cohens_kappa(one, mixed) == pytest.approx(metrics.cohen_kappa_score(one, mixed))


def test_a_jury_is_the_mean_of_those_who_could_say_something() -> None:
    # Shown in both orders: m prefers a twice (1), then cannot be read; n is nearly sure of b, and of neither.
    m = [Judgement((True, False), (1.0, 2.0)), Judgement((True, False), (None, None))]
    n = [Judgement((True,), (1.9,)), Judgement((False,), (1.5,))]
    said = jury.combined({"m": Verdicts(m), "n": Verdicts(n), "o": Verdicts(n)})
    assert [each.preference for each in said.judgements] == pytest.approx([(1 + 1.9 + 1.9) / 3, 1.5])
    assert said.judgements[1].record()["votes"] == {"m": None, "n": 1.5, "o": 1.5}
    m_n, _, n_o = said.agreement
    assert (m_n.items, m_n.agreement, n_o.items, n_o.kappa) == (1, 0, 2, 1)
    alone = jury.combined({"m": Verdicts(m[1:]), "n": Verdicts(m[1:])})
    assert vote(alone.judgements[0]) is None and alone.judgements[0].unreadable == 1 and not alone.agreement


# Reward models


@pytest.fixture(scope="module")
def reward_model(tiny_base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = loading.load_tokenizer(tiny_base).pad_token_id
    model.score.weight.data.normal_()
    model.save_pretrained(folder)
    loading.load_tokenizer(tiny_base).save_pretrained(folder)
    return folder


def test_a_reward_model_prefers_the_higher_reward(reward_model) -> None:
    pairs = [Pair("p", "one", "yes", "no, never"), Pair("q", "one", "no, never", "yes"), Pair("r", "two", "so", "so")]
    said = table.judge(f"reward={reward_model}", settings(), pairs, "en")
    tokenizer = loading.load_tokenizer(reward_model)
    network = AutoModelForSequenceClassification.from_pretrained(reward_model, dtype=torch.float32).eval()

    def reward(prompt: str, response: str) -> float:
        chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        with torch.inference_mode():
            return network(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits.item()

    yes, no = reward("one", "yes"), reward("one", "no, never")
    assert yes != no
    higher = 1.0 if yes > no else 2.0
    assert [each.preference for each in said.judgements] == [higher, 3 - higher, 1.5]
    records = [each.record()["rewards"] for each in said.judgements]
    assert records[0] == pytest.approx([yes, no], abs=1e-5) and records[1] == records[0][::-1]
    alone = table.judge(f"reward={reward_model}", settings(), pairs[:1], "en").judgements[0]
    assert alone.scores == pytest.approx(said.judgements[0].scores, abs=1e-5)  # float32's rounding is the batch's
    means = juries.fields(said, {"x": pairs[:2], "y": pairs[2:]})
    assert means["scores"]["x"].reference == pytest.approx((yes + no) / 2, abs=1e-5) and means["cost"] is None
    assert len(table.fingerprint(f"reward={reward_model}", settings())) == 64


# People


def people(path: Path, *rows: dict) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return f"human={path}"


def test_people_fill_in_a_blinded_sheet(tmp_path) -> None:
    pairs = [Pair(f"p{n}", f"q{n}", f"ours {n}", f"theirs {n}") for n in range(40)]
    pairs += [pairs[0], Pair("same", "q", "x", "x")]
    sheet = human.sheet(pairs, "ko", seed=1)
    assert len(sheet) == 40 and sheet == human.sheet(pairs[::-1], "ko", seed=1) != human.sheet(pairs, "ko", seed=2)
    ours_first = sum(row["first"].startswith("ours") for row in sheet)
    assert 8 < ours_first < 32 and [row["id"] for row in sheet] != [f"p{n}" for n in range(40)]
    assert not any("theirs" in str(key) for row in sheet for key in row)
    for row in sheet:  # this person likes the others' responses, and finds p7's equal
        row["preference"] = "tie" if row["id"] == "p7" else "first" if row["first"].startswith("theirs") else "2"
    said = table.judge(people(tmp_path / "sheet.csv", *sheet), settings(), pairs[:40], "ko")
    assert [each.preference for each in said.judgements] == [1.5 if n == 7 else 2 for n in range(40)]


def test_several_people_are_averaged_and_compared(tmp_path) -> None:
    rows = [
        {"id": "p0", "system": "en", "preference": 1, "annotator": "ann", "language": "ko"},
        {"id": "p0", "system": "en", "preference": 2, "annotator": "bob", "language": "ko", "reference_first": "false"},
        {"id": "p0", "system": "en", "preference": 1.5, "annotator": "eve", "language": "ko"},
        {"id": "p1", "system": "en", "preference": "b", "annotator": "ann", "language": "ko"},
        {"id": "p1", "system": "en", "preference": "a", "annotator": "bob", "language": "ko"},
        {"id": "p1", "system": "ko", "preference": "a", "annotator": "bob", "language": "ko"},
        {"id": "p2", "system": "en", "preference": "", "annotator": "ann", "language": "ko"},
        {"id": "p2", "system": "en", "preference": "1", "annotator": "ann", "language": "es"},
    ]
    pairs = [Pair(f"p{n}", "q", "r", "s", system="en") for n in range(3)]
    entry = people(tmp_path / "people.csv", *rows)
    said = table.judge(entry, settings(max_missing_share=0.4), pairs, "ko")
    assert [vote(each) for each in said.judgements] == pytest.approx([(1 + 1 + 1.5) / 3, 1.5, None])
    assert said.judgements[1].record()["votes"] == {"ann": 2, "bob": 1}
    assert [(each.first, each.second, each.items, each.agreement) for each in said.agreement] == [
        ("ann", "bob", 2, 0.5), ("ann", "eve", 1, 0), ("bob", "eve", 1, 0),
    ]  # fmt: skip
    with refused(GateError, "judge.max_missing_share", 0.3):
        table.judge(entry, settings(max_missing_share=0.3), pairs, "ko")


@pytest.mark.parametrize(
    ("row", "where", "value"),
    [
        ({"id": "p", "system": "en", "preference": "3"}, "preference", "3"),
        ({"id": "p", "preference": "1"}, "first, second or system", None),
        ({"id": "", "system": "en", "preference": "1"}, "id", ""),
        ({"id": "p", "system": "en", "preference": "1", "reference_first": "maybe"}, "reference_first", "maybe"),
        ({"id": "p", "system": "en"}, "preference", None),
    ],
)
def test_rows_that_are_no_verdict(tmp_path, row, where, value) -> None:
    entry = people(tmp_path / "v.csv", row)
    with refused(DataError, f"{tmp_path}/v.csv:2: {where}", value):
        table.judge(entry, settings(), [Pair("p", "q", "r", "s", system="en")], "ko")


def test_two_verdicts_of_one_person(tmp_path) -> None:
    row = {"id": "p", "system": "en", "preference": "1", "annotator": "ann"}
    with refused(DataError, "item p: annotator", "ann"):
        table.judge(people(tmp_path / "v.csv", row, row), settings(), [Pair("p", "q", "r", "s", system="en")], "ko")


# Ratings


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("Fine.\nRating: 7", 7), ("**Rating:** 7/10", 7), ("Rating: [[3]].\n\n", 3), ("RATING: 10 out of 10", 10),
        ("Rating: 7.5", 7.5), ("Rating: 2\nOn reflection, more.", None), ("Rating: 11", None), ("Rating: 0", None),
        ("Rating: -5", None), ("Seven", None), ("", None), ("<think>\nRating: 1\n</think>\nRating: 9", 9),
    ],
)  # fmt: skip
def test_a_rating_is_read_from_the_last_line(answer: str, value: float | None) -> None:
    read = rubrics.rating(Completion(answer, True))
    assert (read and read.value) == value and not (read and read.weighted)


def likely(pieces: str, **shares: dict[str, float]) -> Completion:
    """An answer of the tokens that `|` separates; `shares`: probabilities at the positions that t5 and so on name."""
    tokens = tuple(pieces.split("|"))
    tables = [{token: math.log(p) for token, p in shares.get(f"t{n}", {}).items()} for n in range(len(tokens))]
    return Completion("".join(tokens).replace("<end>", ""), True, logprobs=tuple(tables), pieces=tokens)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (likely("Rating|:| 7|<end>", t2={" 7": 0.5, " 8": 0.3, "Seven": 0.2}), (0.5 * 7 + 0.3 * 8) / 0.8),
        # A tokenizer with 10: 1 is 1.
        (likely("ok\n|Rating|:| |9", t4={"9": 0.6, "10": 0.3, "1": 0.1}), 9 * 0.6 + 10 * 0.3 + 0.1),
        # Digits apart: 1 may be the beginning of 10 and is left out, unless it was written.
        (likely("Rating|:| |9", t3={"9": 0.6, "8": 0.2, "1": 0.2}), (0.6 * 9 + 0.2 * 8) / 0.8),
        (likely("Rating|:| |1|0|<end>", t3={"1": 0.7, "9": 0.3}, t4={"0": 0.8, "<end>": 0.2}), 0.56 * 10 + 0.14 + 2.7),
        (likely("Rating|:| |1|<end>", t3={"1": 0.7, "2": 0.3}, t4={"0": 0.1, "<end>": 0.9}), 0.07 * 10 + 0.63 + 0.6),
        # An explanation with numbers before it.
        (likely("8| of |8\n|Rating|: |5", t5={"5": 0.5, "6": 0.5}), 5.5),
    ],
)  # fmt: skip
def test_a_rating_is_weighted_by_the_probabilities_of_numbers(answer: Completion, value: float) -> None:
    assert rubrics.rating(answer) == (pytest.approx(value), True)
    kept = rubrics.trimmed(answer)
    assert rubrics.rating(kept) == rubrics.rating(answer) and sum(map(bool, kept.logprobs)) <= 2


def test_without_log_probabilities_at_the_number_it_is_what_was_written() -> None:
    for answer in (likely("Rating|:| 7", t2={" 8": 1.0}), likely("Rating|: 7", t1={": 7": 1.0}), likely("Rating|:| 7")):
        assert rubrics.rating(answer) == (7, False)


@pytest.fixture(scope="module")
def rater(tiny_base, tmp_path_factory) -> Path:
    texts = {
        text: RUBRIC.replace("{prompt}", "q0").replace("{response}", text) for text in ("fair", "bad", "best", "mute")
    }
    answers = {
        texts["fair"]: {"So.\nRating: 7": 0.5, "So.\nRating: 8": 0.3, "So.\nRating: 5": 0.2},
        texts["bad"]: {"So.\nRating: 2": 0.6, "So.\nRating: 3": 0.4},
        texts["best"]: {"So.\nRating: 10": 0.7, "So.\nRating: 9": 0.3},
        texts["mute"]: {"I cannot say.": 1.0},
    }
    return raters.train(tiny_base, tmp_path_factory.mktemp("rater"), answers)


def test_a_model_of_this_machine_rates_by_its_log_probabilities(rater, tmp_path) -> None:
    (tmp_path / "own.md").write_text(f"<!-- for tests -->\n{RUBRIC}\n")
    how = {"engine": "transformers", "precision": "float32", "max_new_tokens": 20, "rubric": str(tmp_path / "own.md")}
    said = table.judge(f"self-taught={rater}", settings(**how), PAIRS, "en")
    tokenizer, model = loading.load_tokenizer(rater), AutoModelForCausalLM.from_pretrained(rater).eval()

    def expected(text: str) -> float:
        """From the probabilities of the whole vocabulary after `Rating: `."""
        message = RUBRIC.replace("{prompt}", "q0").replace("{response}", text)
        begin = (
            raters.prompt_ids(tokenizer, message) + tokenizer("So.\nRating: ", add_special_tokens=False)["input_ids"]
        )
        one = tokenizer("1", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            at = model(torch.tensor([begin])).logits[0, -1].double().softmax(-1)
            then = model(torch.tensor([begin + one])).logits[0, -1].double().softmax(-1)
        shares = {n: at[tokenizer(str(n), add_special_tokens=False)["input_ids"][0]].item() for n in range(1, 10)}
        zero = then[tokenizer("0", add_special_tokens=False)["input_ids"][0]].item()
        first = shares.pop(1)
        if first > max(shares.values()):  # then a 1 is written, and perhaps a 0 after it
            shares |= {1: first * (1 - zero), 10: first * zero}
        return sum(n * p for n, p in shares.items()) / sum(shares.values())

    fair, bad, best = expected("fair"), expected("bad"), expected("best")
    assert abs(fair - bad) > 0.1 and abs(fair - best) > 0.1
    assert said.judgements[0].scores == pytest.approx((fair, bad), abs=0.02)
    assert said.judgements[1].scores == pytest.approx((fair, best), abs=0.02)
    assert said.judgements[2].scores == (None, pytest.approx(bad, abs=0.02))
    assert [vote(each) for each in said.judgements] == [1 if fair > bad else 2, 1 if fair > best else 2, None]
    short = table.judge(f"self-taught={rater}", settings(**how | {"max_new_tokens": 2}), PAIRS, "en").cost
    assert (short.questions, short.cut, short.unreadable) == (4, 4, 3), "cut before the rating"
    assert said.judgements[0].record() | {"weighted": [True, True]} == said.judgements[0].record()
    assert (said.cost.questions, said.cost.requests, said.cost.verdicts, said.cost.unreadable) == (4, 4, 3, 1)
    again = table.judge(f"self-taught={rater}", settings(**how), PAIRS, "en")
    assert (again.cost.known, again.cost.requests) == (3, 1)  # the unreadable one is asked again
    assert [each.scores for each in again.judgements] == [each.scores for each in said.judgements]
    found = juries.fields(said, {"en": PAIRS})["scores"]["en"]
    assert (found.unit, found.weighted, found.reference) == ("ratings", 1.0, pytest.approx(fair, abs=0.02))


def test_a_served_rater_without_log_probabilities_is_read(tmp_path, monkeypatch) -> None:
    def answer(text: str, _: dict) -> tuple[str, str]:
        return f"Hm.\nRating: {8 if 'fair' in text else 3}", "stop"

    how = {"rubric": "correctness", "references": str(tmp_path / "{language}.jsonl")}
    rows = [{"id": pair.id, "reference": f"answer {pair.id}"} for pair in PAIRS]
    (tmp_path / "ko.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serve(answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        said = table.judge("served=m", settings(**how), PAIRS[:2], "ko")
        asked = [request["messages"][0]["content"] for request in server.requests]
        with refused(DataError, "judge.references", "px"):
            table.judge("served=m", settings(**how), [Pair("px", "q", "r", "s")], "ko")
    assert [each.scores for each in said.judgements] == [(8, 3), (8, 3)]
    assert said.judgements[0].weighted == (False, False)
    shown = {(f"answer {pair.id}", text) for pair in PAIRS[:2] for text in (pair.a, pair.b)}
    assert {
        (one, two) for one, two in shown for text in asked if f"\n{one}\n" in text and f"\n{two}\n" in text
    } == shown
    assert len(asked) == 4 and "MT-Bench" not in asked[0]


@pytest.mark.parametrize("status", [400, 403])
def test_a_server_that_refuses_log_probabilities_is_asked_without(status, tmp_path, monkeypatch) -> None:
    def answer(text: str, request: dict) -> tuple:
        if "logprobs" in request:
            return "This model does not support logprobs.", "error", status, {}
        return "Rating: 6", "stop"

    with serve(answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        said = table.judge("served=m", settings(rubric="quality", parallel=1), PAIRS[:2], "en")
        assert [each.preference for each in said.judgements] == [1.5, 1.5] and said.cost.refused == 0
        assert ["logprobs" in request for request in server.requests] == [True, False, False, False]
        again = table.judge("served=m", settings(rubric="quality"), PAIRS[:2], "en")
        assert (again.cost.known, again.cost.requests, len(server.requests)) == (3, 0, 4)


# The stage


def test_a_jury_in_the_stage(reward_model, tmp_path, monkeypatch) -> None:
    """A served judge, a reward model and people on two policies: win rates, costs and agreement of each."""
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    folders = {
        "reference": answers(tmp_path / "reference", "right, though"),
        "candidates": answers(tmp_path / "candidates", "wrong", "wrong again"),
    }
    rows = [{"id": f"p{n}", "system": name, "preference": "a"} for n in range(5) for name in ("en", "ko")]
    jurors = ["served=m", f"reward={reward_model}", people(tmp_path / "people.csv", *rows)]
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        metrics, report, verdicts = run(tmp_path / "out", folders, judge=jurors, usd_per_million={"m": (1, 1)})
    assert report["judge"] == ", ".join(jurors) and list(report["members"]) == jurors
    by_model, by_reward, by_people = report["members"].values()
    assert report["cost"] == by_model["cost"] and by_reward["cost"] is by_people["cost"] is None
    assert by_people["results"]["en"]["win_rate"] == 0 and by_people["results"]["ko"]["losses"] == 5
    rewards = [row["votes"][jurors[1]] for row in verdicts[:5]]
    assert by_reward["results"]["en"]["win_rate"] == pytest.approx(sum(rewards) / 5 - 1)
    assert by_reward["scores"]["en"]["unit"] == "rewards" and not report["scores"]
    # The served judge prefers 1, 1.5, nothing, 2, 1 (test_win_rates).
    wanted = [(1 + rewards[0] + 1) / 3, (1.5 + rewards[1] + 1) / 3, (rewards[2] + 1) / 2, (2 + rewards[3] + 1) / 3]
    assert [row["preference"] for row in verdicts[:4]] == pytest.approx(wanted)
    assert metrics["win_rate/en"] == report["results"]["en"]["win_rate"]
    first = next(each for each in report["kappa"] if {each["first"], each["second"]} == {jurors[0], jurors[2]})
    assert first["items"] == 8 and first["agreement"] == 0.5 and first["kappa"] == 0


def test_a_sheet_of_what_was_judged(tmp_path) -> None:
    folders = {name: answers(tmp_path / name, word) for name, word in (("reference", "right"), ("candidates", "wrong"))}
    run(tmp_path / "out", folders, judge=people(tmp_path / "v.csv", {"id": "p0", "system": "en", "preference": 1}),
        labelers=("en",), max_missing_share=0.8)  # fmt: skip
    made = CliRunner().invoke(app, ["sheet", str(tmp_path / "out"), "--output", str(tmp_path / "sheet.csv")])
    assert made.exit_code == 0 and "5 pairs" in made.output
    with (tmp_path / "sheet.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"] for row in rows} == {f"p{n}" for n in range(5)} and {row["language"] for row in rows} == {"ko"}
    for row in rows:
        row["preference"] = "a" if row["first"].startswith("wrong") else "b"
    _, report, _ = run(tmp_path / "again", folders, judge=people(tmp_path / "filled.csv", *rows), labelers=("en",))
    assert report["results"]["en"]["win_rate"] == 1
    result = JudgeResults.read(tmp_path / "out").results["en"]
    assert (result.items, result.win_rate, result.dropped, result.unreadable) == (1, 0, 4, 4)


# What cannot work


@pytest.mark.parametrize("entry", ["nobody", "reward=", "reward=gpt-4o", "human=", "human=people.txt", "served"])
def test_entries_that_name_no_judge(entry: str) -> None:
    with pytest.raises(ConfigError):
        table.check(entry, None)


@pytest.mark.parametrize(
    ("entries", "rubric"), [(("served=m", "served=m"), None), ((), None), ("phrasebook", "quality"), ("reward=o/m", "quality"),
                            (("served=m@1", "served=m@2"), None)]
)  # fmt: skip
def test_juries_and_rubrics_that_cannot_work(entries, rubric) -> None:
    with pytest.raises(ConfigError):
        table.check(entries, rubric)


@pytest.mark.parametrize(
    "given",
    [{"rubric": "none.md"}, {"rubric": "correctness"}, {"rubric": "quality", "references": "r.jsonl"},
     {"references": "r.jsonl"}, {"rubric": "quality", "prompt": "rewardbench"}],
)  # fmt: skip
def test_settings_of_ratings_that_do_not_fit(given) -> None:
    with pytest.raises(ValueError, match=r"rubric|reference|prompt"):
        settings(**given)


def test_a_changed_rubric_or_sheet_counts(tmp_path) -> None:
    rubric, sheet = tmp_path / "own.md", tmp_path / "v.jsonl"
    rubric.write_text(RUBRIC)
    sheet.write_text("{}\n")
    how = settings(rubric=str(rubric))
    before = table.files("served=m", how, "ko"), table.files(f"human={sheet}", settings(), "ko")
    rubric.write_text(RUBRIC + "!")
    sheet.write_text("{ }\n")
    after = table.files("served=m", how, "ko"), table.files(f"human={sheet}", settings(), "ko")
    assert before[0] != after[0] and before[1] != after[1]
    rubric.write_text(RUBRIC)
    assert table.files("served=m", how, "ko") == before[0]
