"""Held-out rows: accuracy beside the majority and length baselines, by hand, and as the stage evaluate stores them."""

import json
from pathlib import Path

import pytest
import torch
from refusals import refused

from xlrm.analysis import baselines, reward_modeling
from xlrm.data.catalog import PREFERENCES
from xlrm.errors import DataError
from xlrm.evaluation import reward_results, reward_table
from xlrm.evaluation.credit import by_chance, credit, tied
from xlrm.evaluation.results import EvaluationResults
from xlrm.models import loading
from xlrm.models.cards import BaseModelCard, RewardModelCard
from xlrm.registry import gate, releases
from xlrm.registry.gate import Rule
from xlrm.stages import evaluate
from xlrm.store.jsonl import write_jsonl


def judgment(name: str, response: str, label: float, subset: str = "xsum", source: str = "seahorse") -> dict:
    return {"id": name, "prompt": "p", "response": response, "label": label, "subset": subset, "source": source}


def items(tmp_path, rows: list[dict], language: str = "en") -> list[dict]:
    write_jsonl(tmp_path / language / "heldout.jsonl", rows)
    return reward_results.heldout(tmp_path, (language,))[language]


def test_every_threshold_and_direction_is_tried() -> None:
    """Lengths 1 2 3 4 5, good where marked."""
    lengths = [1, 2, 3, 4, 5]
    rule = baselines.fit_judgments(lengths, [False, False, True, False, True])  # longer than 2: 4 of 5 right
    assert (rule.direction, rule.threshold, rule.training_accuracy, rule.training_rows) == ("longer", 2, 0.8, 5)
    assert rule.decisions([2, 3]) == [0, 1]
    rule = baselines.fit_judgments(lengths, [True, True, False, False, False])
    assert (rule.direction, rule.threshold, rule.training_accuracy) == ("shorter", 2, 1)
    assert rule.decisions([2, 3]) == [1, 0]
    assert baselines.fit_judgments(lengths, [True] * 5).threshold == -1  # all good
    assert baselines.fit_judgments(lengths, [False] * 5).decisions(lengths) == [0] * 5
    assert baselines.fit_judgments([4, 4, 4], [True, False, False]).training_accuracy == pytest.approx(2 / 3)
    with pytest.raises(ValueError):
        baselines.fit_judgments([], [])


def test_the_direction_of_pairs_is_that_of_training() -> None:
    rule = baselines.fit_pairs([(5, 3), (2, 9), (1, 4), (7, 7)])  # longer is right in 1.5 of 4
    assert (rule.direction, rule.training_accuracy, rule.training_rows) == ("shorter", 0.625, 4)
    assert rule.decisions([(1, 2), (2, 1), (3, 3)]) == [1, 0, 0.5]
    assert baselines.fit_pairs([(2, 1), (1, 2)]).direction == "longer"


def test_agreement_and_majority() -> None:
    assert baselines.observed_agreement([1, 0, 1, 0.5], [1, 1, 0, 1]) == (1 + 0 + 0 + 0.5) / 4
    assert baselines.majority([True, False, False]) is False and baselines.majority([True, False]) is True
    assert baselines.majority_accuracy(False, [True, False, False]) == pytest.approx(2 / 3)


def test_a_single_judgment_earns_by_the_sign_of_its_reward() -> None:
    rewards = [([2.0], []), ([-2.0], []), ([], [-2.0]), ([], [2.0]), ([0.0], []), ([], [0.0])]
    rows = [
        {"id": str(i), "chosen": ["r"] * len(good), "rejected": ["r"] * len(bad)}
        for i, (good, bad) in enumerate(rewards)
    ]
    assert credit(rows, rewards).tolist() == [1, 0, 1, 0, 0, 0]
    assert credit(rows, rewards, "half").tolist() == [1, 0, 1, 0, 0.5, 0.5]
    assert tied(rewards) == 2
    assert by_chance(rows[:3]).tolist() == [1, 1, 0] and by_chance(rows[1:4]).tolist() == [0, 1, 1]


def test_accuracy_of_single_judgments_beside_their_baselines(tmp_path) -> None:
    rows = items(
        tmp_path,
        [
            judgment("1", "aaaa", 1),
            judgment("2", "aa", 1),
            judgment("3", "a", 0),
            judgment("4", "aaaaa", 0.5, "wikilingua"),
        ],
    )
    assert [(row["chosen"], row["rejected"]) for row in rows] == [
        (["aaaa"], []),
        (["aa"], []),
        ([], ["a"]),
        ([], ["aaaaa"]),
    ]
    training = [judgment("5", "aaa", 1), judgment("6", "a", 0), judgment("7", "aa", 0)]  # longer than 2; mostly bad
    measured = reward_modeling.measure(rows, [([1.0], []), ([3.0], []), ([], [2.0]), ([], [-1.0])], training)
    assert (measured.kind, measured.rows) == ("judgments", 4)
    assert measured.accuracy.value == 0.75  # right: 1, 2, 4
    assert {name: each.value for name, each in measured.subsets.items()} == {
        "xsum": pytest.approx(2 / 3),
        "wikilingua": 1,
    }
    assert measured.macro.value == pytest.approx((2 / 3 + 1) / 2)
    assert measured.accuracy.low <= 0.75 <= measured.accuracy.high == 1
    assert measured.majority == 0.5
    length = measured.length  # it calls 1 and 4 good: right in 1 and 3; the reward model calls 1, 2 and 3 good
    assert (length.direction, length.threshold, length.training_accuracy, length.training_rows) == ("longer", 2, 1, 3)
    assert (length.accuracy, length.agreement, length.expected_agreement) == (0.5, 0.25, 0.5)
    without = reward_modeling.measure(rows, [([1.0], []), ([3.0], []), ([], [2.0]), ([], [-1.0])], [])
    assert without.majority is None and without.length is None


def test_accuracy_of_pairs_beside_the_length_baseline(tmp_path) -> None:
    pair = {"prompt": "p", "subset": "s", "source": "oasst1"}
    rows = items(
        tmp_path,
        [{**pair, "id": "1", "chosen": "aaa", "rejected": "a"}, {**pair, "id": "2", "chosen": "a", "rejected": "aa"}],
    )
    training = [{**pair, "id": "3", "chosen": "b", "rejected": "bb"}, judgment("4", "a", 1)]
    measured = reward_modeling.measure(rows, [([1.0], [0.0]), ([2.0], [1.0])], training)
    assert (measured.kind, measured.majority, measured.accuracy.value) == ("pairs", None, 1)
    assert set(measured.subsets) == {"oasst1"}
    length = measured.length  # shorter: wrong of 1, right of 2, as the reward model decides of 2 alone
    assert (length.direction, length.threshold, length.training_rows, length.accuracy) == ("shorter", None, 1, 0.5)
    assert (length.agreement, length.expected_agreement) == (0.5, 0.5)


def test_subsets_of_one_name_in_two_data_sets_stay_apart(tmp_path) -> None:
    rows = items(
        tmp_path,
        [judgment("1", "a", 1, "all", "x"), judgment("2", "a", 0, "all", "y"), judgment("3", "a", 0, "z", "y")],
    )
    assert [(row["section"], row["subset"]) for row in rows] == [("x", "x/all"), ("y", "y/all"), ("y", "z")]
    with refused(DataError, tmp_path / "en" / "heldout.jsonl:1: label"):
        items(tmp_path, [{"id": "1", "prompt": "p", "response": "r", "subset": "s", "source": "x"}])


@pytest.fixture(scope="module")
def model(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = loading.load_tokenizer(tiny_base)
    loading.new_reward_model(tiny_base, tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def corpora(tmp_path):
    """Judgments with ids of their own in each language and no benchmark: 6 held out, 6 to train on."""
    for code in ("en", "ko"):
        pairs = PREFERENCES["phrasebook"].rows(code, 12, 7)
        rows = [
            judgment(f"{code}-{i}", row["chosen"], i % 3 / 2, f"set-{code}", "own.jsonl") for i, row in enumerate(pairs)
        ]
        write_jsonl(tmp_path / "corpora" / code / "heldout.jsonl", rows[:6])
        write_jsonl(tmp_path / "corpora" / code / "preferences.jsonl", rows[6:])
    return tmp_path / "corpora"


def test_a_corpus_of_judgments_without_a_benchmark_is_evaluated(model, corpora, tmp_path, capsys) -> None:
    output = tmp_path / "out"
    output.mkdir()
    config = evaluate.Config(language="en", languages=("en", "ko"))
    metrics = evaluate.run(config, model=model, corpora=corpora, output=output)
    results = EvaluationResults.read(output)
    assert (
        results.results == {}
        and set(results.benchmarks) == {"heldout"}
        and results.main == results.benchmarks["heldout"]
    )
    network, tokenizer = loading.load_reward_model(model), loading.load_tokenizer(model)

    def reward(row: dict) -> float:
        chat = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
        ids = tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"]
        with torch.inference_mode():
            return network(torch.tensor([ids])).logits.item()

    for code in ("en", "ko"):
        rows = [json.loads(line) for line in (corpora / code / "heldout.jsonl").read_text().splitlines()]
        rewards = [reward(row) for row in rows]
        accuracy = sum((value > 0) == (row["label"] > 0.5) for value, row in zip(rewards, rows, strict=True)) / 6
        measured = results.reward_modeling[code]
        assert (measured.kind, measured.rows, measured.majority) == ("judgments", 6, pytest.approx(4 / 6))
        assert (
            measured.accuracy.value
            == pytest.approx(accuracy)
            == results.benchmarks["heldout"][code].accuracy["average"]
        )
        assert set(measured.subsets) == {f"set-{code}"} and measured.length.training_rows == 6
        kept = reward_table.read(output / reward_table.FILE, "heldout")[code]
        assert [row["id"] for row in kept] == [row["id"] for row in rows] and [row["label"] for row in kept] == [
            0,
            0.5,
            1,
        ] * 2
        assert [(row["chosen"] + row["rejected"])[0] for row in kept] == pytest.approx(rewards, abs=1e-5)
        assert metrics[f"heldout/majority/{code}"] == measured.majority
        assert results.benchmarks["heldout"][code].missing == ()
    assert metrics["own_accuracy"] == metrics["heldout/accuracy/en/average"]
    assert "has no item of" not in capsys.readouterr().err


def test_the_card_of_a_model_that_was_evaluated_on_held_out_rows_alone(tmp_path) -> None:
    rows = items(tmp_path, [judgment(f"j{i}", "r", float(i < 3)) for i in range(4)])
    rewards = [([1.0 if i else -1.0], []) if i < 3 else ([], [-1.0]) for i in range(4)]
    held = {"heldout": {"en": reward_results.result(rows, rewards, "lost")}}
    EvaluationResults(language="en", results={}, benchmarks=held).write(tmp_path / "evaluation")
    RewardModelCard(language="en", pairs=9, base_model=BaseModelCard(model="m"), chat_template_sha256="").write(
        tmp_path
    )
    facts = releases.Facts("n", tmp_path, "d", tmp_path / "evaluation", {}, {})
    text = releases.card(facts)
    assert "**heldout**" in text and "**corpus**" not in text and "| en | 4 | 0.750" in text
    assert "Lowest measured accuracy: 0.750, seahorse in en" in text
    assert releases.tags(facts)["metric.accuracy/en/average"] == "0.7500"


def test_corpora_with_nothing_to_evaluate_on(tmp_path) -> None:
    write_jsonl(tmp_path / "corpora" / "en" / "preferences.jsonl", [judgment("1", "r", 1)])
    with refused(DataError, tmp_path / "corpora" / "en" / "benchmark.jsonl"):
        evaluate.run(evaluate.Config(), model=tmp_path, corpora=tmp_path / "corpora", output=tmp_path)


def test_the_gate_compares_held_out_judgments_if_there_is_no_benchmark(tmp_path) -> None:
    """120 judgments, of which 60 % are good: a constant reward is right in 60 %, and no better than chance."""

    def evaluated(name: str, wrong) -> Path:
        rows = items(tmp_path / name, [judgment(f"j{i}", "r", float(i % 5 < 3)) for i in range(120)])
        values = [(-1.0 if wrong(i) else 1.0) * (1 if row["chosen"] else -1) for i, row in enumerate(rows)]
        rewards = [([value], []) if row["chosen"] else ([], [value]) for value, row in zip(values, rows, strict=True)]
        reward_table.write(
            tmp_path / name / reward_table.FILE, list(reward_table.records("heldout", "en", rows, rewards))
        )
        return tmp_path / name / reward_table.FILE

    rule = Rule(resamples=500)
    constant, good, better = (evaluated(*each) for each in (
        ("constant", lambda i: i % 5 >= 3), ("good", lambda i: i % 5 == 0), ("better", lambda i: i % 20 == 0),
    ))  # fmt: skip
    refusal = gate.decide(None, constant, None, rule)
    assert not refusal.promoted and "accuracy 0.600, chance 0.600" in refusal.reason and "on heldout" in refusal.reason
    assert gate.decide(None, good, None, rule).promoted
    decision = gate.decide(good, better, "1", rule)
    assert decision.promoted and decision.rule["benchmarks"] == ["heldout"]
    whole = decision.rows[0]
    assert (whole.benchmark, whole.items, whole.champion, whole.challenger) == (
        "heldout",
        120,
        pytest.approx(0.8),
        pytest.approx(0.95),
    )
    gate.check_rewards(good)
