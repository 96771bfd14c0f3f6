"""The stage that judges aligned policies: by the phrasebook's judge, by a scripted one on a server of ours, and by a model."""

import json
from pathlib import Path

import pytest
import torch
from refusals import refused
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
        rows = [
            {"id": f"p{n}", "prompt": f"{habit} {n}", "responses": [f"{word} {n}"]} for n, habit in enumerate(HABITS)
        ]
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
    asked = {"judge": "served=m", "prompt": "rewardbench", "orders": "seeded", "retries": 0}
    settings = {"language": "ko", "labelers": ("en", "ko")} | asked | config
    metrics = judge.run(judge.Config(**settings), output=output, **policies)
    return metrics, json.loads((output / "results.json").read_text()), read_rows(output / "verdicts.jsonl")


def test_a_served_judge_compares_both_aligned_policies_with_the_one_before(policies, tmp_path, monkeypatch) -> None:
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        metrics, report, verdicts = run(tmp_path / "out", policies, orders="both", usd_per_million={"m": (1, 1)})
    # In both orders: knows prefers the base (1), first and garbage neither (1.5), errs the aligned (2), half says 1 once.
    wanted = [1, 1.5, 1.5, 2, 1]
    assert [row["preference"] for row in verdicts] == wanted * 2
    assert [row["labeler"] for row in verdicts] == ["en"] * 5 + ["ko"] * 5
    assert verdicts[7]["verdicts"] == ["error", "error"] and verdicts[7]["answers"] == ["Both are fine: [[C]]"] * 2
    assert verdicts[0] | {"base": "right, though 0", "aligned": "wrong 0", "base_first": [True, False]} == verdicts[0]
    for labeler in ("en", "ko"):
        result = report["results"][labeler]
        assert result["win_rate"] == metrics[f"win_rate/{labeler}"] == pytest.approx(sum(wanted) / 5 - 1)
        counts = {"items": 5, "draws": 1, "verdicts": 10, "unreadable": 3}
        assert result | counts == result and metrics[f"unreadable/{labeler}"] == 3
    assert (report["judge"], report["cost"]["requests"], report["cost"]["unreadable"]) == ("served=m", 20, 6)
    assert metrics["usd"] == report["cost"]["usd"] > 0
    assert server.requests[0]["messages"][0]["content"] == prompts.JUDGE_PROMPTS["rewardbench"].system


def test_one_order_is_the_prompts_and_the_same_for_every_policy_and_language(policies, tmp_path, monkeypatch) -> None:
    with serve(by_habit) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        _, _, verdicts = run(tmp_path / "out", policies)
    assert [row["base_first"] for row in verdicts] == [[coin(42, f"p{n}")] for n in range(5)] * 2


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
        _, report, verdicts = run(tmp_path / "out", one, labelers=("en",))
        assert [2 - row["preference"] for row in verdicts] == credits
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
            run(tmp_path / "while", policies, **cheap)


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
    }
    metrics, report, verdicts = run(tmp_path / "out", policies, labelers=("en",), **config)
    from transformers import AutoModelForCausalLM

    tokenizer, model = loading.load_tokenizer(tiny_base), AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    for row, first in zip(verdicts, (coin(42, f"p{n}") for n in range(5)), strict=True):
        shown = (row["base"], row["aligned"]) if first else (row["aligned"], row["base"])
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
    assert report["cost"]["unreadable"] == metrics["unreadable/en"] == 5 and "usd" not in metrics
    assert metrics["win_rate/en"] == 0.5 and report["results"]["en"]["draws"] == 0


def test_another_version_of_the_judge_judges_again(tiny_base) -> None:
    named = {"language": "ko", "labelers": ("en",)}
    assert judge.fingerprint(judge.Config(**named)) == judge.fingerprint(judge.Config(**named, judge=None)) == ""
    assert judge.fingerprint(judge.Config(**named, judge="served=m@v2")) == "v2"
    assert len(judge.fingerprint(judge.Config(**named, judge=f"self-taught={tiny_base}"))) == 64
