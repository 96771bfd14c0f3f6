"""Published numbers of reward models against measured ones, on a small random model and the sample of RewardBench 2."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from test_sources import SAMPLES, copy_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks import golden
from benchmarks.rewardbench_parity import make_model
from xlrm.store.jsonl import read_rows


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("random")
    make_model(folder, "qwen2", [golden.SKYWORK.prompt, *golden.SKYWORK.rewards])
    return folder


@pytest.fixture(scope="module")
def published(model) -> golden.Golden:
    """What transformers alone and RewardBench 2's rules by hand give for this model."""
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModelForSequenceClassification.from_pretrained(model)

    def rewards(prompt: str, responses: list[str]) -> list[float]:
        turns = [[{"role": "user", "content": prompt}, {"role": "assistant", "content": text}] for text in responses]
        encoded = [tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True) for chat in turns]
        with torch.inference_mode():
            return [network(**inputs).logits.item() for inputs in encoded]

    credits: dict[str, list[float]] = {}
    gaps, spread = {}, math.nan
    for row in read_rows(SAMPLES / "rewardbench-2.jsonl"):
        right, wrong = (rewards(row["prompt"], row[side]) for side in ("chosen", "rejected"))
        if row["subset"] != "Ties":
            credits.setdefault(row["subset"], []).append(100.0 * (right[0] > max(wrong)))
            continue
        kind = row["id"].partition(":")[0]
        gaps[kind] = min(right) - max(wrong)
        spread = max(right) - min(right) if kind == "tied" else spread
    hard = min(gaps.values())
    of_ties = 0.3 * sum(gap > 0 for gap in gaps.values()) + 0.2 * (gaps["tied"] > spread) + 0.2 * (hard > spread)
    subsets = {name: sum(values) / len(values) for name, values in credits.items()}
    subsets["Ties"] = 100 * (of_ties + 0.01 * math.tanh(hard / spread - 1))
    example = golden.SKYWORK
    values = rewards(example.prompt, list(example.rewards))
    return golden.Golden(
        str(model), example.prompt, dict(zip(example.rewards, values, strict=True)), subsets, sum(subsets.values()) / 6
    )


def run(published: golden.Golden, folder: Path, *arguments: str) -> tuple[int, dict]:
    entry = copy_of("rewardbench-2", folder)
    given = ["--precision", "float32", "--benchmark", entry, "--json", str(folder / "found.json"), *arguments]
    code = golden.main(golden.parser().parse_args(given), published)
    return code, json.loads((folder / "found.json").read_text())


def test_a_model_with_its_published_numbers_passes(published, tmp_path) -> None:
    code, found = run(published, tmp_path)
    assert (code, found["missed"]) == (0, []) and len(found["figures"]) == 2 + 6 + 1
    for figure in found["figures"].values():
        assert figure["measured"] == pytest.approx(figure["published"], abs=1e-3)


def test_a_number_that_differs_is_named(published, tmp_path) -> None:
    other = dataclasses.replace(published, subsets=published.subsets | {"Math": published.subsets["Math"] + 2})
    code, found = run(other, tmp_path)
    assert code == 1 and [line.partition(":")[0] for line in found["missed"]] == ["RewardBench 2, Math"]


def test_a_model_that_is_unavailable_is_one_line(published, tmp_path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    options = golden.parser().parse_args(["--model", str(tmp_path / "empty"), "--rewards-only"])
    assert golden.main(options, published) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_published_mean_is_that_of_the_published_subsets() -> None:
    assert sum(golden.SKYWORK.subsets.values()) / 6 == pytest.approx(golden.SKYWORK.mean, abs=0.05)
