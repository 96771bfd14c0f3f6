"""Benchmarks as they are published: whole, in the languages they exist in, with pairs or best-of-n lists."""

import numpy as np
import pytest
from phrasebook_settings import curated
from refusals import refused
from test_sources import SAMPLES, cache, copy_of, repository  # noqa: F401

from xlrm.data.catalog import Dataset
from xlrm.errors import ConfigError, DataError
from xlrm.evaluation import benchmarks, reward_table
from xlrm.evaluation.statistics import accuracies
from xlrm.stages import curate
from xlrm.store.jsonl import read_rows, write_jsonl

PAIR = {"prompt": "p", "chosen": "yes", "rejected": "no"}


def test_a_benchmark_without_one_of_its_sections_is_none(tmp_path) -> None:
    records = [row for row in read_rows(SAMPLES / "rewardbench.jsonl") if not row["subset"].startswith("refusals")]
    entry = f"rewardbench={repository(tmp_path / 'part', records, 'filtered')}"
    with refused(DataError, f"{entry}: section", "Safety") as raised:
        benchmarks.load(entry, "en", None, 0)
    assert "refusals-dangerous, " in raised.value.message and ", donotanswer" in raised.value.message


def test_a_file_may_have_any_subsets(tmp_path) -> None:
    write_jsonl(tmp_path / "mine.jsonl", [PAIR | {"subset": "llmbar-natural"}, PAIR | {"subset": "mine"}, PAIR])
    found = benchmarks.load(str(tmp_path / "mine.jsonl"), "en", None, 0).rows
    assert [(row["subset"], row["section"]) for row in found] == [
        ("llmbar-natural", "Chat Hard"), ("mine", "mine"), ("all", "all"),
    ]  # fmt: skip


def test_rewardbench_2_is_six_subsets_of_lists(tmp_path) -> None:
    found = benchmarks.load_published(copy_of("rewardbench-2", tmp_path), "en", "en").rows
    assert {row["section"] for row in found} == {"Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"}
    assert found[0]["chosen"] == ["Rossini, in 1816."] and len(found[0]["rejected"]) == 3
    assert all(row["subset"] == row["section"] for row in found)
    ties = benchmarks.section_weights(found)["Ties"]
    assert ties == {"Ties": 2}


def _mine(weights: dict[str, int]) -> benchmarks.Benchmark:
    """RewardBench's subset names, with rows 2 to 1: hep-cpp is right, hep-go wrong."""
    rows = [PAIR | {"id": str(i), "subset": subset} for i, subset in enumerate(("hep-cpp", "hep-cpp", "hep-go"))]
    dataset = Dataset("mine", "mit", ("en",), lambda language, count, seed: rows)
    return benchmarks.Benchmark(dataset, {"hep-cpp": "Code", "hep-go": "Code"}, weights)


@pytest.mark.parametrize(
    ("weights", "expected"), [({"hep-cpp": 1, "hep-go": 3}, 1 / 4), ({}, 2 / 3), ({"hep-go": 6}, 2 / 8)]
)
def test_a_benchmarks_own_weights_count_and_without_any_its_rows(weights, expected, tmp_path, monkeypatch) -> None:
    """By hand: 1 x 1 + 3 x 0 of 4; two rows of three; two rows and the weight 6. RewardBench's weights are 164 each: 1/2."""
    mine = _mine(weights)
    monkeypatch.setitem(benchmarks.BENCHMARKS, "mine", mine)
    monkeypatch.setitem(benchmarks.TABLE, "mine", mine.dataset)
    found = benchmarks.load_published("mine", "en", "en").rows
    assert accuracies(found, np.array([1.0, 1.0, 0.0]))["Code"] == pytest.approx(expected)
    scored = [([1.0], [0.0]), ([1.0], [0.0]), ([0.0], [1.0])]
    reward_table.write(tmp_path / "r", list(reward_table.records("mine", "en", found, scored)))
    kept = reward_table.read(tmp_path / "r", "mine")["en"]
    assert benchmarks.section_weights(kept) == benchmarks.section_weights(found), "what report and gate read"


def test_m_rewardbench_is_one_table_a_language(tmp_path) -> None:
    folder = repository(tmp_path / "m", read_rows(SAMPLES / "m-rewardbench.jsonl"), "test", "spa_Latn")
    entry = f"m-rewardbench={folder}"
    found = benchmarks.load_published(entry, "es", "en").rows
    assert [row["section"] for row in found] == ["Chat", "Chat Hard", "Safety", "Reasoning"]
    assert found[0]["prompt"].startswith("¿Qué planeta") and benchmarks.section_weights(found)["Reasoning"] == {
        "hep-python": 164
    }
    assert benchmarks.load_published(entry, "en", "en") is None, "its English is RewardBench"
    languages = set(benchmarks.BENCHMARKS["m-rewardbench"].dataset.languages)
    assert len(languages) == 22 and {"es", "it", "ko", "zh", "de", "ru", "tr", "vi", "ar", "he", "pt", "ja"} < languages


def test_a_generated_benchmark_has_an_end_where_no_number_is_given() -> None:
    """`evaluate.benchmarks: [phrasebook]`: the same items in every language."""
    items = {code: benchmarks.load_published("phrasebook", code, "en").rows for code in ("en", "ko")}
    assert [row["id"] for row in items["en"]] == [row["id"] for row in items["ko"]] and len(items["en"]) == 560


def test_a_file_for_each_language(tmp_path) -> None:
    write_jsonl(tmp_path / "mine-es.jsonl", [PAIR, PAIR | {"id": 7}, PAIR | {"id": 7}])
    entry = str(tmp_path / "mine-{language}.jsonl")
    assert [row["id"] for row in benchmarks.load_published(entry, "es", "en").rows] == ["mine-es-es-0", "7", "7#2"]
    assert benchmarks.load_published(entry, "ko", "en") is None
    alone = str(tmp_path / "mine-es.jsonl")
    assert benchmarks.load_published(alone, "es", "en") is None, "a file is in the source's language"
    assert len(benchmarks.load_published(alone, "es", "es").rows) == 3


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("m-rewardbench", "m-rewardbench"), ("m-rewardbench@v1", "m-rewardbench"), ("rewardbench-2=me/mine@v1", "rewardbench-2"),
        ("data/mine-{language}.jsonl", "mine"), ("data/{language}.jsonl", "file"), ("a/b.parquet", "b"),
        ("a/my best (of 4)_{language}.jsonl", "my-best-of-4"),
    ],
)  # fmt: skip
def test_what_a_benchmark_is_called_in_results(entry: str, name: str) -> None:
    assert benchmarks.label(entry) == name


@pytest.mark.parametrize(
    ("wrong", "value"), [([], None), (["a", 1], 1), ([["a"]], "a"), ({"role": "user"}, {"role": "user"}), (3, 3)]
)
def test_responses_that_are_neither_text_nor_messages_nor_lists_of_them(wrong, value, tmp_path) -> None:
    write_jsonl(tmp_path / "mine.jsonl", [PAIR, PAIR | {"chosen": wrong}])
    with refused(DataError, f"{tmp_path / 'mine.jsonl'}:2: chosen", value):
        benchmarks.load(str(tmp_path / "mine.jsonl"), "en", None, 0)


def test_a_corpus_has_pairs(tmp_path) -> None:
    write_jsonl(tmp_path / "best.jsonl", [PAIR | {"chosen": ["yes"], "rejected": ["no", "none"]}])
    config = curated(benchmark=str(tmp_path / "best.jsonl"), pairs=8)
    with refused(ConfigError, "curate.benchmark", str(tmp_path / "best.jsonl")):
        curate.run(config, output=tmp_path / "out")
