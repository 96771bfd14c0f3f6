"""`benchmarks.real_sizes` in miniature: every part that a machine with a GPU runs, and what is said of those that cannot run."""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import half_precision, phases, real_sizes, workload
from benchmarks.real_sizes import PARTS, Part
from xlrm.models import compute, loading

SMALL = [part for part in PARTS if part.options("small")]


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workload.save_model(folder := tmp_path_factory.mktemp("tiny"), SimpleNamespace(hidden=128, layers=2), policy=True)
    return folder


def options(tiny: Path, *more: str) -> argparse.Namespace:
    given = ["--models", str(tiny), "--output", str(tiny.parent / "results.json"), "--size", "small", "--threads", "1"]
    options = real_sizes.complete(real_sizes.parser().parse_args([*given, "--device", "cpu", *more]))
    options.venv = options.vllm = None
    return options


@pytest.mark.slow
@pytest.mark.parametrize("part", [part for part in SMALL if not part.in_vllm], ids=lambda part: part.name)
def test_a_part_gives_figures(
    part: Part, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """In this process, which has loaded the libraries: the command that the script starts."""
    monkeypatch.setenv("XLRM_HOME", str(tmp_path))
    _, _, module, *given = real_sizes.command(part, tiny, options(tiny), tmp_path / "figures.json")
    monkeypatch.setattr(sys, "argv", [module, *given])
    program = importlib.import_module(module)
    monkeypatch.setattr(program, "__spec__", SimpleNamespace(name=module))
    assert program.main() == 0, capsys.readouterr().out
    found = json.loads((tmp_path / "figures.json").read_text())
    lines = list(real_sizes.summary(found))
    assert found["figures"] and lines and not [line for line in lines if "missed" in line or "failed" in line]


def test_parts_that_cannot_run_are_named(tiny: Path) -> None:
    asked = options(tiny, "--parts", "sampling;phases;scoring, float32")
    reasons = {part.name: real_sizes.skipped(part, asked, left=100) for part in PARTS}
    assert "vLLM" in reasons["sampling"] and reasons["phases"] is None
    assert "small" in reasons["scoring, float32"] and "--parts" in reasons["growth"]
    assert "time" in real_sizes.skipped(PARTS[0], asked, left=1)
    assert real_sizes.left_out(asked).keys() == {"vLLM", "rewardbench"}


@pytest.mark.slow
def test_a_part_that_fails_leaves_the_others_their_place(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    asked = options(tiny, "--parts", "rewards in bfloat16")
    asked.models = [tmp_path, tiny]
    results = real_sizes.measure(asked)["rewards in bfloat16"]
    assert "config.json" in results[tmp_path.name]["failed"] or "failed" in results[tmp_path.name]
    assert results[tiny.name]["figures"]["pairs"] == 2
    written = json.loads(asked.json.read_text())
    assert written["figures"]["parts"]["rewards in bfloat16"] == results and written["machine"]


def test_texts_in_words_of_a_models_tokenizer_have_the_lengths_asked_for(tiny: Path) -> None:
    given = SimpleNamespace(model=str(tiny), long=700)
    rows = workload.of_options(workload.pairs(3), given)
    tokenizer = loading.load_tokenizer(tiny)
    count = [len(tokenizer(" " + text, add_special_tokens=False)["input_ids"]) for text in rows[-1]["responses"]]
    assert count == [700, workload.lengths(3)[-1][2]]
    assert workload.tokens_of(rows[:1]) == sum(workload.lengths(3)[0])


def test_operations_by_hand() -> None:
    """A prompt of two tokens, responses of one and two: 5 tokens by 2 x parameters. Attention: pairs of query and key
    2 x 2 / 2 + 1 x 2.5 + 2 x 3 = 10.5, by 4 x layers x width; the head: 3 tokens by 2 x 8 x 100."""
    config = {
        "model_type": "qwen2", "num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 16, "vocab_size": 100,
        "num_attention_heads": 2, "num_key_value_heads": 1,
    }  # fmt: skip
    rows = [{"prompt": "a b", "responses": ["c", "d e"]}]
    parameters = 2 * 8 * 8 + 2 * 8 * 4 + 3 * 8 * 16
    assert compute.shape(config).size(head=False).parameters == parameters
    assert workload.operations_of_parts(rows, config) == (2 * 5 * parameters, 4 * 10.5 * 8)
    assert workload.operations(rows, config, policy=True) == 2 * 5 * parameters + 4 * 10.5 * 8 + 3 * 2 * 8 * 100


def test_verdicts_that_bfloat16_changes() -> None:
    found = half_precision.compare([1.0, 0.0, 0.5, 0.25], [0.875, 0.0, 0.25, 0.5], [1.0, 0.0, 0.25, 0.5])
    assert (found["pairs"], found["changed"], found["margins"]) == (2, 1, [0.25])
    assert (found["largest_difference"], found["batches"], found["median_margin"]) == (0.25, 0.125, 0.625)


def test_phases_of_operations() -> None:
    names = ("aten::addmm", "aten::_scaled_dot_product_flash_attention_for_cpu", "aten::index_select", "aten::mul")
    assert [phases.phase(name) for name in names] == ["linear layers", "attention", "packing", "the rest"]
    assert phases.phase("aten::_fused_adamw_") == "optimizer"
    shares = phases.by_phase(({"linear layers": 3.0, "the rest": 1.0}, {"linear layers": 60}), 5, seconds=8.0, peak=20)
    assert shares["linear layers"] == {"seconds": 6.0, "of_time": 0.75, "of_roof": 0.5}
