"""The evaluate stage on benchmarks as they are published: what it writes, leaves out and refuses."""

import json

import pytest
import torch
from refusals import refused
from test_sources import cache, copy_of  # noqa: F401

from xlrm.data.catalog import PREFERENCES
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import reward_table
from xlrm.evaluation.credit import credit
from xlrm.models import loading
from xlrm.stages import evaluate
from xlrm.store.jsonl import write_jsonl

BEST_OF = [
    {
        "id": str(i),
        "prompt": f"How much is {i} plus one?",
        "chosen": [f"{i + 1}."],
        "rejected": ["Snow.", "No.", f"{i}."],
    }
    for i in range(6)
]


@pytest.fixture(scope="module")
def model(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = loading.load_tokenizer(tiny_base)
    loading.new_reward_model(tiny_base, tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def corpora(tmp_path):
    for code in ("en", "es", "ko"):
        rows = [row | {"section": "S"} for row in PREFERENCES["phrasebook"].rows(code, 12, 0)]
        write_jsonl(tmp_path / "corpora" / code / "benchmark.jsonl", rows)
    return tmp_path / "corpora"


def run(model, corpora, output, **config) -> tuple[dict, dict]:
    output.mkdir()
    given = evaluate.Config(language="en", languages=("en", "es", "ko"), **config)
    metrics = evaluate.run(given, model=model, corpora=corpora, output=output)
    return metrics, json.loads((output / "results.json").read_text())


def test_results_and_rewards_of_the_corpus_and_of_further_benchmarks(model, corpora, tmp_path, capsys) -> None:
    write_jsonl(tmp_path / "mine-ko.jsonl", BEST_OF)
    entries = (copy_of("rewardbench-2", tmp_path), str(tmp_path / "mine-{language}.jsonl"))
    metrics, found = run(model, corpora, tmp_path / "out", benchmarks=entries)
    assert {name: set(one) for name, one in found["benchmarks"].items()} == {"rewardbench-2": {"en"}, "mine": {"ko"}}
    assert set(found["results"]) == {"en", "es", "ko"} and found["tie_policy"] == "lost"
    assert metrics["own_accuracy"] == metrics["accuracy/en/average"] == found["results"]["en"]["accuracy"]["average"]
    two = found["benchmarks"]["rewardbench-2"]["en"]
    assert metrics["rewardbench-2/accuracy/en/Precise IF"] == two["accuracy"]["Precise IF"]
    assert two["random_baseline"]["Factuality"] == 0.25 and two["items"] == 7
    assert found["benchmarks"]["mine"]["ko"]["random_baseline"]["average"] == 0.25
    kept = reward_table.read(tmp_path / "out" / reward_table.FILE, "mine")["ko"]
    assert [len(row["rejected"]) for row in kept] == [3] * 6
    scored = [(row["chosen"], row["rejected"]) for row in kept]
    assert credit(kept, scored).mean() == found["benchmarks"]["mine"]["ko"]["accuracy"]["average"]
    assert len(reward_table.read(tmp_path / "out" / reward_table.FILE)["es"]) == 12
    said = capsys.readouterr()
    assert "has no items in es, ko" in said.out + said.err


def test_held_out_pairs_are_a_benchmark_in_every_language_that_has_them(model, corpora, tmp_path) -> None:
    """A section for each dataset, with intervals; each pair counts as transformers alone scores it."""
    for code in ("en", "ko"):
        pairs = PREFERENCES["phrasebook"].rows(code, 10, 7)
        rows = [row | {"source": "a=/sets/a" if i < 6 else "b.jsonl"} for i, row in enumerate(pairs)]
        write_jsonl(corpora / code / "heldout.jsonl", rows)
    metrics, found = run(model, corpora, tmp_path / "out")
    held = found["benchmarks"]["heldout"]
    assert set(held) == {"en", "ko"} and held["ko"]["items"] == 10
    assert set(held["ko"]["accuracy"]) == {"a", "b", "average", "subset/a", "subset/b"}
    low, high = held["ko"]["interval"]["average"]
    assert low <= held["ko"]["accuracy"]["average"] <= high == held["ko"]["interval"]["average"][1]
    network, tokenizer = loading.load_reward_model(model), loading.load_tokenizer(model)

    def reward(prompt: str, response: str) -> float:
        chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        ids = tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"]
        with torch.inference_mode():
            return network(torch.tensor([ids])).logits.item()

    right = [reward(row["prompt"], row["chosen"]) > reward(row["prompt"], row["rejected"]) for row in rows]
    assert held["ko"]["accuracy"]["a"] == pytest.approx(sum(right[:6]) / 6)
    assert held["ko"]["accuracy"]["b"] == pytest.approx(sum(right[6:]) / 4)
    assert metrics["heldout/accuracy/ko/average"] == held["ko"]["accuracy"]["average"]
    write_jsonl(tmp_path / "heldout.jsonl", BEST_OF)
    with refused(ConfigError, "evaluate.benchmarks", "heldout"):
        run(model, corpora, tmp_path / "twice", benchmarks=(str(tmp_path / "heldout.jsonl"),))


def test_equal_rewards_count_as_the_config_says(model, corpora, tmp_path) -> None:
    write_jsonl(tmp_path / "same.jsonl", [{"prompt": "p", "chosen": "yes", "rejected": "yes"}] * 4)
    accuracy = {}
    for ties in ("lost", "half"):
        _, found = run(model, corpora, tmp_path / ties, ties=ties, benchmarks=(str(tmp_path / "same.jsonl"),))
        result = found["benchmarks"]["same"]["en"]
        accuracy[ties] = result["accuracy"]["average"]
        assert result["ties"] == 4 and found["tie_policy"] == ties
    assert accuracy == {"lost": 0.0, "half": 0.5}


def test_a_benchmark_whose_file_changes_is_evaluated_again(tmp_path) -> None:
    path = tmp_path / "mine-es.jsonl"
    config = evaluate.Config(languages=("en", "es"), benchmarks=(str(tmp_path / "mine-{language}.jsonl"),))
    before = evaluate.files(config)
    write_jsonl(path, BEST_OF)
    between = evaluate.files(config)
    write_jsonl(path, BEST_OF[1:])
    assert len({before, between, evaluate.files(config)}) == 3


@pytest.mark.parametrize(
    ("benchmarks", "error", "place", "value"),
    [
        (("nosuch",), ConfigError, "", "nosuch"),
        (("m-rewardbench", "m-rewardbench@v1"), ConfigError, "evaluate.benchmarks", "m-rewardbench"),
        (("corpus.jsonl",), ConfigError, "evaluate.benchmarks", "corpus"),
        (("nosuch-{language}.jsonl",), DataError, "evaluate.benchmarks", "nosuch-{language}.jsonl"),
        (("nosuch.jsonl",), DataError, "nosuch.jsonl", None),
    ],
)
def test_a_benchmark_that_is_unavailable(benchmarks, error, place, value, corpora, tmp_path) -> None:
    with refused(error, place, value):
        run(tmp_path / "no model is read", corpora, tmp_path / "out", benchmarks=benchmarks)
    assert not list((tmp_path / "out").iterdir())


def test_rewards_that_are_not_there_or_none(tmp_path) -> None:
    with refused(DataError, tmp_path / reward_table.FILE):
        reward_table.read(tmp_path / reward_table.FILE)
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"id": ["1"]}), tmp_path / reward_table.FILE)
    with refused(DataError, tmp_path / reward_table.FILE) as raised:
        reward_table.read(tmp_path / reward_table.FILE)
    assert "benchmark, language" in raised.value.message
