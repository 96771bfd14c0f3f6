"""The stage that judges aligned policies: by the phrasebook's judge, by a scripted one on a server of ours, and by a model."""

import json
from pathlib import Path
from unittest.mock import ANY

import pytest
import torch
from refusals import refused
from sampled import answered
from test_judging import by_habit, serve

from xlrm.errors import ConfigError, GateError
from xlrm.models import loading
from xlrm.scorers.judges import prompts
from xlrm.scorers.judges.pairs import coin
from xlrm.stages import external, judge
from xlrm.store.jsonl import read_rows, write_jsonl

HABITS = ("knows", "first", "garbage", "errs", "half")


def answers(folder: Path, *policies: str, language: str = "ko") -> Path:
    """Each policy answers every prompt with its word, which begins with `right` or not."""
    for place, word in enumerate(policies):
        rows = [answered(f"p{n}", f"{habit} {n}", [f"{word} {n}"], language) for n, habit in enumerate(HABITS)]
        write_jsonl(folder / str(place) / "eval" / f"{language}.jsonl", rows)
    return folder


@pytest.fixture
def policies(tmp_path) -> dict[str, Path]:
    """The first aligned policy is better than the policy before alignment, the second worse."""
    return {
        "reference": answers(tmp_path / "reference", "right, though"),
        "candidates": answers(tmp_path / "candidates", "wrong", "wrong again"),
    }


def run(output: Path, policies: dict[str, Path], **config) -> tuple[dict[str, float], dict, list[dict]]:
    output.mkdir(parents=True)
    asked = {"judge": "served=m", "prompt": "rewardbench", "retries": 0}
    settings = {"language": "ko", "labelers": ("en", "ko")} | asked | config
    metrics = judge.run(
        judge.Config(**settings), output=output, **{name: [folder] for name, folder in policies.items()}
    )
    return metrics, json.loads((output / "results.json").read_text()), read_rows(output / "verdicts.jsonl")


def test_a_served_judge_compares_both_aligned_policies_with_the_one_before(policies, tmp_path, monkeypatch) -> None:
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        metrics, report, verdicts = run(tmp_path / "out", policies, usd_per_million={"m": (1, 1)})
    # In both orders: knows prefers the base (1), first neither (1.5), garbage is unreadable, errs prefers the aligned (2), and
    # half names the base in one order and nothing in the other.
    wanted = [1, 1.5, None, 2, 1]
    assert [row["preference"] for row in verdicts] == wanted * 2
    assert [(row["system"], row["run"]) for row in verdicts] == [("en", 0)] * 5 + [("ko", 0)] * 5
    assert verdicts[7]["verdicts"] == ["error", "error"] and verdicts[7]["answers"] == ["Both are fine: [[C]]"] * 2
    assert (
        verdicts[0] | {"reference": "right, though 0", "response": "wrong 0", "reference_first": [True, False]}
        == verdicts[0]
    )
    for labeler in ("en", "ko"):
        result = report["results"][labeler]
        assert result["win_rate"] == metrics[f"win_rate/{labeler}"] == pytest.approx(sum(filter(None, wanted)) / 4 - 1)
        counts = {"items": 4, "wins": 1, "losses": 2, "draws": 1, "verdicts": 10, "unreadable": 3, "dropped": 1}
        assert result | counts == result and metrics[f"unreadable/{labeler}"] == 3
    assert (report["judge"], report["cost"]["requests"], report["cost"]["unreadable"]) == ("served=m", 20, 6)
    assert metrics["usd"] == report["cost"]["usd"] > 0
    assert server.requests[0]["messages"][0]["content"] == prompts.JUDGE_PROMPTS["rewardbench"].system


def test_one_order_is_the_prompts_and_the_same_for_every_policy_and_language(policies, tmp_path, monkeypatch) -> None:
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        _, _, verdicts = run(tmp_path / "out", policies, orders="seeded")
    assert [row["reference_first"] for row in verdicts] == [[coin(42, f"p{n}")] for n in range(5)] * 2


def test_runs_against_responses_from_elsewhere_with_the_base_policy_as_one_of_the_systems(tmp_path) -> None:
    """Judged by the phrasebook; what each answer is worth is plain to see."""
    right, wrong = "Three. ", "Seven. "

    def sampled(name: str, *policies: list[list[str]]) -> Path:
        for place, of in enumerate(policies):
            rows = [answered(f"p{n}", "How much is one plus two?", texts) for n, texts in enumerate(of)]
            write_jsonl(tmp_path / name / str(place) / "eval/en.jsonl", rows)
        return tmp_path / name

    given = {
        "reference": sampled("given", [[right], [wrong], [wrong]]),
        "base": sampled("base", [[wrong, wrong], [wrong, right], [right, right]]),
        "candidates": sampled("candidates", [[right, right], [right, right], [right, wrong]]),
    }
    config = {"language": "en", "labelers": ("en",), "judge": "phrasebook", "runs": 2, "reference": "gpt-4-turbo"}
    metrics, report, verdicts = run(tmp_path / "out", given, **config)
    shares = {"base": [0, 0.75, 1], "en": [0.5, 1, 0.75]}
    assert list(report["results"]) == ["base", "en"] and report["reference"] == "gpt-4-turbo"
    for system, wanted in shares.items():
        assert report["results"][system]["win_rate"] == metrics[f"win_rate/{system}"] == pytest.approx(sum(wanted) / 3)
        assert "first" not in report["results"][system], "no order is shown to a judge that knows the answer"
    assert report["results"]["en"]["runs"] == pytest.approx([2.5 / 3, 2 / 3])
    assert report["results"]["en"]["characters"] == [len(right), len(right)]
    assert json.loads((tmp_path / "out/items.json").read_text()) == {"ids": ["p0", "p1", "p2"], "wins": shares}
    (difference,) = report["differences"]
    assert (difference["first"], difference["second"]) == ("en", "base")
    assert difference["value"] == pytest.approx((0.5 + 0.25 - 0.25) / 3)
    assert [(row["system"], row["id"], row["run"]) for row in verdicts] == [
        (system, f"p{n}", k) for system in shares for n in range(3) for k in range(2)
    ]


def test_external_and_judge_ask_and_remember_alike(policies, tmp_path, monkeypatch) -> None:
    """A pair that one of them has judged is known to the other."""
    rows = read_rows(policies["reference"] / "0/eval/ko.jsonl")
    bench = [
        {"id": row["id"], "prompt": row["prompt"], "chosen": row["responses"][0], "rejected": f"wrong {n}",
         "subset": "s", "section": "S"}
        for n, row in enumerate(rows)
    ]  # fmt: skip
    write_jsonl(tmp_path / "corpora/ko/benchmark.jsonl", bench)
    (tmp_path / "external").mkdir()
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        config = external.Config(models=("served=m",), languages=("ko",))
        external.run(config, corpora=tmp_path / "corpora", output=tmp_path / "external")
        credits = [row["credit"] for row in read_rows(tmp_path / "external/m/verdicts.jsonl")]
        one = {"reference": policies["reference"], "candidates": answers(tmp_path / "one", "wrong")}
        _, report, verdicts = run(tmp_path / "out", one, labelers=("en",), orders="seeded")
        assert [0.5 if row["preference"] is None else 2 - row["preference"] for row in verdicts] == credits
        unreadable = report["cost"]["unreadable"]
        assert report["cost"] | {"known": 5 - unreadable, "requests": unreadable} == report["cost"]
        assert len(server.requests) == 5 + unreadable


def test_a_budget_holds_before_and_while(policies, tmp_path, monkeypatch) -> None:
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        dear = {"usd_per_million": {"m": (1e6, 1e6)}}
        with refused(ConfigError, "judge.max_usd", 10):
            run(tmp_path / "before", policies, max_usd=10, **dear)
        with refused(ConfigError, "judge.max_usd", 10):
            run(tmp_path / "unknown", policies, max_usd=10)
        assert not server.requests
        with refused(GateError, "judge.max_usd", 200):
            cheap = {"usd_per_million": {"m": (0, 1e6)}, "answer_tokens": 1, "max_usd": 200}
            server.answer = lambda text, _: ("[[A]] " + "word " * 100, "stop")
            run(tmp_path / "while", policies, orders="seeded", **cheap)


def test_without_an_address_nothing_is_written(policies, tmp_path) -> None:
    with refused(ConfigError, "OPENAI_BASE_URL"):
        run(tmp_path / "out", policies)
    assert not list((tmp_path / "out").iterdir())


def test_a_model_of_this_machine_judges_as_transformers_itself_does(policies, tiny_base, tmp_path) -> None:
    config = {
        "judge": f"self-taught={tiny_base}",
        "prompt": None,
        "engine": "transformers",
        "max_new_tokens": 12,
        "precision": "float32",
        "orders": "seeded",
    }
    with refused(GateError, "judge.judge", ANY) as raised:
        run(tmp_path / "out", policies, labelers=("en",), **config)
    verdicts = read_rows(tmp_path / "out/verdicts.jsonl")
    assert raised.value.value == verdicts[0]["answers"][0]
    from transformers import AutoModelForCausalLM

    tokenizer, model = loading.load_tokenizer(tiny_base), AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    for row, first in zip(verdicts, (coin(42, f"p{n}") for n in range(5)), strict=True):
        shown = (row["reference"], row["response"]) if first else (row["response"], row["reference"])
        chat = prompts.JUDGE_PROMPTS["self-taught"].messages(row["prompt"], *shown)
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        if chat[0]["content"] not in text:
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": f"{chat[0]['content']}\n\n{chat[1]['content']}"}],
                tokenize=False, add_generation_prompt=True,
            )  # fmt: skip
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            made = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert row["answers"] == [tokenizer.decode(made, skip_special_tokens=True)]
        assert row["verdicts"] == ["error"] and row["preference"] is None


def test_another_version_of_the_judge_judges_again(tiny_base) -> None:
    named = {"language": "ko", "labelers": ("en",)}
    assert judge.fingerprint(judge.Config(**named)) == judge.fingerprint(judge.Config(**named, judge=None)) == ""
    assert judge.fingerprint(judge.Config(**named, judge="served=m@v2")) == "v2"
    assert len(judge.fingerprint(judge.Config(**named, judge=f"self-taught={tiny_base}"))) == 64
